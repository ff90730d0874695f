//! Clients, members and the links between stages.

use super::{counter, gauge};
use crate::metrics::Metric;

pub(super) static TRAFFIC: &[Metric] = &[
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
];
