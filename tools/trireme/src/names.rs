//! Words of the command line for the choices of the configuration.

use trireme_config::{AppKind, ClientAuth, Durability, OrderingKind};
use trireme_core::quorum::Quorums;

/// Application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum App {
    /// Versioned keys
    Kv,
    /// Counts and hashes requests
    Null,
}

/// Client signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Auth {
    /// Checked
    Signed,
    /// Not checked
    None,
}

/// Who orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Order {
    /// Byzantine faults are stood
    Trireme,
    /// Crash faults only, by the Raft protocol
    Raft,
}

impl From<Order> for OrderingKind {
    fn from(order: Order) -> Self {
        match order {
            Order::Trireme => OrderingKind::Trireme,
            Order::Raft => OrderingKind::Raft,
        }
    }
}

/// Byzantine replicas that n replicas stand under an ordering, unless said otherwise.
pub(crate) fn default_f(order: Order, n: u16) -> u16 {
    match order {
        Order::Trireme => Quorums::default_f(n),
        Order::Raft => 0,
    }
}

/// Durability.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Durable {
    /// On stable storage before it counts
    Sync,
    /// Written, flushed later
    Async,
    /// Never flushed
    None,
}

/// What is run, or loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum System {
    /// This engine
    #[default]
    Trireme,
    /// etcd, by its own program
    Etcd,
}

impl From<App> for AppKind {
    fn from(app: App) -> Self {
        match app {
            App::Kv => AppKind::Kv,
            App::Null => AppKind::Null,
        }
    }
}

impl From<Auth> for ClientAuth {
    fn from(auth: Auth) -> Self {
        match auth {
            Auth::Signed => ClientAuth::Signed,
            Auth::None => ClientAuth::None,
        }
    }
}

impl From<Durable> for Durability {
    fn from(durable: Durable) -> Self {
        match durable {
            Durable::Sync => Durability::Sync,
            Durable::Async => Durability::Async,
            Durable::None => Durability::None,
        }
    }
}

pub(crate) use trireme_load::duration;

/// Requests per second, or as many as the cluster takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Rate {
    /// Closed loop.
    Max,
    /// Open loop.
    PerSecond(f64),
}

impl From<Rate> for trireme_load::Rate {
    fn from(rate: Rate) -> Self {
        match rate {
            Rate::Max => trireme_load::Rate::Max,
            Rate::PerSecond(rate) => trireme_load::Rate::PerSecond(rate),
        }
    }
}

/// Reads `max` or a number.
pub(crate) fn rate(text: &str) -> Result<Rate, String> {
    match text.parse::<f64>() {
        _ if text == "max" => Ok(Rate::Max),
        Ok(rate) if rate.is_finite() && rate > 0.0 => Ok(Rate::PerSecond(rate)),
        _ => Err("give requests per second, or max".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for bad in ["", "10", "s", "-1s", "1 s", "1d", "1.2.3s", "99999999999999999999999h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn rates_are_positive_or_max() {
        assert_eq!(rate("max"), Ok(Rate::Max));
        assert_eq!(rate("1000"), Ok(Rate::PerSecond(1000.0)));
        for bad in ["", "0", "-5", "inf", "NaN", "fast"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }
}
