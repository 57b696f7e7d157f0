//! The API server's audit log: who did what, and when it was answered.
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde_json::Value;

/// One answered request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// When it was answered, to the microsecond.
    pub at: Timestamp,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// Who asked, such as `system:serviceaccount:NAMESPACE:NAME`.
    pub user: String,
    /// Plural name of the kind.
    pub resource: String,
    /// `status`, `scale`, …, or empty.
    pub subresource: String,
    /// Namespace of the object, or empty.
    pub namespace: String,
    /// Name of the object, or empty.
    pub name: String,
    /// HTTP status of the answer.
    pub code: u64,
}

impl Record {
    /// Reads one line of the log; `None` where it tells of no request to a resource.
    pub fn parse(line: &str) -> Option<Self> {
        let event: Value = serde_json::from_str(line).ok()?;
        let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str);
        if text("/stage")? != "ResponseComplete" {
            return None;
        }
        let owned = |pointer: &str| text(pointer).unwrap_or_default().to_owned();
        Some(Self {
            at: text("/stageTimestamp")?.parse().ok()?,
            verb: owned("/verb"),
            user: owned("/user/username"),
            resource: text("/objectRef/resource")?.to_owned(),
            subresource: owned("/objectRef/subresource"),
            namespace: owned("/objectRef/namespace"),
            name: owned("/objectRef/name"),
            code: event.pointer("/responseStatus/code")?.as_u64()?,
        })
    }

    /// Whether it changed something.
    pub fn writes(&self) -> bool {
        !matches!(self.verb.as_str(), "get" | "list" | "watch") && self.code < 300
    }

    /// Whether it speaks of this object, or of a part of it.
    pub fn is_about(&self, resource: &str, namespace: &str, name: &str) -> bool {
        self.resource == resource && self.namespace == namespace && self.name == name
    }
}

/// The log as a file.
#[derive(Debug, Clone)]
pub struct AuditLog(PathBuf);

impl AuditLog {
    /// The log at this path.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Every record that `wanted` takes, in the order of the log.
    pub fn records(&self, wanted: impl Fn(&Record) -> bool) -> Result<Vec<Record>> {
        let file =
            File::open(&self.0).with_context(|| format!("no audit log at {}", self.0.display()))?;
        let mut found = Vec::new();
        for line in BufReader::new(file).lines() {
            // The last line may be half written: it does not parse, and the next look has it.
            found.extend(Record::parse(&line?).filter(&wanted));
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata",
"auditID":"7c0c","stage":"ResponseComplete",
"requestURI":"/apis/roadstead.dev/v1alpha1/namespaces/shop/queueclusters/main/status",
"verb":"patch","user":{"username":"system:serviceaccount:roadstead-system:roadstead"},
"objectRef":{"resource":"queueclusters","namespace":"shop","name":"main",
"apiGroup":"roadstead.dev","apiVersion":"v1alpha1","subresource":"status"},
"responseStatus":{"metadata":{},"code":200},
"requestReceivedTimestamp":"2026-11-24T11:02:03.100000Z",
"stageTimestamp":"2026-11-24T11:02:03.123456Z"}"#;

    fn line() -> String {
        LINE.replace('\n', "")
    }

    #[test]
    fn reads_a_write_to_a_status() {
        let record = Record::parse(&line()).unwrap();
        assert_eq!(record.at.as_microsecond() % 1_000_000, 123_456);
        assert_eq!(record.subresource, "status");
        assert!(record.writes() && record.is_about("queueclusters", "shop", "main"));
        assert!(!record.is_about("queueclusters", "shop", "mainly"));
    }

    #[test]
    fn a_refused_write_and_a_read_write_nothing() {
        let refused = line().replace("\"code\":200", "\"code\":409");
        assert!(!Record::parse(&refused).unwrap().writes());
        let read = line().replace("\"verb\":\"patch\"", "\"verb\":\"watch\"");
        assert!(!Record::parse(&read).unwrap().writes());
    }

    #[test]
    fn passes_over_what_is_no_answer_to_a_request_for_a_resource() {
        let begun = line().replace("ResponseComplete", "ResponseStarted");
        let no_resource = line().replace("\"resource\":\"queueclusters\",", "");
        for other in [begun.as_str(), no_resource.as_str(), "{\"half", ""] {
            assert_eq!(Record::parse(other), None, "{other}");
        }
    }
}
