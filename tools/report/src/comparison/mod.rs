//! A comparison of systems: its data, its statistics, its page. `trireme compare` fills it; its JSON form can be drawn
//! again without running anything.

mod model;
mod page;
mod sections;
mod spread;

pub use model::{
    Comparison, Does, Machine, PointKind, Price, RunFigures, SCHEMA, Setting, StepFigures, SystemFigures, Verdict,
};
pub use page::comparison_page;
pub use spread::{Spread, summarise};
