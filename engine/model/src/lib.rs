#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod canonical;
pub mod config;
pub mod configs;
pub mod explore;
pub mod lanes;
pub mod model;
pub mod safe_tip;
pub mod state;
pub mod trace;

mod certificates;
mod oracle;
mod rules;
