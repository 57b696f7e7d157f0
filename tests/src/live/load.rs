//! Producers and consumers over a live cluster, with a ledger.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::bail;
use bytes::Bytes;
use roadstead_node::auth::Principal;
use roadstead_proto::v1::{
    Ack, OutgoingMessage, Producer, ReceiveRequest, SendRequest, SettleRequest, Settlement,
    settlement,
};
use tokio::task::JoinHandle;

use super::cluster::{LiveCluster, queue_ref};
use super::host::SESSION_GRACE;
use crate::sim::history::{
    Acknowledged, Action, Answer, Delivered, History, Ms, Sent, Settled, Trouble,
};
use crate::sim::ledger::Ledger;
use crate::sim::oracle::{self, Rules, Violation};

/// The queue under load.
pub const QUEUE: &str = "orders";

/// Its partitions.
pub const PARTITIONS: u32 = 6;

/// Load on a cluster until it is stopped.
pub struct Load {
    ledger: Ledger,
    enough: Arc<AtomicBool>,
    finished: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    producers: Vec<JoinHandle<()>>,
    consumers: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts producers and consumers of [`QUEUE`]; bodies have `padding` bytes beside their name.
    pub fn start(cluster: &Arc<LiveCluster>, padding: usize) -> Self {
        let load = Self {
            ledger: Ledger::default(),
            enough: Arc::default(),
            finished: Arc::default(),
            acknowledged: Arc::default(),
            producers: Vec::new(),
            consumers: Vec::new(),
        };
        // Everything may be troubled in these stories: leases are checked in simulation.
        load.ledger.open().troubles.push(Trouble {
            from: 0,
            to: Ms::MAX,
        });
        let worker = |number| Worker {
            cluster: cluster.clone(),
            ledger: load.ledger.clone(),
            number,
            padding,
            start: Instant::now(),
        };
        let producers = (0..4).map(|number| {
            let (enough, count) = (load.enough.clone(), load.acknowledged.clone());
            tokio::spawn(worker(number).produce(enough, count))
        });
        let consumers =
            (0..4).map(|number| tokio::spawn(worker(number).consume(load.finished.clone())));
        Self {
            producers: producers.collect(),
            consumers: consumers.collect(),
            ..load
        }
    }

    /// Messages acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Waits until so many more messages were acknowledged.
    pub async fn flows(&self, more: u64) -> anyhow::Result<()> {
        let goal = self.acknowledged() + more;
        super::cluster::until("traffic", || {
            let now = self.acknowledged();
            if now >= goal {
                Ok(())
            } else {
                Err(format!("{now} of {goal} acknowledged"))
            }
        })
        .await
    }

    /// Stops, waits until the queue is empty, and says what the ledger holds against the cluster.
    pub async fn stop(self, cluster: &LiveCluster) -> anyhow::Result<Vec<Violation>> {
        self.enough.store(true, Ordering::Relaxed);
        for producer in self.producers {
            if tokio::time::timeout(super::cluster::PATIENCE, producer)
                .await
                .is_err()
            {
                bail!("a producer did not get its messages acknowledged");
            }
        }
        cluster.until_empty(QUEUE).await?;
        self.finished.store(true, Ordering::Relaxed);
        for consumer in self.consumers {
            consumer.await?;
        }
        let rules = Rules {
            session_grace: Ms::try_from(SESSION_GRACE.as_millis()).unwrap_or(Ms::MAX),
            dead_queue: "none",
            max_deliveries: 1_000,
        };
        let history: History = self.ledger.open().clone();
        Ok(oracle::check(&history, rules))
    }
}

struct Worker {
    cluster: Arc<LiveCluster>,
    ledger: Ledger,
    number: u64,
    padding: usize,
    start: Instant,
}

impl Worker {
    fn now(&self) -> Ms {
        Ms::try_from(self.start.elapsed().as_millis()).unwrap_or(Ms::MAX)
    }

    /// Another host each time.
    fn host(&self, turn: u64) -> &super::LiveHost {
        let hosts = self.cluster.hosts.len() as u64;
        let index = usize::try_from((turn + self.number) % hosts).unwrap_or_default();
        &self.cluster.hosts[index]
    }

    async fn produce(self, enough: Arc<AtomicBool>, acknowledged: Arc<AtomicU64>) {
        let mut next = vec![1_u64; PARTITIONS as usize];
        let mut made = 0;
        while !enough.load(Ordering::Relaxed) {
            let partition = (made / 5 % u64::from(PARTITIONS)) as u32;
            let names: Vec<String> = (0..5)
                .map(|n| format!("p{}-{}", self.number, made + n))
                .collect();
            made += 5;
            for name in &names {
                let sent = Sent {
                    queue: QUEUE,
                    partition,
                    key: String::new(),
                };
                self.ledger.open().sent.insert(name.clone(), sent);
            }
            self.send(partition, next[partition as usize], &names).await;
            next[partition as usize] += 5;
            acknowledged.fetch_add(5, Ordering::Relaxed);
        }
    }

    async fn send(&self, partition: u32, first_sequence: u64, names: &[String]) {
        for turn in 0.. {
            let outgoing = names.iter().map(|name| OutgoingMessage {
                body: format!("{name} {}", "x".repeat(self.padding)).into(),
                ..OutgoingMessage::default()
            });
            let request = SendRequest {
                queue: Some(queue_ref(QUEUE)),
                messages: outgoing.collect(),
                producer: Some(Producer {
                    id: format!("p{}", self.number),
                    first_sequence,
                }),
                partition: Some(partition),
                atomic: false,
            };
            let sending = self.host(turn).run(|node| async move {
                node.gateway().send(&Principal::Anonymous, request).await
            });
            if let Ok(Ok(sent)) = sending.await
                && sent.results.len() == names.len()
                && sent.results.iter().all(|result| result.error.is_none())
            {
                let mut history = self.ledger.open();
                for (name, result) in names.iter().zip(sent.results) {
                    history.acknowledged.push(Acknowledged {
                        body: name.clone(),
                        message_id: result.message_id,
                        sequence: result.sequence,
                    });
                }
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn consume(self, finished: Arc<AtomicBool>) {
        let mut turn = 0;
        while !finished.load(Ordering::Relaxed) {
            turn += 1;
            let request = ReceiveRequest {
                queue: Some(queue_ref(QUEUE)),
                max_messages: 50,
                wait: Some(prost_types::Duration {
                    seconds: 0,
                    nanos: 200_000_000,
                }),
                ..ReceiveRequest::default()
            };
            let receiving = self.host(turn).run(|node| async move {
                node.gateway().receive(&Principal::Anonymous, request).await
            });
            let Ok(Ok(received)) = receiving.await else {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            let receipts: Vec<Bytes> = received
                .deliveries
                .iter()
                .map(|delivery| delivery.receipt.clone())
                .collect();
            for delivery in received.deliveries {
                self.note(&delivery);
            }
            if !receipts.is_empty() {
                self.ack(receipts, turn).await;
            }
        }
    }

    fn note(&self, delivery: &roadstead_proto::v1::Delivery) {
        let body = String::from_utf8_lossy(&delivery.body).into_owned();
        let name = body.split(' ').next().unwrap_or_default().to_owned();
        self.ledger.open().delivered.push(Delivered {
            at: self.now(),
            queue: QUEUE,
            partition: delivery.partition,
            sequence: delivery.sequence,
            message_id: delivery.message_id.clone(),
            body: name,
            key: delivery.ordering_key.clone(),
            receipt: delivery.receipt.to_vec(),
            count: delivery.delivery_count,
            remaining_ms: 0,
            session: String::new(),
        });
    }

    async fn ack(&self, receipts: Vec<Bytes>, turn: u64) {
        let first = {
            let mut history = self.ledger.open();
            let first = history.settled.len();
            history
                .settled
                .extend(receipts.iter().map(|receipt| Settled {
                    queue: QUEUE,
                    receipt: receipt.to_vec(),
                    action: Action::Ack,
                    asked_at: self.now(),
                    answer: Answer::Unknown,
                }));
            first
        };
        let settlements = receipts.into_iter().map(|receipt| Settlement {
            receipt,
            action: Some(settlement::Action::Ack(Ack {})),
        });
        let request = SettleRequest {
            queue: Some(queue_ref(QUEUE)),
            settlements: settlements.collect(),
        };
        let settling = self
            .host(turn)
            .run(|node| async move { node.gateway().settle(&Principal::Anonymous, request).await });
        if let Ok(Ok(settled)) = settling.await {
            let mut history = self.ledger.open();
            for (place, result) in settled.results.iter().enumerate() {
                history.settled[first + place].answer = match &result.error {
                    None => Answer::Done,
                    Some(error) if error.code == tonic::Code::NotFound as i32 => Answer::Stale,
                    Some(_) => Answer::Unknown,
                };
            }
        }
    }
}
