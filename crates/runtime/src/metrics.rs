//! Counters, gauges and histograms in the Prometheus text form.
//!
//! Programs count with the `metrics` crate's macros; here the recorder is installed once per process, and rendered
//! for `/metrics`. Names say the unit last: `_ms`, `_bytes`, `_total`.

use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use crate::shutdown::Shutdown;

/// Histogram bounds in milliseconds for names that end in `_ms`: from a cache hit to the longest deadline.
const LATENCY_BOUNDS_MS: [f64; 14] =
    [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 1_000.0, 5_000.0, 30_000.0];

/// Histogram bounds in bytes for names that end in `_bytes`.
const SIZE_BOUNDS: [f64; 7] = [256.0, 1_024.0, 4_096.0, 16_384.0, 65_536.0, 1_048_576.0, 67_108_864.0];

/// The process's recorder. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
}

impl Metrics {
    /// Installs the recorder; every later call in this process gives the same one.
    ///
    /// # Errors
    /// [`MetricsError`] when something else has installed a recorder of its own.
    pub fn install() -> Result<Self, MetricsError> {
        static INSTALLED: OnceLock<Result<Metrics, String>> = OnceLock::new();
        INSTALLED
            .get_or_init(|| Self::build().map_err(|error| error.to_string()))
            .clone()
            .map_err(|reason| MetricsError { reason })
    }

    fn build() -> Result<Self, BuildError> {
        let handle = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_ms".to_owned()), &LATENCY_BOUNDS_MS)?
            .set_buckets_for_metric(Matcher::Suffix("_bytes".to_owned()), &SIZE_BOUNDS)?
            .install_recorder()?;
        Ok(Self { handle })
    }

    /// All metrics in the Prometheus text form, version 0.0.4.
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// Moves recorded histogram samples into their buckets every few seconds until shutdown, so that memory stays
    /// bounded when nobody scrapes.
    pub fn keep_up(&self, shutdown: &Shutdown) {
        let (handle, token) = (self.handle.clone(), shutdown.token());
        tokio::spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_secs(5));
            while token.run_until_cancelled(tick.tick()).await.is_some() {
                handle.run_upkeep();
            }
        });
    }
}

/// The recorder could not be installed.
#[derive(Debug, thiserror::Error)]
#[error("metrics recorder: {reason}")]
pub struct MetricsError {
    reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_rendered_with_buckets() {
        let recorder = Metrics::install().unwrap();
        metrics::counter!("test_refused_total", "reason" => "unknown_operation").increment(2);
        metrics::histogram!("test_read_latency_ms").record(3.0);
        let text = Metrics::install().unwrap().render();
        assert!(text.contains("test_refused_total{reason=\"unknown_operation\"} 2"), "{text}");
        assert!(text.contains("test_read_latency_ms_bucket{le=\"5\"} 1"), "{text}");
        assert_eq!(recorder.render(), text);
    }
}
