//! What OpenAI's clients send, and what of it becomes a [`GenerationRequest`].
//!
//! Unknown members are skipped, as clients send many. Known ones that this server cannot honour are refused by name, for
//! an answer that silently ignores them would be wrong.

use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::http::{ApiError, FieldError};
use crate::runtime::{ChatMessage, ChatRole, Constraint, GenerationRequest, Priority, Sampling};

const MAX_STOPS: usize = 16;

#[derive(Deserialize, ToSchema)]
pub struct ChatRequest {
    #[schema(example = "qwen2.5-coder-1.5b")]
    pub model: String,
    messages: Vec<Message>,
    #[serde(default)]
    pub stream: Option<bool>,
    pub stream_options: Option<StreamOptions>,
    /// The older name of `max_completion_tokens`, which wins when both are given.
    max_tokens: Option<u32>,
    max_completion_tokens: Option<u32>,
    /// 0 to 2; 0 takes the most probable token each time.
    temperature: Option<f32>,
    /// Above 0, at most 1.
    top_p: Option<f32>,
    /// Not in OpenAI's API: only the most probable tokens.
    top_k: Option<u32>,
    /// Not in OpenAI's API: no tokens below this fraction of the most probable one's probability.
    min_p: Option<f32>,
    /// Not in OpenAI's API: above 1, tokens that occurred become less probable.
    repetition_penalty: Option<f32>,
    seed: Option<i64>,
    stop: Option<Stop>,
    response_format: Option<ResponseFormat>,
    /// Only 1.
    n: Option<u32>,
    #[serde(flatten)]
    #[schema(ignore)]
    unsupported: Unsupported,
}

/// Members that change the meaning of the answer and are not supported.
#[derive(Deserialize)]
struct Unsupported {
    tools: Option<Value>,
    tool_choice: Option<Value>,
    functions: Option<Value>,
    function_call: Option<Value>,
    logprobs: Option<Value>,
    top_logprobs: Option<Value>,
    logit_bias: Option<Value>,
    presence_penalty: Option<Value>,
    frequency_penalty: Option<Value>,
    audio: Option<Value>,
    modalities: Option<Value>,
}

#[derive(Deserialize, ToSchema)]
pub struct StreamOptions {
    /// A last chunk with the token counts.
    #[serde(default)]
    pub include_usage: Option<bool>,
}

#[derive(Deserialize, ToSchema)]
struct Message {
    role: MessageRole,
    content: Option<Content>,
}

#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum MessageRole {
    System,
    /// The newer name of `system`.
    Developer,
    User,
    Assistant,
    /// Refused.
    Tool,
    /// Refused.
    Function,
}

#[derive(Deserialize, ToSchema)]
#[serde(untagged, expecting = "expected a text or a list of text parts")]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize, ToSchema)]
struct Part {
    /// Only `text`.
    #[serde(rename = "type")]
    kind: String,
    text: Option<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(untagged, expecting = "expected a text or a list of texts")]
enum Stop {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ResponseFormat {
    Text,
    JsonObject,
    JsonSchema { json_schema: NamedSchema },
}

#[derive(Deserialize, ToSchema)]
struct NamedSchema {
    #[schema(value_type = Object)]
    schema: Value,
}

impl ChatRequest {
    /// Checks everything and says all that is wrong at once.
    pub fn into_generation(self) -> Result<GenerationRequest, ApiError> {
        let mut errors = Errors::default();
        self.check_numbers(&mut errors);
        self.unsupported.check(&mut errors);
        let messages = read_messages(self.messages, &mut errors);
        let stop = read_stop(self.stop, &mut errors);
        let constraint = match self.response_format {
            None | Some(ResponseFormat::Text) => None,
            Some(ResponseFormat::JsonObject) => Some(Constraint::JsonObject),
            Some(ResponseFormat::JsonSchema { json_schema }) => {
                let is_schema = json_schema.schema.is_object();
                errors.check(is_schema, "response_format.json_schema.schema", "must be an object");
                Some(Constraint::JsonSchema(json_schema.schema))
            }
        };
        let defaults = Sampling::default();
        let sampling = Sampling {
            temperature: self.temperature.unwrap_or(defaults.temperature),
            top_p: self.top_p.unwrap_or(defaults.top_p),
            top_k: self.top_k.map(|count| count as usize),
            min_p: self.min_p.unwrap_or(defaults.min_p),
            repetition_penalty: self.repetition_penalty.unwrap_or(defaults.repetition_penalty),
            // Any 64 bits will do.
            seed: self.seed.map(i64::cast_unsigned),
        };
        let max_tokens = self.max_completion_tokens.or(self.max_tokens).map(|count| count as usize);
        errors.into_result()?;
        let priority = Priority::Interactive;
        Ok(GenerationRequest { messages, sampling, max_tokens, stop, constraint, priority, deadline: None })
    }

    fn check_numbers(&self, errors: &mut Errors) {
        let within = |value: Option<f32>, low: f32, high: f32| value.is_none_or(|v| (low..=high).contains(&v));
        errors.check(within(self.temperature, 0.0, 2.0), "temperature", "must be between 0 and 2");
        let top_p_ok = within(self.top_p, f32::MIN_POSITIVE, 1.0);
        errors.check(top_p_ok, "top_p", "must be above 0 and at most 1");
        errors.check(self.top_k != Some(0), "top_k", "must be at least 1");
        errors.check(within(self.min_p, 0.0, 1.0), "min_p", "must be between 0 and 1");
        let penalty_ok = within(self.repetition_penalty, 0.1, 10.0);
        errors.check(penalty_ok, "repetition_penalty", "must be between 0.1 and 10");
        errors.check(self.max_tokens != Some(0), "max_tokens", "must be at least 1");
        errors.check(self.max_completion_tokens != Some(0), "max_completion_tokens", "must be at least 1");
        errors.check(self.n.is_none_or(|n| n == 1), "n", "only 1 is supported");
    }
}

impl Unsupported {
    fn check(&self, errors: &mut Errors) {
        // Clients send the neutral value of what they do not use.
        let is_neutral = |value: &Value| match value {
            Value::Null | Value::Bool(false) => true,
            Value::Bool(true) => false,
            Value::Number(number) => number.as_f64() == Some(0.0),
            Value::String(text) => text == "none",
            Value::Array(items) => items.is_empty() || (items.len() == 1 && items[0] == "text"),
            Value::Object(members) => members.is_empty(),
        };
        let fields = [
            ("tools", &self.tools),
            ("tool_choice", &self.tool_choice),
            ("functions", &self.functions),
            ("function_call", &self.function_call),
            ("logprobs", &self.logprobs),
            ("top_logprobs", &self.top_logprobs),
            ("logit_bias", &self.logit_bias),
            ("presence_penalty", &self.presence_penalty),
            ("frequency_penalty", &self.frequency_penalty),
            ("audio", &self.audio),
            ("modalities", &self.modalities),
        ];
        for (field, value) in fields {
            errors.check(value.as_ref().is_none_or(is_neutral), field, "is not supported by this server");
        }
    }
}

fn read_messages(messages: Vec<Message>, errors: &mut Errors) -> Vec<ChatMessage> {
    errors.check(!messages.is_empty(), "messages", "must not be empty");
    let mut read = Vec::with_capacity(messages.len());
    for (index, message) in messages.into_iter().enumerate() {
        let role = match message.role {
            MessageRole::System | MessageRole::Developer => ChatRole::System,
            MessageRole::User => ChatRole::User,
            MessageRole::Assistant => ChatRole::Assistant,
            MessageRole::Tool | MessageRole::Function => {
                errors.add(format!("messages[{index}].role"), "tools are not supported by this server");
                continue;
            }
        };
        let content = match message.content {
            Some(Content::Text(text)) => text,
            Some(Content::Parts(parts)) => join_parts(index, parts, errors),
            None => {
                errors.add(format!("messages[{index}].content"), "must be a text or a list of text parts");
                continue;
            }
        };
        read.push(ChatMessage { role, content });
    }
    read
}

fn join_parts(message: usize, parts: Vec<Part>, errors: &mut Errors) -> String {
    let mut texts = Vec::with_capacity(parts.len());
    for (index, part) in parts.into_iter().enumerate() {
        match (part.kind.as_str(), part.text) {
            ("text", Some(text)) => texts.push(text),
            ("text", None) => errors.add(format!("messages[{message}].content[{index}].text"), "is missing"),
            _ => errors.add(format!("messages[{message}].content[{index}].type"), "only text parts are supported"),
        }
    }
    texts.join("\n")
}

fn read_stop(stop: Option<Stop>, errors: &mut Errors) -> Vec<String> {
    let stop = match stop {
        None => Vec::new(),
        Some(Stop::One(text)) => vec![text],
        Some(Stop::Many(texts)) => texts,
    };
    errors.check(stop.len() <= MAX_STOPS, "stop", "too many stop texts");
    errors.check(stop.iter().all(|text| !text.is_empty()), "stop", "a stop text must not be empty");
    stop
}

#[derive(Default)]
struct Errors(Vec<FieldError>);

impl Errors {
    fn add(&mut self, field: impl Into<String>, detail: &str) {
        self.0.push(FieldError { field: field.into(), detail: detail.to_owned() });
    }

    fn check(&mut self, ok: bool, field: &str, detail: &str) {
        if !ok {
            self.add(field, detail);
        }
    }

    fn into_result(self) -> Result<(), ApiError> {
        if self.0.is_empty() { Ok(()) } else { Err(ApiError::InvalidFields(self.0)) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(mut more: Value) -> Result<GenerationRequest, ApiError> {
        let base = json!({"model": "m", "messages": [{"role": "user", "content": "你好"}]});
        for (key, value) in base.as_object().unwrap() {
            more.as_object_mut().unwrap().entry(key).or_insert_with(|| value.clone());
        }
        serde_json::from_value::<ChatRequest>(more).unwrap().into_generation()
    }

    fn check_refused(more: Value, fields: &[&str]) {
        match read(more.clone()) {
            Err(ApiError::InvalidFields(errors)) => {
                assert_eq!(errors.iter().map(|error| error.field.as_str()).collect::<Vec<_>>(), fields, "{more}");
            }
            other => panic!("{more}: {other:?}"),
        }
    }

    #[test]
    fn the_plain_request_takes_the_defaults() {
        let request = read(json!({})).unwrap();
        assert_eq!(request.messages, [ChatMessage::user("你好")]);
        assert_eq!(request.sampling, Sampling::default());
        assert_eq!((request.max_tokens, request.constraint), (None, None));
    }

    #[test]
    fn every_supported_member_arrives() {
        let request = read(json!({
            "temperature": 0, "top_p": 0.5, "top_k": 20, "min_p": 0.1, "repetition_penalty": 1.1, "seed": -1,
            "max_tokens": 5, "max_completion_tokens": 6, "stop": ["\n", "。"], "n": 1,
            "response_format": {"type": "json_object"},
        }))
        .unwrap();
        let sampling = Sampling {
            temperature: 0.0,
            top_p: 0.5,
            top_k: Some(20),
            min_p: 0.1,
            repetition_penalty: 1.1,
            seed: Some(u64::MAX),
        };
        assert_eq!(request.sampling, sampling);
        assert_eq!(request.max_tokens, Some(6));
        assert_eq!(request.stop, ["\n", "。"]);
        assert_eq!(request.constraint, Some(Constraint::JsonObject));
    }

    #[test]
    fn text_parts_are_joined() {
        let parts = json!([{"type": "text", "text": "一"}, {"type": "text", "text": "二"}]);
        let messages = json!([{"role": "developer", "content": "短"}, {"role": "user", "content": parts}]);
        let request = read(json!({ "messages": messages })).unwrap();
        assert_eq!(request.messages, [ChatMessage::system("短"), ChatMessage::user("一\n二")]);
    }

    #[test]
    fn a_schema_becomes_the_constraint() {
        let schema = json!({"type": "object"});
        let format = json!({"type": "json_schema", "json_schema": {"name": "x", "strict": true, "schema": schema}});
        let request = read(json!({ "response_format": format })).unwrap();
        assert_eq!(request.constraint, Some(Constraint::JsonSchema(schema)));
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_by_name() {
        check_refused(json!({"tools": [{"type": "function"}]}), &["tools"]);
        check_refused(json!({"n": 2, "logprobs": true}), &["n", "logprobs"]);
        check_refused(json!({"logit_bias": {"50256": -100}}), &["logit_bias"]);
        check_refused(json!({"presence_penalty": 0.5}), &["presence_penalty"]);
        check_refused(json!({"messages": [{"role": "tool", "content": "x"}]}), &["messages[0].role"]);
        let image = json!([{"type": "image_url", "image_url": {"url": "data:"}}]);
        check_refused(json!({"messages": [{"role": "user", "content": image}]}), &["messages[0].content[0].type"]);
        check_refused(json!({"messages": [{"role": "user"}]}), &["messages[0].content"]);
        check_refused(json!({"messages": []}), &["messages"]);
        check_refused(json!({"temperature": 3, "top_p": 0}), &["temperature", "top_p"]);
        check_refused(json!({"max_tokens": 0}), &["max_tokens"]);
        check_refused(json!({"stop": ""}), &["stop"]);
        let format = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": 1}});
        check_refused(json!({ "response_format": format }), &["response_format.json_schema.schema"]);
    }

    #[test]
    fn neutral_values_of_unsupported_members_pass() {
        let neutral = json!({
            "tools": [], "tool_choice": "none", "logprobs": false, "top_logprobs": null, "logit_bias": {},
            "presence_penalty": 0, "frequency_penalty": 0.0, "modalities": ["text"], "user": "u", "store": false,
        });
        assert!(read(neutral).is_ok());
    }
}
