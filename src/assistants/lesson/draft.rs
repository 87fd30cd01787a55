//! A plan while it is written: the citation book and the listener to its events.

use serde::Serialize;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::domain::{Citation, SectionName};

use super::facts::{CitationBook, Source};
use super::{PlanError, PlanEvent};

pub(super) type EventSender = mpsc::Sender<Result<PlanEvent, PlanError>>;

/// Collects citations and tells a listener, if there is one, what is being written. A listener that has gone is noticed by
/// the task that runs the writing, not here.
pub(super) struct Draft {
    pub book: CitationBook,
    /// Citations made since the last event; they are announced before the section that uses them is completed.
    unannounced: Vec<(String, Citation)>,
    listener: Option<EventSender>,
}

impl Draft {
    pub fn new(book: CitationBook, listener: Option<EventSender>) -> Self {
        Self { book, unannounced: Vec::new(), listener }
    }

    /// The citation's key.
    pub fn cite(&mut self, citation: Citation) -> String {
        let (key, new) = self.book.cite(citation.clone());
        if new {
            self.unannounced.push((key.clone(), citation));
        }
        key
    }

    /// Makes a text of the material citable.
    pub fn source(&mut self, citation: Citation, text: impl Into<String>) -> Source {
        Source { key: self.cite(citation), text: text.into() }
    }

    pub async fn emit(&mut self, event: PlanEvent) {
        for (key, citation) in std::mem::take(&mut self.unannounced) {
            self.send(PlanEvent::Citation { key, citation }).await;
        }
        self.send(event).await;
    }

    pub async fn started(&mut self, section: SectionName, attempt: u32) {
        self.emit(PlanEvent::SectionStarted { section, attempt }).await;
    }

    /// Text as it is written: of a section, or without one of the answer to a message.
    pub async fn delta(&mut self, section: Option<SectionName>, text: String) {
        if text.is_empty() {
            return;
        }
        let event = match section {
            Some(section) => PlanEvent::SectionDelta { section, text },
            None => PlanEvent::MessageDelta { text },
        };
        self.emit(event).await;
    }

    pub async fn completed(&mut self, section: SectionName, content: &impl Serialize) -> Result<(), PlanError> {
        let content: Value =
            serde_json::to_value(content).map_err(|error| PlanError::Internal(format!("section: {error}")))?;
        self.emit(PlanEvent::SectionCompleted { section, content }).await;
        Ok(())
    }

    async fn send(&self, event: PlanEvent) {
        if let Some(listener) = &self.listener {
            // A closed channel means that the client has left; the task that drives this draft is being dropped.
            let _ = listener.send(Ok(event)).await;
        }
    }
}
