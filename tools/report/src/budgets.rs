//! Where the time goes, and the signatures.

use crate::plot::{Part, Plot, Series, bars};
use crate::read::{Budget, Run};
use crate::scale::{Kind, number};
use crate::tables::table;

/// What the stages leave open; a share of the whole that is not worth a word.
const BETWEEN: &str = "between the stages";
const NOTHING: f64 = 0.005;

/// The latency budget of each run that knows its stages or its floor.
pub(crate) fn latency(runs: &[Run]) -> String {
    let mut out = String::new();
    for run in runs {
        let Some(budget) = &run.budget else { continue };
        if budget.floor.is_none() && budget.stages.is_empty() {
            continue;
        }
        out.push_str(&one(run, budget));
    }
    out
}

fn one(run: &Run, budget: &Budget) -> String {
    let ms = |us: f64| us / 1e3;
    let mut rows = Vec::new();
    let mut cells = Vec::new();
    if !budget.stages.is_empty() {
        let known: f64 = budget.stages.iter().map(|(_, us)| us).sum();
        // What the replica saw beyond its stages, and what lies outside of it: ways, replies, the client itself.
        let total = budget.total.unwrap_or(known).max(known);
        let mut all: Vec<(String, f64)> = budget.stages.clone();
        if total - known > NOTHING * total {
            all.push((BETWEEN.to_owned(), total - known));
        }
        all.push((
            "ways to and from the replica, client".to_owned(),
            (budget.client_mean - total).max(0.0),
        ));
        let whole: f64 = all.iter().map(|(_, us)| us).sum();
        let parts = all.iter().enumerate().map(|(colour, (name, us))| Part {
            name: name.clone(),
            value: ms(*us),
            colour,
        });
        rows.push((
            format!("mean of an operation: {} ms", number(ms(whole))),
            parts.collect(),
        ));
        cells = all
            .iter()
            .map(|(name, us)| {
                vec![
                    name.clone(),
                    number(ms(*us)),
                    format!("{:.0} %", us / whole.max(1e-9) * 100.0),
                ]
            })
            .collect();
    }
    if let Some(floor) = budget.floor {
        rows.push((
            format!("median of an operation: {} ms", number(ms(budget.client_p50))),
            vec![
                Part {
                    name: "physical floor".to_owned(),
                    value: ms(floor.min(budget.client_p50)),
                    colour: 5,
                },
                Part {
                    name: "above the floor".to_owned(),
                    value: ms((budget.client_p50 - floor).max(0.0)),
                    colour: 1,
                },
            ],
        ));
    }
    let names: Vec<&str> = cells.iter().map(|row| row[0].as_str()).collect();
    let key = legend(&names);
    let mut out = format!("<h3>{}</h3>", crate::page::escape(&run.name));
    if let Some(floor) = budget.floor {
        out.push_str(&format!(
            "<p class=figure><b>{:.2}</b> times the physical floor: median {} ms, floor {} ms</p>",
            budget.client_p50 / floor.max(1e-9),
            number(ms(budget.client_p50)),
            number(ms(floor))
        ));
    }
    let mark = budget.floor.map(|us| (ms(us), "floor"));
    out.push_str(&bars("Latency budget", "milliseconds", &rows, mark));
    if !cells.is_empty() {
        let names = ["stage", "mean (ms)", "share"];
        out.push_str(&key);
        out.push_str(&table(&names, &cells));
    }
    if !budget.floor_by_region.is_empty() {
        let rows: Vec<_> = budget
            .floor_by_region
            .iter()
            .map(|(region, us)| vec![region.clone(), number(ms(*us))])
            .collect();
        out.push_str(&table(&["region of clients", "physical floor (ms)"], &rows));
    }
    out
}

fn legend(names: &[&str]) -> String {
    let entry = |(colour, name): (usize, &&str)| {
        format!(
            "<span><i class=\"c{} block\"></i>{}</span> ",
            colour % crate::plot::COLOURS,
            crate::page::escape(name)
        )
    };
    let entries = names.iter().enumerate().map(entry);
    format!("<p class=legend>{}</p>", entries.collect::<String>())
}

/// CPU time of the replicas by stage.
pub(crate) fn cpu(runs: &[Run]) -> String {
    let with = |run: &&Run| run.budget.as_ref().is_some_and(|budget| !budget.cpu.is_empty());
    let mut names: Vec<&str> = Vec::new();
    let budgets = || runs.iter().filter(with).filter_map(|run| run.budget.as_ref());
    for (stage, _) in budgets().flat_map(|budget| &budget.cpu) {
        if !names.contains(&stage.as_str()) {
            names.push(stage);
        }
    }
    if names.is_empty() {
        return String::new();
    }
    let mut header = vec!["run"];
    header.extend(&names);
    header.push("all");
    let rows: Vec<Vec<String>> = runs
        .iter()
        .filter(with)
        .map(|run| {
            let cpu = run.budget.as_ref().map_or(&[][..], |budget| &budget.cpu[..]);
            let of = |name: &str| cpu.iter().find(|(stage, _)| stage == name).map(|(_, us)| *us);
            let mut row = vec![run.name.clone()];
            row.extend(names.iter().map(|name| of(name).map_or("-".to_owned(), number)));
            row.push(number(cpu.iter().map(|(_, us)| us).sum()));
            row
        })
        .collect();
    table(&header, &rows)
}

/// Signatures made and verified per operation, by kind, and against n if there are several.
pub(crate) fn signatures(runs: &[Run]) -> String {
    let mut rows = Vec::new();
    for run in runs {
        let Some(signatures) = &run.signatures else { continue };
        for (kind, made, verified) in &signatures.kinds {
            let figure = |value: &Option<f64>| value.map_or("-".to_owned(), number);
            rows.push(vec![
                run.name.clone(),
                run.replicas.map_or("-".to_owned(), |n| n.to_string()),
                kind.clone(),
                figure(made),
                figure(verified),
            ]);
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    let header = [
        "run",
        "n",
        "signatures of",
        "made per operation",
        "verified per operation",
    ];
    against_n(runs) + &table(&header, &rows)
}

fn against_n(runs: &[Run]) -> String {
    let mut sizes: Vec<u64> = runs.iter().filter_map(|run| run.replicas).collect();
    sizes.sort_unstable();
    sizes.dedup();
    if sizes.len() < 2 {
        return String::new();
    }
    let sum = |made: bool| -> Vec<(f64, f64)> {
        let mut points: Vec<(f64, f64)> = runs
            .iter()
            .filter_map(|run| {
                let kinds = &run.signatures.as_ref()?.kinds;
                let figures = kinds.iter().filter_map(|kind| if made { kind.1 } else { kind.2 });
                Some((run.replicas? as f64, figures.sum()))
            })
            .collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        points
    };
    let series = |name: &str, colour, made| Series {
        name: name.to_owned(),
        colour,
        dashed: false,
        dots: true,
        points: sum(made),
    };
    let plot = Plot {
        x: ("replicas n".to_owned(), Kind::Linear),
        y: ("signatures per operation".to_owned(), Kind::Linear),
        height: 260.0,
        series: vec![series("verified", 0, false), series("made", 1, true)],
        levels: Vec::new(),
    };
    plot.draw("Signatures against n")
}
