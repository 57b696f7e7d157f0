//! What is logged, as text.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use tracing::subscriber::DefaultGuard;

use super::lock;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        lock(&self.0).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Takes down what this thread logs, as long as it is there.
pub(crate) struct Listening {
    log: Log,
    _guard: DefaultGuard,
}

impl Listening {
    /// The lines so far.
    pub(crate) fn lines(&self) -> String {
        let bytes = lock(&self.log.0).clone();
        String::from_utf8(bytes).unwrap()
    }
}

/// Begins to listen.
pub(crate) fn listen() -> Listening {
    let log = Log::default();
    let writer = log.clone();
    let lines = tracing_subscriber::fmt().with_ansi(false);
    let lines = lines.with_writer(move || writer.clone());
    let guard = tracing::subscriber::set_default(lines.finish());
    Listening { log, _guard: guard }
}

/// The lines that `doing` logs.
pub(super) fn log_of(doing: impl FnOnce()) -> String {
    let log = listen();
    doing();
    log.lines()
}
