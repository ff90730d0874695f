//! The log and images of the state.

use super::{counter, gauge, histogram};
use crate::metrics::Metric;

pub(super) static LOG: &[Metric] = &[
    counter("trireme_log_records_total", "/log/records", "Records appended."),
    counter(
        "trireme_log_groups_total",
        "/log/groups",
        "Groups of records written; records by groups is the group size.",
    ),
    histogram("trireme_log_group_records", "/log/group_sizes", "Records in one group."),
    histogram(
        "trireme_log_flush_duration_seconds",
        "/log/flush_times",
        "Time of one flush to stable storage.",
    )
    .micros(),
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
];
