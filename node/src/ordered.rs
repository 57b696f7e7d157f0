//! Futures that are begun in the order in which they were queued.

use std::future::Future;

/// A future for a queue such as `FuturesOrdered` whose members must do their first step in order.
///
/// tokio lets a task take so many steps and then makes the channels it uses pretend to be busy; it
/// wakes those who waited for that in reverse order, so that a later member would overtake an
/// earlier one. A member wrapped here is never put off that way.
pub fn in_order<F: Future>(future: F) -> impl Future<Output = F::Output> {
    tokio::task::unconstrained(future)
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use futures_util::stream::FuturesOrdered;
    use tokio::sync::mpsc;

    use super::in_order;

    const MEMBERS: u32 = 300;

    /// Queues members that each send their number, in a task that has used up its steps.
    async fn arrivals<F>(wrap: impl Fn(mpsc::Sender<u32>, u32) -> F) -> Vec<u32>
    where
        F: Future<Output = ()>,
    {
        let (sender, mut receiver) = mpsc::channel(MEMBERS as usize);
        let mut members = FuturesOrdered::new();
        for number in 0..MEMBERS {
            members.push_back(wrap(sender.clone(), number));
        }
        while members.next().await.is_some() {}
        drop((members, sender));
        let mut arrived = Vec::new();
        while let Some(number) = receiver.recv().await {
            arrived.push(number);
        }
        arrived
    }

    async fn send(sender: mpsc::Sender<u32>, number: u32) {
        sender.send(number).await.expect("the receiver waits");
    }

    #[tokio::test]
    async fn members_are_begun_in_order() {
        let arrived = arrivals(|sender, number| in_order(send(sender, number))).await;
        assert!(arrived.is_sorted(), "{arrived:?}");
    }

    #[tokio::test]
    async fn without_the_wrapper_they_overtake_each_other() {
        assert!(
            !arrivals(send).await.is_sorted(),
            "tokio no longer needs the wrapper: remove it"
        );
    }
}
