//! Words for people on the standard output.

/// Prints a line. A reader that has gone (`trireme local | head`) does not end the work: the exit code and the report
/// still tell how it went.
macro_rules! say {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($words)*);
    }};
}

pub(crate) use say;
