//! What goes wrong, at random times, while producers and consumers work.

use std::sync::Arc;
use std::time::Duration;

use openraft_rt::AsyncRuntime as _;
use roadstead_node::raft::types::CATALOG;

use super::cluster::{Cluster, SHARDS};
use super::context::{below, count, millis, note, one_in};
use super::ledger::Ledger;
use super::process::spawn;
use super::run::Switch;
use super::runtime::Sim;

/// Makes trouble until it is told to stop.
pub struct Faults {
    /// Where.
    pub cluster: Arc<Cluster>,
    /// Where it notes when there was trouble.
    pub ledger: Ledger,
    /// Why a node did not boot again.
    pub failed: Arc<std::sync::Mutex<Option<String>>>,
    /// Monotonic clocks jump too: for a control run.
    pub clocks_jump: bool,
}

impl Faults {
    /// One fault after the other; each heals by itself. Returns when all have healed.
    pub async fn run(self, stop: Switch) {
        let faults = Arc::new(self);
        let mut healing = Vec::new();
        while !stop.is_on() {
            Sim::sleep(millis(100, 1_800)).await;
            let one = faults.clone();
            healing.push(spawn(async move { one.strike().await }));
        }
        for fault in healing {
            let _ = fault.await;
        }
        faults.calm_down().await;
    }

    async fn strike(&self) {
        let trouble = self.ledger.trouble();
        match below(12) {
            0..=2 => self.crash_one().await,
            3 if one_in(2) => self.crash_all().await,
            3..=5 => self.cut().await,
            6 => self.break_links().await,
            7 => self.step_a_clock().await,
            8 => self.slow_a_disk().await,
            _ => self.transfer().await,
        }
        self.ledger.calm(trouble);
    }

    fn some_host(&self) -> usize {
        below(self.cluster.hosts.len() as u64) as usize
    }

    async fn crash_one(&self) {
        let host = self.some_host();
        let leads = (0..=SHARDS).any(|group| self.cluster.leader_of(group) == Some(host));
        if self.cluster.hosts[host].running().is_none() {
            return;
        }
        count(if leads {
            "crash of a leader"
        } else {
            "crash of a follower"
        });
        self.cluster.hosts[host].crash();
        Sim::sleep(millis(1, 3_000)).await;
        self.boot(host).await;
    }

    async fn crash_all(&self) {
        count("crash of all");
        for host in &self.cluster.hosts {
            host.crash();
        }
        for host in 0..self.cluster.hosts.len() {
            Sim::sleep(millis(1, 500)).await;
            self.boot(host).await;
        }
    }

    async fn boot(&self, host: usize) {
        // Another fault may have booted it, or be about to.
        let host = &self.cluster.hosts[host];
        if !host.claim_boot() {
            return;
        }
        count("restart");
        if let Err(why) = host.boot().await {
            note(format_args!("host {} does not boot: {why}", host.index));
            let mut failed = self
                .failed
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            failed.get_or_insert(format!("host {}: {why}", host.index));
        }
        host.end_boot();
    }

    async fn cut(&self) {
        let (from, to) = (self.some_host(), self.some_host());
        if from == to {
            return;
        }
        let both = one_in(2);
        count(if both { "two-way cut" } else { "one-way cut" });
        note(format_args!("cut {from}→{to}, both ways: {both}"));
        let net = &self.cluster.net;
        net.cut(from, to);
        if both {
            net.cut(to, from);
        }
        if one_in(3) {
            // Cut off from everybody.
            for other in (0..self.cluster.hosts.len()).filter(|other| *other != from) {
                net.cut(from, other);
                if both {
                    net.cut(other, from);
                }
            }
        }
        Sim::sleep(millis(100, 4_000)).await;
        note(format_args!("heal {from}→{to}"));
        for other in 0..self.cluster.hosts.len() {
            net.heal(from, other);
            net.heal(other, from);
        }
    }

    async fn break_links(&self) {
        self.cluster.net.set_break_one_in(20 + below(200));
        Sim::sleep(millis(200, 2_000)).await;
        self.cluster.net.set_break_one_in(0);
    }

    /// One clock at a time is wrong: a majority is right.
    async fn step_a_clock(&self) {
        let host = self.some_host();
        count("wall clock step");
        let ahead = i64::try_from(below(7_200_000)).unwrap_or_default() - 3_600_000;
        note(format_args!("clock of host {host} off by {ahead} ms"));
        for other in &self.cluster.hosts {
            other.set_wall(0);
        }
        self.cluster.hosts[host].set_wall(ahead);
        if self.clocks_jump {
            for host in &self.cluster.hosts {
                host.jump(Duration::from_mins(1));
            }
        }
        Sim::sleep(millis(100, 1_000)).await;
    }

    async fn slow_a_disk(&self) {
        let host = self.some_host();
        count("slow disk");
        self.cluster.hosts[host].set_disk_pause(millis(2, 40));
        Sim::sleep(millis(200, 3_000)).await;
        self.cluster.hosts[host].set_disk_pause(Duration::from_micros(below(600)));
    }

    async fn transfer(&self) {
        let group = below(u64::from(SHARDS) + 1) as u16;
        debug_assert!(
            group == CATALOG || group <= SHARDS,
            "groups are numbered from 0"
        );
        count("leader transfer asked");
        if self.cluster.transfer(group).await {
            count("leader transfer done");
            note(format_args!("group {group} was handed over"));
        }
    }

    /// Everything runs and nothing is cut.
    async fn calm_down(&self) {
        self.cluster.net.calm_down();
        for host in 0..self.cluster.hosts.len() {
            self.cluster.hosts[host].set_disk_pause(Duration::ZERO);
            self.cluster.hosts[host].set_wall(0);
            if self.cluster.hosts[host].running().is_none() {
                self.boot(host).await;
            }
        }
        note(format_args!("calm"));
    }
}
