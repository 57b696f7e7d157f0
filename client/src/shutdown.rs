//! Being told to stop.

/// Resolves when the process is asked to end: SIGTERM (a pod that is deleted) or SIGINT (Ctrl-C).
pub async fn terminated() {
    let interrupt = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt => {}
            }
            return;
        }
    }
    // Without a way to hear of it there is nothing to wait for.
    let _ = interrupt.await;
}
