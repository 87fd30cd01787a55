//! Layered settings: defaults, then `zhujiao.toml`, then the environment, then flags. Validated before anything binds.
//!
//! Every key can be set as `ZHUJIAO_` plus its upper-case path with `__` between the levels
//! (`ZHUJIAO_SERVER__LISTEN=0.0.0.0:80`). Three have short names: `ZHUJIAO_ADMIN_KEY`, `ZHUJIAO_DATA_DIR` and
//! `ZHUJIAO_MODELS_DIR`.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use figment::providers::{Format, Serialized, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use serde::{Deserialize, Serialize};

use crate::domain::DeviceKind;

/// The commented default configuration, also shipped as `zhujiao.toml`.
pub const DEFAULT_FILE: &str = include_str!("../zhujiao.toml");

/// The file that is read from the working directory when no other is named.
pub const FILE_NAME: &str = "zhujiao.toml";

const PREFIX: &str = "ZHUJIAO_";

/// Everything that an operator can set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The first administrator's key; without it one is made and printed once.
    #[serde(default, skip_serializing)]
    pub admin_key: Option<Secret>,
    /// Holds the database.
    pub data_dir: PathBuf,
    pub server: ServerSettings,
    pub models: ModelSettings,
    pub engine: EngineSettings,
    pub graph: GraphSettings,
    pub documents: DocumentSettings,
    pub lesson: LessonSettings,
    pub log: LogSettings,
}

/// The HTTP server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerSettings {
    pub listen: SocketAddr,
    /// How users reach the server, for links that it prints (behind a proxy: `https://zhujiao.example.edu`).
    pub public_url: Option<String>,
    /// Longest request body that is read.
    pub max_body_bytes: usize,
    /// How long running requests and streams may go on after SIGTERM.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub shutdown_grace: Duration,
}

/// Which models are served and where their files are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSettings {
    pub dir: PathBuf,
    /// Name of the language model's manifest.
    pub generator: String,
    /// Name of the text encoder's manifest.
    pub encoder: String,
    pub device: DeviceKind,
}

/// The generation engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineSettings {
    /// Sequences decoded together.
    pub max_sequences: usize,
    /// Requests that wait beyond those; the next one is refused with 429.
    pub queue_capacity: usize,
    /// Prompt tokens computed per step, so that long prompts do not stall running answers.
    pub prefill_chunk: usize,
    /// Memory for keys and values.
    pub kv_memory_mib: usize,
    /// Share of that memory that may keep common beginnings of prompts while nothing uses them; 0 switches sharing off.
    pub prefix_cache_percent: usize,
    /// Rows up to which guessed tokens may fill a pass; below 2 nothing is guessed.
    pub speculation_rows: usize,
    /// Longest time for one answer when the request names none.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub deadline: Duration,
}

/// The knowledge graph.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GraphSettings {
    /// A folder of Turtle files instead of the built-in graph.
    pub dir: Option<PathBuf>,
    /// The IRI that concept ids are appended to.
    pub base: String,
}

/// The documents that answers are grounded in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DocumentSettings {
    /// A folder that is indexed at start.
    pub dir: Option<PathBuf>,
}

/// Lesson planning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LessonSettings {
    /// Plans written at the same time; one more is refused with 429.
    pub max_concurrent: usize,
}

/// The log, written to standard error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSettings {
    pub format: LogFormat,
    /// Directives as of `tracing_subscriber::EnvFilter`: `info,zhujiao=debug`.
    pub filter: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Json,
    Text,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            admin_key: None,
            data_dir: user_dir("XDG_DATA_HOME", ".local/share").join("zhujiao"),
            server: ServerSettings {
                listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
                public_url: None,
                max_body_bytes: 1024 * 1024,
                shutdown_grace: Duration::from_secs(30),
            },
            models: ModelSettings {
                dir: user_dir("XDG_CACHE_HOME", ".cache").join("zhujiao/models"),
                generator: "qwen2.5-coder-1.5b".to_owned(),
                encoder: "multilingual-e5-small".to_owned(),
                device: DeviceKind::Auto,
            },
            engine: EngineSettings {
                max_sequences: 16,
                queue_capacity: 64,
                prefill_chunk: 256,
                kv_memory_mib: 1024,
                prefix_cache_percent: 100,
                speculation_rows: 8,
                deadline: Duration::from_secs(600),
            },
            graph: GraphSettings { dir: None, base: "urn:zhujiao:".to_owned() },
            documents: DocumentSettings { dir: None },
            lesson: LessonSettings { max_concurrent: 8 },
            log: LogSettings { format: LogFormat::Text, filter: "info".to_owned() },
        }
    }
}

/// A value that never shows in logs or error messages.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself: to be hashed, or shown to its owner once.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("the configuration file {} does not exist", .0.display())]
    FileMissing(PathBuf),
    /// A setting is unknown, has the wrong type or an impossible value. `key` is the dotted path.
    #[error("{key}: {reason} (set by {origin})")]
    Invalid { key: String, reason: String, origin: String },
}

/// Settings given on the command line; they win over everything else.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--config`: this file instead of `./zhujiao.toml`.
    pub config: Option<PathBuf>,
    pub listen: Option<String>,
    pub data_dir: Option<PathBuf>,
    pub models_dir: Option<PathBuf>,
}

impl Settings {
    /// Reads all layers. `environment` holds all variables of the process; those of other programs are skipped.
    pub fn load(flags: &Flags, environment: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let mut figment = Figment::from(Serialized::defaults(Self::default()));
        match &flags.config {
            Some(path) if !path.is_file() => return Err(ConfigError::FileMissing(path.clone())),
            Some(path) => figment = figment.merge(Toml::file_exact(path)),
            None if Path::new(FILE_NAME).is_file() => figment = figment.merge(Toml::file_exact(FILE_NAME)),
            None => {}
        }
        let mut admin_key = None;
        for (name, value) in environment {
            let Some(key) = environment_key(&name)? else { continue };
            if key == "admin_key" {
                // Kept out of figment, which would quote it in an error and read 1234 as a number.
                admin_key = Some(Secret(value));
            } else {
                figment = figment.merge(Layer::parsed(&key, &value, format!("the environment variable {name}")));
            }
        }
        for (key, flag, value) in flags.values() {
            figment = figment.merge(Layer::text(key, value, format!("the flag {flag}")));
        }
        let mut settings: Self = figment.extract().map_err(|error| invalid(&error))?;
        settings.admin_key = admin_key.or(settings.admin_key);
        settings.validate(&figment)?;
        Ok(settings)
    }

    /// The database file.
    pub fn database_file(&self) -> PathBuf {
        self.data_dir.join("zhujiao.db")
    }

    fn validate(&self, figment: &Figment) -> Result<(), ConfigError> {
        let check = |ok: bool, key: &str, reason: &str| {
            if ok {
                return Ok(());
            }
            let origin = figment.find_metadata(key).map_or_else(|| "the defaults".to_owned(), origin_of);
            Err(ConfigError::Invalid { key: key.to_owned(), reason: reason.to_owned(), origin })
        };
        let dir_exists = |dir: &Option<PathBuf>| dir.as_deref().is_none_or(Path::is_dir);
        let is_web_url = |url: &str| url.starts_with("http://") || url.starts_with("https://");

        if let Some(key) = &self.admin_key {
            check(key.0.len() >= 16, "admin_key", "must have at least 16 characters")?;
            check(key.0.chars().all(|c| c.is_ascii_graphic()), "admin_key", "must be printable ASCII without spaces")?;
        }
        check(!self.data_dir.as_os_str().is_empty(), "data_dir", "must name a folder")?;
        check(self.server.max_body_bytes >= 1024, "server.max_body_bytes", "must be at least 1024")?;
        let public_url = self.server.public_url.as_deref();
        check(public_url.is_none_or(is_web_url), "server.public_url", "must begin with http:// or https://")?;
        check(!self.models.dir.as_os_str().is_empty(), "models.dir", "must name a folder")?;
        check(!self.models.generator.is_empty(), "models.generator", "must name a model")?;
        check(!self.models.encoder.is_empty(), "models.encoder", "must name a model")?;
        check(self.engine.max_sequences > 0, "engine.max_sequences", "must be at least 1")?;
        check(self.engine.prefill_chunk > 0, "engine.prefill_chunk", "must be at least 1")?;
        check(self.engine.kv_memory_mib >= 16, "engine.kv_memory_mib", "must be at least 16")?;
        check(self.engine.prefix_cache_percent <= 100, "engine.prefix_cache_percent", "must be from 0 to 100")?;
        check(self.engine.speculation_rows <= 64, "engine.speculation_rows", "must be from 0 to 64")?;
        check(!self.engine.deadline.is_zero(), "engine.deadline", "must be longer than zero")?;
        check(dir_exists(&self.graph.dir), "graph.dir", "is not a folder that exists")?;
        check(self.graph.base.contains(':'), "graph.base", "must be an IRI")?;
        check(self.graph.base.ends_with(['/', '#', ':']), "graph.base", "must end with / or # or :")?;
        check(dir_exists(&self.documents.dir), "documents.dir", "is not a folder that exists")?;
        check(self.lesson.max_concurrent > 0, "lesson.max_concurrent", "must be at least 1")?;
        if let Err(error) = tracing_subscriber::EnvFilter::try_new(&self.log.filter) {
            check(false, "log.filter", &error.to_string())?;
        }
        Ok(())
    }
}

impl Flags {
    fn values(&self) -> Vec<(&'static str, &'static str, String)> {
        let path = |path: &PathBuf| path.to_string_lossy().into_owned();
        [
            ("server.listen", "--listen", self.listen.clone()),
            ("data_dir", "--data-dir", self.data_dir.as_ref().map(path)),
            ("models.dir", "--models-dir", self.models_dir.as_ref().map(path)),
        ]
        .into_iter()
        .filter_map(|(key, flag, value)| Some((key, flag, value?)))
        .collect()
    }
}

/// The dotted key that an environment variable sets; `None` when the variable is none of ours.
fn environment_key(name: &str) -> Result<Option<String>, ConfigError> {
    let Some(rest) = name.strip_prefix(PREFIX) else { return Ok(None) };
    // Kubernetes sets these in every pod beside a service called `zhujiao`.
    if rest == "PORT" || rest.starts_with("PORT_") || rest.starts_with("SERVICE_") {
        return Ok(None);
    }
    match rest {
        "ADMIN_KEY" | "DATA_DIR" => Ok(Some(rest.to_ascii_lowercase())),
        "MODELS_DIR" => Ok(Some("models.dir".to_owned())),
        // Read by the command line, before the layers.
        "CONFIG" => Ok(None),
        _ if rest.contains("__") => Ok(Some(rest.to_ascii_lowercase().replace("__", "."))),
        _ => Err(ConfigError::Invalid {
            key: rest.to_ascii_lowercase(),
            reason: "is no setting; nested ones are written like ZHUJIAO_SERVER__LISTEN".to_owned(),
            origin: format!("the environment variable {name}"),
        }),
    }
}

/// One value with a name for error messages.
struct Layer {
    origin: String,
    dict: Dict,
}

impl Layer {
    /// Reads `true`, `12` and `[1, 2]` as what they look like.
    fn parsed(key: &str, value: &str, origin: String) -> Self {
        let value = value.parse().unwrap_or_else(|never: std::convert::Infallible| match never {});
        Self { origin, dict: nest(key, value) }
    }

    fn text(key: &str, value: String, origin: String) -> Self {
        Self { origin, dict: nest(key, Value::from(value)) }
    }
}

fn nest(key: &str, value: Value) -> Dict {
    match figment::util::nest(key, value) {
        Value::Dict(_, dict) => dict,
        // `nest` wraps the value in at least one dictionary, as `key` is never empty.
        _ => Dict::new(),
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.dict.clone()))
    }
}

fn invalid(error: &figment::Error) -> ConfigError {
    use figment::error::Kind;
    let key = if error.path.is_empty() { "configuration".to_owned() } else { error.path.join(".") };
    let reason = match &error.kind {
        Kind::UnknownField(name, expected) => {
            format!("unknown setting `{name}`; known here: {}", expected.join(", "))
        }
        _ if key == "admin_key" => "must be a string".to_owned(),
        kind => kind.to_string(),
    };
    let origin = error.metadata.as_ref().map_or_else(|| "the configuration".to_owned(), origin_of);
    ConfigError::Invalid { key, reason, origin }
}

fn origin_of(metadata: &Metadata) -> String {
    match &metadata.source {
        Some(figment::Source::File(path)) => path.display().to_string(),
        _ => metadata.name.to_string(),
    }
}

/// A folder of the user, following the XDG variables; the working directory for users without a home.
fn user_dir(variable: &str, below_home: &str) -> PathBuf {
    match std::env::var_os(variable).map(PathBuf::from) {
        Some(dir) if dir.is_absolute() => dir,
        _ => std::env::home_dir().unwrap_or_default().join(below_home),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(environment: &[(&str, &str)], toml: &str) -> Result<Settings, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("test.toml");
        std::fs::write(&file, toml).unwrap();
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Settings::load(&Flags { config: Some(file), ..Flags::default() }, environment)
    }

    fn check_error(environment: &[(&str, &str)], toml: &str, expected: &[&str]) {
        let message = load(environment, toml).unwrap_err().to_string();
        for part in expected {
            assert!(message.contains(part), "{message:?} lacks {part:?}");
        }
    }

    #[test]
    fn the_shipped_file_equals_the_defaults() {
        assert_eq!(load(&[], DEFAULT_FILE).unwrap(), Settings::default());
    }

    #[test]
    fn the_shipped_file_mentions_every_setting() {
        let figment = Figment::from(Serialized::defaults(Settings::default()));
        let all: Dict = figment.extract().unwrap();
        for (section, value) in &all {
            let Value::Dict(_, keys) = value else {
                assert!(DEFAULT_FILE.contains(&format!("{section} =")), "{section} is missing");
                continue;
            };
            let start = DEFAULT_FILE.find(&format!("\n[{section}]\n")).unwrap_or_else(|| panic!("no [{section}]"));
            let body = DEFAULT_FILE[start + 2..].split("\n[").next().unwrap();
            for key in keys.keys() {
                assert!(body.contains(&format!("{key} =")), "{section}.{key} is missing");
            }
        }
    }

    #[test]
    fn later_layers_win() {
        let toml = "data_dir = \"/from/file\"\n[server]\nlisten = \"127.0.0.1:1\"\n[models]\ndir = \"/from/file\"";
        let environment = [("ZHUJIAO_SERVER__LISTEN", "127.0.0.1:2"), ("ZHUJIAO_MODELS_DIR", "/from/environment")];
        let settings = load(&environment, toml).unwrap();
        assert_eq!(settings.data_dir, Path::new("/from/file"));
        assert_eq!(settings.models.dir, Path::new("/from/environment"));
        assert_eq!(settings.server.listen.port(), 2);

        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let flags = Flags { listen: Some("127.0.0.1:3".to_owned()), ..Flags::default() };
        assert_eq!(Settings::load(&flags, environment).unwrap().server.listen.port(), 3);
    }

    #[test]
    fn environment_values_have_types() {
        let environment = [
            ("ZHUJIAO_ENGINE__MAX_SEQUENCES", "3"),
            ("ZHUJIAO_ENGINE__DEADLINE", "2m"),
            ("ZHUJIAO_LOG__FORMAT", "json"),
            ("ZHUJIAO_ADMIN_KEY", "1234567890123456"),
            ("ZHUJIAO_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
            ("HOME", "/root"),
        ];
        let settings = load(&environment, "").unwrap();
        assert_eq!(settings.engine.max_sequences, 3);
        assert_eq!(settings.engine.deadline, Duration::from_secs(120));
        assert_eq!(settings.log.format, LogFormat::Json);
        assert_eq!(settings.admin_key.as_ref().unwrap().expose(), "1234567890123456");
        assert!(!format!("{settings:?}").contains("1234567890123456"));
    }

    #[test]
    fn errors_name_the_key_and_where_it_was_set() {
        check_error(&[], "[server]\nlisten = \"nowhere\"", &["server.listen", "test.toml"]);
        check_error(&[], "[server]\nport = 1", &["server.port", "unknown setting", "listen"]);
        check_error(&[], "[engine]\nmax_sequences = 0", &["engine.max_sequences", "at least 1", "test.toml"]);
        check_error(&[], "[engine]\nprefix_cache_percent = 101", &["engine.prefix_cache_percent", "0 to 100"]);
        check_error(&[], "[engine]\nspeculation_rows = 65", &["engine.speculation_rows", "0 to 64"]);
        check_error(&[], "[engine]\ndeadline = 5", &["engine.deadline"]);
        check_error(&[], "[models]\ndevice = \"tpu\"", &["models.device", "tpu"]);
        check_error(&[], "[log]\nfilter = \"a=b=c\"", &["log.filter"]);
        check_error(&[], "[documents]\ndir = \"/no/such/folder\"", &["documents.dir", "exists"]);
        check_error(&[], "[server", &["test.toml"]);
        let variable = "ZHUJIAO_ENGINE__QUEUE_CAPACITY";
        check_error(&[(variable, "many")], "", &["engine.queue_capacity", variable]);
        check_error(&[("ZHUJIAO_DATADIR", "x")], "", &["datadir", "ZHUJIAO_DATADIR"]);
        check_error(&[("ZHUJIAO_ADMIN_KEY", "short")], "", &["admin_key", "16"]);
    }

    #[test]
    fn a_named_file_must_exist() {
        let flags = Flags { config: Some("/no/such/zhujiao.toml".into()), ..Flags::default() };
        assert!(matches!(Settings::load(&flags, []), Err(ConfigError::FileMissing(_))));
    }
}
