//! What a seed stands for: sizes, constants, faults and features are all drawn from it (swarm testing).

use serde::{Deserialize, Serialize};
use trireme_core::MemberId;
use trireme_core::bugs::Bugs;
use trireme_core::types::Params;

use crate::byzantine::{Habit, KINDS, Prank};
use crate::disk::{DiskFault, DiskPace, Storage};
use crate::network::Weather;
use crate::prng::Prng;

/// How to run seeds.
#[derive(Clone, Debug)]
pub struct Options {
    /// Members; drawn from {4, 5, 6, 7, 10} if none.
    pub n: Option<u16>,
    /// Whether some members may be Byzantine.
    pub byzantine: bool,
    /// Whether replicas crash, links break and packets are lost before the network heals.
    pub chaos: bool,
    /// How long the cluster may take, once healed, to answer everything. In simulated microseconds.
    pub patience_us: u64,
    /// Ends a run that goes in circles, if nothing else does.
    pub max_events: u64,
    /// Looks for states that come back without a commit (invariant 24) and ends the run there.
    pub lassos: bool,
    /// Clauses that are switched off; all on in a release.
    pub bugs: Bugs,
    /// The same for the log.
    pub log_bugs: trireme_log::bugs::Bugs,
    /// Whether replicas run the real log on simulated disks; drawn if none.
    pub real_log: Option<bool>,
    /// Whether all signatures are real Ed25519; if none, in 3 % of the seeds.
    pub real_signatures: Option<bool>,
    /// The profile `beyond`: disks destroy what was acknowledged at more members than the protocol stands, and only
    /// what is still promised then is judged.
    pub beyond: bool,
    /// A run ends with so many violations.
    pub enough_violations: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            n: None,
            byzantine: true,
            chaos: true,
            patience_us: 600_000_000,
            max_events: 1_000_000,
            lassos: true,
            enough_violations: 11,
            bugs: Bugs::default(),
            log_bugs: trireme_log::bugs::Bugs::default(),
            real_log: None,
            real_signatures: None,
            beyond: false,
        }
    }
}

impl Options {
    /// Switches a clause of the protocol or of the log off; false if this build has no such switch.
    pub fn switch_off(&mut self, clause: &str) -> bool {
        self.bugs.set(clause) || self.log_bugs.set(clause)
    }
}

/// What a member does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Role {
    /// Follows the protocol; may crash.
    Correct,
    /// Holds its own keys and does as it likes; with `twin`, two instances run under one identity.
    Byzantine { habits: Vec<Habit>, twin: bool },
}

/// Something bad that happens to correct members. A new kind needs a line in each function of `impl Fault`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Fault {
    /// A member loses power and comes back.
    Crash { member: MemberId, down_us: u64 },
    /// All do.
    Blackout { down_us: u64 },
    /// A member stops and goes on later as if nothing had happened.
    Freeze { member: MemberId, us: u64 },
    /// Members of the set and others do not hear each other; with `one_way`, only the others are deaf.
    Partition {
        #[serde(with = "crate::scenario::text::members")]
        side: u128,
        one_way: bool,
        us: u64,
    },
    /// A connection breaks.
    Break { a: MemberId, b: MemberId },
    /// Twins change sides.
    Regroup,
    /// A disk does what disks do.
    Disk { member: MemberId, fault: DiskFault },
}

impl Fault {
    /// The members that it names one by one.
    pub(crate) fn members(&self) -> Vec<MemberId> {
        match self {
            Self::Crash { member, .. } | Self::Freeze { member, .. } | Self::Disk { member, .. } => vec![*member],
            Self::Break { a, b } => vec![*a, *b],
            Self::Blackout { .. } | Self::Partition { .. } | Self::Regroup => Vec::new(),
        }
    }

    /// The same, to number them anew.
    pub(crate) fn members_mut(&mut self) -> Vec<&mut MemberId> {
        match self {
            Self::Crash { member, .. } | Self::Freeze { member, .. } | Self::Disk { member, .. } => vec![member],
            Self::Break { a, b } => vec![a, b],
            Self::Blackout { .. } | Self::Partition { .. } | Self::Regroup => Vec::new(),
        }
    }

    /// How long it lasts, in simulated microseconds, if it does not happen at once.
    pub(crate) fn lasts_mut(&mut self) -> Option<&mut u64> {
        match self {
            Self::Crash { down_us: us, .. }
            | Self::Blackout { down_us: us }
            | Self::Freeze { us, .. }
            | Self::Partition { us, .. } => Some(us),
            Self::Break { .. } | Self::Regroup | Self::Disk { .. } => None,
        }
    }
}

/// How a correct member is broken for good when the others heal.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Loss {
    /// Down for ever.
    Down,
    /// It hears nothing and is heard (FAULTS.md 17).
    Deaf,
    /// It hears and is not heard.
    Mute,
}

/// A faulty client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RoguePlan {
    pub(crate) pranks: Vec<Prank>,
    /// Identities that it signs with.
    pub(crate) identities: usize,
    /// When it does something.
    pub(crate) times: Vec<u64>,
}

/// Messages of one kind in one view, from some to some, that the network loses: the network faults of ByzzFuzz.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scope {
    pub(crate) view: u64,
    /// As `byzantine::kind` numbers them.
    pub(crate) kind: u64,
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// The time source of all wall clocks is ahead, until somebody sets it right: blocks of that time have timestamps from
/// the future (R-ACCEPT 4's escape).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClockJump {
    pub(crate) until_us: u64,
    pub(crate) ahead_us: u64,
}

/// How clients behave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Load {
    pub(crate) clients: usize,
    /// Requests of all clients before the network heals.
    pub(crate) requests: u64,
    /// Requests after it, sent once each.
    pub(crate) last_wave: u64,
    pub(crate) max_bundle: u64,
    /// Requests in a hundred that go to every replica at once.
    pub(crate) spread_percent: u64,
    pub(crate) retry_us: u64,
}

/// One run. It is the greater part of a scenario file: a field that is added here is written and read by serde, and
/// - has `#[serde(default)]`, so that scenario files from before can still be read, with a default that means "none";
/// - is of types that derive `Clone, Debug, PartialEq, Serialize, Deserialize`; a `u64` stays below 2^63, which is all
///   that TOML has; a set of members is written by `#[serde(with = "crate::scenario::text::members")]`;
/// - has a line in `shrink/simpler.rs` that takes it away.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plan {
    #[serde(with = "crate::scenario::text::ParamsText")]
    pub(crate) params: Params,
    pub(crate) roles: Vec<Role>,
    pub(crate) real_signatures: bool,
    /// Every frame and every recovered record goes through its bytes.
    pub(crate) encode: bool,
    pub(crate) latency_us: u64,
    pub(crate) weather: Weather,
    pub(crate) disk: DiskPace,
    #[serde(default)]
    pub(crate) storage: Storage,
    pub(crate) execution_us: u64,
    pub(crate) verification_us: u64,
    pub(crate) turn_us: u64,
    pub(crate) drift_ppm: u64,
    pub(crate) wall_spread_us: u64,
    pub(crate) chaos_us: u64,
    /// When, in simulated microseconds, and what.
    #[serde(default, with = "crate::scenario::text::timed")]
    pub(crate) faults: Vec<(u64, Fault)>,
    /// Correct members that do not heal: with the Byzantine ones at most f.
    #[serde(default)]
    pub(crate) lost: Vec<(MemberId, Loss)>,
    pub(crate) load: Load,
    /// Faulty members know of each other.
    #[serde(default)]
    pub(crate) collude: bool,
    #[serde(default)]
    pub(crate) rogues: Vec<RoguePlan>,
    #[serde(default)]
    pub(crate) scopes: Vec<Scope>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) clock_jump: Option<ClockJump>,
}

impl Plan {
    /// Draws a run.
    pub(crate) fn draw(prng: &mut Prng, options: &Options) -> Self {
        // What came later draws from a stream of its own, so that seeds keep their meaning.
        let (mut fork, mut late) = (prng.aside(LIARS), prng.aside(LATE));
        let mut checkpoints = prng.aside(CHECKPOINTS);
        let n = options.n.unwrap_or_else(|| prng.pick(&[4, 4, 4, 4, 5, 6, 6, 7, 7, 10]));
        let most = (n - 1) / 3;
        let f = if prng.percent(80) {
            most
        } else {
            u16::try_from(prng.range(0, u64::from(most))).expect("small")
        };
        let latency_us = prng.pick(&[100, 1_000, 5_000, 40_000]);
        let mut params = draw_params(prng, n, f, latency_us);
        let tiny = checkpoints.percent(40);
        if tiny {
            draw_checkpoints(&mut checkpoints, &mut params);
        }
        let roles = draw_roles(prng, n, f, options.byzantine);
        let chaos_us = if options.chaos {
            prng.range(200_000, 3_000_000)
        } else {
            300_000
        };
        let faults = if options.chaos {
            draw_faults(prng, &roles, chaos_us)
        } else {
            Vec::new()
        };
        let lost = if options.chaos {
            draw_losses(&mut prng.aside(0x1057), &roles, f)
        } else {
            Vec::new()
        };
        let mut plan = Self {
            params,
            roles,
            lost,
            real_signatures: {
                let drawn = prng.percent(3);
                options.real_signatures.unwrap_or(drawn)
            },
            encode: prng.percent(15),
            latency_us,
            weather: draw_weather(prng, latency_us, options.chaos),
            disk: DiskPace {
                flush_us: prng.pick(&[10, 100, 1_000]),
                spread_us: prng.pick(&[100, 2_000, 30_000]),
                linger_us: prng.pick(&[500, 5_000]),
            },
            storage: Storage::default(),
            execution_us: prng.pick(&[10, 200, 5_000]),
            verification_us: prng.pick(&[10, 500, 10_000]),
            turn_us: prng.pick(&[1, 50, 500]),
            drift_ppm: prng.pick(&[0, 100, 10_000]),
            wall_spread_us: prng.pick(&[0, 1_000, 100_000]),
            chaos_us,
            faults,
            load: draw_load(prng),
            collude: false,
            rogues: Vec::new(),
            scopes: Vec::new(),
            clock_jump: None,
        };
        plan.draw_liars(&mut fork, options);
        if tiny && options.byzantine {
            plan.draw_checkpoint_liars(&mut checkpoints);
        }
        plan.draw_late(&mut late, tiny, options);
        plan
    }
}

/// Separates the stream of `draw_liars` from a seed's own.
const LIARS: u64 = 0x4C49_4152_535F_3176;
/// And that of checkpoints.
const CHECKPOINTS: u64 = 0x4348_4543_4B50_5453;

/// Checkpoints after a few slots, and a log that holds few of them.
fn draw_checkpoints(prng: &mut Prng, params: &mut Params) {
    params.checkpoint_slots = prng.pick(&[1, 2, 4, 8, 16]);
    params.checkpoint_bytes = prng.pick(&[400, 2_000, 256 << 20]);
    params.log_window = params.checkpoint_slots * prng.pick(&[2, 3, 4, 8]);
}
/// Separates the stream of `draw_late`.
const LATE: u64 = 0x4C41_5445_5F76_3031;

impl Plan {
    /// What came later still: beginnings of views, clocks that jump.
    fn draw_late(&mut self, prng: &mut Prng, tiny: bool, options: &Options) {
        if options.chaos && prng.percent(6) {
            self.clock_jump = Some(ClockJump {
                until_us: prng.below(self.chaos_us),
                ahead_us: prng.pick(&[2_000_000, 60_000_000, 3_600_000_000]),
            });
        }
        for role in &mut self.roles {
            if let Role::Byzantine { habits, .. } = role {
                Habit::draw_openings(habits, prng);
                // Few of those that lag ask a liar for a part of an image.
                if tiny && prng.percent(25) && !habits.contains(&Habit::FalseParts) {
                    habits.push(Habit::FalseParts);
                }
            }
        }
    }

    /// More habits for faulty members, collusion, faulty clients, losses in a small scope.
    fn draw_liars(&mut self, prng: &mut Prng, options: &Options) {
        if options.chaos && prng.percent(25) {
            let scope = |prng: &mut Prng| Scope {
                view: prng.skewed(8),
                kind: prng.below(KINDS),
                // TOML has 63 bits.
                from: prng.next() & (u64::MAX >> 1),
                to: prng.next() & (u64::MAX >> 1),
            };
            self.scopes = (0..prng.range(1, 3)).map(|_| scope(prng)).collect();
        }
        if !options.byzantine {
            return;
        }
        let liars = self.byzantine();
        self.collude = liars > 1 && prng.percent(60);
        for role in &mut self.roles {
            if let Role::Byzantine { habits, .. } = role {
                Habit::draw_more(habits, self.collude, prng);
                if self.real_signatures {
                    habits.push(Habit::Torsion);
                }
            }
        }
        if prng.percent(35) {
            self.draw_rogues(prng);
        }
    }

    /// Some faulty members lie about states.
    fn draw_checkpoint_liars(&mut self, prng: &mut Prng) {
        for role in &mut self.roles {
            if let Role::Byzantine { habits, .. } = role {
                if prng.percent(40) {
                    habits.push(prng.pick(&Habit::STATES));
                }
                habits.sort_unstable();
                habits.dedup();
            }
        }
    }

    fn draw_rogues(&mut self, prng: &mut Prng) {
        let (mut identities, until) = (0, self.chaos_us + 500_000);
        for _ in 0..prng.range(1, 2) {
            let mut pranks: Vec<Prank> = (0..prng.range(1, 3)).map(|_| prng.pick(&Prank::ALL)).collect();
            if self.real_signatures {
                pranks.push(Prank::Torsion);
            } else {
                pranks.retain(|prank| *prank != Prank::Torsion);
            }
            if pranks.is_empty() {
                continue;
            }
            let own = if pranks.contains(&Prank::Churn) { 12 } else { 1 };
            identities += own;
            let mut times: Vec<u64> = (0..prng.range(3, 25)).map(|_| prng.below(until)).collect();
            times.sort_unstable();
            self.rogues.push(RoguePlan {
                pranks,
                identities: own,
                times,
            });
        }
        if identities > 4 {
            // A table that such a client can fill; the correct ones are in it before.
            self.params.max_sessions = u32::try_from(self.load.clients + identities / 2 + 1).expect("few");
        }
    }
}

fn draw_params(prng: &mut Prng, n: u16, f: u16, latency_us: u64) -> Params {
    let mut params = Params::new(n, f);
    params.window = prng.pick(&[1, 2, 3, 4, 8, 16, 64]);
    params.w0 = prng.pick(&[1, 2, 2, 3]);
    params.lane_window_heights = prng.pick(&[8, 16, 64, 256]);
    params.max_batch_bytes = prng.pick(&[1_024, 4_096, 512 << 10]);
    params.lane_window_bytes = prng.pick(&[64 << 10, 64 << 20]);
    params.lane_window_bytes = params.lane_window_bytes.max(4 * u64::from(params.max_batch_bytes));
    params.max_drift_us = prng.pick(&[150_000, 500_000]);
    params.state_interval = prng.pick(&[1, 4, 64]);
    params.state_idle_us = prng.pick(&[5_000, 20_000]);
    params.timer_floor_us = prng.pick(&[5_000, 20_000, 50_000]).max(latency_us);
    params.timer_factor = prng.pick(&[2, 4, 8]);
    params.timer_decay_commits = prng.pick(&[2, 8, 64]);
    params.idle_lock_us = prng.pick(&[1_000, 20_000]);
    params.session_window = prng.pick(&[32, 256, 4_096]);
    params.max_sessions = 64;
    params
}

fn draw_roles(prng: &mut Prng, n: u16, f: u16, byzantine: bool) -> Vec<Role> {
    let mut roles: Vec<Role> = (0..n).map(|_| Role::Correct).collect();
    let faulty = if byzantine && prng.percent(75) {
        prng.range(0, u64::from(f))
    } else {
        0
    };
    let mut members: Vec<usize> = (0..usize::from(n)).collect();
    prng.shuffle(&mut members);
    for member in members.into_iter().take(usize::try_from(faulty).expect("small")) {
        roles[member] = Role::Byzantine {
            habits: Habit::draw(prng),
            twin: prng.percent(40),
        };
    }
    roles
}

/// In half of the seeds only a random core of n-f members heals.
fn draw_losses(prng: &mut Prng, roles: &[Role], f: u16) -> Vec<(MemberId, Loss)> {
    let mut correct: Vec<MemberId> = (0..)
        .zip(roles)
        .filter(|(_, role)| matches!(role, Role::Correct))
        .map(|(member, _)| member)
        .collect();
    let room = usize::from(f).saturating_sub(roles.len() - correct.len());
    if room == 0 || prng.percent(50) {
        return Vec::new();
    }
    prng.shuffle(&mut correct);
    let kinds = [Loss::Down, Loss::Deaf, Loss::Mute];
    correct
        .into_iter()
        .take(room)
        .map(|member| (member, prng.pick(&kinds)))
        .collect()
}

fn draw_weather(prng: &mut Prng, latency_us: u64, chaos: bool) -> Weather {
    let mut weather = Weather {
        jitter_us: prng.pick(&[10, latency_us / 4, latency_us]),
        ..Weather::default()
    };
    if chaos {
        weather.tail_ppm = prng.pick(&[0, 0, 1_000, 20_000]);
        weather.loss_ppm = prng.pick(&[0, 0, 0, 2_000, 50_000, 200_000]);
        weather.duplicate_ppm = prng.pick(&[0, 0, 10_000, 200_000]);
        weather.reorder = prng.percent(30);
    }
    weather
}

fn draw_load(prng: &mut Prng) -> Load {
    Load {
        clients: prng.pick(&[1, 2, 3, 5]),
        requests: prng.pick(&[5, 20, 60, 150]),
        last_wave: prng.range(1, 8),
        max_bundle: prng.pick(&[1, 1, 4, 16]),
        spread_percent: prng.pick(&[0, 10, 100]),
        retry_us: prng.pick(&[50_000, 300_000, 1_000_000]),
    }
}

fn draw_faults(prng: &mut Prng, roles: &[Role], chaos_us: u64) -> Vec<(u64, Fault)> {
    let rates = [
        prng.below(4),
        prng.below(4),
        prng.below(6),
        prng.below(6),
        prng.below(5),
    ];
    let blackout = prng.percent(15);
    let mut faults = Vec::new();
    let n = roles.len() as u64;
    let member = |prng: &mut Prng| MemberId::try_from(prng.below(n)).expect("a member");
    for _ in 0..rates[0] {
        let fault = Fault::Crash {
            member: member(prng),
            down_us: 1_000 + prng.skewed(1_000_000),
        };
        faults.push((prng.below(chaos_us), fault));
    }
    for _ in 0..rates[1] {
        let fault = Fault::Freeze {
            member: member(prng),
            us: 1_000 + prng.skewed(800_000),
        };
        faults.push((prng.below(chaos_us), fault));
    }
    for _ in 0..rates[2] {
        let side = u128::from(prng.below(1 << n));
        let fault = Fault::Partition {
            side,
            one_way: prng.percent(40),
            us: 5_000 + prng.skewed(1_500_000),
        };
        faults.push((prng.below(chaos_us), fault));
    }
    for _ in 0..rates[3] {
        let (a, b) = (member(prng), member(prng));
        if a != b {
            faults.push((prng.below(chaos_us), Fault::Break { a, b }));
        }
    }
    if roles
        .iter()
        .any(|role| matches!(role, Role::Byzantine { twin: true, .. }))
    {
        for _ in 0..rates[4] {
            faults.push((prng.below(chaos_us), Fault::Regroup));
        }
    }
    if blackout {
        faults.push((
            prng.below(chaos_us),
            Fault::Blackout {
                down_us: 1_000 + prng.skewed(500_000),
            },
        ));
    }
    faults
}

impl Plan {
    /// How many members are Byzantine.
    pub(crate) fn byzantine(&self) -> u16 {
        let count = self
            .roles
            .iter()
            .filter(|role| matches!(role, Role::Byzantine { .. }))
            .count();
        u16::try_from(count).expect("few members")
    }

    /// The plan in a few lines.
    pub(crate) fn describe(&self) -> String {
        let roles: Vec<String> = self
            .roles
            .iter()
            .enumerate()
            .map(|(m, role)| format!("  {m}: {role:?}"))
            .collect();
        format!(
            "{:?}\n{}\nlatency {} us, {:?}, {:?}, {:?}, {:?}\nchaos until {} us, lost then: {:?}, collude {}, {:?}, {:?}, {:?}",
            self.params,
            roles.join("\n"),
            self.latency_us,
            self.weather,
            self.disk,
            self.storage,
            self.load,
            self.chaos_us,
            self.lost,
            self.collude,
            self.rogues,
            self.scopes,
            self.clock_jump
        )
    }
}
