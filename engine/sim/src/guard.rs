//! Panics of a run, caught: an assertion of the core or of an application finds a bug as well as an oracle does.
//!
//! A release binary aborts on a panic (a replica must not go on with half a state), so that nothing unwinds and
//! `catch_unwind` catches nothing. The hook runs before the abort, though. A guarded job has a thread of its own; when
//! it panics, the hook hands the words over and then keeps that thread for ever. Where panics unwind, the thread ends.

use std::cell::RefCell;
use std::panic::PanicHookInfo;
use std::sync::{Once, mpsc};
use std::thread;

/// Takes the words of a panic.
type Tell = Box<dyn Fn(String)>;

thread_local! {
    /// Set on the thread of a guarded job.
    static TELL: RefCell<Option<Tell>> = const { RefCell::new(None) };
}

/// Does a job; what it gives back, or the words and the place of its panic.
///
/// Where panics abort, each panic keeps the memory of its job for good: whoever runs many jobs stops after some
/// hundreds of panics.
pub fn guarded<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| caught(info, &before)));
    });
    let (tell, hear) = mpsc::channel();
    let panicked = tell.clone();
    let spawned = thread::Builder::new().name("guarded".into()).spawn(move || {
        TELL.set(Some(Box::new(move |words| drop(panicked.send(Err(words))))));
        let done = job();
        drop(tell.send(Ok(done)));
    });
    match spawned {
        Ok(_) => hear.recv().unwrap_or_else(|_| Err("a panic without words".into())),
        Err(error) => Err(format!("no thread for it: {error}")),
    }
}

fn caught(info: &PanicHookInfo<'_>, otherwise: &dyn Fn(&PanicHookInfo<'_>)) {
    let Some(tell) = TELL.take() else {
        return otherwise(info);
    };
    let words = info.payload_as_str().unwrap_or("a panic");
    let place = info.location().map_or_else(String::new, |at| format!(" at {at}"));
    tell(format!("{words}{place}"));
    if cfg!(panic = "abort") {
        loop {
            thread::park();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_answer() {
        assert_eq!(guarded(|| 7), Ok(7));
        let words = guarded(|| -> u32 { panic!("on {}", "purpose") }).unwrap_err();
        assert!(
            words.starts_with("on purpose at ") && words.contains("guard.rs"),
            "{words}"
        );
        assert_eq!(guarded(|| 8), Ok(8), "and the next job runs");
    }
}
