//! Screens of made-up statuses.

use serde_json::{Value, json};

use super::*;

fn status(member: u64, at: u64, slot: u64) -> Value {
    json!({
        "member": member, "region": "here", "ready": true, "halted": false, "leading": member == 0, "view": 3,
        "committed_slot": slot, "executed_slot": slot, "uptime_us": at, "cpu_us": { "process": at / 4 },
        "execution": { "fresh": 500 * at / 1_000_000 }, "commits": { "fast": 30, "late_votes": 10 },
        "clients": { "connections": 7, "intake_bytes": 90, "intake_limit_bytes": 100 }, "log": { "full": false },
        "stages": { "total": {
            "count": at / 1_000_000 * 10, "sum_us": at / 50, "le_us": [1_000, 3_000],
            "at_or_below": [0, at / 1_000_000 * 10],
        } },
        "member_signatures": { "made": at / 1_000, "verified": at / 500, "by_kind": {
            "vote": { "made": at / 2_000, "verified": at / 1_000 },
        } },
        "client_signatures": { "verified": at / 2_000, "witnessed": at / 4_000 },
        "peers": [{ "member": 1 - member, "connected": true, "rtt_us": 12_300 }],
        "links": [{ "name": "ingress", "held": 1, "depth": 4, "bytes": 0, "limit_bytes": 9, "shed": 3 }],
        "events": [{ "wall_us": 3_661_000_000_u64, "weight": "warning", "text": "view 2 left for 3" }],
    })
}

fn data() -> Data {
    let dir = tempfile::tempdir().unwrap();
    let mut data = Data::new(crate::init::for_tests(dir.path(), 4));
    data.take(vec![Ok(status(0, 1_000_000, 90)), Ok(status(1, 1_000_000, 80))]);
    let mut quarantined = status(1, 2_000_000, 88);
    quarantined["quarantined"] = json!(true);
    quarantined["quarantine"] = json!({ "cause": "log damaged", "waits_for": "blocks" });
    data.take(vec![
        Ok(status(0, 2_000_000, 100)),
        Ok(quarantined),
        Err(anyhow::anyhow!("gone")),
    ]);
    data
}

fn drawn(width: u16, height: u16, panel: Panel) -> String {
    let area = Rect::new(0, 0, width, height);
    let mut buffer = Buffer::empty(area);
    draw(&data(), panel, false, area, &mut buffer);
    let row = |y: u16| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..height).map(|y| row(y).trim_end().to_owned() + "\n").collect()
}

fn words(screen: &str, start: &str) -> Vec<String> {
    let found = screen.lines().find(|line| line.trim_start().starts_with(start));
    let line = found.unwrap_or_else(|| panic!("{start} is not in\n{screen}"));
    line.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn a_printed_screen_has_everything() {
    let screen = text(&data(), 132);
    assert!(screen.contains("degraded: 2 of 3 replicas ready"), "{screen}");
    assert!(screen.contains("500 operations/s now"), "{screen}");
    assert_eq!(words(&screen, "0 ")[2..6], ["leader", "3", "100", "0"]);
    assert_eq!(words(&screen, "1 ")[2..7], ["quarantine", "3", "88", "12", "88"]);
    assert!(
        screen.contains("replica 1 in quarantine (log damaged), waits for blocks"),
        "{screen}"
    );
    assert!(words(&screen, "2  ").ends_with(&["gone".to_owned()]));
    // Of two replicas: 20 in all, 2 ms in the mean, the half of them below the middle of 1 to 3 ms.
    assert_eq!(
        words(&screen, "read to executed")[3..],
        ["2.00", "2.00", "2.80", "2.98"]
    );
    // 500 operations; each of two replicas made 500 votes and checked 1000.
    assert_eq!(words(&screen, "votes"), ["votes", "2.00", "4.00"]);
    assert_eq!(words(&screen, "clients, as witness").last().unwrap(), "1.00");
    assert!(screen.contains("12.3"), "{screen}");
    assert!(screen.contains("link ingress"), "{screen}");
    assert!(screen.contains("01:01:01Z replica 0  view 2 left for 3"), "{screen}");
}

#[test]
fn a_small_terminal_shows_one_panel_and_a_large_one_all() {
    let small = drawn(80, 24, Panel::Latency);
    assert!(small.contains("read to executed") && !small.contains("12.3"), "{small}");
    assert!(drawn(80, 24, Panel::RoundTrips).contains("12.3"));
    let large = drawn(150, 50, Panel::Latency);
    for text in ["read to executed", "12.3", "votes", "link ingress", "view 2 left for 3"] {
        assert!(large.contains(text), "{text} is not in\n{large}");
    }
    // Whatever the size, nothing breaks.
    for (width, height) in [(1, 1), (10, 3), (40, 12), (121, 18), (300, 100)] {
        drawn(width, height, Panel::Events);
    }
}

#[test]
fn keys_turn_the_pages() {
    let panel = Panel::default();
    assert_eq!(panel.after(Key::Char('\t')), Panel::Signatures);
    assert_eq!(panel.after(Key::Left), Panel::Events);
    assert_eq!(panel.after(Key::Char('3')), Panel::RoundTrips);
    assert_eq!(panel.after(Key::Char('9')), panel);
    assert_eq!(panel.after(Key::Char('0')), panel);
    assert_eq!(panel.after(Key::Char('x')), panel);
}
