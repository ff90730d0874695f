//! All scenarios of a space, each once however its members are named; and random ones where there are too many.

use trireme_core::MemberId;
use trireme_core::quorum::Quorums;

use super::TwinsOptions;
use super::scenario::{Scenario, Span, Stage};
use super::symmetry::{Kind, Left, Symmetry};
use crate::prng::{Prng, split_mix};

/// How many scenarios a space holds: exact up to 2^53, then to 15 digits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Size {
    /// As scripts with names.
    pub named: f64,
    /// Without those that differ in names only.
    pub distinct: f64,
}

/// A choice taken, and the renamings that were left before it.
struct Taken {
    kind: Kind,
    choice: usize,
    left: Left,
}

/// The scenarios of a space in order, canonical ones only. Made by [`enumerate`].
pub struct Scenarios {
    options: TwinsOptions,
    symmetry: Symmetry,
    /// Who the twins are, last first.
    twins: Vec<Vec<MemberId>>,
    taken: Vec<Taken>,
}

/// All scenarios of a space, those that differ in names only once. Neighbours share long starts.
pub fn enumerate(options: &TwinsOptions) -> Scenarios {
    let mut twins = twin_sets(options);
    twins.reverse();
    let current = twins.last().expect("there is a set of twins");
    Scenarios {
        symmetry: Symmetry::new(options, current),
        options: options.clone(),
        twins,
        taken: Vec::new(),
    }
}

/// How many scenarios [`enumerate`] gives, counted without making them.
pub fn size(options: &TwinsOptions) -> Size {
    let mut size = Size {
        named: 0.0,
        distinct: 0.0,
    };
    for twins in twin_sets(options) {
        let (named, distinct) = Symmetry::new(options, &twins).count(options.views, options.scripted);
        size.named += named;
        size.distinct += distinct;
    }
    size
}

/// Who may be twins. With scripted leaders the first members are: all others are renamings of that.
fn twin_sets(options: &TwinsOptions) -> Vec<Vec<MemberId>> {
    let count = usize::from(Quorums::default_f(options.n));
    if options.scripted {
        return vec![(0..options.n).take(count).collect()];
    }
    let mut sets: Vec<Vec<MemberId>> = vec![Vec::new()];
    for _ in 0..count {
        let longer = |set: &Vec<MemberId>| -> Vec<Vec<MemberId>> {
            let from = set.last().map_or(0, |last| last + 1);
            (from..options.n).map(|m| [set.as_slice(), &[m]].concat()).collect()
        };
        sets = sets.iter().flat_map(longer).collect();
    }
    sets
}

/// What is chosen after these choices; nothing after the last one.
fn next_kind(options: &TwinsOptions, symmetry: &Symmetry, taken: impl Iterator<Item = (Kind, usize)>) -> Option<Kind> {
    let (mut leaders, mut views, mut stages) = (0, 0, 0);
    for (kind, choice) in taken {
        match kind {
            Kind::Leader => leaders += 1,
            Kind::Fate => stages = usize::MAX,
            Kind::Shape => stages = symmetry.shapes[choice].cuts + 1,
            Kind::Groups => {
                stages -= 1;
                views += usize::from(stages == 0);
            }
        }
    }
    let scripted = if options.scripted { options.views } else { 0 };
    match stages {
        _ if leaders < scripted => Some(Kind::Leader),
        0 => (views < options.views).then_some(Kind::Fate),
        usize::MAX => Some(Kind::Shape),
        _ => Some(Kind::Groups),
    }
}

/// The scenario that choices spell.
fn spell(options: &TwinsOptions, symmetry: &Symmetry, twins: &[MemberId], choices: &[(Kind, usize)]) -> Scenario {
    let mut scenario = Scenario {
        n: options.n,
        twins: twins.to_vec(),
        leaders: Vec::new(),
        stages: Vec::new(),
    };
    let (mut fate, mut shape) = (None, symmetry.shapes[0]);
    for (kind, choice) in choices {
        match kind {
            Kind::Leader => scenario.leaders.push(u16::try_from(*choice).expect("few members")),
            Kind::Fate => fate = symmetry.fates[*choice],
            Kind::Shape => shape = symmetry.shapes[*choice],
            Kind::Groups => {
                let span = if shape.cuts == 0 { Span::Expire } else { Span::Step };
                shape.cuts = shape.cuts.saturating_sub(1);
                scenario.stages.push(Stage {
                    groups: symmetry.groups[*choice].clone(),
                    span,
                    busy: shape.busy,
                    fate: fate.take(),
                });
            }
        }
    }
    scenario
}

impl Scenarios {
    fn choices(&self) -> Vec<(Kind, usize)> {
        self.taken.iter().map(|t| (t.kind, t.choice)).collect()
    }

    /// Takes the next canonical choice at the end; false if there is none left.
    fn advance(&mut self) -> bool {
        while let Some(last) = self.taken.last_mut() {
            let choices = last.choice + 1..self.symmetry.choices(last.kind);
            let next = choices
                .into_iter()
                .find(|choice| self.symmetry.is_least(&last.left, last.kind, *choice));
            if let Some(choice) = next {
                last.choice = choice;
                return true;
            }
            self.taken.pop();
        }
        false
    }

    /// Takes the first choice of each kind until the script is whole.
    fn complete(&mut self) {
        while let Some(kind) = next_kind(
            &self.options,
            &self.symmetry,
            self.taken.iter().map(|t| (t.kind, t.choice)),
        ) {
            let left = match self.taken.last() {
                Some(last) => self.symmetry.after(&last.left, last.kind, last.choice),
                None => self.symmetry.all(),
            };
            self.taken.push(Taken { kind, choice: 0, left });
        }
    }
}

impl Iterator for Scenarios {
    type Item = Scenario;

    fn next(&mut self) -> Option<Scenario> {
        if !self.taken.is_empty() && !self.advance() {
            self.twins.pop();
            self.symmetry = Symmetry::new(&self.options, self.twins.last()?);
        }
        let twins = self.twins.last()?.clone();
        self.complete();
        Some(spell(&self.options, &self.symmetry, &twins, &self.choices()))
    }
}

/// Random scenarios of a space, in canonical form, without end. Made by [`sample`].
pub struct Sample {
    options: TwinsOptions,
    symmetries: Vec<(Vec<MemberId>, Symmetry)>,
    prng: Prng,
    set: usize,
    /// The last one as it was drawn.
    drawn: Vec<(Kind, usize)>,
}

/// Draws scenarios. Most keep a random start of the one before, so that runs can share it; seen alone, each is uniform
/// in its choices.
pub fn sample(options: &TwinsOptions, mut seed: u64) -> Sample {
    let symmetries = twin_sets(options)
        .into_iter()
        .map(|twins| {
            let symmetry = Symmetry::new(options, &twins);
            (twins, symmetry)
        })
        .collect();
    Sample {
        options: options.clone(),
        symmetries,
        prng: Prng::new(split_mix(&mut seed)),
        set: 0,
        drawn: Vec::new(),
    }
}

impl Iterator for Sample {
    type Item = Scenario;

    fn next(&mut self) -> Option<Scenario> {
        let leaders = self.drawn.iter().filter(|c| c.0 == Kind::Leader).count();
        let kept = match self.drawn.len() {
            // Now and then everything is drawn anew, leaders and twins too.
            0 => 0,
            _ if self.prng.percent(10) => 0,
            // Most of it is kept most often: what is shared need not be run again.
            len => leaders + (0..3).map(|_| self.prng.index(len - leaders)).max().unwrap_or(0),
        };
        if kept == 0 {
            self.set = self.prng.index(self.symmetries.len());
        }
        self.drawn.truncate(kept);
        let (twins, symmetry) = &self.symmetries[self.set];
        while let Some(kind) = next_kind(&self.options, symmetry, self.drawn.iter().copied()) {
            self.drawn.push((kind, self.prng.index(symmetry.choices(kind))));
        }
        Some(spell(&self.options, symmetry, twins, &symmetry.canonical(&self.drawn)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::twins::Crashes;

    fn options(n: u16, views: usize, cuts: usize) -> TwinsOptions {
        TwinsOptions {
            n,
            views,
            groups: 2,
            cuts,
            busy: false,
            crashes: Crashes::None,
            scripted: true,
        }
    }

    #[test]
    fn as_many_as_burnside_counts_and_each_once() {
        let crashes = TwinsOptions {
            busy: true,
            crashes: Crashes::All,
            groups: 3,
            ..options(4, 1, 0)
        };
        let in_turn = TwinsOptions {
            scripted: false,
            ..options(4, 2, 0)
        };
        let spaces = [options(4, 2, 0), options(4, 1, 1), options(7, 1, 0), crashes, in_turn];
        for space in spaces {
            let all: Vec<Scenario> = enumerate(&space).collect();
            let once: BTreeSet<&Scenario> = all.iter().collect();
            assert_eq!(once.len(), all.len(), "{space:?}");
            assert_eq!(all.len() as f64, size(&space).distinct, "{space:?}");
            assert!(all.iter().all(|scenario| scenario.check().is_ok()));
        }
    }

    #[test]
    fn the_least_of_its_names_stands_for_a_scenario() {
        let space = options(4, 2, 0);
        let all: BTreeSet<Scenario> = enumerate(&space).collect();
        // 4 leaders and 16 groupings, twice.
        assert_eq!(size(&space).named, 64.0 * 64.0);
        let drawn: BTreeSet<Scenario> = sample(&space, 1).take(20_000).collect();
        assert!(drawn.is_subset(&all), "a sample is canonical");
        assert!(drawn.len() * 10 > all.len() * 9, "a sample reaches the space");
    }

    #[test]
    fn eight_views_are_counted() {
        let space = TwinsOptions {
            groups: 3,
            busy: true,
            crashes: Crashes::All,
            ..options(7, 8, 1)
        };
        let size = size(&space);
        assert!(size.named / 961.0 < size.distinct && size.distinct < size.named / 959.0);
    }
}
