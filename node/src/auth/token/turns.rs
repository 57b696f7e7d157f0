//! Whose review may run: a bounded number, and of one address a quarter of that.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// Reviews that may run at the same time; more wait.
const MAX_REVIEWS: usize = 16;
/// Of these, for callers at one address: random tokens leave room for those of others.
const MAX_OF_ADDRESS: usize = MAX_REVIEWS / 4;

/// Gives turns in the order in which they are asked for, at each address and over all.
pub struct Turns {
    all: Arc<Semaphore>,
    addresses: Mutex<BTreeMap<IpAddr, Place>>,
}

/// What callers at one address have.
struct Place {
    own: Arc<Semaphore>,
    /// How many wait or have their turn; without any the place is forgotten.
    users: usize,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            all: Arc::new(Semaphore::new(MAX_REVIEWS)),
            addresses: Mutex::default(),
        }
    }
}

impl Turns {
    /// Waits for a turn of a caller at this address.
    pub async fn take(self: Arc<Self>, address: IpAddr) -> Result<Turn, AcquireError> {
        let (all, visit) = (Arc::clone(&self.all), self.visit(address));
        Ok(Turn {
            // Only who has a place at its address waits with the others.
            _own: Arc::clone(&visit.own).acquire_owned().await?,
            _one: all.acquire_owned().await?,
            _visit: visit,
        })
    }

    fn visit(self: Arc<Self>, address: IpAddr) -> Visit {
        // A listener for both sees addresses of IPv4 in the clothes of IPv6.
        let address = address.to_canonical();
        let mut addresses = self.lock();
        let place = addresses.entry(address).or_insert_with(|| Place {
            own: Arc::new(Semaphore::new(MAX_OF_ADDRESS)),
            users: 0,
        });
        place.users += 1;
        let own = Arc::clone(&place.own);
        drop(addresses);
        Visit {
            turns: self,
            address,
            own,
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<IpAddr, Place>> {
        self.addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends when it is dropped.
pub struct Turn {
    _own: OwnedSemaphorePermit,
    _one: OwnedSemaphorePermit,
    _visit: Visit,
}

/// One use of an address's place.
struct Visit {
    turns: Arc<Turns>,
    address: IpAddr,
    own: Arc<Semaphore>,
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut addresses = self.turns.lock();
        if let Some(place) = addresses.get_mut(&self.address) {
            place.users -= 1;
            if place.users == 0 {
                addresses.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use futures_util::FutureExt;

    use super::*;

    /// A turn, when there is one now.
    fn take(turns: &Arc<Turns>, address: impl Into<IpAddr>) -> Option<Turn> {
        let turn = Arc::clone(turns).take(address.into()).now_or_never()?;
        Some(turn.unwrap())
    }

    #[test]
    fn an_address_has_a_quarter_and_is_forgotten_after_its_last_turn() {
        let turns = Arc::new(Turns::default());
        let at = |last| Ipv4Addr::new(10, 0, 0, last);
        let mut held: Vec<_> = (0..4).map(|_| take(&turns, at(1)).unwrap()).collect();
        assert!(take(&turns, at(1)).is_none() && take(&turns, at(1).to_ipv6_mapped()).is_none());
        for last in 2..=4 {
            held.extend((0..4).map(|_| take(&turns, at(last)).unwrap()));
        }
        assert!(take(&turns, at(5)).is_none(), "sixteen over all");
        assert_eq!(turns.lock().len(), 4);
        drop(held.pop());
        assert!(take(&turns, at(5)).is_some());
        held.clear();
        assert!(turns.lock().is_empty());
    }
}
