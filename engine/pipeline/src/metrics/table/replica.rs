//! The replica and where it stands.

use super::{counter, gauge};
use crate::metrics::{Metric, Source};

pub(super) static REPLICA: &[Metric] = &[
    Metric {
        source: Source::Info,
        ..gauge("trireme_info", "", "Always 1; its labels say what this replica is.").by(&[
            "version",
            "cluster",
            "cluster_name",
            "organisation",
            "region",
            "app",
            "client_auth",
            "durability",
            "core_plan",
        ])
    },
    gauge("trireme_members", "/n", "Members of the cluster."),
    gauge(
        "trireme_faults_stood",
        "/f",
        "Byzantine members that the cluster stands.",
    ),
    gauge(
        "trireme_ready",
        "/ready",
        "1 while the replica votes and is connected to a quorum.",
    ),
    gauge(
        "trireme_halted",
        "/halted",
        "1 after an alarm: the replica has stopped voting.",
    ),
    gauge(
        "trireme_uptime_seconds",
        "/uptime_us",
        "Time since the process started.",
    )
    .micros(),
    counter(
        "trireme_cpu_seconds_total",
        "",
        "CPU time by stage; transport is the work of the endpoints.",
    )
    .by(&["stage"])
    .micros()
    .at(&[
        ("ingress", "/cpu_us/ingress"),
        ("verify", "/cpu_us/verify"),
        ("peers", "/cpu_us/peers"),
        ("order", "/cpu_us/order"),
        ("log", "/cpu_us/log"),
        ("execute", "/cpu_us/execute"),
        ("snapshots", "/cpu_us/snapshots"),
        ("transport", "/cpu_us/transport"),
    ]),
    counter(
        "process_cpu_seconds_total",
        "/cpu_us/process",
        "CPU time of the process.",
    )
    .micros(),
    gauge(
        "process_resident_memory_bytes",
        "/process/resident_bytes",
        "Memory of the process that is in use.",
    ),
    gauge("trireme_epoch", "/epoch", "Number of the membership."),
    gauge("trireme_view", "/view", "Current view."),
    gauge("trireme_leader", "/leader", "Member that leads the current view."),
    gauge("trireme_leading", "/leading", "1 while this replica leads."),
    gauge("trireme_committed_slot", "/committed_slot", "Newest committed slot."),
    gauge("trireme_executed_slot", "/executed_slot", "Newest executed slot."),
    gauge(
        "trireme_high_qc_view",
        "/high_qc/view",
        "View of the highest quorum certificate.",
    ),
    gauge(
        "trireme_high_qc_slot",
        "/high_qc/slot",
        "Slot of the highest quorum certificate.",
    ),
    gauge(
        "trireme_slots_in_flight",
        "/slots_in_flight",
        "Accepted slots above the committed one.",
    ),
    gauge("trireme_slot_window", "/windows/slots", "Slots that may be in flight."),
    gauge(
        "trireme_state_slot",
        "/state/slot",
        "Slot of the newest own state vote.",
    )
    .optional(),
    gauge(
        "trireme_certified_state_slot",
        "/certified_state/slot",
        "Slot of the newest state certificate.",
    )
    .optional(),
    gauge(
        "trireme_lane_stored_height",
        "/lanes/#member/stored",
        "Highest stored batch of a lane.",
    )
    .by(&["lane"]),
    gauge(
        "trireme_lane_certified_height",
        "/lanes/#member/certified",
        "Highest certified batch of a lane.",
    )
    .by(&["lane"]),
    gauge(
        "trireme_lane_committed_height",
        "/lanes/#member/committed",
        "Highest committed batch of a lane.",
    )
    .by(&["lane"]),
    gauge(
        "trireme_lane_live_bytes",
        "/lanes/#member/live_bytes",
        "Bytes of a lane that are stored and not executed.",
    )
    .by(&["lane"]),
    gauge(
        "trireme_lane_window_heights",
        "/windows/lane_heights",
        "Batches that a lane may have above the committed one.",
    ),
    gauge(
        "trireme_lane_window_bytes",
        "/windows/lane_bytes",
        "Bytes that a lane may have above the committed batch.",
    ),
    gauge(
        "trireme_stable_checkpoint_slot",
        "/stable_checkpoint",
        "Newest checkpoint that a quorum holds; 0: none.",
    ),
    gauge(
        "trireme_kept_checkpoint_slot",
        "/kept_checkpoint",
        "Newest stable checkpoint of which an image is durable here; 0: none.",
    ),
    gauge(
        "trireme_quarantined",
        "/quarantined",
        "1 while the replica is in quarantine: it signs nothing, because it may have forgotten what it signed.",
    ),
    gauge(
        "trireme_quarantine",
        "/quarantine/cause/=",
        "1 for the cause of the quarantine that lasts.",
    )
    .by(&["cause"])
    .optional(),
    gauge(
        "trireme_quarantine_answers",
        "/quarantine/answers",
        "Members that told what this replica signed.",
    )
    .optional(),
    gauge(
        "trireme_quarantine_answers_needed",
        "/quarantine/answers_needed",
        "Members that have to tell it.",
    )
    .optional(),
    gauge(
        "trireme_state_transfer_slot",
        "/transfer_to",
        "Checkpoint whose image is being fetched.",
    )
    .optional(),
    gauge("trireme_memory_used_bytes", "", "Memory in use of a budget.")
        .by(&["pool"])
        .at(&[
            ("client_intake", "/clients/intake_bytes"),
            ("core_intake", "/held/intake_bytes"),
            ("largest_lane", "/held/lane_bytes"),
        ]),
    gauge("trireme_memory_limit_bytes", "", "Limit of a budget of memory.")
        .by(&["pool"])
        .at(&[
            ("client_intake", "/clients/intake_limit_bytes"),
            ("core_intake", "/windows/core_intake_bytes"),
            ("largest_lane", "/windows/lane_bytes"),
        ]),
];
