//! From a result to an exit code and a message on stderr.

use std::io::{self, Write};
use std::process::ExitCode;

use roadstead_client::{CallError, ConnectError, ReceiveError, SendError};

/// It failed.
const FAILED: u8 = 1;
/// The queue, message or node does not exist.
const NOT_FOUND: u8 = 3;
/// No node answered.
const UNREACHABLE: u8 = 4;
/// The caller may not do this.
const DENIED: u8 = 5;
/// What was asked cannot be done as things are: it exists, is not empty, is not allowed in place.
const REFUSED: u8 = 6;

/// Says what went wrong, and gives the code: 0 done, 1 failed, 2 bad usage (from clap), 3 not
/// found, 4 unreachable, 5 denied, 6 refused as things are.
pub fn code(result: anyhow::Result<()>) -> ExitCode {
    let Err(error) = result else {
        return ExitCode::SUCCESS;
    };
    let broken = error.downcast_ref::<io::Error>();
    if broken.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
        // Whoever reads has seen enough.
        return ExitCode::SUCCESS;
    }
    // Nothing can be said where stderr is closed.
    let _ = writeln!(io::stderr(), "error: {}", text(&error));
    ExitCode::from(error.chain().find_map(class).unwrap_or(FAILED))
}

/// The error and its causes in one line; a cause that the line says already is not said again.
fn text(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn class(cause: &(dyn std::error::Error + 'static)) -> Option<u8> {
    if let Some(error) = cause.downcast_ref::<CallError>() {
        return Some(match error {
            CallError::Unreachable { .. } => UNREACHABLE,
            CallError::Refused(fault) => by_code(i32::from(fault.code)),
        });
    }
    if let Some(error) = cause.downcast_ref::<ConnectError>() {
        return Some(match error {
            ConnectError::Unreachable { .. } => UNREACHABLE,
            ConnectError::Refused(fault) => by_code(i32::from(fault.code)),
            ConnectError::Option { .. } | ConnectError::File { .. } => FAILED,
        });
    }
    if let Some(ReceiveError::Refused(fault)) = cause.downcast_ref() {
        return Some(by_code(i32::from(fault.code)));
    }
    match cause.downcast_ref::<SendError>()? {
        SendError::Refused(fault) => Some(by_code(i32::from(fault.code))),
        _ => Some(UNREACHABLE),
    }
}

/// By `google.rpc.Code`.
fn by_code(code: i32) -> u8 {
    match code {
        5 => NOT_FOUND,
        7 | 16 => DENIED,
        6 | 9 | 10 => REFUSED,
        14 => UNREACHABLE,
        _ => FAILED,
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn the_code_says_what_kind_of_failure() {
        let option = ConnectError::Option {
            option: "endpoints",
            reason: "none".into(),
        };
        assert_eq!(class(&option), Some(FAILED));
        assert_eq!([5, 7, 16, 9, 14, 13].map(by_code), [3, 5, 5, 6, 4, 1]);
        let wrapped = Err::<(), _>(option)
            .context("while connecting")
            .unwrap_err();
        assert_eq!(wrapped.chain().find_map(class), Some(FAILED));
    }

    #[test]
    fn a_cause_is_said_once() {
        let file = || anyhow::anyhow!("No such file");
        let layered = file()
            .context("ca.crt cannot be read: No such file; give a directory")
            .context("cannot start node-1");
        assert_eq!(
            text(&layered),
            "cannot start node-1: ca.crt cannot be read: No such file; give a directory"
        );
        assert_eq!(
            text(&file().context("cannot start")),
            "cannot start: No such file"
        );
    }
}
