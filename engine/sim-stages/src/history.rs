//! What must hold, judged from outside: of the executed streams and of what clients were told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use trireme_core::reply::Outcome;
use trireme_core::types::ClientId;
use trireme_pipeline::{ExecutedItem, Observer};
use trireme_sim::Violation;

use crate::client::Accepted;

/// The stream of a replica since it was last looked at.
#[derive(Clone, Default)]
pub(crate) struct Tap(Arc<Mutex<Vec<ExecutedItem>>>);

impl Tap {
    pub(crate) fn drain(&self) -> Vec<ExecutedItem> {
        std::mem::take(&mut *self.0.lock().expect("one thread"))
    }
}

impl Observer for Tap {
    fn executed(&mut self, items: &[ExecutedItem]) {
        self.0.lock().expect("one thread").extend_from_slice(items);
    }

    fn replayed_from(&mut self, _: trireme_core::Slot) {}
}

/// What the cluster has done, as all of its replicas must agree.
pub(crate) struct History {
    stream: Vec<ExecutedItem>,
    /// How far each replica's stream agrees.
    reached: Vec<usize>,
    executed: BTreeMap<(ClientId, u64), usize>,
    answers: BTreeMap<(ClientId, u64), Outcome>,
    forbidden: BTreeSet<(ClientId, u64)>,
    pub(crate) violations: Vec<Violation>,
}

impl History {
    pub(crate) fn new(hosts: usize) -> Self {
        Self {
            stream: Vec::new(),
            reached: vec![0; hosts],
            executed: BTreeMap::new(),
            answers: BTreeMap::new(),
            forbidden: BTreeSet::new(),
            violations: Vec::new(),
        }
    }

    pub(crate) fn violate(&mut self, invariant: &'static str, time_us: u64, host: Option<usize>, text: String) {
        self.violations.push(Violation {
            invariant,
            time_us,
            member: host.map(|host| u16::try_from(host).expect("few members")),
            text,
        });
    }

    /// Nobody signed this request.
    pub(crate) fn forbid(&mut self, client: ClientId, number: u64) {
        self.forbidden.insert((client, number));
    }

    /// A replica starts: what it executed it executes again from the beginning.
    pub(crate) fn restarted(&mut self, host: usize) {
        self.reached[host] = 0;
    }

    /// A replica executed something.
    pub(crate) fn executed(&mut self, time_us: u64, host: usize, items: Vec<ExecutedItem>) {
        for item in items {
            let at = self.reached[host];
            self.reached[host] += 1;
            match self.stream.get(at) {
                Some(known) if *known == item => {}
                Some(known) => {
                    let text = format!("executed {item:?} where others executed {known:?}");
                    return self.violate("executed streams are equal", time_us, Some(host), text);
                }
                None => self.first(time_us, host, item),
            }
        }
    }

    fn first(&mut self, time_us: u64, host: usize, item: ExecutedItem) {
        let key = (item.client, item.number);
        if self.forbidden.contains(&key) {
            let text = format!("request {} was executed, which its client did not sign", item.number);
            self.violate("only signed requests are executed", time_us, Some(host), text);
        }
        if !item.duplicate && self.executed.insert(key, self.stream.len()).is_some() {
            let text = format!("request {} was executed twice", item.number);
            self.violate("requests are executed once", time_us, Some(host), text);
        }
        self.stream.push(item);
    }

    /// A client believes an answer.
    pub(crate) fn accepted(&mut self, time_us: u64, accepted: &Accepted) {
        let Outcome::Executed(_) = &accepted.outcome else {
            return;
        };
        let key = (accepted.client, accepted.number);
        let known = self.executed.get(&key).map(|at| self.stream[*at].request);
        if known != Some(accepted.request) {
            let text = format!(
                "request {} is acknowledged, but {known:?} was executed",
                accepted.number
            );
            self.violate("what is acknowledged is executed", time_us, None, text);
        }
        let first = self.answers.entry(key).or_insert_with(|| accepted.outcome.clone());
        if *first != accepted.outcome {
            let text = format!("request {} was answered in two ways", accepted.number);
            self.violate("one answer", time_us, None, text);
        }
    }

    /// Whether every replica has executed everything that any has.
    pub(crate) fn level(&self) -> bool {
        self.reached.iter().all(|reached| *reached == self.stream.len())
    }

    /// How far each replica is, of how much.
    pub(crate) fn progress(&self) -> String {
        format!("{:?} of {}", self.reached, self.stream.len())
    }

    /// Requests that were executed, copies not counted.
    pub(crate) fn fresh(&self) -> u64 {
        self.executed.len() as u64
    }
}
