//! Congestion control: the configured algorithm, and a way to say goodbye while it says wait.
//!
//! Quinn 0.11 sends the closing packet only when the congestion window has room, if anything else is pending; and a
//! closed connection processes no more acknowledgements, so the room never comes. A peer that is closed because it is
//! too far behind, of all things, would learn nothing and wait for its idle timeout. So the window is lifted first.

use crate::{Congestion, TransportConfig};
use quinn::congestion::{BbrConfig, Controller, ControllerFactory, ControllerMetrics, CubicConfig, NewRenoConfig};
use quinn_proto::RttEstimator;
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

/// Above 2^32, so that pacing does not apply either.
const LIFTED_WINDOW_BYTES: u64 = 1 << 40;

/// Datagrams of the first flight, as of RFC 9002, but of the size that discovery may try: a probe for jumbo datagrams
/// would otherwise use up the window and hold up the first frames.
const INITIAL_DATAGRAMS: u64 = 10;

/// The factory of the configured algorithm.
pub(crate) fn factory(config: &TransportConfig) -> Arc<dyn ControllerFactory + Send + Sync + 'static> {
    let initial = INITIAL_DATAGRAMS * u64::from(config.mtu_upper_bound);
    let inner: Arc<dyn ControllerFactory + Send + Sync> = match config.congestion {
        Congestion::Cubic => {
            let mut cubic = CubicConfig::default();
            cubic.initial_window(initial);
            Arc::new(cubic)
        }
        Congestion::Bbr => {
            let mut bbr = BbrConfig::default();
            bbr.initial_window(initial.max(200 * 1_200));
            Arc::new(bbr)
        }
        Congestion::NewReno => {
            let mut reno = NewRenoConfig::default();
            reno.initial_window(initial);
            Arc::new(reno)
        }
    };
    Arc::new(Factory { inner })
}

/// Lets the closing packet of this connection out, whatever is in flight. Nothing but that packet follows.
pub(crate) fn lift(connection: &quinn::Connection) {
    // The copy shares the mark with the controller that is in use.
    if let Ok(controller) = connection.congestion_state().into_any().downcast::<Lifted>() {
        controller.closing.store(true, Relaxed);
    }
}

struct Factory {
    inner: Arc<dyn ControllerFactory + Send + Sync>,
}

impl ControllerFactory for Factory {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        Box::new(Lifted {
            inner: self.inner.clone().build(now, current_mtu),
            closing: Arc::default(),
        })
    }
}

/// A controller whose window can be lifted.
struct Lifted {
    inner: Box<dyn Controller>,
    closing: Arc<AtomicBool>,
}

impl Controller for Lifted {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.inner.on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool, rtt: &RttEstimator) {
        self.inner.on_ack(now, sent, bytes, app_limited, rtt);
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool, largest_packet_num_acked: Option<u64>) {
        self.inner
            .on_end_acks(now, in_flight, app_limited, largest_packet_num_acked);
    }

    fn on_congestion_event(&mut self, now: Instant, sent: Instant, is_persistent_congestion: bool, lost_bytes: u64) {
        self.inner
            .on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.inner.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        if self.closing.load(Relaxed) {
            LIFTED_WINDOW_BYTES
        } else {
            self.inner.window()
        }
    }

    fn metrics(&self) -> ControllerMetrics {
        self.inner.metrics()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Self {
            inner: self.inner.clone_box(),
            closing: self.closing.clone(),
        })
    }

    fn initial_window(&self) -> u64 {
        self.inner.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
