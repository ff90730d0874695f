//! Seeds that broke an invariant once. What they mean shifts with what seeds draw; the exact histories are tests of the
//! core (`core/tests`).

use trireme_sim::{Options, run_seed};

#[test]
fn seeds_that_failed_once() {
    // Lags longer than the rings of votes; a storm of fetches for a faulty lane; replicas parked in a view; a
    // batch that left while nobody was connected; owners who lie about what lies below; an oracle
    // that was too strict; first blocks at another slot than the own certificate leads to (9952, 13393); ancestors below a
    // parent's cut that nobody checked (10889); a release while the record of a way out was on its way to the disk (30684);
    // an oracle that forgot what a standing record says (30238, 32065); a fetch that went on asking for what an image covers (224);
    // an image that was asked for while an older one was being installed, and never fetched (80).
    for seed in [
        80, 132, 224, 362, 384, 596, 1172, 1188, 1240, 1643, 1830, 1833, 1958, 3194, 3289, 3746, 9952, 10889, 13393,
        30238, 30684, 32065,
    ] {
        let report = run_seed(seed, &Options::default());
        assert!(report.violations.is_empty(), "{report}");
    }
}
