//! Switches that break one clause each, so that a test can show that the clause matters (FAULTS.md, bug bank).
//!
//! Without the feature `bugs` every switch is a constant `false`: a release binary holds none of this.

macro_rules! switches {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Which clauses are broken.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Bugs {
            $(#[cfg(feature = "bugs")] $(#[$doc])* pub $name: bool,)*
        }

        impl Bugs {
            $(
                $(#[$doc])*
                #[cfg(feature = "bugs")]
                pub(crate) fn $name(&self) -> bool { self.$name }
                $(#[$doc])*
                #[cfg(not(feature = "bugs"))]
                #[allow(clippy::unused_self)]
                pub(crate) const fn $name(&self) -> bool { false }
            )*

            /// The names of all switches.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name)),*];

            /// Sets a switch by name; false if there is none, as there is none in a build without them.
            pub fn set(&mut self, name: &str) -> bool {
                match name {
                    $(#[cfg(feature = "bugs")] stringify!($name) => { self.$name = true; true })*
                    _ => false,
                }
            }
        }
    };
}

switches! {
    /// 17: recovery takes a damaged middle for a torn tail.
    damage_is_torn_tail,
    /// 18: a failed flush is tried again, and believed.
    retry_failed_flush,
}
