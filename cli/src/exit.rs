//! From a result to an exit code and a message on stderr.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use roadstead_client::{CallError, ConnectError, Fault, ReceiveError, SendError, SettleError};
use serde_json::json;

/// What kind of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It failed.
    Failed,
    /// What was asked for cannot be asked for.
    Usage,
    /// The queue, message or node does not exist.
    NotFound,
    /// No node answered.
    Unreachable,
    /// The caller may not do this.
    Denied,
    /// It cannot be done as things are: it exists, is not empty, is not allowed in place.
    Refused,
    /// A limit is reached.
    Full,
}

impl Kind {
    /// The exit code.
    fn code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Unreachable => 4,
            Self::Denied => 5,
            Self::Refused => 6,
            Self::Full => 7,
        }
    }

    /// Its name for programs, as in `google.rpc.Code` where that has one.
    fn name(self) -> &'static str {
        match self {
            Self::Failed => "FAILED",
            Self::Usage => "INVALID_ARGUMENT",
            Self::NotFound => "NOT_FOUND",
            Self::Unreachable => "UNAVAILABLE",
            Self::Denied => "PERMISSION_DENIED",
            Self::Refused => "FAILED_PRECONDITION",
            Self::Full => "RESOURCE_EXHAUSTED",
        }
    }
}

/// A failure that was found out here.
#[derive(Debug)]
pub struct Failure(pub Kind, pub String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.1)
    }
}

impl std::error::Error for Failure {}

/// Says what went wrong, for programs where `json` is set, and gives the exit code.
pub fn code(result: anyhow::Result<()>, json: bool) -> ExitCode {
    let Err(error) = result else {
        return ExitCode::SUCCESS;
    };
    let broken = error.downcast_ref::<io::Error>();
    if broken.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
        // Whoever reads has seen enough.
        return ExitCode::SUCCESS;
    }
    let kind = error.chain().find_map(kind).unwrap_or(Kind::Failed);
    say(kind, &text(&error), json)
}

/// Says what is wrong with the arguments, or gives the help that they ask for.
pub fn usage(error: &clap::Error, json: bool) -> ExitCode {
    if !json || !error.use_stderr() {
        error.exit();
    }
    let text = error.to_string();
    say(
        Kind::Usage,
        text.trim_start_matches("error: ").trim_end(),
        json,
    )
}

fn say(kind: Kind, text: &str, json: bool) -> ExitCode {
    // Nothing can be said where stderr is closed.
    let _ = if json {
        let error = json!({ "error": { "code": kind.name(), "message": text } });
        writeln!(io::stderr(), "{error}")
    } else {
        writeln!(io::stderr(), "error: {text}")
    };
    ExitCode::from(kind.code())
}

/// The error and its causes in one line; a cause that the line says already is not said again.
pub fn text(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn kind(cause: &(dyn std::error::Error + 'static)) -> Option<Kind> {
    if let Some(Failure(kind, _)) = cause.downcast_ref() {
        return Some(*kind);
    }
    if let Some(error) = cause.downcast_ref::<CallError>() {
        return Some(match error {
            CallError::Unreachable { .. } => Kind::Unreachable,
            CallError::Refused(fault) => by_code(fault),
        });
    }
    if let Some(error) = cause.downcast_ref::<ConnectError>() {
        return Some(match error {
            ConnectError::Unreachable { .. } => Kind::Unreachable,
            ConnectError::Refused(fault) => by_code(fault),
            ConnectError::Option { .. } => Kind::Usage,
            ConnectError::File { .. } => Kind::Failed,
        });
    }
    if let Some(ReceiveError::Refused(fault)) = cause.downcast_ref() {
        return Some(by_code(fault));
    }
    if let Some(error) = cause.downcast_ref::<SettleError>() {
        return Some(match error {
            SettleError::Stale(fault) | SettleError::Refused(fault) => by_code(fault),
            SettleError::Unknown(_) | SettleError::Closed => Kind::Unreachable,
        });
    }
    match cause.downcast_ref::<SendError>()? {
        SendError::Refused(fault) | SendError::NotSent { last: fault, .. } => Some(by_code(fault)),
        SendError::Unknown { .. } | SendError::Closed => Some(Kind::Unreachable),
    }
}

/// By `google.rpc.Code`.
fn by_code(fault: &Fault) -> Kind {
    match i32::from(fault.code) {
        3 | 11 => Kind::Usage,
        5 => Kind::NotFound,
        7 | 16 => Kind::Denied,
        6 | 9 | 10 => Kind::Refused,
        8 => Kind::Full,
        // UNKNOWN: whether it was done is not known, for want of an answer.
        2 | 4 | 14 => Kind::Unreachable,
        _ => Kind::Failed,
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn the_kind_says_what_failed() {
        let option = ConnectError::Option {
            option: "endpoints",
            reason: "none".into(),
        };
        assert_eq!(kind(&option), Some(Kind::Usage));
        let wrapped = Err::<(), _>(option)
            .context("while connecting")
            .unwrap_err();
        assert_eq!(wrapped.chain().find_map(kind), Some(Kind::Usage));
        let own = anyhow::Error::new(Failure(Kind::NotFound, "none".into()));
        assert_eq!(own.chain().find_map(kind), Some(Kind::NotFound));
    }

    #[test]
    fn a_send_says_what_was_in_the_way() {
        let last = |code: i32| {
            let fault = Fault {
                code: code.into(),
                message: "m".into(),
                queue: String::new(),
                field: String::new(),
                retryable: true,
                leader_address: String::new(),
                transport: false,
            };
            kind(&SendError::NotSent {
                waited: std::time::Duration::ZERO,
                attempts: 1,
                last: Box::new(fault),
            })
        };
        let codes = [8, 14, 2, 3, 5, 16, 9, 13].map(|code| last(code).unwrap().code());
        assert_eq!(codes, [7, 4, 4, 2, 3, 5, 6, 1]);
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
