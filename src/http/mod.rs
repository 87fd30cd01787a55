//! The HTTP API: router, state, authentication, problems, streams. Knows no candle, SQL or SPARQL.
//!
//! A route is one handler in `routes/`, registered in [`routes::api`], with a row in the [`policy`] table; without the row
//! the server refuses it. Handlers take the [`domain::Principal`](crate::domain::Principal) where they need to know who
//! calls, and return [`ApiError`] when they cannot answer.

mod app;
mod auth;
mod context;
mod extract;
mod models;
mod openapi;
pub mod policy;
mod problem;
pub mod routes;
mod sse;
mod state;
mod web;

pub use app::{app, serve};
pub use context::{PreferredLanguage, RequestContext};
pub use extract::{Json, Path, Query};
pub use models::{ModelSlot, ModelState, ModelStatus, Models};
pub use openapi::document;
pub use problem::{ApiError, FieldError, Problem};
pub use sse::{EventStream, SseSender};
pub use state::{AppState, Parts};
