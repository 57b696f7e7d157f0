//! Promises about dead letters on their way back.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use roadstead_client::proto::{DeadLetterPolicy, QueueSpec};
use tokio::time::sleep;

use super::{LONG, Scene, body, next, rest};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redrive_goes_on_under_a_new_leader_and_each_message_goes_once() {
    const MESSAGES: u32 = 200;
    let scene = Scene::start().await;
    scene.queue("dead", QueueSpec::default()).await;
    let spec = QueueSpec {
        dead_letter: Some(DeadLetterPolicy {
            queue: "dead".into(),
        }),
        ..QueueSpec::default()
    };
    scene.queue("jobs", spec).await;
    scene.send_numbers("jobs", MESSAGES).await;
    let jobs = scene.consumer("jobs").await;
    let mut rejected = BTreeMap::new();
    for _ in 0..MESSAGES {
        let delivery = next(&jobs).await;
        rejected.insert(delivery.id.clone(), body(&delivery));
        delivery.reject("no").await.expect("it is leased");
    }
    let deadline = Instant::now() + LONG;
    while scene.stats("dead").await.ready < u64::from(MESSAGES) {
        assert!(Instant::now() < deadline, "dead letters are on their way");
        sleep(Duration::from_millis(50)).await;
    }
    let mut redrive = scene.client.redrive("dead").rate(MESSAGES / 2);
    let (mut pieces, mut killed) = (0, false);
    let deadline = Instant::now() + LONG;
    loop {
        match redrive.next().await {
            Ok(None) => break,
            Ok(Some(_)) => pieces += 1,
            Err(error) => {
                assert!(Instant::now() < deadline, "it goes on: {error}");
                sleep(Duration::from_millis(50)).await;
            }
        }
        if pieces == 5 && !std::mem::replace(&mut killed, true) {
            scene.kill_leader_of("dead").await;
        }
    }
    println!("{pieces} pieces were answered, of which five under the first leader");
    assert!(pieces > 5);
    let mut back = BTreeMap::new();
    for delivery in rest(&jobs).await {
        let before = back.insert(delivery.id.clone(), body(&delivery));
        assert!(before.is_none(), "twice: {delivery:?}");
        delivery.ack().await.expect("it is leased");
    }
    assert_eq!(back, rejected, "the same messages under the same ids");
    assert_eq!(scene.stats("dead").await.ready, 0);
}
