//! Several processes that make one load: each has its share of clients, rate and depth, all begin at the same time, and
//! what they measure is one record.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, anyhow, bail};
use trireme_load::{LoadOptions, Rate, Record, Recording, Second, Stop, merge, merge_seconds};

use crate::load::drive::{Event, Job, join_files};
use crate::load::part::{Order, Reach, Word};

/// From the last part's being ready to the common beginning: the word has to reach all of them.
const HEAD_START: Duration = Duration::from_millis(100);
/// How often a request to stop is looked for.
const GLANCE: Duration = Duration::from_millis(100);

/// What one part says.
type Said = (usize, Result<Word>);

struct Part {
    child: Child,
    /// Closed at its end: then it stops.
    words: Option<ChildStdin>,
    seconds: Vec<Second>,
    record: Option<Record>,
}

/// However the fleet ends, its processes do.
impl Drop for Part {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// Makes the load in `job.processes` processes.
pub(super) fn run(job: &Job, options: &LoadOptions, stop: &Stop, each: &mut dyn FnMut(Event)) -> Result<Record> {
    let shares = shares(options, job.processes);
    let (say, said) = channel();
    let mut parts = Vec::new();
    for (place, share) in shares.iter().enumerate() {
        parts.push(start(job, share, place, say.clone())?);
    }
    drop(say);
    gather(&mut parts, &said, stop)?;
    let begin = SystemTime::now() + HEAD_START;
    let since = begin
        .duration_since(SystemTime::UNIX_EPOCH)
        .context("the clock is before 1970")?;
    for part in &mut parts {
        tell(part, &since.as_micros().to_string())?;
    }
    let record = watch(&mut parts, &said, stop, each)?;
    if let Recording::File(path) = &options.recording {
        let files: Vec<PathBuf> = shares.iter().filter_map(|share| file(&share.recording)).collect();
        join_files(&files, path)?;
    }
    Ok(record)
}

fn file(recording: &Recording) -> Option<PathBuf> {
    match recording {
        Recording::File(path) => Some(path.clone()),
        Recording::None | Recording::Memory => None,
    }
}

/// The load, divided.
fn shares(whole: &LoadOptions, parts: u32) -> Vec<LoadOptions> {
    let cut = |all: u32, part: u32| all / parts + u32::from(part < all % parts);
    let mut first_client = whole.first_client;
    let share = |part: u32| {
        let mut own = whole.clone();
        (own.part, own.parts) = (part, parts);
        own.clients = cut(whole.clients, part);
        own.first_client = first_client;
        first_client += own.clients;
        own.in_flight = Some(cut(whole.depth(), part).max(own.bundle));
        if let Rate::PerSecond(rate) = whole.rate {
            own.rate = Rate::PerSecond(rate / f64::from(parts));
        }
        own.seed = whole.seed.wrapping_add(u64::from(part) << 32);
        own.recording = match file(&whole.recording) {
            Some(path) => Recording::File(path.with_extension(format!("part-{part}"))),
            None => Recording::None,
        };
        own
    };
    (0..parts).map(share).collect()
}

fn start(job: &Job, share: &LoadOptions, place: usize, say: Sender<Said>) -> Result<Part> {
    let program = std::env::current_exe().context("this program's file is not known")?;
    let mut child = Command::new(program)
        .args(["load", "part"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // Ctrl-C is for this process, which then tells its parts.
        .process_group(0)
        .spawn()
        .context("cannot start a process for the load")?;
    let words = child.stdin.take().context("its input is piped")?;
    let output = child.stdout.take().context("its output is piped")?;
    let read = move || {
        for line in BufReader::new(output).lines() {
            let word = line
                .map_err(anyhow::Error::from)
                .and_then(|line| serde_json::from_str(&line).map_err(anyhow::Error::from));
            let last = word.is_err();
            if say.send((place, word)).is_err() || last {
                return;
            }
        }
        let _ = say.send((place, Err(anyhow!("its output ended"))));
    };
    std::thread::Builder::new()
        .name(format!("part {place}"))
        .spawn(read)
        .context("cannot start a thread")?;
    let mut part = Part {
        child,
        words: Some(words),
        seconds: Vec::new(),
        record: None,
    };
    let order = Order {
        parent: std::process::id(),
        reach: Reach::of(&job.whom),
        options: share.clone(),
    };
    tell(&mut part, &serde_json::to_string(&order)?)?;
    Ok(part)
}

fn tell(part: &mut Part, line: &str) -> Result<()> {
    match &mut part.words {
        Some(words) => writeln!(words, "{line}").context("a process of the load has gone"),
        None => Ok(()),
    }
}

/// Waits until all parts are connected and have filled their keys.
fn gather(parts: &mut [Part], said: &Receiver<Said>, stop: &Stop) -> Result<()> {
    let mut missing = parts.len();
    while missing > 0 {
        match next(parts, said, stop)? {
            Some((_, Word::Ready)) => missing -= 1,
            Some((place, word)) => bail!("process {place} of the load said {word:?} too early"),
            None => {}
        }
    }
    Ok(())
}

/// The next word; none: nothing was said for a while. An error of one part is the whole's.
fn next(parts: &mut [Part], said: &Receiver<Said>, stop: &Stop) -> Result<Option<(usize, Word)>> {
    if stop.is_set() {
        parts.iter_mut().for_each(|part| part.words = None);
    }
    match said.recv_timeout(GLANCE) {
        Ok((place, Ok(Word::Failed(why)))) => bail!("process {place} of the load: {why}"),
        Ok((place, Ok(word))) => Ok(Some((place, word))),
        Ok((place, Err(_))) if parts[place].record.is_some() => Ok(None),
        Ok((place, Err(error))) => Err(error.context(format!("process {place} of the load broke off"))),
        Err(RecvTimeoutError::Timeout) => Ok(None),
        Err(RecvTimeoutError::Disconnected) => bail!("the processes of the load have gone"),
    }
}

/// Reports each second when all parts have told theirs, until all have told everything.
fn watch(parts: &mut [Part], said: &Receiver<Said>, stop: &Stop, each: &mut dyn FnMut(Event)) -> Result<Record> {
    let mut told = 0;
    while parts.iter().any(|part| part.record.is_none()) {
        let Some((place, word)) = next(parts, said, stop)? else {
            continue;
        };
        match word {
            Word::Second(second) => parts[place].seconds.push(*second),
            Word::Done(record) => {
                parts[place].record = Some(*record);
                parts[place].words = None;
            }
            Word::Ready | Word::Failed(_) => bail!("process {place} of the load said the unexpected"),
        }
        while parts.iter().all(|part| part.seconds.len() > told) {
            let ones = parts.iter().map(|part| (0.0, vec![part.seconds[told].clone()]));
            let joined = merge_seconds(ones.collect());
            told += 1;
            for mut second in joined {
                second.second = u32::try_from(told).unwrap_or(u32::MAX);
                each(Event::Second(second));
            }
        }
    }
    let records = parts.iter_mut().filter_map(|part| part.record.take());
    Ok(merge(records.collect())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_make_the_whole() {
        let whole = LoadOptions {
            clients: 10,
            rate: Rate::PerSecond(900.0),
            in_flight: Some(100),
            recording: Recording::File("a/acknowledged".into()),
            ..LoadOptions::default()
        };
        let shares = shares(&whole, 3);
        let clients: Vec<_> = shares.iter().map(|share| (share.first_client, share.clients)).collect();
        assert_eq!(clients, [(0, 4), (4, 3), (7, 3)]);
        assert!(
            shares
                .iter()
                .all(|share| share.rate == Rate::PerSecond(300.0) && share.parts == 3)
        );
        assert_eq!(shares.iter().map(LoadOptions::depth).sum::<u32>(), 100);
        assert_eq!(file(&shares[2].recording), Some("a/acknowledged.part-2".into()));
        assert!(shares[0].seed != shares[1].seed);
    }
}
