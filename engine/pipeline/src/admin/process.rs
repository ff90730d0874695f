//! What the kernel says of this process.

use serde_json::{Value, json};

/// Memory in use; null where `/proc` does not say.
pub(super) fn process_status() -> Value {
    let pages = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split_whitespace().nth(1)?.parse::<u64>().ok());
    let page = rustix::param::page_size() as u64;
    json!({ "resident_bytes": pages.map(|pages| pages * page) })
}
