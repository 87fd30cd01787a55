//! The assistants: each turns one request into one grounded answer. They know graph, index, model and store, but no HTTP,
//! SQL or tensors.

pub mod grounding;
pub mod json_text;
pub mod lesson;
pub mod prompts;
