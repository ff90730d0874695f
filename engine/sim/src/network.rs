//! Channels between replicas (R-CHANNEL): ordered and reliable within a class while a connection lasts, lost with it.
//! Chaos goes beyond that: loss without a disconnect, reordering, duplicates. Safety must stand those, too.

use std::collections::VecDeque;
use std::rc::Rc;

use serde::{Deserialize, Serialize};
use trireme_core::message::Envelope;

use crate::prng::Prng;

/// Index of a replica instance. Twins are two instances of one member.
pub(crate) type HostId = usize;
/// Number of a connection; every new one has its own.
pub(crate) type LinkId = u64;

/// Weather.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Weather {
    /// Beyond the latency of the link.
    pub(crate) jitter_us: u64,
    /// Messages in a million that take a hundred times the jitter.
    pub(crate) tail_ppm: u64,
    /// Messages in a million that are lost although the connection lasts.
    pub(crate) loss_ppm: u64,
    /// Messages in a million that arrive twice.
    pub(crate) duplicate_ppm: u64,
    /// Messages of one class overtake each other.
    pub(crate) reorder: bool,
}

/// A message on its way.
#[derive(Clone)]
pub(crate) struct Frame {
    pub(crate) from: HostId,
    pub(crate) to: HostId,
    pub(crate) link: LinkId,
    pub(crate) bulk: bool,
    pub(crate) envelope: Rc<Envelope>,
}

/// One direction of a link.
#[derive(Default)]
struct Direction {
    blocked: bool,
    held: VecDeque<Frame>,
    /// When the last message of each class arrives.
    last: [u64; 2],
}

/// The path between two hosts.
struct Path {
    latency_us: u64,
    link: Option<LinkId>,
    directions: [Direction; 2],
}

/// All paths.
pub(crate) struct Network {
    hosts: usize,
    paths: Vec<Path>,
    pub(crate) weather: Weather,
    prng: Prng,
    links: LinkId,
}

impl Network {
    /// A network in which every host has a place on a line, so that latencies differ but do not contradict.
    pub(crate) fn new(prng: &mut Prng, hosts: usize, latency_us: u64, weather: Weather) -> Self {
        let mut prng = prng.fork();
        let places: Vec<u64> = (0..hosts).map(|_| prng.below(latency_us + 1)).collect();
        let path = |a: usize, b: usize| Path {
            latency_us: 20 + latency_us / 4 + places[a].abs_diff(places[b]),
            link: None,
            directions: [Direction::default(), Direction::default()],
        };
        let paths = (0..hosts * hosts).map(|i| path(i / hosts, i % hosts)).collect();
        Self {
            hosts,
            paths,
            weather,
            prng,
            links: 0,
        }
    }

    fn index(&self, a: HostId, b: HostId) -> usize {
        assert!(a != b, "no link to oneself");
        a.min(b) * self.hosts + a.max(b)
    }

    fn path(&mut self, a: HostId, b: HostId) -> &mut Path {
        let index = self.index(a, b);
        &mut self.paths[index]
    }

    fn direction(&mut self, from: HostId, to: HostId) -> &mut Direction {
        &mut self.path(from, to).directions[usize::from(from > to)]
    }

    /// Time on the wire without jitter, one way.
    pub(crate) fn latency_us(&self, a: HostId, b: HostId) -> u64 {
        self.paths[self.index(a, b)].latency_us
    }

    /// The connection between two hosts.
    pub(crate) fn link(&self, a: HostId, b: HostId) -> Option<LinkId> {
        self.paths[self.index(a, b)].link
    }

    /// Whether a new connection could be made.
    pub(crate) fn reachable(&self, a: HostId, b: HostId) -> bool {
        self.paths[self.index(a, b)]
            .directions
            .iter()
            .all(|direction| !direction.blocked)
    }

    /// Makes a new connection.
    pub(crate) fn connect(&mut self, a: HostId, b: HostId) -> LinkId {
        self.links += 1;
        let link = self.links;
        let path = self.path(a, b);
        path.link = Some(link);
        for direction in &mut path.directions {
            direction.held.clear();
            direction.last = [0; 2];
        }
        link
    }

    /// Ends a connection; what is on its way is lost. Returns which it was.
    pub(crate) fn disconnect(&mut self, a: HostId, b: HostId) -> Option<LinkId> {
        let path = self.path(a, b);
        path.directions.iter_mut().for_each(|direction| direction.held.clear());
        path.link.take()
    }

    /// Blocks one direction, or opens it: what was held comes out with the times at which it arrives.
    pub(crate) fn block(&mut self, from: HostId, to: HostId, blocked: bool, now: u64) -> Vec<(u64, Frame)> {
        let direction = self.direction(from, to);
        direction.blocked = blocked;
        if blocked {
            return Vec::new();
        }
        let held = std::mem::take(&mut direction.held);
        held.into_iter().flat_map(|frame| self.send(now, frame)).collect()
    }

    /// Sends a frame: the times at which it arrives, with a copy for each.
    pub(crate) fn send(&mut self, now: u64, frame: Frame) -> Vec<(u64, Frame)> {
        let weather = self.weather.clone();
        if self.prng.millionths(weather.loss_ppm) {
            return Vec::new();
        }
        if self.direction(frame.from, frame.to).blocked {
            let direction = self.direction(frame.from, frame.to);
            direction.held.push_back(frame);
            return Vec::new();
        }
        let mut delay = self.latency_us(frame.from, frame.to) + self.prng.skewed(weather.jitter_us);
        if self.prng.millionths(weather.tail_ppm) {
            delay += 100 * weather.jitter_us;
        }
        let mut at = now + delay;
        if !weather.reorder {
            let last = &mut self.direction(frame.from, frame.to).last[usize::from(frame.bulk)];
            *last = at.max(*last);
            at = *last;
        }
        let mut arrivals = vec![(at, frame)];
        if self.prng.millionths(weather.duplicate_ppm) {
            let later = at + self.prng.skewed(10 * delay);
            arrivals.push((later, arrivals[0].1.clone()));
        }
        arrivals
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trireme_core::Message;

    fn frame(link: LinkId) -> Frame {
        let message = Message::Suspect {
            view: 0,
            standing: true,
        };
        Frame {
            from: 1,
            to: 0,
            link,
            bulk: false,
            envelope: Rc::new(Envelope {
                epoch: 0,
                view: 0,
                message,
            }),
        }
    }

    #[test]
    fn a_calm_link_keeps_the_order() {
        let mut network = Network::new(
            &mut Prng::new(2),
            2,
            1000,
            Weather {
                jitter_us: 5000,
                ..Weather::default()
            },
        );
        let link = network.connect(0, 1);
        let times: Vec<u64> = (0..50)
            .flat_map(|at| network.send(at, frame(link)))
            .map(|(at, _)| at)
            .collect();
        assert!(times.len() == 50 && times.is_sorted());
    }

    #[test]
    fn a_blocked_direction_holds_and_a_broken_link_loses() {
        let mut network = Network::new(&mut Prng::new(2), 2, 1000, Weather::default());
        let link = network.connect(0, 1);
        network.block(1, 0, true, 0);
        assert!(network.send(1, frame(link)).is_empty() && !network.reachable(0, 1));
        assert_eq!(network.block(1, 0, false, 9).len(), 1);
        network.block(1, 0, true, 10);
        network.send(11, frame(link));
        assert_eq!(network.disconnect(0, 1), Some(link));
        assert!(network.block(1, 0, false, 12).is_empty() && network.link(0, 1).is_none());
    }
}
