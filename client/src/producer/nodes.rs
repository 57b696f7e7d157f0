//! The streams of one producer: which node each partition's batches go to, and how far it takes
//! them. Without clock or network of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::link::Link;
use crate::backoff::Backoff;

/// The first stream to a node may take so long to open before others forward in its place.
const OPENING: Duration = Duration::from_millis(100);

/// An address and the stream to it, or when to try again.
#[derive(Debug)]
struct Node<L> {
    stream: Option<Stream<L>>,
    in_flight: BTreeSet<u64>,
    /// Streams that were lost in a row.
    failures: u32,
    retry_at: Option<Instant>,
}

#[derive(Debug)]
struct Stream<L> {
    number: u64,
    link: L,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The server has not answered on it yet; until then it is waited for.
    Opening { patient_until: Option<Instant> },
    /// The server takes so many bytes more.
    Open { credit: u64 },
}

/// All of them, by address.
#[derive(Debug)]
pub(crate) struct Nodes<L = Link>(BTreeMap<String, Node<L>>);

impl<L> Default for Nodes<L> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<L> Nodes<L> {
    /// Forgets nodes that are not wanted and have nothing in flight; while a wanted one is not
    /// open yet, those that are open stay, to forward. Returns the addresses that lack a stream.
    pub fn want(&mut self, wanted: &BTreeSet<String>, now: Instant) -> Vec<String> {
        let settled = wanted
            .iter()
            .all(|address| self.0.get(address).is_some_and(Node::is_open));
        self.0.retain(|address, node| {
            wanted.contains(address) || !node.in_flight.is_empty() || (node.is_open() && !settled)
        });
        let lacking = |address: &&String| {
            let node = self.0.get(*address);
            node.is_none_or(|node| {
                node.stream.is_none() && node.retry_at.is_none_or(|at| at <= now)
            })
        };
        wanted.iter().filter(lacking).cloned().collect()
    }

    /// A stream to the address is being opened.
    pub fn opening(&mut self, address: &str, (number, link): (u64, L), now: Instant) {
        let node = self.0.entry(address.to_owned()).or_default();
        let patient_until = (node.failures == 0).then(|| now + OPENING);
        node.stream = Some(Stream {
            number,
            link,
            state: State::Opening { patient_until },
        });
        node.retry_at = None;
    }

    /// No stream can be opened; it is tried again at `retry_at`.
    pub fn failed(&mut self, address: &str, retry_at: Instant) {
        self.0.entry(address.to_owned()).or_default().retry_at = Some(retry_at);
    }

    /// The server takes `bytes` more on a stream; gives the address.
    pub fn credit(&mut self, number: u64, bytes: u64) -> Option<&String> {
        let (address, node) = self.find(number)?;
        let stream = node.stream.as_mut()?;
        let credit = stream.state.credit() + bytes;
        stream.state = State::Open { credit };
        node.failures = 0;
        Some(address)
    }

    /// A batch is in flight no more.
    pub fn landed(&mut self, batch: u64) {
        for node in self.0.values_mut() {
            node.in_flight.remove(&batch);
        }
    }

    /// A stream is over: its address, and what was in flight on it.
    pub fn lost(&mut self, number: u64, now: Instant) -> Option<(String, BTreeSet<u64>)> {
        let (address, node) = self.find(number)?;
        node.stream = None;
        node.failures += 1;
        node.retry_at = Some(now + Backoff::CONNECT.wait(node.failures));
        Some((address.clone(), std::mem::take(&mut node.in_flight)))
    }

    /// Where a batch whose leader is at `leader` goes: there, once the stream is open. When that
    /// takes long, to any other node whose stream is open, since every node forwards.
    pub fn way(&self, leader: &str, partition: u32, now: Instant) -> Option<&String> {
        if let Some((address, node)) = self.0.get_key_value(leader) {
            if node.is_open() {
                return Some(address);
            }
            if node.patient_until().is_some_and(|until| until > now) {
                return None;
            }
        }
        let open = || self.0.iter().filter(|(_, node)| node.is_open());
        let turn = (partition as usize).checked_rem(open().count())?;
        open().nth(turn).map(|(address, _)| address)
    }

    /// The stream to the address is open.
    pub fn is_open(&self, address: &str) -> bool {
        self.0.get(address).is_some_and(Node::is_open)
    }

    /// Whether a batch of so many bytes may go to the address now. One that is larger than all the
    /// credit goes when nothing else is in flight.
    pub fn takes(&self, address: &str, bytes: u64) -> bool {
        self.0.get(address).is_some_and(|node| {
            let credit = node
                .stream
                .as_ref()
                .map_or(0, |stream| stream.state.credit());
            credit > 0 && (credit >= bytes || node.in_flight.is_empty())
        })
    }

    /// Notes that a batch goes to the address; the stream to send it on.
    pub fn dispatch(&mut self, address: &str, batch: u64, bytes: u64) -> Option<&L> {
        let node = self.0.get_mut(address)?;
        let stream = node.stream.as_mut()?;
        if let State::Open { credit } = &mut stream.state {
            *credit = credit.saturating_sub(bytes);
        }
        node.in_flight.insert(batch);
        Some(&stream.link)
    }

    /// Whether a batch is on its way by a stream to this address.
    pub fn carries(&self, address: &str, batch: u64) -> bool {
        let node = self.0.get(address);
        node.is_some_and(|node| node.in_flight.contains(&batch))
    }

    /// When streams are to be opened again.
    pub fn retries(&self) -> impl Iterator<Item = Instant> {
        self.0.values().filter_map(|node| node.retry_at)
    }

    /// When those that are being opened take long.
    pub fn patience(&self) -> impl Iterator<Item = Instant> {
        self.0.values().filter_map(Node::patient_until)
    }

    fn find(&mut self, number: u64) -> Option<(&String, &mut Node<L>)> {
        let mut nodes = self.0.iter_mut();
        nodes.find(|(_, node)| {
            node.stream
                .as_ref()
                .is_some_and(|stream| stream.number == number)
        })
    }
}

impl<L> Default for Node<L> {
    fn default() -> Self {
        Self {
            stream: None,
            in_flight: BTreeSet::new(),
            failures: 0,
            retry_at: None,
        }
    }
}

impl<L> Node<L> {
    fn is_open(&self) -> bool {
        let state = self.stream.as_ref().map(|stream| &stream.state);
        matches!(state, Some(State::Open { .. }))
    }

    fn patient_until(&self) -> Option<Instant> {
        match self.stream.as_ref()?.state {
            State::Opening { patient_until } => patient_until,
            State::Open { .. } => None,
        }
    }
}

impl State {
    /// Bytes that the server takes more; none before it has answered.
    fn credit(&self) -> u64 {
        match self {
            Self::Opening { .. } => 0,
            Self::Open { credit } => *credit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(addresses: &[&str]) -> BTreeSet<String> {
        addresses.iter().map(|one| (*one).to_owned()).collect()
    }

    /// Streams to `a` (number 1) and `b` (number 2), of which only `a` is open.
    fn half_open() -> Nodes<()> {
        let mut nodes = Nodes::default();
        let past = Instant::now().checked_sub(OPENING).unwrap();
        nodes.opening("a", (1, ()), past);
        nodes.opening("b", (2, ()), past);
        assert_eq!(nodes.credit(1, 100).map(String::as_str), Some("a"));
        nodes
    }

    #[test]
    fn another_node_forwards_until_the_stream_to_the_leader_is_open() {
        let mut nodes = half_open();
        let way = |nodes: &Nodes<()>| nodes.way("b", 0, Instant::now()).cloned();
        assert_eq!(way(&nodes).as_deref(), Some("a"));
        nodes.credit(2, 0);
        assert_eq!(way(&nodes).as_deref(), Some("b"));
        assert!(
            !nodes.takes("b", 1),
            "it is open and full: that is not gone around"
        );
        nodes.lost(2, Instant::now());
        assert_eq!(way(&nodes).as_deref(), Some("a"));
        nodes.lost(1, Instant::now());
        assert_eq!(way(&nodes), None);
    }

    #[test]
    fn a_stream_that_opens_for_the_first_time_is_waited_for() {
        let (mut nodes, now) = (half_open(), Instant::now());
        nodes.opening("c", (3, ()), now);
        assert_eq!(nodes.way("c", 0, now), None);
        let later = nodes.patience().max().unwrap();
        assert_eq!(nodes.way("c", 0, later).map(String::as_str), Some("a"));
        nodes.lost(3, now);
        assert!(nodes.way("c", 0, now).is_some(), "it broke");
        nodes.opening("c", (4, ()), now);
        assert!(nodes.way("c", 0, now).is_some(), "it may break again");
    }

    #[test]
    fn what_forwards_stays_until_every_leader_is_open() {
        let (mut nodes, now) = (half_open(), Instant::now());
        assert!(nodes.want(&wanted(&["b"]), now).is_empty());
        assert!(nodes.is_open("a"));
        nodes.credit(2, 10);
        assert_eq!(nodes.want(&wanted(&["b", "c"]), now), ["c"]);
        assert!(nodes.is_open("a"), "c is not open");
        assert!(nodes.want(&wanted(&["b"]), now).is_empty());
        assert!(!nodes.is_open("a"));
    }

    #[test]
    fn what_is_in_flight_keeps_its_stream_and_is_given_back_with_it() {
        let (mut nodes, now) = (half_open(), Instant::now());
        assert!(
            nodes.takes("a", 1_000),
            "larger than all the credit, and alone"
        );
        assert!(nodes.dispatch("a", 7, 60).is_some());
        assert!(!nodes.takes("a", 1_000) && nodes.takes("a", 40));
        assert!(nodes.carries("a", 7));
        nodes.want(&wanted(&["b"]), now);
        let (address, batches) = nodes.lost(1, now).unwrap();
        assert_eq!((address.as_str(), batches), ("a", [7].into()));
        assert!(nodes.want(&wanted(&["a"]), now).is_empty(), "not at once");
        let later = nodes.retries().min().unwrap();
        assert_eq!(nodes.want(&wanted(&["a"]), later), ["a"]);
    }
}
