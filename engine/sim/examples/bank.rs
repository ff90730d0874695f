//! Looks for seeds that show the bugs of the bank: `bank FIRST LIMIT [SWITCH...]`. For work on the simulator; the
//! command is `trireme simulate --bug-bank`.

use trireme_sim::bank::{Bug, search};

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok());
    let (Some(first), Some(limit)) = (number(0), number(1)) else {
        eprintln!("bank FIRST LIMIT [SWITCH...]");
        return;
    };
    let wanted = |switch: &&str| words.len() == 2 || words.iter().any(|word| word == switch);
    for switch in Bug::all().filter_map(Bug::switch).filter(wanted) {
        match search(switch, first, limit, || true) {
            Ok(found) => println!("{switch}: {} # {} {}", found.pin, found.invariant, found.events),
            Err(seeds) => println!("# {switch}: none in {seeds}"),
        }
    }
}
