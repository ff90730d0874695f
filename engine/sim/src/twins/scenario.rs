//! What a Twins run is scripted by, and its form in text: one line that can be replayed.

use std::fmt;
use std::str::FromStr;

use trireme_core::quorum::Quorums;
use trireme_core::{MemberId, View};

/// The most members of a scenario: an instance is named by one digit, a twin's second one by a digit and a mark.
pub const MAX_MEMBERS: u16 = 10;
/// The most stages of a scenario.
pub const MAX_STAGES: usize = 64;

/// An instance of a member: `0..n` are the members' first ones, `n..` the second ones of the twins, in their order.
pub type Instance = u8;

/// How long a stage lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Span {
    /// One message step: what is under way is delivered, answers are under way.
    Step,
    /// Until the groups are quiet; then something new is asked for, proposals are held back, and view timers run out.
    Expire,
}

/// What happens to an instance when a stage begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fate {
    /// Down while the stage lasts; then it comes up with what was durable.
    Down,
    /// Goes down and comes up at once with what was durable.
    Restart,
    /// Goes down and comes up at once with an empty log: a twin's instance only.
    Amnesia,
}

/// A part of the script.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stage {
    /// The group of each instance. Messages cross only within a group. Groups are numbered in the order of their
    /// first instances.
    pub groups: Vec<u8>,
    /// How long it lasts.
    pub span: Span,
    /// Whether something new is asked for in each group when it begins, though there is work left.
    pub busy: bool,
    /// At most one instance suffers when it begins.
    pub fate: Option<(Instance, Fate)>,
}

/// A script: who is a twin, who leads, and stage by stage who hears whom.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scenario {
    /// Members.
    pub n: u16,
    /// Members that run twice with one key, ascending; at most f of them.
    pub twins: Vec<MemberId>,
    /// Leaders of views 0, 1, ...; afterwards the members take turns. Empty: they take turns from the start.
    pub leaders: Vec<MemberId>,
    /// In order.
    pub stages: Vec<Stage>,
}

/// Why a scenario is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadScenario {
    /// The text is not of the form that [`Scenario`] displays; where it is not.
    Syntax(String),
    /// Sizes: more members, twins or stages than there may be.
    Size,
    /// A twin or leader that is no member, or a list out of order.
    Member,
    /// A stage that does not name each instance once, or numbers groups out of order.
    Groups,
    /// A fate of an instance that there is not, or a correct member that loses its log.
    Fate,
}

impl fmt::Display for BadScenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(part) => write!(f, "cannot read {part:?}"),
            Self::Size => write!(f, "too many members, twins or stages"),
            Self::Member => write!(f, "a twin or leader is no member"),
            Self::Groups => write!(f, "a stage does not name each instance once"),
            Self::Fate => write!(f, "only twins lose their log"),
        }
    }
}

impl std::error::Error for BadScenario {}

impl Scenario {
    /// Instances: members and second instances of twins.
    pub fn instances(&self) -> usize {
        usize::from(self.n) + self.twins.len()
    }

    /// Whose instance it is.
    pub fn member(&self, instance: usize) -> MemberId {
        match instance.checked_sub(usize::from(self.n)) {
            Some(second) => self.twins[second],
            None => MemberId::try_from(instance).expect("few instances"),
        }
    }

    /// The leader of a view.
    pub fn leader(&self, view: View) -> MemberId {
        let scripted = usize::try_from(view).ok().and_then(|view| self.leaders.get(view));
        scripted.copied().unwrap_or_else(|| {
            let turn = view % u64::from(self.n);
            MemberId::try_from(turn).expect("smaller than n")
        })
    }

    /// Whether the script is one that can be run.
    ///
    /// # Errors
    ///
    /// [`BadScenario`], what is wrong first.
    pub fn check(&self) -> Result<(), BadScenario> {
        let f = usize::from(Quorums::default_f(self.n));
        let sizes = (4..=MAX_MEMBERS).contains(&self.n) && self.twins.len() <= f && self.stages.len() <= MAX_STAGES;
        if !sizes || self.leaders.len() > MAX_STAGES {
            return Err(BadScenario::Size);
        }
        let known = self.twins.iter().chain(&self.leaders).all(|member| *member < self.n);
        if !known || !self.twins.is_sorted_by(|a, b| a < b) {
            return Err(BadScenario::Member);
        }
        for stage in &self.stages {
            if stage.groups.len() != self.instances() || !in_order(&stage.groups) {
                return Err(BadScenario::Groups);
            }
            let possible = |(instance, fate): (Instance, Fate)| {
                let instance = usize::from(instance);
                instance < self.instances() && (fate != Fate::Amnesia || self.twins.contains(&self.member(instance)))
            };
            if stage.fate.is_some_and(|fate| !possible(fate)) {
                return Err(BadScenario::Fate);
            }
        }
        Ok(())
    }

    /// What an instance is called: its member, with a mark if it is the second one.
    pub(super) fn name(&self, instance: usize) -> String {
        let mark = if instance < usize::from(self.n) { "" } else { "'" };
        format!("{}{mark}", self.member(instance))
    }

    fn instance(&self, name: &str) -> Option<Instance> {
        let found = (0..self.instances()).find(|instance| self.name(*instance) == name)?;
        Instance::try_from(found).ok()
    }
}

/// Whether groups are numbered in the order of their first instances.
fn in_order(groups: &[u8]) -> bool {
    let mut next = 0;
    groups.iter().all(|group| {
        let fresh = *group == next;
        next += u8::from(fresh);
        fresh || *group < next
    })
}

/// `4:0 lead 0,1,2 | 01-230' step busy | 010'-2-3 expire amnesia 0'`: members and twins, leaders, stages with their groups.
impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} lead {}", self.n, list(&self.twins), list(&self.leaders))?;
        for stage in &self.stages {
            let count = stage.groups.iter().max().map_or(0, |group| group + 1);
            let group = |wanted: u8| -> String {
                let inside = (0..stage.groups.len()).filter(|i| stage.groups[*i] == wanted);
                inside.map(|i| self.name(i)).collect()
            };
            let groups: Vec<String> = (0..count).map(group).collect();
            let span = match stage.span {
                Span::Step => "step",
                Span::Expire => "expire",
            };
            let busy = if stage.busy { " busy" } else { "" };
            write!(f, " | {} {span}{busy}", groups.join("-"))?;
            if let Some((instance, fate)) = stage.fate {
                let fate = match fate {
                    Fate::Down => "down",
                    Fate::Restart => "restart",
                    Fate::Amnesia => "amnesia",
                };
                write!(f, " {fate} {}", self.name(usize::from(instance)))?;
            }
        }
        Ok(())
    }
}

fn list(members: &[MemberId]) -> String {
    if members.is_empty() {
        return "-".into();
    }
    let words: Vec<String> = members.iter().map(MemberId::to_string).collect();
    words.join(",")
}

fn parse_list(text: &str) -> Result<Vec<MemberId>, BadScenario> {
    if text == "-" {
        return Ok(Vec::new());
    }
    let member = |word: &str| word.parse().map_err(|_| BadScenario::Syntax(word.into()));
    text.split(',').map(member).collect()
}

impl FromStr for Scenario {
    type Err = BadScenario;

    fn from_str(text: &str) -> Result<Self, BadScenario> {
        let mut parts = text.trim().split(" | ");
        let head = parts.next().unwrap_or_default();
        let bad = |part: &str| BadScenario::Syntax(part.into());
        let words: Vec<&str> = head.split_whitespace().collect();
        let [who, "lead", leaders] = words[..] else {
            return Err(bad(head));
        };
        let (n, twins) = who.split_once(':').ok_or_else(|| bad(who))?;
        let mut scenario = Self {
            n: n.parse().map_err(|_| bad(n))?,
            twins: parse_list(twins)?,
            leaders: parse_list(leaders)?,
            stages: Vec::new(),
        };
        scenario.check()?;
        for part in parts {
            let stage = scenario.parse_stage(part)?;
            scenario.stages.push(stage);
        }
        scenario.check()?;
        Ok(scenario)
    }
}

impl Scenario {
    fn parse_stage(&self, part: &str) -> Result<Stage, BadScenario> {
        let bad = || BadScenario::Syntax(part.into());
        let mut words: Vec<&str> = part.split_whitespace().collect();
        let busy = words.get(2) == Some(&"busy");
        if busy {
            words.remove(2);
        }
        let (groups, span, fate) = match words[..] {
            [groups, span] => (groups, span, None),
            [groups, span, fate, name] => (groups, span, Some((fate, name))),
            _ => return Err(bad()),
        };
        let span = match span {
            "step" => Span::Step,
            "expire" => Span::Expire,
            _ => return Err(bad()),
        };
        let fate = match fate {
            None => None,
            Some((fate, name)) => {
                let fate = match fate {
                    "down" => Fate::Down,
                    "restart" => Fate::Restart,
                    "amnesia" => Fate::Amnesia,
                    _ => return Err(bad()),
                };
                Some((self.instance(name).ok_or_else(bad)?, fate))
            }
        };
        let groups = self.parse_groups(groups).ok_or(BadScenario::Groups)?;
        Ok(Stage {
            groups,
            span,
            busy,
            fate,
        })
    }

    fn parse_groups(&self, text: &str) -> Option<Vec<u8>> {
        let mut groups = vec![None; self.instances()];
        for (group, names) in (0u8..).zip(text.split('-')) {
            let mut letters = names.chars().peekable();
            while let Some(digit) = letters.next() {
                let mark = letters.next_if_eq(&'\'').is_some();
                let name = if mark { format!("{digit}'") } else { digit.to_string() };
                let instance = usize::from(self.instance(&name)?);
                if groups[instance].replace(group).is_some() {
                    return None;
                }
            }
        }
        groups.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_scenario() {
        let lines = [
            "4:0 lead 0,1,2 | 01-230' step | 010'-2-3 expire busy amnesia 0'",
            "4:2 lead - | 01232' expire",
            "7:0,1 lead 1 | 012-34560'1' expire restart 1 | 0123456-0'-1' step down 0",
        ];
        for line in lines {
            let read: Scenario = line.parse().expect(line);
            assert_eq!(read.to_string(), line);
        }
    }

    #[test]
    fn what_cannot_be_run_is_refused() {
        let refused = [
            ("", BadScenario::Syntax(String::new())),
            ("4:0,1 lead -", BadScenario::Size),
            ("3:0 lead -", BadScenario::Size),
            ("4:7 lead -", BadScenario::Member),
            ("7:1,0 lead -", BadScenario::Member),
            ("4:0 lead 4", BadScenario::Member),
            ("4:0 lead - | 0123 step", BadScenario::Groups),
            ("4:0 lead - | 01230'0 step", BadScenario::Groups),
            ("4:0 lead - | 1-00'23 step", BadScenario::Groups),
            ("4:0 lead - | 01230' step amnesia 1", BadScenario::Fate),
            ("4:0 lead - | 01230' stop", BadScenario::Syntax("01230' stop".into())),
        ];
        for (text, reason) in refused {
            assert_eq!(text.parse::<Scenario>(), Err(reason), "{text}");
        }
    }
}
