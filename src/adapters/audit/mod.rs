//! Audit sinks.
