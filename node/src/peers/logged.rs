//! What is logged, as text.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

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

/// The lines that `doing` logs.
pub(super) fn log_of(doing: impl FnOnce()) -> String {
    let log = Log::default();
    let writer = log.clone();
    let lines = tracing_subscriber::fmt().with_ansi(false);
    let lines = lines.with_writer(move || writer.clone());
    tracing::subscriber::with_default(lines.finish(), doing);
    let bytes = lock(&log.0).clone();
    String::from_utf8(bytes).unwrap()
}
