//! The chat template of a GGUF file (`tokenizer.chat_template`), rendered with minijinja.

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, Value, context};

use super::ModelError;
use super::gguf::{GgufFile, keys};
use crate::runtime::{ChatMessage, ChatRole};

/// Used when a file has no template of its own: the format that most small instruct models were tuned on.
const CHATML: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + \
                      '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// Used when a file has no template, but the tokens of Gemma's turns: the format of google/gemma-3-1b-it, which has no
/// system role and puts that text in front of the first question.
const GEMMA: &str = "{{ bos_token }}{% set ns = namespace(preface='') %}{% for message in messages %}\
                     {% if message['role'] == 'system' %}{% set ns.preface = ns.preface + message['content'] + '\n\n' %}\
                     {% else %}{{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else 'user') + '\n' \
                     + ns.preface + message['content'] | trim + '<end_of_turn>\n' }}{% set ns.preface = '' %}\
                     {% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}";

const NAME: &str = "chat";

/// Turns messages into the text that the model was tuned on.
pub struct ChatTemplate {
    environment: Environment<'static>,
    bos: String,
    eos: String,
}

impl ChatTemplate {
    /// The file's template. When it has none, as base models do: Gemma's turns where the vocabulary knows them, else
    /// ChatML.
    pub fn from_gguf(file: &GgufFile) -> Result<Self, ModelError> {
        let tokens = file.strings(keys::TOKENS)?;
        let source = match file.optional_string(keys::CHAT_TEMPLATE)? {
            Some(source) => source,
            None if tokens.contains(&"<start_of_turn>") => GEMMA,
            None => CHATML,
        };
        let text = |key| -> Result<String, ModelError> {
            let id = file.optional_integer(key)?;
            Ok(id.and_then(|id| tokens.get(id)).map(|token| (*token).to_owned()).unwrap_or_default())
        };
        Self::new(source, text(keys::BOS)?, text(keys::EOS)?)
    }

    /// Compiles a template; `bos` and `eos` are what it sees as `bos_token` and `eos_token`.
    pub fn new(source: &str, bos: String, eos: String) -> Result<Self, ModelError> {
        let mut environment = Environment::new();
        // The settings that Hugging Face's `apply_chat_template` renders with.
        environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |reason: String| -> Result<String, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, reason))
        });
        environment.add_function("strftime_now", |format: String| -> Result<String, Error> {
            jiff::fmt::strtime::format(&format, &jiff::Zoned::now())
                .map_err(|error| Error::new(ErrorKind::InvalidOperation, error.to_string()))
        });
        environment.add_template_owned(NAME, source.to_owned())?;
        Ok(Self { environment, bos, eos })
    }

    /// The conversation's text, ending where the assistant's answer begins.
    ///
    /// Special tokens in the contents are rendered as they stand; [`super::Tokenizer::encode_chat`] keeps them from taking
    /// effect.
    pub fn render(&self, messages: &[ChatMessage]) -> Result<String, ModelError> {
        let messages: Vec<Value> = messages
            .iter()
            .map(|message| context! { role => role_name(message.role), content => message.content.as_str() })
            .collect();
        let context = context! {
            messages => messages,
            add_generation_prompt => true,
            bos_token => self.bos.as_str(),
            eos_token => self.eos.as_str(),
        };
        Ok(self.environment.get_template(NAME)?.render(context)?)
    }
}

fn role_name(role: ChatRole) -> &'static str {
    match role {
        ChatRole::System => "system",
        ChatRole::User => "user",
        ChatRole::Assistant => "assistant",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::model::testing::TinyModel;

    fn render(source: &str, messages: &[ChatMessage]) -> Result<String, ModelError> {
        ChatTemplate::new(source, "<s>".to_owned(), "</s>".to_owned())?.render(messages)
    }

    #[test]
    fn a_file_without_a_template_speaks_chatml() {
        let (_directory, path) = TinyModel::new("qwen2").write();
        let template = ChatTemplate::from_gguf(&GgufFile::open(&path).expect("file")).expect("template");
        let messages = [ChatMessage::system("简短。"), ChatMessage::user("你好"), ChatMessage::assistant("好")];
        assert_eq!(
            template.render(&messages).expect("text"),
            "<|im_start|>system\n简短。<|im_end|>\n<|im_start|>user\n你好<|im_end|>\n<|im_start|>assistant\n好<|im_end|>\n\
             <|im_start|>assistant\n"
        );
    }

    #[test]
    fn a_gemma_file_without_a_template_speaks_in_gemmas_turns() {
        let (_directory, path) = TinyModel::new("gemma3").write();
        let template = ChatTemplate::from_gguf(&GgufFile::open(&path).expect("file")).expect("template");
        let messages = [
            ChatMessage::system("简短。"),
            ChatMessage::user(" 你好 "),
            ChatMessage::assistant("好"),
            ChatMessage::user("再见"),
        ];
        assert_eq!(
            template.render(&messages).expect("text"),
            "<bos><start_of_turn>user\n简短。\n\n你好<end_of_turn>\n<start_of_turn>model\n好<end_of_turn>\n\
             <start_of_turn>user\n再见<end_of_turn>\n<start_of_turn>model\n"
        );
    }

    #[test]
    fn what_published_templates_use_is_there() {
        let messages = [ChatMessage::user(" a b ")];
        let check = |source: &str, expected: &str| assert_eq!(render(source, &messages).expect(source), expected);
        check("{{ bos_token }}{{ messages[0]['content'].strip() }}{{ eos_token }}", "<s>a b</s>");
        check("{%- if tools %}x{%- else %}y{%- endif %}", "y");
        check("{% if not messages[0].tool_calls %}\n  plain\n{% endif %}\n", "  plain\n");
        check("{% for m in messages %}{% if loop.first %}{{ m.role }}{% endif %}{% endfor %}", "user");
        check("{{ messages[0].content.split('b')[0] | trim }}", "a");
        assert_eq!(render("{{ strftime_now('%Y') }}", &messages).expect("year").len(), 4);
    }

    #[test]
    fn a_template_can_refuse_a_conversation() {
        let refusal = render("{{ raise_exception('roles must alternate') }}", &[]).expect_err("refusal");
        assert!(refusal.to_string().contains("roles must alternate"), "{refusal}");
    }

    #[test]
    fn a_broken_template_is_refused_on_loading() {
        assert!(matches!(render("{% if %}", &[]), Err(ModelError::Template(_))));
    }
}
