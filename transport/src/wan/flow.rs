//! One direction of a link: what happens to each datagram, and when it arrives.

use super::Settings;
use std::time::{Duration, Instant};

/// How long datagrams may queue for a limited bandwidth: what lies beyond is dropped, as by a router.
const QUEUE: Duration = Duration::from_millis(100);
/// A short queue still takes a few datagrams of full length.
const QUEUE_FLOOR_BYTES: u64 = 64 << 10;

/// When a datagram arrives, and perhaps a second time; or that it does not.
pub(super) type Fate = [Option<Instant>; 2];

const LOST: Fate = [None, None];

/// The state of one direction of a link.
#[derive(Debug)]
pub(super) struct Flow {
    settings: Settings,
    random: Random,
    /// Until then the bandwidth is taken.
    busy_until: Option<Instant>,
    /// The arrival of the latest datagram: none overtakes it, unless it is drawn to.
    last: Option<Instant>,
}

impl Flow {
    pub(super) fn new(settings: Settings, seed: u64) -> Flow {
        Flow {
            settings,
            random: Random(seed),
            busy_until: None,
            last: None,
        }
    }

    /// From here on other settings count. Datagrams that are under way stay under way.
    pub(super) fn set(&mut self, settings: Settings) {
        // Who shortens a delay wants to see it: the new path does not queue behind the old one.
        if settings.delay_us < self.settings.delay_us {
            self.last = None;
        }
        self.settings = settings;
    }

    /// Whether datagrams pass untouched.
    pub(super) fn is_plain(&self) -> bool {
        self.settings.is_plain()
    }

    /// Whether all datagrams of a train fare alike, so that it can stay one.
    pub(super) fn keeps_trains(&self) -> bool {
        let Settings {
            loss,
            duplicate,
            reorder,
            bits_per_s,
            ..
        } = self.settings;
        loss == 0.0 && duplicate == 0.0 && reorder == 0.0 && bits_per_s == 0
    }

    /// What becomes of a datagram, or of a train, that is sent now.
    pub(super) fn send(&mut self, now: Instant, bytes: usize) -> Fate {
        if self.settings.cut || self.random.hits(self.settings.loss) {
            return LOST;
        }
        let Some(sent) = self.transmit(now, bytes) else {
            return LOST;
        };
        let jitter_us = self.random.up_to(self.settings.jitter_us);
        let mut arrival = sent + Duration::from_micros(self.settings.delay_us + jitter_us);
        if self.random.hits(self.settings.reorder) {
            // Behind what is sent in the next quarter of the delay.
            let late_us = 1_000 + self.random.up_to(self.settings.delay_us / 4);
            arrival += Duration::from_micros(late_us);
        } else {
            arrival = self.last.map_or(arrival, |last| last.max(arrival));
            self.last = Some(arrival);
        }
        let again = self.random.hits(self.settings.duplicate).then_some(arrival);
        [Some(arrival), again]
    }

    /// When the last bit is on the line; none if the queue before it is full.
    fn transmit(&mut self, now: Instant, bytes: usize) -> Option<Instant> {
        let rate = self.settings.bits_per_s;
        if rate == 0 {
            return Some(now);
        }
        let time = |bytes: u64| Duration::from_nanos(bytes.saturating_mul(8_000_000_000) / rate);
        let start = self.busy_until.map_or(now, |busy| busy.max(now));
        if start - now > QUEUE.max(time(QUEUE_FLOOR_BYTES)) {
            return None;
        }
        let done = start + time(bytes as u64);
        self.busy_until = Some(done);
        Some(done)
    }
}

/// A small generator (splitmix64): links draw alike in each run with the same seed and the same datagrams.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn hits(&mut self, share: f64) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
        let mut drawn = || (self.next() >> 11) as f64 / (1u64 << 53) as f64;
        share > 0.0 && drawn() < share
    }

    fn up_to(&mut self, most: u64) -> u64 {
        if most == 0 { 0 } else { self.next() % (most + 1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn arrivals(settings: Settings, count: u32, gap: Duration) -> Vec<Fate> {
        let start = Instant::now();
        let mut flow = Flow::new(settings, 3);
        (0..count).map(|i| flow.send(start + gap * i, 1_000)).collect()
    }

    fn share(fates: &[Fate], of: impl Fn(&Fate) -> bool) -> f64 {
        let hits = u32::try_from(fates.iter().filter(|fate| of(fate)).count()).unwrap();
        f64::from(hits) / f64::from(u32::try_from(fates.len()).unwrap())
    }

    #[test]
    fn delay_and_jitter_stay_in_their_bounds_and_in_order() {
        let settings = Settings {
            delay_us: 20_000,
            jitter_us: 5_000,
            ..Settings::default()
        };
        let start = Instant::now();
        let mut flow = Flow::new(settings, 1);
        let (mut last, mut spread) = (start, (ms(100), ms(0)));
        for i in 0..1_000 {
            let sent = start + ms(10) * i;
            let [Some(arrival), None] = flow.send(sent, 100) else {
                panic!("lost or twice")
            };
            let took = arrival - sent;
            assert!((ms(20)..=ms(25)).contains(&took) && arrival >= last);
            spread = (spread.0.min(took), spread.1.max(took));
            last = arrival;
        }
        assert!(spread.1 - spread.0 > ms(4), "{spread:?}");
    }

    #[test]
    fn shares_are_what_was_asked_for() {
        let lost = arrivals(
            Settings {
                loss: 0.1,
                ..Settings::default()
            },
            20_000,
            ms(1),
        );
        let rate = share(&lost, |fate| fate[0].is_none());
        assert!((0.09..0.11).contains(&rate), "{rate}");
        let twice = arrivals(
            Settings {
                duplicate: 0.2,
                ..Settings::default()
            },
            20_000,
            ms(1),
        );
        let rate = share(&twice, |fate| fate[1].is_some());
        assert!((0.19..0.21).contains(&rate), "{rate}");
        let cut = arrivals(
            Settings {
                cut: true,
                ..Settings::default()
            },
            100,
            ms(1),
        );
        assert!(cut.iter().all(|fate| *fate == LOST));
    }

    #[test]
    fn reordered_datagrams_are_overtaken_and_others_are_not() {
        let of = |reorder| {
            let settings = Settings {
                delay_us: 40_000,
                reorder,
                ..Settings::default()
            };
            let fates = arrivals(settings, 1_000, ms(1));
            fates.windows(2).filter(|pair| pair[0][0] > pair[1][0]).count()
        };
        assert_eq!(of(0.0), 0);
        assert!((20..200).contains(&of(0.1)), "{}", of(0.1));
    }

    #[test]
    fn bandwidth_spaces_datagrams_and_drops_what_does_not_fit_its_queue() {
        // A datagram of 1000 bytes takes 1 ms at 8 Mbit/s; 100 ms of them fit.
        let settings = Settings {
            bits_per_s: 8_000_000,
            ..Settings::default()
        };
        let burst = arrivals(settings, 1_000, Duration::ZERO);
        let through: Vec<Instant> = burst.iter().filter_map(|fate| fate[0]).collect();
        assert!((100..=102).contains(&through.len()), "{}", through.len());
        assert!(through.windows(2).all(|pair| pair[1] - pair[0] == ms(1)));
        let paced = arrivals(settings, 1_000, ms(1));
        assert!(
            paced.iter().all(|fate| fate[0].is_some()),
            "no more than it takes is not dropped"
        );
    }

    #[test]
    fn a_shorter_delay_counts_at_once() {
        let start = Instant::now();
        let mut flow = Flow::new(
            Settings {
                delay_us: 200_000,
                ..Settings::default()
            },
            1,
        );
        flow.send(start, 10);
        flow.set(Settings {
            delay_us: 1_000,
            ..Settings::default()
        });
        assert_eq!(flow.send(start, 10)[0], Some(start + ms(1)));
    }
}
