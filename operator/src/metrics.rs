//! What the operator counts, in Prometheus' text format.
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Labels of a reconcile.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Run {
    /// queuecluster, queue or consumerscaler.
    pub controller: &'static str,
    /// ok or error.
    pub outcome: &'static str,
}

/// Labels of a step.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StepLabel {
    /// See `status.plan`.
    pub step: String,
}

/// What the operator counts.
pub struct Metrics {
    registry: Registry,
    /// Reconciles.
    pub runs: Family<Run, Counter>,
    /// How long they took.
    pub seconds: Family<Run, Histogram, fn() -> Histogram>,
    /// Steps of clusters that were carried out.
    pub steps: Family<StepLabel, Counter>,
    /// Writes to `/scale`.
    pub scalings: Counter,
    /// 1 while this instance leads.
    pub leads: Gauge<u64, AtomicU64>,
}

fn histogram() -> Histogram {
    Histogram::new([0.005, 0.02, 0.1, 0.5, 2.0, 10.0])
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("roadstead_operator");
        let runs = Family::<Run, Counter>::default();
        registry.register(
            "reconciles",
            "Reconciles by controller and outcome",
            runs.clone(),
        );
        let seconds = Family::<Run, Histogram, fn() -> Histogram>::new_with_constructor(histogram);
        registry.register_with_unit(
            "reconcile_duration",
            "How long reconciles took",
            Unit::Seconds,
            seconds.clone(),
        );
        let steps = Family::<StepLabel, Counter>::default();
        registry.register(
            "steps",
            "Steps of clusters that were carried out",
            steps.clone(),
        );
        let scalings = Counter::default();
        registry.register(
            "scalings",
            "Writes to /scale of consumers",
            scalings.clone(),
        );
        let leads = Gauge::default();
        registry.register(
            "leads",
            "1 while this instance holds the Lease",
            leads.clone(),
        );
        Self {
            registry,
            runs,
            seconds,
            steps,
            scalings,
            leads,
        }
    }
}

impl Metrics {
    /// The text that Prometheus reads.
    pub fn text(&self) -> String {
        let mut text = String::new();
        match prometheus_client::encoding::text::encode(&mut text, &self.registry) {
            Ok(()) => text,
            Err(error) => format!("# cannot be written: {error}\n"),
        }
    }

    /// Counts a reconcile.
    pub fn ran(&self, controller: &'static str, seconds: f64, ok: bool) {
        let run = Run {
            controller,
            outcome: if ok { "ok" } else { "error" },
        };
        self.runs.get_or_create(&run).inc();
        self.seconds.get_or_create(&run).observe(seconds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_labels() {
        let metrics = Metrics::default();
        metrics.ran("queue", 0.01, true);
        metrics.ran("queue", 0.01, false);
        let text = metrics.text();
        for line in [
            "roadstead_operator_reconciles_total{controller=\"queue\",outcome=\"error\"} 1",
            "roadstead_operator_leads 0",
            "roadstead_operator_reconcile_duration_seconds_count",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }
}
