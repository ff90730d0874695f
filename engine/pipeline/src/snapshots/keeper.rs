//! Writes, reads, serves and fetches snapshots, away from the stages: blocking calls and long computations are here.
//!
//! It is given [`Job`]s and the time, and gives [`Report`]s. On its thread it runs at a low priority, writes at a
//! limited rate and flushes often, so that the log's flushes never wait for much of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use serde_json::{Value, json};
use trireme_core::message::{SignedBlock, StateCertificate};
use trireme_core::{MemberId, Slot};
use trireme_crypto::encode;
use trireme_state::transfer::{Action, Transfer, TransferLimits};
use trireme_state::{Image, Manifest, Outline, PART_BYTES, Part, narrow_part};

use super::file::{Snapshot, Writer};
use super::{Installation, Realm, SnapshotError, list, load, name_of};

/// Snapshots that are kept in any case.
const KEPT: usize = 2;
/// And at most, if peers are fetching older ones.
const KEPT_FOR_PEERS: usize = 4;
/// A peer that asked this long ago is still fetching.
const FETCHING_US: u64 = 60_000_000;
/// Certificates that wait for their image.
const MAX_STABLE: usize = 4;
/// Written bytes are flushed in pieces of this size.
const FLUSH_BYTES: u64 = 4 << 20;

/// Rates and places.
#[derive(Clone, Debug)]
pub(crate) struct KeeperSettings {
    /// Where snapshots are.
    pub(crate) dir: PathBuf,
    /// Bytes of an image written each second.
    pub(crate) write_rate: u64,
    /// Of transfers.
    pub(crate) transfer: TransferLimits,
}

/// What to do.
pub(crate) enum Job {
    /// The state after a checkpoint.
    Image(Image),
    /// A checkpoint is stable.
    Stable(Box<StateCertificate>, Box<SignedBlock>),
    /// The image of a stable checkpoint is to be fetched.
    Transfer(Box<StateCertificate>),
    /// A member asks for a part.
    Asked(MemberId, Slot, u64),
    /// A member sent a part.
    Part(MemberId, Slot, u64, Bytes),
}

/// What came of it.
pub(crate) enum Report {
    /// Ask a member for a part.
    Ask(MemberId, Slot, u64),
    /// Send a member a part.
    Answer(MemberId, Slot, u64, Bytes),
    /// An own image is durable with what vouches for it.
    Snapshotted(Slot),
    /// A fetched image is durable and checked.
    Installed(Box<Installation>),
    /// A member lied.
    Liar(MemberId),
}

/// An image being written.
struct Writing {
    image: Image,
    outline: Outline,
    writer: Writer,
    parts: std::vec::IntoIter<Part>,
    written: bool,
    unflushed: u64,
    next_at: u64,
    began: u64,
}

/// A transfer with its file.
struct Fetch {
    transfer: Transfer,
    writer: Writer,
    path: PathBuf,
    /// Answers that the peer holds nothing, since the last part.
    refusals: u64,
    began: u64,
}

struct Held {
    snapshot: Snapshot,
    asked: Option<u64>,
}

/// What the status shows.
#[derive(Debug, Default)]
pub(crate) struct KeeperStatus {
    snapshots: Vec<(Slot, u64)>,
    writing: Option<(Slot, u64)>,
    written: u64,
    skipped: u64,
    last_write_us: u64,
    written_us: u64,
    error: Option<String>,
    transfer: Option<Value>,
    transfers: u64,
    last_transfer: Option<Value>,
    parts_served: u64,
    bytes_served: u64,
    liars: Vec<MemberId>,
}

impl KeeperStatus {
    pub(crate) fn json(&self) -> Value {
        let newest = self.snapshots.iter().map(|held| held.0).max();
        json!({
            "newest_slot": newest,
            "held": self.snapshots.iter().map(|(slot, bytes)| json!({ "slot": slot, "bytes": bytes })).collect::<Vec<_>>(),
            "writing": self.writing.map(|(slot, bytes)| json!({ "slot": slot, "bytes": bytes })),
            "written": self.written,
            "skipped": self.skipped,
            "last_write_us": self.last_write_us,
            "written_us": self.written_us,
            "parts_served": self.parts_served,
            "bytes_served": self.bytes_served,
            "transfer": self.transfer,
            "transfers": self.transfers,
            "last_transfer": self.last_transfer,
            "peers_dropped": self.liars,
            "error": self.error,
        })
    }
}

/// See the module's text.
pub(crate) struct Keeper {
    settings: KeeperSettings,
    realm: Realm,
    held: Vec<Held>,
    writing: Option<Writing>,
    pending: Option<Image>,
    stable: BTreeMap<Slot, (StateCertificate, SignedBlock)>,
    fetch: Option<Fetch>,
    newer: Option<StateCertificate>,
    reports: Vec<Report>,
    status: Arc<Mutex<KeeperStatus>>,
}

impl Keeper {
    /// Opens a directory of snapshots and makes a state of the newest that is sound.
    pub(crate) fn open(settings: KeeperSettings, realm: Realm) -> Result<(Self, Option<Installation>), SnapshotError> {
        std::fs::create_dir_all(&settings.dir).map_err(SnapshotError::io(&settings.dir))?;
        let mut keeper = Self {
            settings,
            realm,
            held: Vec::new(),
            writing: None,
            pending: None,
            stable: BTreeMap::new(),
            fetch: None,
            newer: None,
            reports: Vec::new(),
            status: Arc::default(),
        };
        // What an interrupted write left.
        let _ = std::fs::remove_file(keeper.settings.dir.join("image.tmp"));
        let mut installation = None;
        for (slot, path) in list(&keeper.settings.dir) {
            let opened = Snapshot::open(&path, keeper.realm.cluster).and_then(|snapshot| {
                if installation.is_none() {
                    installation = Some(load(&snapshot, &keeper.realm.context, &keeper.realm.blank)?);
                }
                Ok(snapshot)
            });
            match opened {
                Ok(snapshot) => keeper.held.insert(0, Held { snapshot, asked: None }),
                Err(error) => {
                    // It would stand in the way of the bound on what is kept. One is left for examination.
                    let aside = path.with_file_name("damaged");
                    let moved = std::fs::rename(&path, &aside).map_err(SnapshotError::io(&path));
                    let moved = moved.err().map(|error| error.to_string());
                    tracing::warn!(slot, %error, aside = %aside.display(), moved, "a snapshot cannot be used");
                }
            }
        }
        keeper.show();
        Ok((keeper, installation))
    }

    pub(crate) fn status(&self) -> Arc<Mutex<KeeperStatus>> {
        self.status.clone()
    }

    /// What there is to tell.
    pub(crate) fn reports(&mut self) -> std::vec::Drain<'_, Report> {
        self.reports.drain(..)
    }

    pub(crate) fn job(&mut self, job: Job, now: u64) {
        match job {
            Job::Image(image) => self.take_image(image, now),
            Job::Stable(certificate, anchor) => {
                self.stable.insert(certificate.vote.slot, (*certificate, *anchor));
                while self.stable.len() > MAX_STABLE {
                    self.stable.pop_first();
                }
                self.try_seal(now);
            }
            Job::Transfer(certificate) => self.take_transfer(*certificate, now),
            Job::Asked(from, slot, part) => self.serve(from, slot, part, now),
            Job::Part(from, slot, part, bytes) => self.take_part(from, slot, part, bytes, now),
        }
        self.show();
    }

    /// When [`Keeper::work`] is to be called, in microseconds.
    pub(crate) fn next_due(&self) -> Option<u64> {
        let writing = self.writing.as_ref().filter(|writing| !writing.written);
        let fetch = self.fetch.as_ref().and_then(|fetch| fetch.transfer.next_due());
        [writing.map(|writing| writing.next_at), fetch]
            .into_iter()
            .flatten()
            .min()
    }

    /// Does what is due: one part at most.
    pub(crate) fn work(&mut self, now: u64) {
        self.write(now);
        if let Some(fetch) = &mut self.fetch {
            let mut out = Vec::new();
            fetch.transfer.poll(now, &mut out);
            self.act(out, now);
        }
        self.show();
    }

    fn take_image(&mut self, image: Image, now: u64) {
        // What is being written is finished first, or no snapshot would ever be when checkpoints come fast.
        if self.writing.as_ref().is_some_and(|writing| !writing.written) {
            let skipped = self.pending.replace(image).is_some();
            self.note(|status| status.skipped += u64::from(skipped));
        } else if let Err(error) = self.begin(image, now) {
            self.failed("a snapshot cannot be written", &error);
        }
    }

    fn begin(&mut self, image: Image, now: u64) -> Result<(), SnapshotError> {
        let outline = image.outline(PART_BYTES);
        let parts = outline.check(&self.realm.blank.scheme(), &image.vote().state_root);
        let parts = parts.expect("an image adds up to its own root");
        let parts: Vec<Part> = parts.into_iter().map(|(part, _)| part).collect();
        let path = self.settings.dir.join("image.tmp");
        self.writing = Some(Writing {
            writer: Writer::create(&path, self.realm.cluster, image.slot())?,
            image,
            outline,
            parts: parts.into_iter(),
            written: false,
            unflushed: 0,
            next_at: now,
            began: now,
        });
        Ok(())
    }

    /// Writes a part of the image at hand.
    fn write(&mut self, now: u64) {
        let rate = self.settings.write_rate.max(1);
        let due = |writing: &&mut Writing| !writing.written && writing.next_at <= now;
        let Some(writing) = self.writing.as_mut().filter(due) else {
            return;
        };
        let mut step = || {
            let Some(part) = writing.parts.next() else {
                writing.written = true;
                return writing.writer.flush();
            };
            let bytes = writing.image.part(part, PART_BYTES);
            writing.writer.part(part.id(), &bytes)?;
            writing.next_at = writing.next_at.max(now.saturating_sub(100_000)) + bytes.len() as u64 * 1_000_000 / rate;
            writing.unflushed += bytes.len() as u64;
            if writing.unflushed >= FLUSH_BYTES {
                writing.unflushed = 0;
                writing.writer.flush()?;
            }
            Ok(())
        };
        match step() {
            Ok(()) => self.try_seal(now),
            Err(error) => {
                self.writing = None;
                self.failed("a snapshot cannot be written", &error);
            }
        }
    }

    /// Finishes the image at hand once it is written and its checkpoint is stable; then the next has its turn.
    fn try_seal(&mut self, now: u64) {
        let Some(writing) = self.writing.take_if(|writing| writing.written) else {
            return;
        };
        let slot = writing.image.slot();
        let next = self.pending.take();
        match self.stable.remove(&slot) {
            Some((certificate, anchor)) => {
                let took = now - writing.began;
                match self.seal(writing, &certificate, anchor) {
                    Ok(()) => {
                        self.note(|status| {
                            (status.written, status.last_write_us) = (status.written + 1, took);
                            status.written_us += took;
                        });
                        self.reports.push(Report::Snapshotted(slot));
                        self.prune(now);
                    }
                    Err(error) => self.failed("a snapshot cannot be written", &error),
                }
            }
            // A newer checkpoint overtakes one that is not stable yet.
            None if next.is_some() => self.note(|status| status.skipped += 1),
            None => self.writing = Some(writing),
        }
        if let Some(image) = next {
            self.take_image(image, now);
        }
    }

    fn seal(
        &mut self,
        writing: Writing,
        certificate: &StateCertificate,
        anchor: SignedBlock,
    ) -> Result<(), SnapshotError> {
        let Writing {
            mut writer,
            outline,
            image,
            ..
        } = writing;
        let name = name_of(&self.settings.dir, image.slot());
        if certificate.vote.state_root != image.vote().state_root {
            return Err(SnapshotError::Mismatch {
                path: name,
                what: "the own state",
            });
        }
        writer.part(Part::MANIFEST, &encode(&Manifest { anchor, outline }))?;
        writer.seal(certificate, &name)?;
        self.hold(&name)
    }

    fn hold(&mut self, name: &std::path::Path) -> Result<(), SnapshotError> {
        let snapshot = Snapshot::open(name, self.realm.cluster)?;
        tracing::info!(slot = snapshot.slot, bytes = snapshot.bytes, "snapshot is kept");
        self.held.retain(|held| held.snapshot.slot != snapshot.slot);
        let at = self.held.partition_point(|held| held.snapshot.slot < snapshot.slot);
        self.held.insert(at, Held { snapshot, asked: None });
        Ok(())
    }

    /// Removes snapshots that are neither among the newest nor being fetched.
    fn prune(&mut self, now: u64) {
        let fetched = |held: &Held| held.asked.is_some_and(|asked| asked + FETCHING_US > now);
        while self.held.len() > KEPT && (self.held.len() > KEPT_FOR_PEERS || !fetched(&self.held[0])) {
            let old = self.held.remove(0);
            let path = old.snapshot.path();
            if let Err(error) = std::fs::remove_file(path).map_err(SnapshotError::io(path)) {
                self.failed("an old snapshot cannot be removed", &error);
            }
        }
    }

    fn serve(&mut self, from: MemberId, slot: Slot, part: u64, now: u64) {
        let found = self.held.iter_mut().find(|held| held.snapshot.slot == slot);
        let bytes = found.map(|held| {
            held.asked = Some(now);
            answer(&held.snapshot, &self.realm, part)
        });
        let bytes = match bytes {
            Some(Ok(bytes)) => bytes,
            None => Vec::new(),
            Some(Err(error)) => {
                self.failed("a snapshot cannot be served", &error);
                self.held.retain(|held| held.snapshot.slot != slot);
                Vec::new()
            }
        };
        self.note(|status| {
            status.parts_served += u64::from(!bytes.is_empty());
            status.bytes_served += bytes.len() as u64;
        });
        self.reports.push(Report::Answer(from, slot, part, bytes.into()));
    }

    fn take_transfer(&mut self, certificate: StateCertificate, now: u64) {
        let slot = certificate.vote.slot;
        match &self.fetch {
            None => self.fetch_from(certificate, now),
            Some(fetch) if fetch.transfer.slot() >= slot => {}
            Some(fetch) if fetch.transfer.is_lost() => self.fetch_from(certificate, now),
            // Peers keep for a while what is being fetched: what is begun is finished, unless nobody holds it any more.
            Some(_) => self.newer = Some(certificate),
        }
    }

    fn fetch_from(&mut self, certificate: StateCertificate, now: u64) {
        if let Err(error) = self.begin_fetch(certificate, now) {
            self.failed("a transfer cannot be started", &error);
        }
    }

    fn begin_fetch(&mut self, certificate: StateCertificate, now: u64) -> Result<(), SnapshotError> {
        self.end_fetch();
        let slot = certificate.vote.slot;
        let (realm, dir) = (&self.realm, &self.settings.dir);
        let path = dir.join(format!("{slot:020}.fetch"));
        let scheme = realm.blank.scheme();
        let transfer = Transfer::new(&realm.context, certificate, scheme, self.settings.transfer, now);
        let mut transfer = transfer.map_err(|bad| SnapshotError::Certificate {
            path: path.clone(),
            reject: bad.0,
        })?;
        let resumed = Writer::resume(&path, realm.cluster, slot, |id, bytes| transfer.resume(id, bytes))?;
        let writer = match resumed {
            Some(writer) => writer,
            None => Writer::create(&path, realm.cluster, slot)?,
        };
        let (held, missing) = (transfer.progress().held, transfer.progress().missing);
        tracing::info!(slot, held, missing, "fetching the state of a checkpoint");
        self.fetch = Some(Fetch {
            transfer,
            writer,
            path,
            refusals: 0,
            began: now,
        });
        self.after_parts(now);
        self.work(now);
        Ok(())
    }

    /// Gives up the transfer at hand and removes what is left of others.
    fn end_fetch(&mut self) {
        if let Some(fetch) = self.fetch.take() {
            let _ = std::fs::remove_file(&fetch.path);
        }
    }

    fn take_part(&mut self, from: MemberId, slot: Slot, part: u64, bytes: Bytes, now: u64) {
        let Some(fetch) = self.fetch.as_mut().filter(|fetch| fetch.transfer.slot() == slot) else {
            return;
        };
        fetch.refusals += u64::from(bytes.is_empty());
        let mut out = Vec::new();
        fetch.transfer.receive(now, from, part, bytes, &mut out);
        self.act(out, now);
        let lost =
            |fetch: &mut Fetch| fetch.transfer.is_lost() || fetch.refusals > 2 * self.realm.context.quorums.n() as u64;
        if self.fetch.as_mut().is_some_and(lost)
            && let Some(newer) = self.newer.take()
        {
            self.fetch_from(newer, now);
        }
    }

    fn act(&mut self, actions: Vec<Action>, now: u64) {
        for action in actions {
            let Some(fetch) = &mut self.fetch else { return };
            match action {
                Action::Ask { to, part } => {
                    let slot = fetch.transfer.slot();
                    self.reports.push(Report::Ask(to, slot, part));
                }
                Action::Keep { part, bytes } => {
                    fetch.refusals = 0;
                    if let Err(error) = fetch.writer.part(part, &bytes) {
                        self.fetch = None;
                        self.failed("a fetched part cannot be written", &error);
                    }
                }
                Action::Liar(member) => {
                    tracing::error!(member, "member sent a part that is not of the certified state");
                    self.note(|status| status.liars.push(member));
                    self.reports.push(Report::Liar(member));
                }
                Action::Complete => self.after_parts(now),
            }
        }
    }

    /// Makes a snapshot of a complete transfer, and a state of that.
    fn after_parts(&mut self, now: u64) {
        let Some(fetch) = self.fetch.take_if(|fetch| fetch.transfer.is_complete()) else {
            return;
        };
        self.newer = None;
        let (slot, took) = (fetch.transfer.slot(), now - fetch.began);
        let bytes = fetch.transfer.progress().bytes;
        match self.finish_fetch(fetch) {
            Ok(installation) => {
                let rate = bytes as f64 / (took.max(1) as f64);
                tracing::info!(slot, bytes, took_us = took, mb_per_second = rate, "state is fetched");
                self.note(|status| {
                    status.transfers += 1;
                    status.last_transfer = Some(json!({ "slot": slot, "bytes": bytes, "took_us": took }));
                });
                self.reports.push(Report::Installed(Box::new(installation)));
                self.prune(now);
            }
            Err(error) => self.failed("a fetched state cannot be used", &error),
        }
    }

    fn finish_fetch(&mut self, fetch: Fetch) -> Result<Installation, SnapshotError> {
        let name = name_of(&self.settings.dir, fetch.transfer.slot());
        fetch.writer.seal(fetch.transfer.certificate(), &name)?;
        self.hold(&name)?;
        let slot = fetch.transfer.slot();
        let held = self
            .held
            .iter()
            .find(|held| held.snapshot.slot == slot)
            .expect("just put there");
        load(&held.snapshot, &self.realm.context, &self.realm.blank)
    }

    fn failed(&self, what: &'static str, error: &SnapshotError) {
        tracing::error!(%error, "{what}");
        self.note(|status| status.error = Some(format!("{what}: {error}")));
    }

    fn note(&self, change: impl FnOnce(&mut KeeperStatus)) {
        change(&mut self.status.lock().expect("nobody panics with it"));
    }

    /// Brings the status up to date.
    fn show(&self) {
        self.note(|status| {
            let snapshots = self.held.iter().map(|held| (held.snapshot.slot, held.snapshot.bytes));
            status.snapshots = snapshots.collect();
            let writing = self.writing.as_ref();
            status.writing = writing.map(|writing| (writing.image.slot(), writing.writer.bytes()));
            status.transfer = self.fetch.as_ref().map(|fetch| {
                let progress = fetch.transfer.progress();
                json!({
                    "slot": fetch.transfer.slot(),
                    "parts_held": progress.held,
                    "parts_missing": progress.missing,
                    "bytes": progress.bytes,
                    "in_flight": fetch.transfer.in_flight(),
                    "timeouts": progress.timeouts,
                    "not_held": progress.not_held,
                })
            });
        });
    }
}

/// What a snapshot says about a part, however the one who asks cuts the state.
fn answer(snapshot: &Snapshot, realm: &Realm, id: u64) -> Result<Vec<u8>, SnapshotError> {
    if snapshot.has(id) {
        return snapshot.part(id);
    }
    let Some(part) = Part::from_id(id) else {
        return Ok(Vec::new());
    };
    if let Some(split) = snapshot.manifest.outline.split(part) {
        return Ok(split);
    }
    let mut above = part.prefix;
    while let Some(parent) = above.parent() {
        above = parent;
        let id = Part {
            map: part.map,
            prefix: above,
        }
        .id();
        if snapshot.has(id) {
            let stored = snapshot.part(id)?;
            return Ok(narrow_part(&realm.blank.scheme(), part, &stored).unwrap_or_default());
        }
    }
    Ok(Vec::new())
}
