//! What a benchmark found.

use std::time::Duration;

use anyhow::Context;
use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::Bench;
use super::consume::Consumed;
use super::produce::Produced;
use crate::output::{note, table};
use crate::units;

/// The share of a rate from which on it counts as reached: the last answers come when the time is
/// over.
const REACHED: f64 = 0.95;

/// Microseconds up to a minute, to three digits.
pub fn histogram() -> Histogram<u64> {
    let made = Histogram::new_with_bounds(1, 60_000_000, 3);
    made.expect("1 to 60,000,000 with 3 digits is within what a histogram can hold")
}

/// Takes in one latency; more than a minute counts as a minute.
pub fn record(histogram: &mut Histogram<u64>, latency: Duration) {
    let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
    histogram.saturating_record(micros.max(1));
}

/// The sum over all producers and consumers.
#[derive(Debug)]
pub struct Measured {
    acknowledged: u64,
    failed: u64,
    received: u64,
    acked: u64,
    redelivered: u64,
    unsettled: u64,
    send: Histogram<u64>,
    end_to_end: Histogram<u64>,
}

impl Default for Measured {
    fn default() -> Self {
        Self {
            acknowledged: 0,
            failed: 0,
            received: 0,
            acked: 0,
            redelivered: 0,
            unsettled: 0,
            send: histogram(),
            end_to_end: histogram(),
        }
    }
}

impl Measured {
    /// Sends that were not acknowledged.
    pub fn failed(&self) -> u64 {
        self.failed
    }

    pub fn add_producer(&mut self, produced: &Produced) -> anyhow::Result<()> {
        self.acknowledged += produced.acknowledged;
        self.failed += produced.failed;
        self.send
            .add(&produced.latency)
            .context("cannot add latencies")?;
        if let Some(error) = &produced.first_error {
            note(&format!(
                "{} sends failed, the first: {error}",
                produced.failed
            ));
        }
        Ok(())
    }

    pub fn add_consumer(&mut self, consumed: &Consumed) -> anyhow::Result<()> {
        self.received += consumed.received;
        self.acked += consumed.acked;
        self.redelivered += consumed.redelivered;
        self.unsettled += consumed.unsettled;
        if let Some(error) = &consumed.first_error {
            note(&format!(
                "{} acks were not done, the first: {error}",
                consumed.unsettled
            ));
        }
        self.end_to_end
            .add(&consumed.latency)
            .context("cannot add latencies")
    }
}

/// What is printed.
pub struct Report<'a> {
    bench: &'a Bench,
    measured: &'a Measured,
}

impl<'a> Report<'a> {
    pub fn new(bench: &'a Bench, measured: &'a Measured) -> Self {
        Self { bench, measured }
    }

    /// Says so when the rate that was asked for was not reached.
    pub fn shortfall(&self) -> Option<String> {
        let bench = self.bench;
        let sent = self.measured.acknowledged;
        let due = bench.rate as f64 * bench.duration.as_secs_f64();
        // Each producer begins at a random point of its interval.
        let most = sent.saturating_add(bench.producers.into()) as f64;
        (most < due * REACHED).then(|| {
            format!(
                "rate of {}/s was not reached: sent {:.0}/s",
                bench.rate,
                self.per_second(sent)
            )
        })
    }

    fn per_second(&self, count: u64) -> f64 {
        count as f64 / self.bench.duration.as_secs_f64()
    }

    pub fn json(&self) -> Value {
        let (bench, measured) = (self.bench, self.measured);
        let mut report = json!({
            "queues": bench.queues,
            "producers": bench.producers,
            "consumers": bench.consumers,
            "size": bench.size,
            "batch": bench.batch,
            "outstanding": bench.outstanding,
            "rate": bench.rate,
            "partitions": bench.partitions,
            "seconds": bench.duration.as_secs_f64(),
            "sentPerSecond": self.per_second(measured.acknowledged),
            "receivedPerSecond": self.per_second(measured.received),
            "ackedPerSecond": self.per_second(measured.acked),
            "sent": measured.acknowledged,
            "received": measured.received,
            "acked": measured.acked,
            "failed": measured.failed,
            "redelivered": measured.redelivered,
            "unsettled": measured.unsettled,
            "sendMs": quantiles(&measured.send),
            "endToEndMs": quantiles(&measured.end_to_end),
        });
        if bench.histograms {
            report["sendHistogram"] = buckets(&measured.send);
            report["endToEndHistogram"] = buckets(&measured.end_to_end);
        }
        report
    }

    pub fn text(&self) -> String {
        let (bench, measured) = (self.bench, self.measured);
        let pace = match (bench.rate, bench.outstanding) {
            (0, 0) => format!("{} unanswered per producer", bench.batch),
            (0, all) => format!("{all} on their way"),
            (rate, _) => format!("{rate} messages/s when due"),
        };
        let rows = [
            ("sent", measured.acknowledged),
            ("received", measured.received),
            ("acked", measured.acked),
        ];
        let rates = rows.map(|(what, count)| {
            let (rate, mib) = (self.per_second(count), self.per_second(count * bench.size));
            [
                what.into(),
                format!("{rate:.0}/s"),
                format!("{:.1} MiB/s", mib / 1_048_576.0),
            ]
        });
        let latencies = [
            ("send", &measured.send),
            ("end to end", &measured.end_to_end),
        ];
        let some = latencies.into_iter().filter(|(_, all)| !all.is_empty());
        let latencies = some.map(|(what, histogram)| {
            let at = |quantile| ms(histogram.value_at_quantile(quantile));
            let [p50, p95, p99, p999] = [0.5, 0.95, 0.99, 0.999].map(at);
            [what.into(), p50, p95, p99, p999, ms(histogram.max())]
        });
        format!(
            "{} producers, {} consumers, {} bytes, {pace}, {}\n\n{}\n\n{}\n\n\
             failed {}, redelivered {}, acks not done {}",
            bench.producers,
            bench.consumers,
            bench.size,
            units::show(bench.duration),
            table(["", "MESSAGES", "BODIES"], rates),
            table(["", "P50 ms", "P95", "P99", "P99.9", "MAX"], latencies),
            measured.failed,
            measured.redelivered,
            measured.unsettled,
        )
    }
}

fn ms(micros: u64) -> String {
    format!("{:.2}", micros as f64 / 1_000.0)
}

/// Null where nothing was measured.
fn quantiles(histogram: &Histogram<u64>) -> Value {
    if histogram.is_empty() {
        return Value::Null;
    }
    let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1_000.0;
    json!({
        "p50": at(0.5),
        "p95": at(0.95),
        "p99": at(0.99),
        "p999": at(0.999),
        "max": histogram.max() as f64 / 1_000.0,
    })
}

/// Every value that was measured, in microseconds, and how often.
fn buckets(histogram: &Histogram<u64>) -> Value {
    let recorded = histogram.iter_recorded();
    recorded
        .map(|one| json!([one.value_iterated_to(), one.count_at_value()]))
        .collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        bench: Bench,
    }

    #[test]
    fn a_rate_that_was_not_reached_is_named() {
        let said = |line: &str, acknowledged| {
            let line = Line::parse_from(line.split(' '));
            let measured = Measured {
                acknowledged,
                ..Measured::default()
            };
            Report::new(&line.bench, &measured).shortfall()
        };
        let line = "bench --rate 1000 --duration 2s";
        assert_eq!(
            said(line, 1_500).unwrap(),
            "rate of 1000/s was not reached: sent 750/s"
        );
        assert_eq!(said(line, 1_990), None);
        assert_eq!(said("bench --rate 1 --duration 2s", 0), None);
        assert_eq!(said("bench --duration 2s", 0), None, "no rate");
    }

    #[test]
    fn latencies_are_kept_within_bounds() {
        let mut latencies = histogram();
        record(&mut latencies, Duration::ZERO);
        record(&mut latencies, Duration::from_millis(2));
        record(&mut latencies, Duration::from_secs(999));
        assert_eq!(latencies.len(), 3);
        assert_eq!(latencies.value_at_quantile(0.5) / 10, 200);
        let max = quantiles(&latencies)["max"].as_f64().unwrap();
        assert!((60_000.0..60_100.0).contains(&max), "{max}");
    }

    #[test]
    fn a_histogram_is_told_value_by_value() {
        let mut latencies = histogram();
        for micros in [7, 7, 1_500] {
            record(&mut latencies, Duration::from_micros(micros));
        }
        assert_eq!(buckets(&latencies), json!([[7, 2], [1_500, 1]]));
    }
}
