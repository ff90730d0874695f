//! One target of `trireme-fuzz`, named by the environment, under libFuzzer.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use trireme_fuzz::{Target, named};

static TARGET: LazyLock<&'static Target> = LazyLock::new(|| {
    let name = std::env::var("TRIREME_TARGET").expect("TRIREME_TARGET names a target");
    named(&name).expect("there is such a target")
});

fuzz_target!(|bytes: &[u8]| {
    (TARGET.run)(bytes);
});
