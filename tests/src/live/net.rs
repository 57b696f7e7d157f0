//! Links in memory between the nodes of one process.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use roadstead_node::transport::{Lane, Link, Transport};
use tokio::sync::mpsc;

/// Frames that a link holds on each side.
const BUFFER: usize = 64;

/// Takes the far end of a link that was dialled.
pub type Accept = Arc<dyn Fn(Link) + Send + Sync>;

/// Who listens where; clones are the same.
#[derive(Clone, Default)]
pub struct LiveNet(Arc<Mutex<BTreeMap<String, Accept>>>);

impl LiveNet {
    fn listeners(&self) -> MutexGuard<'_, BTreeMap<String, Accept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Links to `address` go to `accept` from now on.
    pub fn listen(&self, address: &str, accept: Accept) {
        self.listeners().insert(address.to_owned(), accept);
    }

    /// Nobody listens at `address` any more.
    pub fn unlisten(&self, address: &str) {
        self.listeners().remove(address);
    }
}

impl Transport for LiveNet {
    fn dial(
        &self,
        address: &str,
        _lane: Lane,
    ) -> Pin<Box<dyn Future<Output = io::Result<Link>> + Send + '_>> {
        let accept = self.listeners().get(address).cloned();
        Box::pin(async move {
            let accept = accept.ok_or(io::ErrorKind::ConnectionRefused)?;
            let (near_sender, far_receiver) = mpsc::channel(BUFFER);
            let (far_sender, near_receiver) = mpsc::channel(BUFFER);
            accept(Link {
                sender: far_sender,
                receiver: far_receiver,
            });
            Ok(Link {
                sender: near_sender,
                receiver: near_receiver,
            })
        })
    }
}
