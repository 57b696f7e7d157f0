//! Volumes that were put back to an older state, or copied.

use roadstead_tests::live::{LiveCluster, Load};

use super::{ending, found, settle_short, small};

async fn put_back_after(starts: u32) {
    let cluster = found(3, small()).await;
    let load = Load::start(&cluster, 100);
    load.flows(200).await.expect("traffic flows");
    let host = &cluster.hosts[2];
    host.kill();
    host.save().expect("its directory is copied");
    for _ in 0..starts {
        host.start().await.expect("it starts again");
        cluster.until_ready().await.expect("it catches up");
        load.flows(100).await.expect("traffic flows");
        host.kill();
    }
    host.put_back().expect("its directory is put back");
    host.start().await.expect("it starts over the old data");
    let why = ending(host).await.why;
    println!("after {starts} starts: {why}");
    assert!(
        why.contains("a peer has seen"),
        "before it took part: {why}"
    );
    load.flows(500).await.expect("the others go on");
    // Whoever restarts it changes nothing.
    for _ in 0..3 {
        host.kill();
        host.start().await.expect("it starts over the old data");
        ending(host).await;
    }
    load.flows(200).await.expect("the others go on");
    host.kill();
    settle_short(&cluster, load).await;
}

/// It has forgotten votes and messages: with it, a majority could lose what was acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_that_was_put_back_takes_no_part() {
    put_back_after(1).await;
    put_back_after(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_nodes_on_copies_of_a_volume_one_takes_part() {
    let mut cluster = LiveCluster::found(3, small())
        .await
        .expect("a cluster is founded");
    let original = &cluster.hosts[2];
    original.kill();
    let copy = original.save().expect("its directory is copied");
    original.start().await.expect("it starts again");
    cluster.until_ready().await.expect("it catches up");
    let host = cluster.add_host_over(copy);
    cluster.hosts[host].start().await.expect("it starts");
    let ending = ending(&cluster.hosts[host]).await;
    assert!(ending.why.contains("restored or copied"), "{ending:?}");
    assert!(!ending.in_order, "what it holds is not to be believed");
    cluster.hosts[host].kill();
    cluster.until_ready().await.expect("the original is well");
}
