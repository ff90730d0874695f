//! The table of all metrics.

use super::{Kind, Metric, Source};

const fn metric(kind: Kind, name: &'static str, path: &'static str, help: &'static str) -> Metric {
    Metric {
        name,
        kind,
        help,
        labels: &[],
        optional: false,
        source: Source::At(path),
        micros: false,
    }
}

const fn counter(name: &'static str, path: &'static str, help: &'static str) -> Metric {
    metric(Kind::Counter, name, path, help)
}

const fn gauge(name: &'static str, path: &'static str, help: &'static str) -> Metric {
    metric(Kind::Gauge, name, path, help)
}

const fn histogram(name: &'static str, path: &'static str, help: &'static str) -> Metric {
    metric(Kind::Histogram, name, path, help)
}

impl Metric {
    /// Its labels, in the order of the varying parts of its path.
    const fn by(self, labels: &'static [&'static str]) -> Self {
        Self { labels, ..self }
    }

    /// Its values stand at these paths, each with a value of the only label.
    const fn at(self, paths: &'static [(&'static str, &'static str)]) -> Self {
        Self {
            source: Source::Several(paths),
            ..self
        }
    }

    /// The status has microseconds.
    const fn micros(self) -> Self {
        Self { micros: true, ..self }
    }

    /// It has no value in some states.
    const fn optional(self) -> Self {
        Self { optional: true, ..self }
    }
}

/// Every metric, in the order of the exposition.
pub static METRICS: &[Metric] = &[
    // The replica.
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
    // Where it stands.
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
        "trireme_state_transfer_slot",
        "/transfer_to",
        "Checkpoint whose image is being fetched.",
    )
    .optional(),
    // Ordering.
    counter(
        "trireme_slots_committed_total",
        "/commits/*",
        "Slots committed: by the fast path, or why it missed (late_votes, member_away, view_change, replayed).",
    )
    .by(&["path"]),
    counter(
        "trireme_fast_path_votes_missing_total",
        "/late_votes/#member/count",
        "Slots that the fast path missed without this member's vote.",
    )
    .by(&["peer"])
    .optional(),
    counter(
        "trireme_views_entered_total",
        "/views_entered",
        "Views entered after the first.",
    ),
    counter(
        "trireme_view_changes_total",
        "/view_changes/*",
        "View changes by what this replica knows of their reason.",
    )
    .by(&["reason"]),
    counter(
        "trireme_suspicions_total",
        "/suspicions/*",
        "Own suspicions of a view by their ground.",
    )
    .by(&["reason"]),
    gauge("trireme_view_timer_seconds", "/view_timer_us", "Timer of the view now.").micros(),
    gauge(
        "trireme_proposal_pace_seconds",
        "/pace_us",
        "Least time between proposals now.",
    )
    .micros(),
    counter(
        "trireme_batches_ordered_total",
        "/batches_ordered",
        "Batches in executed slots.",
    ),
    counter(
        "trireme_operations_ordered_total",
        "/ops_ordered",
        "Requests in executed slots.",
    ),
    counter(
        "trireme_batch_bytes_ordered_total",
        "/batch_bytes_ordered",
        "Bytes of batches in executed slots.",
    ),
    counter(
        "trireme_evidence_total",
        "/evidence",
        "Proofs of misbehaviour of members.",
    ),
    counter(
        "trireme_alarms_total",
        "/alarms",
        "Alarms: what a correct replica must not see.",
    ),
    counter(
        "trireme_messages_dropped_total",
        "/dropped_messages",
        "Messages dropped because they were outside a bound.",
    ),
    counter(
        "trireme_fetches_total",
        "/fetches",
        "Requests for data sent to other members.",
    ),
    gauge("trireme_held_items", "", "What others make this replica hold, by kind.")
        .by(&["kind"])
        .at(&[
            ("vote_views", "/held/vote_views"),
            ("vote_slots", "/held/vote_slots"),
            ("future_votes", "/held/future_votes"),
            ("wanted", "/held/wanted"),
            ("verify_jobs", "/held/verify_jobs"),
        ]),
    gauge(
        "trireme_order_waiting_slots",
        "/order/waiting_slots",
        "Committed slots that wait for the execute stage.",
    ),
    gauge(
        "trireme_order_waiting_bodies",
        "/order/waiting_bodies",
        "Batches that wait for the verify stage.",
    ),
    gauge(
        "trireme_order_blocked_effects",
        "/order/blocked_effects",
        "Effects of the core that found no room.",
    ),
    // Signatures.
    counter(
        "trireme_member_signatures_made_total",
        "/member_signatures/made",
        "Signatures made as a member.",
    ),
    counter(
        "trireme_member_signatures_verified_total",
        "/member_signatures/verified",
        "Signatures of members checked.",
    ),
    counter(
        "trireme_member_signature_equations_total",
        "/member_signatures/equations",
        "Batch equations in which signatures of members were checked.",
    ),
    counter(
        "trireme_client_signatures_verified_total",
        "/client_signatures/verified",
        "Signatures of clients checked: of own bundles and as a witness.",
    ),
    counter(
        "trireme_client_signatures_witnessed_total",
        "/client_signatures/witnessed",
        "Signatures of clients checked as a witness of other lanes.",
    ),
    counter(
        "trireme_client_signature_equations_total",
        "/client_signatures/equations",
        "Batch equations in which signatures of clients were checked.",
    ),
    counter(
        "trireme_client_signatures_bad_total",
        "/client_signatures/bad",
        "Bundles and batches with bad signatures.",
    ),
    histogram(
        "trireme_verification_batch_signatures",
        "/client_signatures/equation_sizes",
        "Client signatures in one equation.",
    ),
    // The way of an operation.
    histogram(
        "trireme_stage_duration_seconds",
        "/stages/*",
        "Time of own operations by stage; log: of appends until durable; total: read until executed.",
    )
    .by(&["stage"])
    .micros(),
    counter("trireme_slots_executed_total", "/execution/slots", "Slots executed."),
    counter(
        "trireme_operations_executed_total",
        "",
        "Requests executed, found to be copies, or refused at execution.",
    )
    .by(&["result"])
    .at(&[
        ("fresh", "/execution/fresh"),
        ("duplicate", "/execution/duplicates"),
        ("refused", "/execution/refused"),
    ]),
    gauge(
        "trireme_sessions",
        "/execution/sessions",
        "Clients of which replies are held.",
    ),
    // Clients.
    gauge(
        "trireme_client_connections",
        "/clients/connections",
        "Open connections of clients.",
    ),
    gauge(
        "trireme_client_subscriptions",
        "/clients/subscribed",
        "Clients whose replies are sent from here.",
    ),
    gauge(
        "trireme_client_paused_connections",
        "/clients/paused",
        "Connections that are not read for now.",
    ),
    counter("trireme_client_bundles_total", "/clients/bundles", "Bundles taken in."),
    counter("trireme_client_operations_total", "/clients/ops", "Requests taken in."),
    counter(
        "trireme_client_malformed_total",
        "/clients/malformed",
        "Frames that were none; each closed its connection.",
    ),
    counter(
        "trireme_client_reply_sets_total",
        "/clients/reply_sets",
        "Sets of replies sent.",
    ),
    counter(
        "trireme_client_refusals_total",
        "/clients/refused/*",
        "Bundles refused, by reason.",
    )
    .by(&["reason"]),
    counter(
        "trireme_client_connections_closed_total",
        "/clients/closed/*",
        "Connections of clients that ended, by reason.",
    )
    .by(&["reason"])
    .optional(),
    // Members.
    gauge(
        "trireme_peer_connected",
        "/peers/#member/connected",
        "1 while the member's channel is open.",
    )
    .by(&["peer"]),
    gauge(
        "trireme_peer_rtt_seconds",
        "/peers/#member/rtt_us",
        "Smoothed round-trip time to a member.",
    )
    .by(&["peer"])
    .micros()
    .optional(),
    counter(
        "trireme_peer_sent_bytes_total",
        "/peers/#member/sent_bytes",
        "UDP payload sent to a member over its present connection.",
    )
    .by(&["peer"])
    .optional(),
    counter(
        "trireme_peer_received_bytes_total",
        "/peers/#member/received_bytes",
        "UDP payload received from a member over its present connection.",
    )
    .by(&["peer"])
    .optional(),
    counter(
        "trireme_peer_sent_datagrams_total",
        "/peers/#member/sent_datagrams",
        "Datagrams sent to a member over its present connection.",
    )
    .by(&["peer"])
    .optional(),
    counter(
        "trireme_peer_lost_packets_total",
        "/peers/#member/lost_packets",
        "Packets to a member declared lost over its present connection.",
    )
    .by(&["peer"])
    .optional(),
    counter(
        "trireme_peer_rejects_total",
        "/peers/#member/rejects",
        "Messages of a member that were refused.",
    )
    .by(&["peer"]),
    counter(
        "trireme_peer_frames_sent_total",
        "/peer_traffic/frames_sent",
        "Frames sent to members.",
    ),
    counter(
        "trireme_peer_frames_received_total",
        "/peer_traffic/frames_received",
        "Frames received from members.",
    ),
    counter(
        "trireme_peer_queue_full_total",
        "/peer_traffic/queue_full",
        "Frames that found a member's queue full; each cost it its connection.",
    ),
    counter(
        "trireme_peer_connections_closed_total",
        "/peer_traffic/closed/*",
        "Connections of members that ended, by reason.",
    )
    .by(&["reason"])
    .optional(),
    counter(
        "trireme_messages_received_total",
        "/messages/*",
        "Messages accepted from members, by kind.",
    )
    .by(&["kind"]),
    counter(
        "trireme_messages_rejected_total",
        "/rejects/*",
        "Messages of members refused, by reason.",
    )
    .by(&["reason"]),
    // Links between stages.
    gauge("trireme_link_items", "/links/#name/held", "Items in a link.").by(&["link"]),
    gauge(
        "trireme_link_items_limit",
        "/links/#name/depth",
        "Items that a link may hold.",
    )
    .by(&["link"]),
    gauge(
        "trireme_link_items_peak",
        "/links/#name/high_water",
        "The most items that were in a link.",
    )
    .by(&["link"]),
    gauge("trireme_link_bytes", "/links/#name/bytes", "Payload in a link.").by(&["link"]),
    gauge(
        "trireme_link_limit_bytes",
        "/links/#name/limit_bytes",
        "Payload at which a link takes no more.",
    )
    .by(&["link"]),
    counter(
        "trireme_link_pushed_total",
        "/links/#name/pushed",
        "Items that went into a link.",
    )
    .by(&["link"]),
    counter(
        "trireme_link_shed_total",
        "/links/#name/shed",
        "Items that were turned away because a link was full.",
    )
    .by(&["link"]),
    counter(
        "trireme_link_full_total",
        "/links/#name/starvations",
        "How often a producer found no room in its link.",
    )
    .by(&["link"]),
    // The log.
    counter("trireme_log_records_total", "/log/records", "Records appended."),
    counter(
        "trireme_log_groups_total",
        "/log/groups",
        "Groups of records written; records by groups is the group size.",
    ),
    counter("trireme_log_flushes_total", "/log/fsyncs", "Flushes to stable storage."),
    counter(
        "trireme_log_flush_seconds_total",
        "/log/flush_us_sum",
        "Time of all flushes, each by itself.",
    )
    .micros(),
    gauge(
        "trireme_log_flush_last_seconds",
        "/log/flush_us_last",
        "Time of the newest flush.",
    )
    .micros(),
    gauge(
        "trireme_log_flush_max_seconds",
        "/log/flush_us_max",
        "Time of the longest flush.",
    )
    .micros(),
    counter(
        "trireme_log_appended_bytes_total",
        "/log/bytes_appended",
        "Bytes of records appended.",
    ),
    counter(
        "trireme_log_written_bytes_total",
        "/log/bytes_written",
        "Bytes written, with padding.",
    ),
    gauge(
        "trireme_log_free_bytes",
        "/log/free_bytes",
        "Room that is left in the log.",
    ),
    gauge(
        "trireme_log_waiting_appends",
        "/log/waiting",
        "Appends that are not durable yet.",
    ),
    counter("trireme_log_busy_total", "/log/busy", "Appends that met a busy log."),
    counter(
        "trireme_log_stalls_total",
        "/log/stalls",
        "How often the log was full to the last byte.",
    ),
    gauge(
        "trireme_log_full",
        "/log/full",
        "1 while new requests are refused for want of room.",
    ),
    gauge(
        "trireme_log_stalled",
        "/log/stalled",
        "1 while the log takes nothing at all.",
    ),
    counter(
        "trireme_log_served_records_total",
        "/log/served_records",
        "Records read back for other members.",
    ),
    gauge(
        "trireme_log_disk_bytes",
        "/log/disk_bytes",
        "Bytes of the log's segment files.",
    ),
    gauge("trireme_log_segments", "/log/segments", "Segment files of the log."),
    counter(
        "trireme_log_released_bytes_total",
        "/log/released_bytes",
        "Bytes of segments released below checkpoints.",
    ),
    counter(
        "trireme_log_copied_records_total",
        "/log/copied_records",
        "Records carried forward when segments were released.",
    ),
    counter(
        "trireme_log_bad_records_total",
        "/log/bad_records",
        "Bad records met in look-ups.",
    ),
    gauge("trireme_log_gaps", "/log/gaps", "Damaged places of the log."),
    gauge(
        "trireme_log_lost_records",
        "/log/lost_records",
        "Records that damaged places cost.",
    ),
    counter(
        "trireme_snapshots_written_total",
        "/snapshots/written",
        "Images of the state written.",
    )
    .optional(),
    gauge(
        "trireme_snapshot_slot",
        "/snapshots/newest_slot",
        "Slot of the newest image of the state here.",
    )
    .optional(),
    gauge(
        "trireme_snapshot_write_seconds",
        "/snapshots/last_write_us",
        "Time of the newest image's writing.",
    )
    .micros()
    .optional(),
    counter(
        "trireme_snapshot_parts_served_total",
        "/snapshots/parts_served",
        "Parts of images given to other members.",
    )
    .optional(),
    counter(
        "trireme_images_installed_total",
        "/execution/installed",
        "Images of the state taken over from other members.",
    ),
    // Memory.
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
