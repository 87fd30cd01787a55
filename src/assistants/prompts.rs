//! Prompt templates: minijinja files under `prompts/`, built into the binary. Nothing is prompted from string literals.
//!
//! A template has two parts, separated by lines `=== system` and `=== user`. The version of a family of prompts is the
//! hash of its files, so that every generated document says which wording made it.

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, UndefinedBehavior};
use rust_embed::RustEmbed;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::runtime::ChatMessage;

#[derive(RustEmbed)]
#[folder = "prompts"]
struct PromptFiles;

/// A template is missing, malformed, or was rendered without a value that it needs: a fault of the build, not of a request.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    #[error("prompt `{name}`: {reason}")]
    Template { name: String, reason: String },
}

/// All prompt templates.
pub struct Prompts {
    environment: Environment<'static>,
}

impl Prompts {
    /// Parses every built-in template.
    pub fn built_in() -> Result<Self, PromptError> {
        let mut environment = Environment::new();
        // A prompt with a hole in it produces nonsense quietly; an error is better.
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()
            .map_err(|error| PromptError::Template { name: "syntax".to_owned(), reason: error.to_string() })?;
        environment.set_syntax(syntax);
        for path in PromptFiles::iter().filter(|path| path.ends_with(".j2")) {
            let text = Self::file(&path)?;
            environment
                .add_template_owned(path.to_string(), text)
                .map_err(|error| PromptError::Template { name: path.to_string(), reason: error.to_string() })?;
        }
        Ok(Self { environment })
    }

    /// A data file beside the templates, as text.
    pub fn file(path: &str) -> Result<String, PromptError> {
        let missing = |reason: &str| PromptError::Template { name: path.to_owned(), reason: reason.to_owned() };
        let file = PromptFiles::get(path).ok_or_else(|| missing("no such file"))?;
        String::from_utf8(file.data.into_owned()).map_err(|_| missing("not UTF-8"))
    }

    /// The messages of template `name` (path under `prompts/`) filled with `values`.
    pub fn render(&self, name: &str, values: impl Serialize) -> Result<Vec<ChatMessage>, PromptError> {
        let fail = |reason: String| PromptError::Template { name: name.to_owned(), reason };
        let template = self.environment.get_template(name).map_err(|error| fail(error.to_string()))?;
        let text = template.render(minijinja::value::Serde(values)).map_err(|error| fail(error.to_string()))?;
        let text = text.strip_prefix("=== system\n").ok_or_else(|| fail("does not start with `=== system`".into()))?;
        let (system, user) =
            text.split_once("\n=== user\n").ok_or_else(|| fail("has no line `=== user`".to_owned()))?;
        Ok(vec![ChatMessage::system(system.trim()), ChatMessage::user(user.trim())])
    }

    /// The first eight hex digits over the files of a family (`lesson`), with its name: `lesson-1f0c9a2b`.
    pub fn version(family: &str) -> String {
        let mut paths: Vec<_> = PromptFiles::iter().filter(|path| path.starts_with(&format!("{family}/"))).collect();
        paths.sort();
        let mut hash = Sha256::new();
        for path in paths {
            if let Some(file) = PromptFiles::get(&path) {
                hash.update(path.as_bytes());
                hash.update(&file.data);
            }
        }
        let digest = hash.finalize();
        let hex: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        format!("{family}-{hex}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_template_parses() {
        Prompts::built_in().expect("templates parse");
    }

    #[test]
    fn a_missing_value_is_an_error_not_a_hole() {
        let prompts = Prompts::built_in().expect("templates parse");
        let result = prompts.render("lesson/objectives.j2", serde_json::json!({}));
        assert!(matches!(result, Err(PromptError::Template { .. })));
    }

    #[test]
    fn the_version_names_its_family() {
        let version = Prompts::version("lesson");
        assert!(version.starts_with("lesson-") && version.len() == "lesson-".len() + 8);
    }
}
