//! Which scenarios are one scenario with other names.
//!
//! Correct members are alike until the script tells them apart, so are the two instances of a twin, and so are two
//! pairs of twins. A renaming acts on leaders, groups and fates. A scenario is canonical if none of its renamings comes
//! before it in the order in which the enumeration takes its choices. Going choice by choice, only the renamings that
//! leave all earlier choices as they are matter, so canonical scenarios are found directly: a choice is taken if none
//! of the renamings that are left turns it into a smaller one.

use std::collections::HashMap;

use trireme_core::MemberId;

use super::scenario::{Fate, Instance};
use super::{Crashes, TwinsOptions};

/// What one choice of a script may be, numbered from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The leader of a view.
    Leader,
    /// How many stages of one step a view has before its last stage, and whether they are busy; no renaming changes it.
    Shape,
    /// The groups of a stage.
    Groups,
    /// The fate that a view begins with.
    Fate,
}

/// The stages of a view, but for their groups.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    /// Stages of one step before the last one.
    pub(super) cuts: usize,
    /// Of each of its stages.
    pub(super) busy: bool,
}

/// What a renaming makes of each choice.
struct Renaming {
    leaders: Vec<u16>,
    groups: Vec<u16>,
    fates: Vec<u16>,
}

/// The choices of a space of scenarios and the renamings that act on them.
pub(super) struct Symmetry {
    /// All ways to group the instances, ascending.
    pub(super) groups: Vec<Vec<u8>>,
    pub(super) fates: Vec<Option<(Instance, Fate)>>,
    pub(super) shapes: Vec<Shape>,
    members: usize,
    renamings: Vec<Renaming>,
}

/// Renamings that leave the choices so far as they are, by number.
pub(super) type Left = Vec<u16>;

impl Symmetry {
    /// For twins `twins` of `options.n` members.
    pub(super) fn new(options: &TwinsOptions, twins: &[MemberId]) -> Self {
        let n = usize::from(options.n);
        let instances = n + twins.len();
        let groups = partitions(instances, options.groups);
        let mut fates = vec![None];
        for instance in 0..instances {
            let of_twin = instance >= n || twins.iter().any(|m| usize::from(*m) == instance);
            let possible: &[Fate] = match options.crashes {
                Crashes::Twins | Crashes::All if of_twin => &[Fate::Down, Fate::Restart, Fate::Amnesia],
                Crashes::All => &[Fate::Down, Fate::Restart],
                Crashes::None | Crashes::Twins => &[],
            };
            let instance = Instance::try_from(instance).expect("few instances");
            fates.extend(possible.iter().map(|fate| Some((instance, *fate))));
        }
        let number: HashMap<&[u8], u16> = (0u16..).zip(&groups).map(|(i, g)| (g.as_slice(), i)).collect();
        let renamings = permutations(n, twins, options.scripted);
        let renamings = renamings
            .iter()
            .map(|to| Renaming {
                leaders: (0..n).map(|m| owner(to[m], n, twins)).collect(),
                groups: groups.iter().map(|g| number[renamed(g, to).as_slice()]).collect(),
                fates: fates.iter().map(|fate| renamed_fate(&fates, *fate, to)).collect(),
            })
            .collect();
        let busy = if options.busy { 2 } else { 1 };
        let shapes = (0..=options.cuts).flat_map(|cuts| (0..busy).map(move |busy| Shape { cuts, busy: busy > 0 }));
        Self {
            groups,
            fates,
            members: n,
            shapes: shapes.collect(),
            renamings,
        }
    }

    /// How many choices there are of a kind.
    pub(super) fn choices(&self, kind: Kind) -> usize {
        match kind {
            Kind::Leader => self.members,
            Kind::Shape => self.shapes.len(),
            Kind::Groups => self.groups.len(),
            Kind::Fate => self.fates.len(),
        }
    }

    /// All renamings.
    pub(super) fn all(&self) -> Left {
        (0u16..).take(self.renamings.len()).collect()
    }

    fn image(&self, renaming: u16, kind: Kind, choice: usize) -> usize {
        let renaming = &self.renamings[usize::from(renaming)];
        match kind {
            Kind::Leader => usize::from(renaming.leaders[choice]),
            Kind::Shape => choice,
            Kind::Groups => usize::from(renaming.groups[choice]),
            Kind::Fate => usize::from(renaming.fates[choice]),
        }
    }

    /// Whether no renaming that is left makes the choice smaller.
    pub(super) fn is_least(&self, left: &Left, kind: Kind, choice: usize) -> bool {
        left.iter().all(|r| self.image(*r, kind, choice) >= choice)
    }

    /// The renamings that are left after a choice.
    pub(super) fn after(&self, left: &Left, kind: Kind, choice: usize) -> Left {
        let keeps = |r: &u16| self.image(*r, kind, choice) == choice;
        left.iter().copied().filter(keeps).collect()
    }

    /// The canonical form of a sequence of choices.
    pub(super) fn canonical(&self, choices: &[(Kind, usize)]) -> Vec<(Kind, usize)> {
        // All renamings that give the least sequence so far.
        let mut best = self.all();
        let mut least = Vec::with_capacity(choices.len());
        for (kind, choice) in choices {
            let smallest = best.iter().map(|r| self.image(*r, *kind, *choice)).min();
            let smallest = smallest.expect("the identity is a renaming");
            best.retain(|r| self.image(*r, *kind, *choice) == smallest);
            least.push((*kind, smallest));
        }
        least
    }

    /// How many scenarios there are with names, and how many without (Burnside: the mean number of scenarios that a
    /// renaming leaves as they are).
    pub(super) fn count(&self, views: usize, scripted: bool) -> (f64, f64) {
        let fixed = |r: u16, kind: Kind| {
            let same = (0..self.choices(kind)).filter(|choice| self.image(r, kind, *choice) == *choice);
            same.count() as f64
        };
        let views = i32::try_from(views).expect("few views");
        let scenarios = |r: u16| {
            let groups = fixed(r, Kind::Groups);
            let powers = self
                .shapes
                .iter()
                .map(|shape| i32::try_from(shape.cuts + 1).expect("few"));
            let stages: f64 = powers.map(|power| groups.powi(power)).sum();
            let leaders = if scripted { fixed(r, Kind::Leader) } else { 1.0 };
            (leaders * stages * fixed(r, Kind::Fate)).powi(views)
        };
        let total: f64 = self.all().into_iter().map(scenarios).sum();
        (scenarios(0), total / self.renamings.len() as f64)
    }
}

/// All ways to put instances into 1 to `most` groups, as growth strings, ascending.
fn partitions(instances: usize, most: u8) -> Vec<Vec<u8>> {
    let mut all = vec![Vec::new()];
    for _ in 0..instances {
        all = all
            .into_iter()
            .flat_map(|start: Vec<u8>| {
                let used = start.iter().max().map_or(0, |top| top + 1);
                (0..=used.min(most - 1)).map(move |group| [start.as_slice(), &[group]].concat())
            })
            .collect();
    }
    all
}

/// Every renaming of instances that keeps who is a twin: where each instance goes. The identity is the first one.
fn permutations(n: usize, twins: &[MemberId], scripted: bool) -> Vec<Vec<u16>> {
    let seconds: Vec<usize> = (0..twins.len()).collect();
    let correct: Vec<usize> = (0..n).filter(|m| twins.iter().all(|t| usize::from(*t) != *m)).collect();
    // With leaders in turn each member has a place of its own: only the instances of a pair are alike.
    let orders = |of: &[usize]| if scripted { arrangements(of) } else { vec![of.to_vec()] };
    let mut all = Vec::new();
    for pairs in orders(&seconds) {
        for others in orders(&correct) {
            for swapped in 0..1u32 << twins.len() {
                let mut to = vec![0; n + twins.len()];
                for (from, other) in correct.iter().zip(&others) {
                    to[*from] = narrow(*other);
                }
                for (from, pair) in pairs.iter().enumerate() {
                    let (first, second) = (usize::from(twins[*pair]), n + pair);
                    let swap = swapped & (1 << from) != 0;
                    to[usize::from(twins[from])] = narrow(if swap { second } else { first });
                    to[n + from] = narrow(if swap { first } else { second });
                }
                all.push(to);
            }
        }
    }
    all
}

/// Whose instance it is.
fn owner(instance: u16, n: usize, twins: &[MemberId]) -> MemberId {
    usize::from(instance)
        .checked_sub(n)
        .map_or(instance, |second| twins[second])
}

fn narrow(instance: usize) -> u16 {
    u16::try_from(instance).expect("few instances")
}

/// All orders of the items, the given one first.
fn arrangements(items: &[usize]) -> Vec<Vec<usize>> {
    if items.is_empty() {
        return vec![Vec::new()];
    }
    let with_first = |i: usize| {
        let mut rest = items.to_vec();
        let first = rest.remove(i);
        arrangements(&rest).into_iter().map(move |tail| {
            let mut order = vec![first];
            order.extend(tail);
            order
        })
    };
    (0..items.len()).flat_map(with_first).collect()
}

/// Groups after a renaming, numbered in the order of their first instances.
fn renamed(groups: &[u8], to: &[u16]) -> Vec<u8> {
    let mut moved = vec![0; groups.len()];
    for (instance, group) in groups.iter().enumerate() {
        moved[usize::from(to[instance])] = *group;
    }
    let mut names: Vec<u8> = Vec::new();
    for group in &mut moved {
        let known = names.iter().position(|name| name == group);
        let number = known.unwrap_or_else(|| {
            names.push(*group);
            names.len() - 1
        });
        *group = u8::try_from(number).expect("few groups");
    }
    moved
}

fn renamed_fate(fates: &[Option<(Instance, Fate)>], fate: Option<(Instance, Fate)>, to: &[u16]) -> u16 {
    let moved = fate.map(|(instance, fate)| {
        let instance = Instance::try_from(to[usize::from(instance)]).expect("few instances");
        (instance, fate)
    });
    let number = fates.iter().position(|f| *f == moved).expect("twins go to twins");
    narrow(number)
}
