//! What ends a run from outside.

use std::fmt;

use anyhow::{Context as _, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Why a run is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interruption {
    /// Ctrl-C.
    Interrupt,
    /// SIGTERM, which the kernel also sends when the parent process ends.
    Terminate,
    /// The terminal is gone.
    Hangup,
}

impl Interruption {
    /// 128 and the signal's number, as shells say it.
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Interruption::Hangup => 129,
            Interruption::Interrupt => 130,
            Interruption::Terminate => 143,
        }
    }
}

impl fmt::Display for Interruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Interruption::Interrupt => "interrupted (SIGINT)",
            Interruption::Terminate => "interrupted (SIGTERM, or the end of the parent process)",
            Interruption::Hangup => "interrupted (SIGHUP)",
        })
    }
}

impl std::error::Error for Interruption {}

/// Catches the signals that end a run.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    /// From here on the signals do not end the process by themselves. Inside a tokio runtime.
    pub(crate) fn catch() -> Result<Signals> {
        let catch = |kind| signal(kind).context("cannot catch signals");
        Ok(Signals {
            interrupt: catch(SignalKind::interrupt())?,
            terminate: catch(SignalKind::terminate())?,
            hangup: catch(SignalKind::hangup())?,
        })
    }

    /// The next one.
    pub(crate) async fn next(&mut self) -> Interruption {
        tokio::select! {
            _ = self.interrupt.recv() => Interruption::Interrupt,
            _ = self.terminate.recv() => Interruption::Terminate,
            _ = self.hangup.recv() => Interruption::Hangup,
        }
    }
}
