//! The application with an empty database in memory, scripted models, and a key for each role.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::{Semaphore, mpsc};
use tower::ServiceExt;
use zhujiao::assistants::lesson::{LessonPlanner, PlannerParts};
use zhujiao::assistants::prompts::Prompts;
use zhujiao::config::Settings;
use zhujiao::domain::Role;
use zhujiao::embedding::{EncodeError, Encoded, TextEncoder, TextKind};
use zhujiao::graph::{Content, DEFAULT_BASE, KnowledgeGraph, Linker};
use zhujiao::http::{AppState, ModelSlot, Models, Parts, app};
use zhujiao::retrieval::{EmbeddedIndex, Indexer, RetrievalParts, Searcher, Segmenter};
use zhujiao::runtime::{
    Constraint, FinishReason, GenerationError, GenerationEvent, GenerationRequest, GenerationStream, Generator,
    ModelInfo, Usage,
};
use zhujiao::store::Database;
use zhujiao::store::keys::{KeyStore, NewKey};
use zhujiao::store::plans::PlanStore;
use zhujiao::telemetry::Metrics;

pub const GENERATOR: &str = "scripted-generator";
pub const ENCODER: &str = "scripted-encoder";
pub const ROLES: [Role; 6] =
    [Role::Administrator, Role::Teacher, Role::Student, Role::Counsellor, Role::Guardian, Role::Integrator];

/// What the scripted generator does with each request.
#[derive(Clone, Debug)]
pub enum Script {
    /// These pieces, then the end.
    Answer(Vec<&'static str>),
    /// These pieces, then an error.
    Break(Vec<&'static str>, GenerationError),
    /// One piece, then nothing until the caller goes.
    Hang,
    /// The smallest JSON that the request's schema permits, with Chinese sentences for strings.
    Schema,
    /// No generation at all.
    Refuse(GenerationError),
}

/// A [`Generator`] that follows its [`Script`].
pub struct ScriptedGenerator {
    script: Script,
    pub requests: Mutex<Vec<GenerationRequest>>,
    /// A permit for each generation begun.
    pub begun: Semaphore,
    /// A permit for each stream whose reader went before the end.
    pub dropped: Arc<Semaphore>,
}

#[async_trait]
impl Generator for ScriptedGenerator {
    fn model(&self) -> ModelInfo {
        ModelInfo { name: GENERATOR.to_owned(), architecture: "scripted".to_owned(), context_length: 4096 }
    }

    async fn generate(&self, request: GenerationRequest) -> Result<GenerationStream, GenerationError> {
        self.requests.lock().unwrap().push(request.clone());
        self.begun.add_permits(1);
        let (sender, stream) = mpsc::channel(64);
        let text = |piece: &str| Ok(GenerationEvent::Text(piece.to_owned()));
        match self.script.clone() {
            Script::Refuse(error) => return Err(error),
            Script::Answer(pieces) => {
                for piece in &pieces {
                    sender.try_send(text(piece)).unwrap();
                }
                let usage = Usage { prompt_tokens: 7, cached_tokens: 4, completion_tokens: pieces.len() };
                sender.try_send(Ok(GenerationEvent::Finished { reason: FinishReason::Stop, usage })).unwrap();
            }
            Script::Schema => {
                let Some(Constraint::JsonSchema(schema)) = &request.constraint else {
                    panic!("a request without a schema: {request:?}")
                };
                sender.try_send(text(&instance(schema, &mut 0).to_string())).unwrap();
                let usage = Usage { prompt_tokens: 7, cached_tokens: 4, completion_tokens: 9 };
                sender.try_send(Ok(GenerationEvent::Finished { reason: FinishReason::Stop, usage })).unwrap();
            }
            Script::Break(pieces, error) => {
                for piece in pieces {
                    sender.try_send(text(piece)).unwrap();
                }
                sender.try_send(Err(error)).unwrap();
            }
            Script::Hang => {
                sender.try_send(text("等")).unwrap();
                let dropped = self.dropped.clone();
                tokio::spawn(async move {
                    sender.closed().await;
                    dropped.add_permits(1);
                });
            }
        }
        Ok(stream)
    }
}

/// A value that a schema permits; every string is another sentence.
fn instance(schema: &Value, sentences: &mut usize) -> Value {
    const SENTENCES: [&str; 8] = [
        "先独立思考再和同桌说明理由。",
        "用自己的话概括刚才发现的规律。",
        "结合材料举出一个新的例子。",
        "比较两种做法并说出各自的依据。",
        "检查书写是否规范并及时改正。",
        "回顾学过的知识找出其中的联系。",
        "小组合作完成任务并展示成果。",
        "提出还没有弄明白的问题。",
    ];
    if let Some(options) = schema["enum"].as_array() {
        return options[0].clone();
    }
    match schema["type"].as_str() {
        Some("object") => {
            let properties = schema["properties"].as_object().unwrap();
            properties.iter().map(|(key, schema)| (key.clone(), instance(schema, sentences))).collect()
        }
        Some("array") => {
            let count = schema["minItems"].as_u64().unwrap_or(1);
            (0..count).map(|_| instance(&schema["items"], sentences)).collect()
        }
        Some("string") => {
            let number = *sentences;
            *sentences += 1;
            Value::from(SENTENCES[number % SENTENCES.len()])
        }
        other => panic!("no instance of {other:?}"),
    }
}

/// Vectors of four numbers: the text's length in bytes, then 1 for a query, then 0.5, then -2. A character is a token.
struct ScriptedEncoder;

#[async_trait]
impl TextEncoder for ScriptedEncoder {
    fn name(&self) -> &str {
        ENCODER
    }

    fn dimensions(&self) -> usize {
        4
    }

    async fn encode(&self, kind: TextKind, texts: Vec<String>) -> Result<Encoded, EncodeError> {
        let query = f32::from(u8::from(kind == TextKind::Query));
        let vectors = texts.iter().map(|text| vec![text.len() as f32, query, 0.5, -2.0]).collect();
        Ok(Encoded { vectors, tokens: texts.iter().map(|text| text.chars().count()).sum() })
    }
}

pub struct TestApp {
    pub state: AppState,
    pub router: Router,
    pub generator: Arc<ScriptedGenerator>,
    pub indexer: Indexer,
    keys: HashMap<Role, String>,
}

impl TestApp {
    pub async fn new(script: Script) -> Self {
        let begun = Semaphore::new(0);
        let dropped = Arc::new(Semaphore::new(0));
        let generator = Arc::new(ScriptedGenerator { script, requests: Mutex::default(), begun, dropped });
        let models = Models {
            generator: Arc::new(ModelSlot::ready(GENERATOR, generator.clone())),
            encoder: Arc::new(ModelSlot::ready(ENCODER, Arc::new(ScriptedEncoder))),
        };
        Self::with_models(generator, models).await
    }

    /// Configured models that are not there.
    pub async fn without_models() -> Self {
        let app = Self::new(Script::Hang).await;
        let models =
            Models { generator: Arc::new(ModelSlot::new(GENERATOR)), encoder: Arc::new(ModelSlot::new(ENCODER)) };
        Self::with_models(app.generator, models).await
    }

    async fn with_models(generator: Arc<ScriptedGenerator>, models: Models) -> Self {
        let database = Database::in_memory().await.unwrap();
        let store = KeyStore::new(database.clone());
        let mut keys = HashMap::new();
        for role in ROLES {
            let new = NewKey { role, school: None, name: "test".to_owned() };
            let (_, secret) = store.create(new, Timestamp::now()).await.unwrap();
            keys.insert(role, secret.expose().to_owned());
        }
        let mut server = Settings::default().server;
        server.max_body_bytes = 64 * 1024;
        server.shutdown_grace = Duration::ZERO;
        // Both take a moment to make: one for all tests of a binary.
        static SEGMENTER: LazyLock<Arc<Segmenter>> = LazyLock::new(|| Arc::new(Segmenter::new([])));
        static GRAPH: LazyLock<Arc<KnowledgeGraph>> =
            LazyLock::new(|| Arc::new(KnowledgeGraph::load(Content::Embedded, DEFAULT_BASE).unwrap()));
        static LINKER: LazyLock<Arc<Linker>> = LazyLock::new(|| Arc::new(Linker::new(&GRAPH)));
        let index = Arc::new(EmbeddedIndex::open(database.clone()).await.unwrap());
        let parts = RetrievalParts::new(index, SEGMENTER.clone()).with_encoder(models.encoder.clone());
        let (searcher, indexer) = (Searcher::new(parts.clone()), Indexer::new(parts));
        let metrics = Metrics::detached().unwrap();
        let (graph, searcher) = (GRAPH.clone(), Arc::new(searcher));
        let planner = LessonPlanner::new(PlannerParts {
            graph: graph.clone(),
            linker: LINKER.clone(),
            searcher: searcher.clone(),
            generator: models.generator.clone(),
            plans: PlanStore::new(database),
            prompts: Arc::new(Prompts::built_in().unwrap()),
            max_concurrent: 2,
        });
        let state = AppState::new(server, Parts { keys: store, models, metrics, graph, searcher, planner });
        Self { router: app(state.clone()), state, generator, indexer, keys }
    }

    pub fn key(&self, role: Role) -> &str {
        &self.keys[&role]
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response: Response<Body> = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8(body.to_vec()).unwrap();
        Answer { status: parts.status, headers: parts.headers, text }
    }

    pub async fn get(&self, path: &str, role: Role) -> Answer {
        self.send(self.request("GET", path, role).body(Body::empty()).unwrap()).await
    }

    pub async fn post(&self, path: &str, role: Role, body: Value) -> Answer {
        self.post_text(path, role, body.to_string()).await
    }

    pub async fn post_text(&self, path: &str, role: Role, body: String) -> Answer {
        let request = self.request("POST", path, role).header(header::CONTENT_TYPE, "application/json");
        self.send(request.body(Body::from(body)).unwrap()).await
    }

    pub fn request(&self, method: &str, path: &str, role: Role) -> axum::http::request::Builder {
        let bearer = format!("Bearer {}", self.key(role));
        Request::builder().method(method).uri(path).header(header::AUTHORIZATION, bearer)
    }
}

pub fn get_without_key(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).unwrap()
}

#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    #[track_caller]
    pub fn assert_problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.headers[header::CONTENT_TYPE], "application/problem+json");
        assert!(self.headers.contains_key("x-request-id"));
        let problem = self.json();
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["status"], status);
        assert_eq!(problem["type"], format!("urn:zhujiao:problem:{code}"));
        assert!(problem["title"].is_string() && problem["detail"].is_string(), "{problem}");
        problem
    }
}
