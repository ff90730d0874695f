//! What a seed means: a cluster, its limits, its weather, its faults and its clients.

use trireme_config::{ClientBudget, LogBudget, PeerBudget};
use trireme_core::Params;
use trireme_log::simulation::{Crash, Pace};
use trireme_pipeline::simulation::{Room, Threading, links, peer_queue};
use trireme_sim::prng::Prng;

use crate::Options;
use crate::wire::Limits;

/// What goes wrong before everything heals.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// A replica is killed and started again later.
    Kill { host: usize, down_us: u64, crash: Crash },
    /// A replica is stopped in order and started again.
    Stop { host: usize, down_us: u64 },
    /// A path between two members fails.
    Break { a: usize, b: usize },
    /// Members are cut into two sides.
    Partition { side: u64, us: u64 },
    /// A run loop gets no time.
    Starve { host: usize, index: usize, us: u64 },
}

/// What a client is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Habit {
    /// Waits for answers, within a window.
    Patient,
    /// Sends as much as the connection takes.
    Flood,
    /// Does not read what it is told for long stretches.
    Deaf,
    /// Signs some of its bundles with a key that is not its own.
    Forger,
    /// Sends what it must not: garbage, others' names, names that nobody knows.
    Nuisance,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientPlan {
    pub(crate) habit: Habit,
    /// Requests before everything heals.
    pub(crate) requests: u64,
    /// Requests without an answer at most.
    pub(crate) window: u64,
    pub(crate) bundle: u64,
    pub(crate) payload_bytes: usize,
    pub(crate) interval_us: u64,
    pub(crate) retry_us: u64,
    /// Percent of bundles that go to all replicas.
    pub(crate) spread_percent: u64,
    /// Whether every replica is to send the entries.
    pub(crate) full: bool,
    /// What it takes before it reads.
    pub(crate) read_window: usize,
}

pub(crate) struct HostPlan {
    pub(crate) threading: Threading,
    pub(crate) core_plan: &'static str,
    /// In the order of [`links`].
    pub(crate) rooms: Vec<Room>,
    pub(crate) wall_skew_us: u64,
    pub(crate) clients: ClientBudget,
    pub(crate) log: LogBudget,
    pub(crate) disk: Pace,
}

/// One run.
pub(crate) struct Plan {
    pub(crate) params: Params,
    pub(crate) hosts: Vec<HostPlan>,
    pub(crate) clients: Vec<ClientPlan>,
    pub(crate) delay_us: u64,
    pub(crate) spread_us: u64,
    pub(crate) peer_limits: Limits,
    /// Load and faults last this long at most.
    pub(crate) load_us: u64,
    pub(crate) faults: Vec<(u64, Fault)>,
    /// What a poll costs at most.
    pub(crate) poll_us: u64,
    /// Items that a stage may take in a poll: one of these.
    pub(crate) budgets: &'static [usize],
    /// Polls in a hundred that nobody asked for.
    pub(crate) spurious_percent: u64,
}

impl Plan {
    pub(crate) fn draw(prng: &mut Prng, options: &Options) -> Self {
        let n = options.n.unwrap_or_else(|| prng.pick(&[4, 4, 4, 7]));
        let delay_us = prng.pick(&[50, 500, 5_000]);
        let small_log = prng.percent(8);
        let tight = prng.pick(&[20, 60, 100]);
        let load_us = prng.range(200_000, 1_500_000);
        let threading = prng.percent(75);
        let hosts: Vec<HostPlan> = (0..n).map(|_| draw_host(prng, tight, threading, small_log)).collect();
        let params = draw_params(prng, n, delay_us);
        Self {
            clients: draw_clients(prng),
            faults: draw_faults(prng, u64::from(n), load_us),
            hosts,
            delay_us,
            spread_us: prng.pick(&[10, delay_us, 4 * delay_us]),
            peer_limits: draw_peer_limits(prng, &params),
            params,
            load_us,
            poll_us: prng.pick(&[2, 10, 40]),
            budgets: prng.pick(&[&[1][..], &[1, 2, 256], &[256], &[3, 32]]),
            spurious_percent: prng.pick(&[0, 1, 10]),
        }
    }
}

fn draw_host(prng: &mut Prng, tight: u64, each_stage: bool, small_log: bool) -> HostPlan {
    let rooms = links().map(|spec| {
        let declared = spec.room();
        if !prng.percent(tight) {
            // The rings are allocated for every start; no run of the simulator fills the long ones.
            return Room {
                depth: declared.depth.min(256),
                ..declared
            };
        }
        Room {
            depth: prng.pick(&[1, 1, 2, 3, 8, 32]),
            bytes: prng.pick(&[1, 400, 4_096, declared.bytes, declared.bytes]),
        }
    });
    let rooms = rooms.collect();
    let clients = ClientBudget {
        intake_bytes: prng.pick(&[16 << 10, 128 << 10, 64 << 20]),
        intake_bytes_per_client: prng.pick(&[200, 2_000, 32 << 10]),
        receive_window_bytes: prng.pick(&[1_000, 16 << 10, 256 << 10]),
        reply_queue_bytes: prng.pick(&[16 << 10, 16 << 20]),
        reply_queue_frames: prng.pick(&[64, 4_096]),
        ..ClientBudget::default()
    };
    let log = LogBudget {
        segment_bytes: if small_log { 256 << 10 } else { 1 << 20 },
        max_log_bytes: if small_log { 1 << 20 } else { 256 << 20 },
        max_record_bytes: 128 << 10,
        buffer_bytes: prng.pick(&[8 << 10, 64 << 10]),
        flushes_in_flight: prng.pick(&[1, 2, 8]),
    };
    HostPlan {
        threading: if each_stage {
            Threading::EachStage
        } else {
            Threading::Configured
        },
        core_plan: prng.pick(&["1", "2", "4"]),
        rooms,
        wall_skew_us: prng.below(50_000),
        clients,
        log,
        disk: Pace {
            flush_us: prng.pick(&[10, 100, 2_000]),
            spread_us: prng.pick(&[100, 20_000]),
            prepare_us: prng.pick(&[100, 50_000]),
        },
    }
}

/// What the product makes of a budget that is drawn.
fn draw_peer_limits(prng: &mut Prng, params: &Params) -> Limits {
    let budget = PeerBudget {
        queue_bytes: prng.pick(&[256 << 10, 64 << 20]),
        queue_frames: prng.pick(&[64, 512, 65_536]),
        ..PeerBudget::default()
    };
    let queue = peer_queue(params, &budget);
    Limits {
        window: prng.pick(&[2_000, 64 << 10, 4 << 20]),
        queue_bytes: queue.bulk_bytes,
        queue_frames: queue.frames,
    }
}

fn draw_params(prng: &mut Prng, n: u16, delay_us: u64) -> Params {
    let mut params = Params::new(n, (n - 1) / 3);
    params.window = prng.pick(&[2, 8, 64]);
    params.w0 = prng.pick(&[1, 2]);
    params.lane_window_heights = prng.pick(&[8, 64, 256]);
    params.max_batch_bytes = prng.pick(&[4_096, 32 << 10]);
    params.lane_window_bytes = prng.pick(&[4, 32]) * u64::from(params.max_batch_bytes);
    params.state_interval = prng.pick(&[1, 16]);
    params.timer_floor_us = prng.pick(&[50_000, 200_000]).max(20 * delay_us);
    params.session_window = prng.pick(&[256, 4_096]);
    params.max_sessions = 64;
    params
}

fn draw_clients(prng: &mut Prng) -> Vec<ClientPlan> {
    let habits = [
        Habit::Patient,
        Habit::Flood,
        Habit::Deaf,
        Habit::Forger,
        Habit::Nuisance,
    ];
    let count = prng.range(2, 5);
    let mut clients = Vec::new();
    for index in 0..count {
        let habit = if index == 0 { Habit::Flood } else { prng.pick(&habits) };
        let flood = matches!(habit, Habit::Flood | Habit::Deaf);
        clients.push(ClientPlan {
            habit,
            requests: if flood { prng.range(40, 160) } else { prng.range(10, 40) },
            window: if flood { 200 } else { prng.pick(&[1, 8, 32]) },
            bundle: prng.pick(&[1, 1, 4]),
            payload_bytes: prng.pick(&[16, 200, 1_500]),
            interval_us: prng.pick(&[300, 5_000]),
            retry_us: prng.pick(&[150_000, 600_000]),
            spread_percent: prng.pick(&[0, 0, 20, 100]),
            full: prng.percent(40),
            read_window: prng.pick(&[1_000, 32 << 10]),
        });
    }
    clients
}

fn draw_faults(prng: &mut Prng, n: u64, load_us: u64) -> Vec<(u64, Fault)> {
    let mut faults = Vec::new();
    let host = |prng: &mut Prng| usize::try_from(prng.below(n)).expect("a member");
    let rates = [
        prng.below(3),
        prng.below(2),
        prng.below(5),
        prng.below(3),
        prng.below(6),
    ];
    for _ in 0..rates[0] {
        let fault = Fault::Kill {
            host: host(prng),
            down_us: 1_000 + prng.skewed(400_000),
            crash: prng.pick(&Crash::ALL),
        };
        faults.push((prng.below(load_us), fault));
    }
    for _ in 0..rates[1] {
        let fault = Fault::Stop {
            host: host(prng),
            down_us: 1_000 + prng.skewed(200_000),
        };
        faults.push((prng.below(load_us), fault));
    }
    for _ in 0..rates[2] {
        let (a, b) = (host(prng), host(prng));
        if a != b {
            faults.push((prng.below(load_us), Fault::Break { a, b }));
        }
    }
    for _ in 0..rates[3] {
        let fault = Fault::Partition {
            side: prng.below(1 << n),
            us: 10_000 + prng.skewed(400_000),
        };
        faults.push((prng.below(load_us), fault));
    }
    for _ in 0..rates[4] {
        let fault = Fault::Starve {
            host: host(prng),
            index: prng.index(6),
            us: 1_000 + prng.skewed(150_000),
        };
        faults.push((prng.below(load_us), fault));
    }
    faults
}
