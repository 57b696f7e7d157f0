//! Load in pods, and what its ledgers say.
//!
//! Producers are Jobs and consumers are Deployments of the image's own command line, which writes
//! its ledger to standard output. A thread follows the output of every such pod, and the logs of
//! the nodes, into files, so nothing is missing when a pod goes.
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;

use crate::followers::Followers;
use crate::ledger::Ledger;
use crate::manifests::{Client, LOAD_LABEL};
use crate::nodes;
use crate::site::Site;
use crate::until::{Seen, until};

/// The queues of stories with load.
pub const QUEUES: [&str; 4] = ["orders", "payments", "mails", "hooks"];
/// Producers of the load, and consumers too.
const PRODUCERS: usize = 8;
/// Messages per second of each of the producers.
pub const RATE: u32 = 150;
/// Messages per second of a producer that has a number of them to send.
const PACE: &str = "150";
/// The longest that a send may take, with all its attempts.
const SLOWEST: Duration = Duration::from_secs(5);
/// Between two looks for new pods.
const LOOK: Duration = Duration::from_secs(2);
/// What is on its way to a file when all is acked: output is flushed at least every second.
const FLUSH: Duration = Duration::from_secs(2);

/// Folders of what load pods and nodes write.
const LEDGERS: &str = "ledgers";
const NODES: &str = "node-logs";

/// Producers and consumers of one story.
pub struct Load<'a> {
    site: &'a Site<'a>,
    client: Client,
    folder: PathBuf,
    stop: Arc<AtomicBool>,
    follower: Option<JoinHandle<()>>,
}

impl<'a> Load<'a> {
    /// Load from pods of the story's namespace; nothing runs yet.
    pub fn begin(site: &'a Site<'a>) -> Result<Self> {
        let folder = site.story.folder()?;
        let stop = Arc::new(AtomicBool::new(false));
        let labels = [
            (LEDGERS, LOAD_LABEL.to_owned()),
            (NODES, format!("roadstead.dev/cluster={}", site.cluster)),
        ];
        let mut folders = Vec::new();
        for (name, label) in labels {
            let folder = folder.join(name);
            if folder.exists() {
                fs::remove_dir_all(&folder)?;
            }
            fs::create_dir(&folder)?;
            folders.push((label, folder));
        }
        let mut pods = Followers::new(site.story.kubectl(), &site.story.namespace, folders);
        let stopped = Arc::clone(&stop);
        let follower = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                // A look that fails is repeated; what is missing shows as lost, never as good.
                drop(pods.look());
                thread::sleep(LOOK);
            }
        });
        let client = site.client(&site.story.namespace);
        Ok(Self {
            site,
            client,
            folder,
            stop,
            follower: Some(follower),
        })
    }

    /// Four queues over all shards, eight consumers, and eight producers that send for `time`; all
    /// of them are at work when this returns.
    pub fn over_four_queues(site: &'a Site<'a>, time: Duration) -> Result<Self> {
        site.queues(&QUEUES)?;
        let load = Self::begin(site)?;
        load.consumers_everywhere()?;
        for queue in QUEUES {
            load.produce_for(queue, 2, RATE, time)?;
        }
        until("all producers send", Duration::from_mins(1), || {
            let producers = load.ledger()?.producers;
            Ok(Seen::when(
                producers == PRODUCERS,
                (),
                format!("{producers} of {PRODUCERS} do"),
            ))
        })?;
        Ok(load)
    }

    /// Two consumers for each of the four queues, ready.
    pub fn consumers_everywhere(&self) -> Result<()> {
        for queue in QUEUES {
            self.consume(queue, 2)?;
        }
        for queue in QUEUES {
            let deployment = format!("deployment/consume-{queue}");
            self.site
                .story
                .rolled_out(&deployment, Duration::from_mins(2))?;
        }
        Ok(())
    }

    /// Starts a Job `produce-QUEUE` of `pods` producers that send `messages` in all.
    pub fn produce_count(&self, queue: &str, pods: u32, messages: u64) -> Result<()> {
        let count = (messages / u64::from(pods)).to_string();
        self.produce(queue, pods, &["--messages", &count, "--rate", PACE])
    }

    /// Starts a Job `produce-QUEUE` of `pods` producers with `rate` messages/s each.
    pub fn produce_for(&self, queue: &str, pods: u32, rate: u32, time: Duration) -> Result<()> {
        let (rate, time) = (rate.to_string(), format!("{}s", time.as_secs()));
        self.produce(queue, pods, &["--rate", &rate, "--duration", &time])
    }

    fn produce(&self, queue: &str, pods: u32, more: &[&str]) -> Result<()> {
        let words = [
            &["load", "produce", "--queue", queue, "--ledger", "-"],
            more,
        ]
        .concat();
        let job = self.client.job(&format!("produce-{queue}"), pods, &words);
        self.site.story.kubectl().apply(&[job])
    }

    /// Starts a Deployment `consume-QUEUE`.
    pub fn consume(&self, queue: &str, replicas: u32) -> Result<()> {
        self.consumers(queue, replicas, &[])
    }

    /// Starts a Deployment `consume-QUEUE` whose pods take five messages at a time and work on
    /// each for `work`.
    pub fn consume_slowly(&self, queue: &str, replicas: u32, work: &str) -> Result<()> {
        self.consumers(queue, replicas, &["--max-in-flight", "5", "--work", work])
    }

    fn consumers(&self, queue: &str, replicas: u32, more: &[&str]) -> Result<()> {
        let words = [
            &["load", "consume", "--queue", queue, "--ledger", "-"],
            more,
        ]
        .concat();
        let deployment = self
            .client
            .deployment(&format!("consume-{queue}"), replicas, &words);
        self.site.story.kubectl().apply(&[deployment])
    }

    /// What the ledgers say now.
    pub fn ledger(&self) -> Result<Ledger> {
        Ledger::read(&self.files(LEDGERS)?)
    }

    /// Says what the ledgers say of sends and gaps, and fails unless every duplicate is explained
    /// by a log record of a node.
    pub fn explained(&self, ledger: &Ledger) -> Result<()> {
        let story = self.site.story;
        story.say(ledger.summary());
        story.say(ledger.sends().to_string());
        story.say(ledger.acknowledged.summary());
        self.explain(ledger)
    }

    /// Fails unless every send of every producer was acknowledged, and in time.
    pub fn no_failed_send(&self, ledger: &Ledger) -> Result<()> {
        let sends = ledger.sends();
        let failed = ledger.findings.failed + ledger.findings.maybe;
        ensure!(failed == 0, "{failed} sends failed");
        ensure!(
            sends.producers == PRODUCERS,
            "{} of {PRODUCERS} producers said what they sent",
            sends.producers
        );
        ensure!(
            sends.slowest <= SLOWEST,
            "a send took {:.1} s",
            sends.slowest.as_secs_f64()
        );
        self.producers_succeeded()
    }

    /// Looks every duplicate up in the logs of the nodes.
    fn explain(&self, ledger: &Ledger) -> Result<()> {
        let mut logs = Vec::new();
        for file in self.files(NODES)? {
            logs.push(fs::read_to_string(file)?);
        }
        let ids = ledger.duplicates();
        let found = nodes::explained(&ids, logs.iter().map(String::as_str));
        let unmatched: Vec<_> = ids.iter().filter(|id| !found.contains_key(*id)).collect();
        let story = self.site.story;
        story.say(format!(
            "duplicates: {} messages, {} of them explained by the nodes' logs",
            ids.len(),
            found.len()
        ));
        for line in found.values().take(2) {
            story.say(format!("for example: {line}"));
        }
        ensure!(
            unmatched.is_empty(),
            "delivered twice, and no log says why: {unmatched:?}"
        );
        Ok(())
    }

    /// When the first message was acknowledged to its producer; waits for it.
    pub fn first_acknowledged(&self) -> Result<Timestamp> {
        until("an acknowledged message", Duration::from_mins(1), || {
            let first = self.ledger()?.acknowledged.first();
            Ok(first.map_or_else(|| Seen::Not("none".to_owned()), Seen::Done))
        })
    }

    /// Waits until everything that was acknowledged to producers was acked by consumers, or until
    /// nothing moved for `patience`; what the ledgers say then.
    pub fn settled(&self, patience: Duration) -> Result<Ledger> {
        let mut moved = Instant::now();
        let mut seen = 0;
        loop {
            // Reading the ledgers is work for a machine that is busy: not before the producers end.
            if self.producers_done()? && self.site.lag().is_ok_and(|lag| lag == 0) {
                thread::sleep(FLUSH);
                let ledger = self.ledger()?;
                if ledger.findings.sent > 0 && ledger.waiting == 0 {
                    return Ok(ledger);
                }
            }
            if moved.elapsed() > patience {
                return self.ledger();
            }
            let bytes = self.bytes()?;
            if bytes != seen {
                seen = bytes;
                moved = Instant::now();
            }
            thread::sleep(LOOK);
        }
    }

    /// Bytes of all ledgers.
    fn bytes(&self) -> Result<u64> {
        let files = self.files(LEDGERS)?;
        files.iter().map(|file| Ok(fs::metadata(file)?.len())).sum()
    }

    /// Whether every producer has come to its end, well or not.
    pub fn producers_done(&self) -> Result<bool> {
        let jobs = self
            .site
            .story
            .kubectl()
            .list(&["jobs", "-n", &self.client.namespace])?;
        Ok(jobs.iter().all(|job| {
            let count = |what: &str| job["status"][what].as_u64().unwrap_or(0);
            Some(count("succeeded") + count("failed")) == job["spec"]["completions"].as_u64()
        }))
    }

    /// Fails unless every producer ended well: each of its sends was acknowledged.
    pub fn producers_succeeded(&self) -> Result<()> {
        for job in self
            .site
            .story
            .kubectl()
            .list(&["jobs", "-n", &self.client.namespace])?
        {
            let failed = job["status"]["failed"].as_u64().unwrap_or(0);
            ensure!(
                failed == 0,
                "{failed} pods of {} failed",
                job["metadata"]["name"]
            );
        }
        Ok(())
    }

    fn files(&self, of: &str) -> Result<Vec<PathBuf>> {
        let entries = fs::read_dir(self.folder.join(of)).context("the files of the pods")?;
        let mut files = Vec::new();
        for entry in entries {
            files.push(entry?.path());
        }
        Ok(files)
    }
}

impl Drop for Load<'_> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(follower) = self.follower.take() {
            // It has nothing to say, and its programs end with it.
            drop(follower.join());
        }
    }
}
