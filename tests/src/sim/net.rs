//! The network between simulated nodes: links that delay, stall while they are cut, and break.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use openraft_rt::{AsyncRuntime as _, Select2};
use prost::Message as _;
use roadstead_node::transport::{Lane, Link, Transport};
use roadstead_proto::v1::PeerFrame;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::context::{self, count, millis, note, one_in};
use super::process::{self, outside};
use super::runtime::Sim;

/// Frames that a link holds on each side.
const BUFFER: usize = 32;

/// How often a stalled link looks whether it may go on.
const STALL_POLL: Duration = Duration::from_millis(5);

/// Takes the far end of a link that was dialled.
pub type Accept = Arc<dyn Fn(Link) + Send + Sync>;

/// The network; clones are the same.
#[derive(Clone, Default)]
pub struct Net(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    listeners: BTreeMap<String, (usize, Accept)>,
    cuts: BTreeSet<(usize, usize)>,
    /// One frame in so many breaks its link; 0 for none.
    break_one_in: u64,
    calm: bool,
}

impl Net {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on links to `address` end at `host`.
    pub fn listen(&self, address: &str, host: usize, accept: Accept) {
        self.state()
            .listeners
            .insert(address.to_owned(), (host, accept));
    }

    /// Nobody listens at `address` any more.
    pub fn unlisten(&self, address: &str) {
        self.state().listeners.remove(address);
    }

    /// Frames from one host do not reach the other one any more; the other way they still do.
    pub fn cut(&self, from: usize, to: usize) {
        self.state().cuts.insert((from, to));
    }

    /// Ends a cut.
    pub fn heal(&self, from: usize, to: usize) {
        self.state().cuts.remove(&(from, to));
    }

    /// One frame in so many breaks its link; 0 for none.
    pub fn set_break_one_in(&self, frames: u64) {
        self.state().break_one_in = frames;
    }

    /// Ends every cut, and breaks no link any more.
    pub fn calm_down(&self) {
        let mut state = self.state();
        state.cuts.clear();
        state.break_one_in = 0;
        state.calm = true;
    }

    fn is_cut(&self, from: usize, to: usize) -> bool {
        self.state().cuts.contains(&(from, to))
    }

    fn breaks(&self) -> bool {
        let break_one_in = self.state().break_one_in;
        break_one_in > 0 && one_in(break_one_in)
    }

    fn listener(&self, address: &str) -> Option<(usize, Accept)> {
        self.state().listeners.get(address).cloned()
    }

    async fn open(self, from: usize, address: String) -> io::Result<Link> {
        Sim::sleep(delay()).await;
        let Some((to, accept)) = self.listener(&address) else {
            return Err(io::ErrorKind::ConnectionRefused.into());
        };
        while self.is_cut(from, to) || self.is_cut(to, from) {
            Sim::sleep(STALL_POLL).await;
        }
        let broken = CancellationToken::new();
        let (near_sender, near_out) = mpsc::channel(BUFFER);
        let (far_in, far_receiver) = mpsc::channel(BUFFER);
        let (far_sender, far_out) = mpsc::channel(BUFFER);
        let (near_in, near_receiver) = mpsc::channel(BUFFER);
        outside(|| {
            let forth = (from, to, broken.clone());
            drop(process::spawn(self.clone().carry(forth, near_out, far_in)));
            let back = (to, from, broken.clone());
            drop(process::spawn(self.clone().carry(back, far_out, near_in)));
        });
        accept(Link {
            sender: far_sender,
            receiver: far_receiver,
        });
        Ok(Link {
            sender: near_sender,
            receiver: near_receiver,
        })
    }

    /// Carries the frames of one direction until the link breaks.
    async fn carry(
        self,
        (from, to, broken): (usize, usize, CancellationToken),
        mut out: mpsc::Receiver<PeerFrame>,
        into: mpsc::Sender<PeerFrame>,
    ) {
        let carrying = async {
            while let Some(frame) = out.recv().await {
                Sim::sleep(delay()).await;
                let patience = millis(700, 3_000);
                let stalled_since = context::now();
                while self.is_cut(from, to) {
                    if context::now() > stalled_since + patience {
                        return;
                    }
                    Sim::sleep(STALL_POLL).await;
                }
                if self.breaks() {
                    count("link broken");
                    note(format_args!("link {from}→{to} breaks"));
                    return;
                }
                let (messages, bytes) = (frame.messages.len(), frame.encoded_len());
                note(format_args!("frame {from}→{to} {messages} {bytes}"));
                if into.send(frame).await.is_err() {
                    return;
                }
            }
            // The far end of a crashed one finds out later.
            Sim::sleep(millis(0, 20)).await;
        };
        let _ = Sim::select2(pin!(broken.cancelled()), pin!(carrying)).await;
        broken.cancel();
    }
}

/// Most frames take a fraction of a millisecond, a few take long.
fn delay() -> Duration {
    if one_in(200) {
        millis(1, 60)
    } else {
        Duration::from_micros(20 + context::below(300))
    }
}

/// One host's way into the network.
pub struct SimTransport {
    /// The network.
    pub net: Net,
    /// The host that dials.
    pub host: usize,
}

impl Transport for SimTransport {
    fn dial(
        &self,
        address: &str,
        _lane: Lane,
    ) -> Pin<Box<dyn Future<Output = io::Result<Link>> + Send + '_>> {
        Box::pin(self.net.clone().open(self.host, address.to_owned()))
    }
}

/// Waits for `future`, for `patience` at most.
pub async fn within<T: Send>(
    patience: Duration,
    future: impl Future<Output = T> + Send,
) -> Option<T> {
    let sleep = Sim::sleep(patience);
    match Sim::select2(pin!(future), pin!(sleep)).await {
        Select2::First(output) => Some(output),
        Select2::Second(()) => None,
    }
}
