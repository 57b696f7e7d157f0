//! Has the rows of a shard hashed piece by piece, by ops in its log: replicas whose hashes differ
//! hold other rows. The catalog's leader compares them.

use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use roadstead_core::shard::{Digest, Op, Reply};

use super::desk::Desk;
use super::replica::Replica;
use crate::runtime::Runtime;

/// A new leader begins its first pass after this part of the interval: a minute of an hour. The
/// interruption that made it leader is when rows go wrong most likely, but who was away has to
/// catch up first.
const FIRST: u32 = 60;

/// Digests the shard while this replica leads it; never ends.
pub async fn run<R: Runtime, P: Replica>(desk: Arc<Desk<R, P>>) {
    loop {
        let view = desk.replica.view();
        let changed = desk.replica.view_changed(view.epoch);
        if view.is_leader {
            R::select2(pin!(passes(&desk)), pin!(changed)).await;
        } else {
            changed.await;
        }
    }
}

/// One pass over all rows after the other.
async fn passes<R: Runtime, P: Replica>(desk: &Desk<R, P>) {
    let interval = desk.options.digest_interval;
    R::sleep(interval / FIRST).await;
    loop {
        let mut from = Some(Bytes::new());
        while let Some(key) = from {
            from = piece(desk, key).await;
            if from.is_some() {
                R::sleep(desk.options.digest_pause).await;
            }
        }
        R::sleep(interval).await;
    }
}

/// Has the rows from a key on hashed; gives the key where to go on, and none at the end of a pass.
async fn piece<R: Runtime, P: Replica>(desk: &Desk<R, P>, from: Bytes) -> Option<Bytes> {
    if !desk.replica.has_other_voters() || !has_rows(desk) {
        // There is nothing to compare.
        return None;
    }
    if desk.intake.is_draining() {
        return Some(from);
    }
    let bytes = from.len() + 16;
    let op = Op::Digest(Digest::largest(from.clone()));
    // It goes into an entry with what else waits.
    let answer = match desk.intake.push(op, bytes) {
        Ok(answer) => answer.await,
        Err(_) => return Some(from),
    };
    match answer {
        Ok(Ok(Reply::Digested(digested))) => digested.next,
        // Not applied, as far as is known: once more does no harm.
        _ => Some(from),
    }
}

fn has_rows<R: Runtime, P: Replica>(desk: &Desk<R, P>) -> bool {
    let mut any = false;
    let seen = desk.replica.read(|_, kv| {
        kv.scan(&[], &[u8::MAX], &mut |_, _| {
            any = true;
            ControlFlow::Break(())
        })
    });
    // Rows that cannot be read are the applier's to report.
    seen.is_ok() && any
}
