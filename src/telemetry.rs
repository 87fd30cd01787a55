//! Logs by `tracing`, metrics by `metrics` with a Prometheus recorder.

use std::io::IsTerminal;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::config::{LogFormat, LogSettings};

/// Upper bounds in seconds. A health check takes a millisecond, a lesson plan on a laptop minutes.
const DURATION_BUCKETS: [f64; 12] = [0.005, 0.02, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 60.0, 180.0, 600.0];

/// Why telemetry could not start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("log.filter: {0}")]
    Filter(#[from] ParseError),
    #[error("logging is already set up")]
    AlreadyLogging,
    #[error("metrics: {0}")]
    Metrics(#[from] BuildError),
}

/// Sends log lines to standard error, which leaves standard output to what commands print. Once per process.
pub fn start_logging(settings: &LogSettings) -> Result<(), TelemetryError> {
    let filter = EnvFilter::try_new(&settings.filter)?;
    let writer = std::io::stderr;
    let colours = writer().is_terminal();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_ansi(colours);
    let started = match settings.format {
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init(),
        LogFormat::Text => builder.with_target(false).try_init(),
    };
    started.map_err(|_| TelemetryError::AlreadyLogging)
}

/// What `/metrics` shows; cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
}

impl Metrics {
    /// Makes this process's metrics visible. Once per process.
    pub fn install() -> Result<Self, TelemetryError> {
        Ok(Self { handle: builder()?.install_recorder()? })
    }

    /// Shows nothing: for tests, of which many share a process.
    pub fn detached() -> Result<Self, TelemetryError> {
        Ok(Self { handle: builder()?.build_recorder().handle() })
    }

    /// The Prometheus text format. Also folds the samples taken since the last call into their buckets, so that they do
    /// not pile up; the server calls it at intervals when nobody scrapes.
    pub fn render(&self) -> String {
        self.handle.run_upkeep();
        self.handle.render()
    }

    /// The folding alone.
    pub fn run_upkeep(&self) {
        self.handle.run_upkeep();
    }
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &DURATION_BUCKETS)
}
