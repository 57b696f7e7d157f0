//! Whether a configuration makes sense as a whole.

use std::net::SocketAddr;
use std::time::Duration;

use super::NodeConfig;

/// Everything that is wrong with a configuration, one line each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the configuration cannot be used:\n  {}", problems.join("\n  "))]
pub struct ConfigError {
    /// What is wrong, by which flag, and what to do.
    pub problems: Vec<String>,
}

const MIB: u64 = 1 << 20;

impl NodeConfig {
    /// Checks what the parser could not.
    ///
    /// # Errors
    /// Every problem found, not only the first.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let mut problems = Vec::new();
        self.check_identity(&mut problems);
        self.check_addresses(&mut problems);
        self.check_limits(&mut problems);
        if problems.is_empty() {
            Ok(())
        } else {
            Err(ConfigError { problems })
        }
    }

    fn check_identity(&self, problems: &mut Vec<String>) {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        if self.name.is_empty() || self.name.len() > 253 || !self.name.chars().all(allowed) {
            problems.push(format!(
                "--name {:?}: give 1 to 253 letters, digits, '-', '.' or '_'",
                self.name
            ));
        }
        if self.zone.len() > 253 {
            problems.push("--zone: give at most 253 characters".to_owned());
        }
        if self.data_dir.as_os_str().is_empty() {
            problems.push("--data-dir: give a directory".to_owned());
        }
        if self.tls_dir.is_none() && self.tls.is_none() {
            problems.push(
                "--tls-dir: give a directory with ca.crt, tls.crt and tls.key; nodes speak mutual \
                 TLS only (to try things out, `roadstead dev` makes its own certificates)"
                    .to_owned(),
            );
        }
    }

    fn check_addresses(&self, problems: &mut Vec<String>) {
        let listeners = [
            ("--client-listen", self.client_listen),
            ("--peer-listen", self.peer_listen),
            ("--http-listen", self.http_listen),
        ];
        for (index, (flag, address)) in listeners.iter().enumerate() {
            for (other, taken) in &listeners[..index] {
                if address.port() != 0 && address == taken {
                    problems.push(format!(
                        "{flag} {address}: {other} has the same; change one"
                    ));
                }
            }
        }
        let advertised = [
            (
                "--advertise-client",
                &self.advertise_client,
                self.client_listen,
            ),
            ("--advertise-peer", &self.advertise_peer, self.peer_listen),
        ];
        for (flag, address, listen) in advertised {
            check_advertised(flag, address.as_deref(), listen, problems);
        }
    }

    fn check_limits(&self, problems: &mut Vec<String>) {
        if !(1..=100_000).contains(&self.client_max_connections) {
            problems.push(format!(
                "--client-max-connections {}: give 1 to 100,000",
                self.client_max_connections
            ));
        }
        if let Some(most) = self.client_max_connections_per_account
            && !(1..=100_000).contains(&most)
        {
            problems.push(format!(
                "--client-max-connections-per-account {most}: give 1 to 100,000"
            ));
        }
        if self
            .worker_threads
            .is_some_and(|threads| !(1..=64).contains(&threads))
        {
            problems.push("--worker-threads: give 1 to 64".to_owned());
        }
        if let Some(limit) = self.memory_limit
            && limit < 64 * MIB
        {
            problems.push(format!("--memory-limit {limit}: give 64Mi or more"));
        }
        if !(MIB..=1024 * MIB).contains(&self.segment_size) {
            problems.push(format!(
                "--segment-size {}: give 1Mi to 1Gi",
                self.segment_size
            ));
        }
        if let Some(window) = self.journal_window
            && window < 2 * self.segment_size
        {
            problems.push(format!(
                "--journal-window {window}: give two segments (--segment-size) or more"
            ));
        }
        if !(self.scrub_rate == 0 || (MIB / 16..=1024 * MIB).contains(&self.scrub_rate)) {
            problems.push(format!(
                "--scrub-rate {}: give 64Ki to 1Gi, or 0 for no scrubbing",
                self.scrub_rate
            ));
        }
        let interval = Duration::from_secs(1)..=Duration::from_hours(720);
        if !interval.contains(&self.scrub_interval) {
            problems.push(format!(
                "--scrub-interval {:?}: give 1s to 720h, or --scrub-rate 0 for no scrubbing",
                self.scrub_interval
            ));
        }
        let grace = Duration::from_secs(1)..=Duration::from_mins(10);
        if !grace.contains(&self.shutdown_grace) {
            problems.push(format!(
                "--shutdown-grace {:?}: give 1s to 10m, and less than the time after which the \
                 process is killed",
                self.shutdown_grace
            ));
        }
    }
}

fn check_advertised(
    flag: &str,
    address: Option<&str>,
    listen: SocketAddr,
    problems: &mut Vec<String>,
) {
    let Some(address) = address else {
        if listen.ip().is_unspecified() {
            problems.push(format!(
                "{flag}: give host:port; the listener takes every address ({listen}), so nobody \
                 could be told where to connect"
            ));
        }
        return;
    };
    if !is_host_port(address) {
        problems.push(format!(
            "{flag} {address:?}: give host:port, as in node-0.example:7701"
        ));
    }
}

/// Whether it is host:port, and the port not 0.
pub fn is_host_port(address: &str) -> bool {
    let named = address.rsplit_once(':');
    named.is_some_and(|(host, port)| {
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0)
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::config::ClientAuth;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        config: NodeConfig,
    }

    fn config(extra: &[&str]) -> NodeConfig {
        let base = [
            "node",
            "--data-dir",
            "/data",
            "--name",
            "n-0",
            "--tls-dir",
            "/tls",
        ];
        Line::try_parse_from(base.iter().chain(extra))
            .unwrap()
            .config
    }

    fn problems(extra: &[&str]) -> Vec<String> {
        config(extra)
            .validate()
            .err()
            .map(|e| e.problems)
            .unwrap_or_default()
    }

    #[test]
    fn the_flags_of_a_pod_are_a_valid_configuration() {
        let pod = [
            "--client-listen=0.0.0.0:7701",
            "--peer-listen=0.0.0.0:7702",
            "--http-listen=0.0.0.0:7703",
            "--advertise-client=main-0.main-nodes.queues.svc:7701",
            "--advertise-peer=main-0.main-nodes.queues.svc:7702",
            "--client-tls-dir=/client-tls",
            "--client-auth=service-account",
            "--memory-limit=2147483648",
            "--scrub-rate=0",
        ];
        let config = config(&pod);
        assert_eq!(config.validate(), Ok(()));
        assert_eq!(config.client_auth, ClientAuth::ServiceAccount);
        assert_eq!(config.peer_address(), "main-0.main-nodes.queues.svc:7702");
    }

    #[test]
    fn each_mistake_is_told_by_its_flag() {
        let table: [(&[&str], &str); 14] = [
            (&["--client-listen=0.0.0.0:1"], "--advertise-client"),
            (&["--advertise-peer=host"], "--advertise-peer"),
            (&["--advertise-peer=:1"], "--advertise-peer"),
            (&["--advertise-client=host:0"], "--advertise-client"),
            (&["--http-listen=127.0.0.1:7701"], "--http-listen"),
            (&["--client-max-connections=0"], "--client-max-connections"),
            (
                &["--client-max-connections-per-account=0"],
                "--client-max-connections-per-account",
            ),
            (&["--worker-threads=0"], "--worker-threads"),
            (&["--memory-limit=1Mi"], "--memory-limit"),
            (&["--shutdown-grace=0s"], "--shutdown-grace"),
            (&["--segment-size=2Gi"], "--segment-size"),
            (&["--scrub-rate=1Ki"], "--scrub-rate"),
            (&["--scrub-rate=2Gi"], "--scrub-rate"),
            (&["--scrub-interval=999ms"], "--scrub-interval"),
        ];
        for (flags, expected) in table {
            let found = problems(flags);
            assert_eq!(found.len(), 1, "{flags:?}: {found:?}");
            assert!(found[0].starts_with(expected), "{flags:?}: {found:?}");
        }
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let mut config = config(&["--memory-limit=1", "--client-max-connections=0"]);
        config.tls_dir = None;
        config.name = "a b".to_owned();
        let error = config.validate().unwrap_err();
        assert_eq!(error.problems.len(), 4, "{error}");
        assert!(error.to_string().contains("mutual TLS only"), "{error}");
    }

    #[test]
    fn addresses_are_filled_in_only_where_none_was_given() {
        let mut config = config(&["--advertise-client=host:1"]);
        config.fill_addresses(([127, 0, 0, 1], 5).into(), ([127, 0, 0, 1], 6).into());
        assert_eq!(config.client_address(), "host:1");
        assert_eq!(config.peer_address(), "127.0.0.1:6");
    }
}
