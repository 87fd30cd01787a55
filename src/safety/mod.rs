//! What keeps minors and their teachers safe. So far: the visible mark that AI content carries.

use crate::domain::Language;

/// The visible mark on content that a model helped to write, required of AI services for the public in China and shown to
/// every reader.
pub fn ai_label(language: Language) -> &'static str {
    match language {
        Language::Chinese => "本内容由人工智能辅助生成，使用前请教师审核",
        Language::English => "Written with the help of artificial intelligence; to be checked by a teacher before use",
    }
}
