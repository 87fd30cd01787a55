//! Zhujiao (助教): an AI teaching assistant that a school runs on its own hardware.
//!
//! The modules in reading order. Knowledge points one way,
//! `main -> http -> assistants -> {runtime, retrieval, graph, safety} -> domain`; `tests/architecture.rs` holds it.

pub mod domain;

pub mod algebra;
pub mod config;
pub mod model_store;
pub mod store;

pub mod runtime;

pub mod embedding;
pub mod graph;
pub mod retrieval;

pub mod safety;

pub mod assistants;

pub mod http;
pub mod telemetry;
