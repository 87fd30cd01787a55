//! Logs, metrics.
