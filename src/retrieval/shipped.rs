//! The guides for teachers that come with the program.

use rust_embed::RustEmbed;

use super::ingest::{SourceDocument, SourceFormat};

#[derive(RustEmbed)]
#[folder = "knowledge_graph/documents"]
struct Shipped;

/// The shipped documents, for the curriculum collection.
pub fn shipped_documents() -> impl Iterator<Item = SourceDocument> {
    Shipped::iter().filter_map(|path| {
        let file = Shipped::get(&path)?;
        let format = SourceFormat::from_path(std::path::Path::new(path.as_ref()))?;
        Some(SourceDocument { reference: format!("shipped/{path}"), format, bytes: file.data.into_owned() })
    })
}
