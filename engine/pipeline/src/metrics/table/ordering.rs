//! Ordering, view changes and signatures.

use super::{counter, gauge, histogram};
use crate::metrics::Metric;

pub(super) static ORDERING: &[Metric] = &[
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
        "trireme_member_signatures_made_by_kind_total",
        "/member_signatures/by_kind/*/made",
        "Signatures made as a member, by what was signed.",
    )
    .by(&["kind"]),
    counter(
        "trireme_member_signatures_verified_by_kind_total",
        "/member_signatures/by_kind/*/verified",
        "Signatures of members checked, by what they signed.",
    )
    .by(&["kind"]),
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
];
