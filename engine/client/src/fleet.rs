//! Clients in several regions in one process: a [`Driver`] for each region, behind the functions of one.

use std::sync::Arc;
use std::task::{Context, Poll};

use trireme_config::{ClientKeys, Cluster};
use trireme_core::quorum::MemberSet;
use trireme_core::types::MemberId;
use trireme_transport::wan::{Live, Place, Spot};

use crate::driver::Driver;
use crate::error::{ConnectError, SubmitError};
use crate::exchange::{Completion, Counters};
use crate::options::Options;

/// Drivers of one process, one for each region with clients; just one without an emulated network. Identity `i` is in
/// the region `i mod regions`, and has connections of that region.
pub struct Fleet {
    drivers: Vec<Driver>,
    identities: u32,
}

impl Fleet {
    /// Connects. With a network, its clients' regions are those of the identities, in turn.
    ///
    /// # Errors
    ///
    /// [`ConnectError`]; a network of another cluster is a `Setup` error.
    pub async fn connect(
        cluster: &Cluster,
        keys: &ClientKeys,
        options: Options,
        network: Option<&Arc<Live>>,
    ) -> Result<Self, ConnectError> {
        let identities = u32::try_from(keys.clients.len()).map_err(|_| setup("too many identities"))?;
        let Some(live) = network else {
            let drivers = vec![Driver::connect(cluster, keys, options).await?];
            return Ok(Self { drivers, identities });
        };
        let regions = live.network().clients().to_vec();
        let count = regions.len().min(keys.clients.len());
        if count == 0 {
            return Err(setup("the network has no region with clients"));
        }
        let mut drivers = Vec::with_capacity(count);
        for (index, region) in regions[..count].iter().enumerate() {
            let own = ClientKeys {
                clients: keys.clients.iter().skip(index).step_by(count).cloned().collect(),
                tls: keys.tls.clone(),
            };
            let addresses = cluster.members.iter().map(|member| member.client_address).collect();
            let spot = Spot::new(live.clone(), Place::Clients(*region), addresses);
            let spot = spot.map_err(|error| setup(&error.to_string()))?;
            drivers.push(Driver::connect_from(cluster, &own, options, Some(spot)).await?);
        }
        Ok(Self { drivers, identities })
    }

    /// Number of identities.
    pub fn identities(&self) -> u32 {
        self.identities
    }

    /// The driver of an identity, and the identity's place there.
    fn driver_of(&self, identity: u32) -> (usize, u32) {
        let count = u32::try_from(self.drivers.len()).expect("no more drivers than identities");
        ((identity % count) as usize, identity / count)
    }

    /// See [`Driver::room`].
    pub fn room(&self, identity: u32) -> usize {
        let (driver, own) = self.driver_of(identity);
        self.drivers[driver].room(own)
    }

    /// See [`Driver::home`].
    pub fn home(&self, identity: u32) -> MemberId {
        let (driver, own) = self.driver_of(identity);
        self.drivers[driver].home(own)
    }

    /// The replicas to which every region is connected.
    pub fn connected(&self) -> MemberSet {
        let mut all = self.drivers[0].connected();
        for driver in &self.drivers[1..] {
            let own = driver.connected();
            all.iter()
                .filter(|member| !own.contains(*member))
                .for_each(|member| all.remove(member));
        }
        all
    }

    /// Sums over all regions. See [`Driver::counters`].
    pub fn counters(&self) -> Counters {
        self.drivers
            .iter()
            .map(Driver::counters)
            .fold(Counters::default(), Counters::plus)
    }

    /// See [`Driver::submit`].
    ///
    /// # Errors
    ///
    /// Those of [`Driver::submit`].
    ///
    /// # Panics
    ///
    /// As [`Driver::submit`].
    pub fn submit<P: AsRef<[u8]>>(&mut self, identity: u32, payloads: &[P], tag: u64) -> Result<u64, SubmitError> {
        let (driver, own) = self.driver_of(identity);
        self.drivers[driver].submit(own, payloads, tag)
    }

    /// Completions that have come; their identities are those of the fleet.
    pub fn completions(&mut self) -> impl Iterator<Item = Completion> + use<'_> {
        let count = u32::try_from(self.drivers.len()).expect("no more drivers than identities");
        (0..count).zip(&mut self.drivers).flat_map(move |(index, driver)| {
            driver.completions().map(move |completion| Completion {
                identity: completion.identity * count + index,
                ..completion
            })
        })
    }

    /// Moves everything on. Ready when there are completions to take.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let ready = self
            .drivers
            .iter_mut()
            .filter_map(|driver| driver.poll(cx).is_ready().then_some(()));
        if ready.count() > 0 {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// Ends all outstanding requests and closes the connections.
    pub fn close(&mut self) {
        self.drivers.iter_mut().for_each(Driver::close);
    }
}

fn setup(why: &str) -> ConnectError {
    ConnectError::Setup(why.to_owned())
}
