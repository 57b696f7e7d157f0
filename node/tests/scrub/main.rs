//! A store on a real file system and a real process that reads its state file beside it.
//!
//! `ROADSTEAD_SCRUB_SECONDS=600 cargo test --workspace --test scrub healthy -- --nocapture` loads a
//! healthy store for so long and prints what was read. `ROADSTEAD_SCRUB_DIR` says on which file
//! system.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::panic,
    reason = "a test says what it measured, and fails by a panic"
)]

#[path = "../failover/certificates.rs"]
mod certificates;
mod loaded;
mod node;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use loaded::Loaded;
use roadstead_node::store::StoreFailure;

/// Longer than any pass here; what takes longer is a failure, not a slow machine.
const PATIENCE: Duration = Duration::from_mins(3);

/// Flips a bit of a file.
fn flip(path: &Path, offset: u64) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 4], offset).unwrap();
    file.sync_all().unwrap();
}

/// Where `pattern` is in a file.
fn find(path: &Path, pattern: &[u8]) -> Option<u64> {
    let bytes = std::fs::read(path).unwrap();
    let at = bytes
        .windows(pattern.len())
        .position(|part| part == pattern);
    at.map(|at| at as u64)
}

async fn damage(loaded: &Loaded) -> String {
    let failure = loaded.store.failure();
    let failure = tokio::time::timeout(PATIENCE, failure.wait()).await;
    let failure = failure.expect("the damage is found");
    assert!(matches!(failure, StoreFailure::Damage(_)), "{failure}");
    failure.to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_healthy_store_under_load_is_never_taken_for_damaged() {
    let seconds = std::env::var("ROADSTEAD_SCRUB_SECONDS");
    let seconds = seconds.map_or(8, |text| text.parse().unwrap());
    let mut loaded = Loaded::open(256 << 20, Duration::from_millis(100));
    let begun = Instant::now();
    let is_exercised = |loaded: &Loaded| {
        let numbers = loaded.store.metrics().read();
        numbers.scrubs >= 3 && numbers.payload_bytes_moved > 0
    };
    while begun.elapsed() < Duration::from_secs(seconds) || !is_exercised(&loaded) {
        assert!(begun.elapsed() < PATIENCE + Duration::from_secs(seconds));
        loaded.write(50).await;
        if let Some(failure) = loaded.store.failure().get() {
            panic!(
                "{failure} after {:?}: {}",
                begun.elapsed(),
                loaded.figures()
            );
        }
    }
    println!("{:.0?}: {}", begun.elapsed(), loaded.figures());
    let numbers = loaded.store.metrics().read();
    assert!(numbers.segments_recycled > 3, "{numbers:?}");
    assert!(numbers.payload_bytes_moved > 0, "{numbers:?}");
    loaded.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bit_of_a_payload_in_the_state_file_is_found_by_the_process_beside() {
    let mut loaded = Loaded::open(256 << 20, Duration::from_millis(300));
    let moved = loaded.until_moved().await;
    let file = loaded.state_file();
    let offset = find(&file, &moved).expect("a payload that was moved is in the state file");
    flip(&file, offset + 9);
    let why = damage(&loaded).await;
    println!("{why}");
    assert!(why.contains("lmdb/data.mdb is damaged"), "{why}");
    assert!(why.contains("CRC32C of a payload"), "{why}");
    loaded.close().await;
}

/// `ROADSTEAD_SCRUB_DIR` is a file system that is mounted from the file `ROADSTEAD_SCRUB_IMAGE`:
/// what is changed there the page cache above does not see.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bit_that_rots_beneath_the_page_cache_is_found_by_the_process_beside() {
    let Ok(image) = std::env::var("ROADSTEAD_SCRUB_IMAGE") else {
        println!("not looked at: it wants a file system over a file, see docs/testing.md");
        return;
    };
    let mut loaded = Loaded::open(256 << 20, Duration::from_millis(300));
    let moved = loaded.until_moved().await;
    let file = loaded.state_file();
    let offset = find(&file, &moved).expect("it is in the state file, and now in the cache");
    let beneath = find(Path::new(&image), &moved).expect("it is in the image");
    flip(Path::new(&image), beneath + 9);
    assert_eq!(
        find(&file, &moved),
        Some(offset),
        "the cache has the old bits"
    );
    let begun = Instant::now();
    let why = damage(&loaded).await;
    println!("after {:.0?}: {why}", begun.elapsed());
    let page = offset / 4096 * 4096;
    assert!(
        why.contains(&format!(
            "damaged at byte {page}: the disk holds other bits"
        )),
        "{why}"
    );
    loaded.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_beside_ends_with_the_store() {
    // So slow that it is still reading when the store closes.
    let mut loaded = Loaded::open(64 << 10, Duration::from_millis(100));
    loaded.until_moved().await;
    let begun = Instant::now();
    while loaded.readers().is_empty() {
        assert!(begun.elapsed() < PATIENCE, "no process reads");
        loaded.write(1).await;
    }
    let closing = Instant::now();
    loaded.store.close();
    while !loaded.readers().is_empty() {
        assert!(closing.elapsed() < Duration::from_secs(10), "it reads on");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    println!("its process ended after {:.1?}", closing.elapsed());
    assert!(loaded.store.failure().get().is_none());
    loaded.close().await;
}
