//! Every file of `engine/sim/scenarios/` shows what it says, and nothing breaks with every clause in force.

use std::path::Path;

use trireme_sim::Scenario;

#[test]
fn scenarios_show_what_they_say() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut files: Vec<_> = std::fs::read_dir(&directory)
        .expect("the directory is there")
        .map(|entry| entry.expect("and can be read").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "toml"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no scenarios in {}", directory.display());
    let mut wrong = Vec::new();
    for file in files {
        let scenario = Scenario::read(&file).unwrap_or_else(|error| panic!("{error}"));
        assert!(scenario.can_run(), "the suite has the switches");
        if let Err(words) = scenario.check() {
            wrong.push(format!("{}: {words}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
