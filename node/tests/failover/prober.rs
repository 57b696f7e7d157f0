//! One prober per partition: it sends one message after the other, to whichever node answers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use roadstead_proto::v1::message_service_client::MessageServiceClient;
use roadstead_proto::v1::{OutgoingMessage, Producer, SendRequest};
use tokio::task::JoinHandle;
use tonic::Request;
use tonic::transport::Channel;

use super::process::{Cluster, probes};

/// Between an answer and the next message.
const PAUSE: Duration = Duration::from_millis(5);
/// A try that takes longer is made at another node.
const TRY: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_mins(2);

/// When each message of a partition was acknowledged.
type Answers = Arc<Mutex<Vec<Instant>>>;

/// All probers.
pub struct Probers {
    answers: Vec<Answers>,
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Probers {
    /// One for each partition.
    pub fn start(cluster: &Cluster, partitions: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let answers: Vec<Answers> = (0..partitions).map(|_| Answers::default()).collect();
        let tasks = answers.iter().zip(0..).map(|(answers, partition)| {
            let probe = Probe {
                nodes: cluster.channels(),
                partition,
                answers: answers.clone(),
                stop: stop.clone(),
            };
            tokio::spawn(probe.run())
        });
        let tasks = tasks.collect();
        Self {
            answers,
            stop,
            tasks,
        }
    }

    /// When each message was acknowledged, per partition.
    pub fn answers(&self) -> Vec<Vec<Instant>> {
        let copy = |answers: &Answers| answers.lock().unwrap().clone();
        self.answers.iter().map(copy).collect()
    }

    /// Waits until every partition has answered from now on.
    pub async fn wait_until_answered(&self) {
        let now = Instant::now();
        let fresh = |answers: &Answers| answers.lock().unwrap().last().is_some_and(|at| *at > now);
        while !self.answers.iter().all(fresh) {
            assert!(now.elapsed() < PATIENCE, "a partition does not answer");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Ends them; returns how many messages were acknowledged.
    pub async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        let count = |answers: &Answers| answers.lock().unwrap().len() as u64;
        self.answers.iter().map(count).sum()
    }
}

struct Probe {
    nodes: Vec<Channel>,
    partition: u32,
    answers: Answers,
    stop: Arc<AtomicBool>,
}

impl Probe {
    /// A number that was sent is sent until it is acknowledged.
    async fn run(mut self) {
        let mut sequence = 1;
        while !self.stop.load(Ordering::Relaxed) {
            while !self.send(sequence).await {
                self.nodes.rotate_left(1);
                tokio::time::sleep(PAUSE).await;
            }
            self.answers.lock().unwrap().push(Instant::now());
            sequence += 1;
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn send(&self, sequence: u64) -> bool {
        let mut request = Request::new(SendRequest {
            queue: Some(probes()),
            messages: vec![OutgoingMessage {
                body: vec![b'x'; 1_024].into(),
                ..OutgoingMessage::default()
            }],
            producer: Some(Producer {
                id: format!("prober-{}", self.partition),
                first_sequence: sequence,
            }),
            partition: Some(self.partition),
            atomic: false,
        });
        request.set_timeout(TRY);
        let mut node = MessageServiceClient::new(self.nodes[0].clone());
        match tokio::time::timeout(TRY, node.send(request)).await {
            Ok(Ok(answer)) => answer
                .into_inner()
                .results
                .iter()
                .all(|sent| sent.error.is_none()),
            _ => false,
        }
    }
}

/// The longest time without an answer that a kill at `at` caused in any partition.
pub fn gap_around(at: Instant, answers: &[Vec<Instant>]) -> Duration {
    let longest = |answers: &Vec<Instant>| {
        let pairs = answers.windows(2).filter(|pair| pair[1] > at);
        pairs.map(|pair| pair[1] - pair[0]).max()
    };
    answers.iter().filter_map(longest).max().unwrap_or_default()
}
