//! The configured models as the server sees them: a named place for each from the start, filled when it is loaded.

use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use async_trait::async_trait;
use serde::Serialize;
use utoipa::ToSchema;

use crate::embedding::{EncodeError, Encoded, TextEncoder, TextKind};
use crate::runtime::{GenerationError, GenerationRequest, GenerationStream, Generator, ModelInfo};

/// How far a model is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ModelState {
    /// Not on this machine, and not on its way.
    Missing,
    Downloading,
    Loading,
    Ready,
    Failed,
}

/// What a model is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ModelRole {
    Generator,
    Encoder,
}

/// A line of `/readyz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ModelStatus {
    pub name: String,
    pub role: ModelRole,
    pub state: ModelState,
    /// Progress, or why it failed and what to do.
    pub detail: Option<String>,
}

/// The place of one model. It is a [`Generator`] or [`TextEncoder`] itself, which answers `Unavailable` until the model
/// is there, so that parts can be wired before models are loaded.
pub struct ModelSlot<T: ?Sized> {
    name: String,
    progress: RwLock<(ModelState, Option<String>)>,
    loaded: OnceLock<Arc<T>>,
}

impl<T: ?Sized> ModelSlot<T> {
    /// A place for the model of this name, [`ModelState::Missing`] at first.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), progress: RwLock::new((ModelState::Missing, None)), loaded: OnceLock::new() }
    }

    /// A place that is filled already.
    pub fn ready(name: impl Into<String>, model: Arc<T>) -> Self {
        let slot = Self::new(name);
        slot.fill(model);
        slot
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Says how far the model is; ignored once it is ready.
    pub fn report(&self, state: ModelState, detail: Option<String>) {
        if self.loaded.get().is_none() {
            *self.progress.write().unwrap_or_else(PoisonError::into_inner) = (state, detail);
        }
    }

    /// Puts the model in its place; it is ready from now on. A second one is dropped.
    pub fn fill(&self, model: Arc<T>) {
        if self.loaded.set(model).is_ok() {
            *self.progress.write().unwrap_or_else(PoisonError::into_inner) = (ModelState::Ready, None);
        }
    }

    pub fn get(&self) -> Option<&Arc<T>> {
        self.loaded.get()
    }

    pub fn state(&self) -> (ModelState, Option<String>) {
        self.progress.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn absence(&self) -> String {
        let (state, detail) = self.state();
        format!("{} is {state:?}{}", self.name, detail.map(|detail| format!(" ({detail})")).unwrap_or_default())
    }
}

#[async_trait]
impl Generator for ModelSlot<dyn Generator> {
    /// Before the model is loaded: the configured name, and a context of 0.
    fn model(&self) -> ModelInfo {
        match self.get() {
            Some(model) => ModelInfo { name: self.name.clone(), ..model.model() },
            None => ModelInfo { name: self.name.clone(), architecture: String::new(), context_length: 0 },
        }
    }

    async fn generate(&self, request: GenerationRequest) -> Result<GenerationStream, GenerationError> {
        match self.get() {
            Some(model) => model.generate(request).await,
            None => Err(GenerationError::Unavailable(self.absence())),
        }
    }
}

#[async_trait]
impl TextEncoder for ModelSlot<dyn TextEncoder> {
    fn name(&self) -> &str {
        &self.name
    }

    /// 0 before the model is loaded.
    fn dimensions(&self) -> usize {
        self.get().map_or(0, |encoder| encoder.dimensions())
    }

    async fn encode(&self, kind: TextKind, texts: Vec<String>) -> Result<Encoded, EncodeError> {
        match self.get() {
            Some(encoder) => encoder.encode(kind, texts).await,
            None => Err(EncodeError::Unavailable(self.absence())),
        }
    }
}

/// The configured models; cheap to clone.
#[derive(Clone)]
pub struct Models {
    pub generator: Arc<ModelSlot<dyn Generator>>,
    pub encoder: Arc<ModelSlot<dyn TextEncoder>>,
}

impl Models {
    pub fn status(&self) -> Vec<ModelStatus> {
        let line = |name: &str, role, (state, detail)| ModelStatus { name: name.to_owned(), role, state, detail };
        vec![
            line(self.generator.name(), ModelRole::Generator, self.generator.state()),
            line(self.encoder.name(), ModelRole::Encoder, self.encoder.state()),
        ]
    }
}
