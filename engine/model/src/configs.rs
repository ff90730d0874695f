//! The explorations that this crate stands for.

use crate::config::{Config, Order};

const BASE: Config = Config {
    name: "",
    about: "",
    n: 4,
    f: 1,
    slots: 2,
    views: 2,
    first_view: 0,
    values: 3,
    in_a_view: u8::MAX,
    order: Order::ByView,
    takes_on_entry: false,
    handoff: false,
    crashes: false,
    lanes: false,
    tips_may_miss: false,
    thorough: false,
    bug: None,
};

impl Config {
    /// All of them, quick ones first.
    pub fn all() -> Vec<Config> {
        vec![
            Config {
                name: "narrow",
                about: "two slots, two views and the certificate of the second; any number of rival blocks",
                ..BASE
            },
            Config {
                name: "views",
                about: "one slot in each of three views and their certificates",
                slots: 1,
                views: 3,
                ..BASE
            },
            Config {
                name: "handoff",
                about: "blocks may name a successor, whose view their certificate opens",
                handoff: true,
                values: 1,
                ..BASE
            },
            Config {
                name: "crash",
                about: "memory and disk apart: any replica crashes at any time and comes back with what is durable",
                slots: 2,
                views: 2,
                values: 2,
                crashes: true,
                ..BASE
            },
            Config {
                name: "crash-views",
                about: "the same with one slot over three views and any number of rivals",
                slots: 1,
                views: 3,
                crashes: true,
                ..BASE
            },
            Config {
                name: "lanes",
                about: "blocks order a forked lane of a Byzantine owner who hides a forged request under a good batch",
                views: 1,
                values: 1,
                lanes: true,
                ..BASE
            },
            Config {
                name: "free",
                about: "one slot, two views, every interleaving: nothing is sorted by view",
                slots: 1,
                order: Order::Free,
                ..BASE
            },
            Config {
                name: "future",
                about: "from view 1 on, every interleaving, one block a parent: where a Qc of a later view could come in",
                slots: 3,
                views: 3,
                first_view: 1,
                values: 1,
                in_a_view: 1,
                takes_on_entry: true,
                order: Order::Free,
                ..BASE
            },
            Config {
                name: "six",
                about: "six members: one may be slow without losing the fast path, tau is three",
                n: 6,
                slots: 1,
                ..BASE
            },
            Config {
                name: "across",
                about: "three slots, three views, one acceptance for each replica and view: chains across views",
                slots: 3,
                views: 3,
                in_a_view: 1,
                thorough: true,
                ..BASE
            },
            Config {
                name: "crash-chain",
                about: "crashes over three views with a block on a block, one acceptance for each replica and view",
                views: 3,
                values: 1,
                in_a_view: 1,
                crashes: true,
                thorough: true,
                ..BASE
            },
            Config {
                name: "lane-views",
                about: "lanes over a change of view",
                slots: 1,
                values: 1,
                lanes: true,
                thorough: true,
                ..BASE
            },
            Config {
                name: "rivals",
                about: "handoff with two rivals for each content",
                handoff: true,
                values: 2,
                thorough: true,
                ..BASE
            },
            Config {
                name: "long",
                about: "three slots in each of two views, rivals on different parents or of different views only",
                slots: 3,
                values: 1,
                thorough: true,
                ..BASE
            },
            Config {
                name: "future-two",
                about: "the same as future with two acceptances for each replica and view",
                slots: 3,
                views: 3,
                first_view: 1,
                values: 1,
                in_a_view: 2,
                takes_on_entry: true,
                order: Order::Free,
                thorough: true,
                ..BASE
            },
            Config {
                name: "deep",
                about: "two slots in each of three views, two rivals",
                views: 3,
                values: 2,
                thorough: true,
                ..BASE
            },
        ]
    }
}
