//! What is sent when: the depth of a closed loop, the schedule of an open one, second requests before first ones.

use trireme_client::SubmitError;

use crate::making::{Load, Source};
use crate::options::LoadError;

/// Arrivals of a busy open loop are sent in steps of this length: a wake-up for each would cost more than the request.
const STEP_NS: u64 = 100_000;
/// Bundles submitted before replies get their turn.
const BUNDLES_A_TURN: usize = 64;

/// What a bundle consists of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// First requests of operations.
    Arrivals,
    /// Second requests.
    FollowUps,
    /// Puts of keys before the load, from this one on.
    Fill {
        /// The first key; of the keys, every `parts`-th is this part's.
        from: u64,
    },
    /// The same of keys that failed before.
    Refill,
}

impl Load<'_> {
    /// Closed loop: keeps the depth. Gives when to come again if nothing completes.
    pub(crate) fn keep_depth(&mut self) -> Result<u64, LoadError> {
        let Source::Closed { depth } = self.source else {
            return Ok(u64::MAX);
        };
        if let Some(later) = self.send_follow_ups()? {
            return Ok(later);
        }
        let bundle = u64::from(self.options.bundle);
        for _ in 0..BUNDLES_A_TURN {
            if self.in_flight + bundle > depth {
                return Ok(u64::MAX);
            }
            let now = self.now_ns();
            let flight = self.take_flight();
            self.flights[flight]
                .intended_ns
                .resize(self.options.bundle as usize, now);
            if !self.submit(flight, Content::Arrivals)? {
                return Ok(u64::MAX);
            }
        }
        Ok(self.now_ns())
    }

    /// Open loop: sends what is due. Gives when the next is.
    pub(crate) fn send_due(&mut self) -> Result<u64, LoadError> {
        if let Some(later) = self.send_follow_ups()? {
            return Ok(later);
        }
        for _ in 0..BUNDLES_A_TURN {
            let now = self.now_ns();
            let flight = self.take_flight();
            let Source::Open(schedule) = &mut self.source else {
                return Ok(u64::MAX);
            };
            schedule.plan(now);
            let dropped = schedule.take_dropped();
            dropped.iter().for_each(|&intended| self.meter.offer(intended));
            self.meter.fail_unsent(dropped.len() as u64);
            if !schedule.take_due(now, &mut self.flights[flight].intended_ns) {
                let due = schedule.next_due().unwrap_or(u64::MAX);
                self.free.push(flight);
                return Ok(due.max(now + STEP_NS));
            }
            if !self.submit(flight, Content::Arrivals)? {
                return Ok(u64::MAX);
            }
        }
        Ok(self.now_ns())
    }

    /// Second requests go first: their operations wait. None: all are sent; else when to come again.
    pub(crate) fn send_follow_ups(&mut self) -> Result<Option<u64>, LoadError> {
        for _ in 0..BUNDLES_A_TURN {
            let count = self.follow_ups.len().min(self.options.bundle as usize);
            if count == 0 {
                return Ok(None);
            }
            let flight = self.take_flight();
            let intended = self.follow_ups.iter().take(count).map(|next| next.intended_ns);
            self.flights[flight].intended_ns.extend(intended);
            if !self.submit(flight, Content::FollowUps)? {
                return Ok(Some(u64::MAX));
            }
        }
        Ok(Some(self.now_ns()))
    }

    pub(crate) fn take_flight(&mut self) -> usize {
        let flight = self.free.pop().unwrap_or_else(|| {
            self.flights.push(crate::making::Flight::default());
            self.flights.len() - 1
        });
        let entry = &mut self.flights[flight];
        entry.intended_ns.clear();
        entry.asked.clear();
        flight
    }

    /// Submits a bundle for the next client with room. False: there is no room; nothing was submitted.
    pub(crate) fn submit(&mut self, flight: usize, content: Content) -> Result<bool, LoadError> {
        let count = self.flights[flight].intended_ns.len();
        let clients = self.driver.identities();
        let turn = (0..clients).map(|step| (self.next_client + step) % clients);
        let Some(client) = turn.into_iter().find(|&client| self.driver.room(client) >= count) else {
            self.put_back(flight, content);
            return Ok(false);
        };
        self.write_requests(flight, count, content);
        let sent_ns = self.now_ns();
        self.flights[flight].sent_ns = sent_ns;
        match self.driver.submit(client, &self.requests[..count], flight as u64) {
            Ok(()) => {}
            Err(SubmitError::Busy(_)) => {
                self.put_back(flight, content);
                return Ok(false);
            }
            Err(error) => return Err(LoadError::Refused(error)),
        }
        self.next_client = (client + 1) % clients;
        self.meter.submitted += count as u64;
        self.in_flight += count as u64;
        let entry = &mut self.flights[flight];
        entry.remaining = count;
        match content {
            Content::Arrivals => {
                let meter = &mut self.meter;
                entry.intended_ns.iter().for_each(|&intended| meter.offer(intended));
                if let (Source::Open(_), Some(&due)) = (&self.source, entry.intended_ns.last())
                    && meter.in_measured_time(due)
                {
                    self.watch.sent(due, sent_ns, count as u64);
                }
            }
            Content::FollowUps => drop(self.follow_ups.drain(..count)),
            Content::Fill { .. } => {}
            Content::Refill => self.refill.truncate(self.refill.len() - count),
        }
        Ok(true)
    }

    fn write_requests(&mut self, flight: usize, count: usize, content: Content) {
        let entry = &mut self.flights[flight];
        let payloads = &mut self.payloads;
        for (place, request) in self.requests[..count].iter_mut().enumerate() {
            let asked = match content {
                Content::Arrivals => payloads.next(request),
                Content::FollowUps => payloads.write_back(self.follow_ups[place].key, request),
                Content::Fill { from } => payloads.fill(from + place as u64 * u64::from(self.options.parts), request),
                Content::Refill => payloads.fill(self.refill[self.refill.len() - count + place], request),
            };
            entry.asked.push(asked);
        }
    }

    /// There is no room: what was taken from the schedule goes back there. Keys that were chosen for a bundle that the
    /// driver then refused are gone; the next ones are as good.
    fn put_back(&mut self, flight: usize, content: Content) {
        self.watch.no_room(self.now_ns());
        let entry = &self.flights[flight];
        entry.asked.iter().for_each(|asked| self.payloads.settled(asked));
        if let (Source::Open(schedule), Content::Arrivals) = (&mut self.source, content) {
            schedule.put_back(&entry.intended_ns);
        }
        self.free.push(flight);
    }
}
