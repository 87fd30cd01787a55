//! What each error is on the wire: one match without a wildcard, so that a new variant does not compile without its
//! status, code and texts.

use axum::http::StatusCode;

use super::ApiError;
use crate::embedding::EncodeError;
use crate::runtime::GenerationError;

/// The fixed part of a problem, with its text in both languages.
pub(super) struct Description {
    pub status: StatusCode,
    pub code: &'static str,
    pub title: &'static str,
    pub zh: String,
    pub en: String,
}

fn describe(status: StatusCode, code: &'static str, title: &'static str, zh: &str, en: &str) -> Description {
    Description { status, code, title, zh: zh.to_owned(), en: en.to_owned() }
}

impl ApiError {
    pub(super) fn describe(&self) -> Description {
        use StatusCode as S;
        match self {
            Self::Unauthenticated => describe(
                S::UNAUTHORIZED,
                "unauthenticated",
                "Authentication required",
                "请先登录，或在请求中带上密钥（Authorization: Bearer …）。",
                "Sign in, or send a key as `Authorization: Bearer …`.",
            ),
            Self::InvalidToken => describe(
                S::UNAUTHORIZED,
                "invalid_token",
                "Invalid key or session",
                "密钥或登录状态无效或已过期，请重新登录。",
                "The key or session is unknown, revoked or expired. Sign in again.",
            ),
            Self::InvalidSignIn => describe(
                S::UNAUTHORIZED,
                "invalid_sign_in",
                "Invalid sign-in link",
                "登录链接无效、已使用或已过期，请获取新的链接。",
                "The sign-in link is unknown, used or expired. Ask for a new one.",
            ),
            Self::Forbidden => describe(
                S::FORBIDDEN,
                "forbidden",
                "Not allowed",
                "当前身份没有进行此操作的权限。",
                "Your role is not allowed to do this.",
            ),
            Self::NoPolicy => describe(
                S::FORBIDDEN,
                "no_policy",
                "Not allowed",
                "此功能尚未开放。",
                "This route is not open to anybody yet.",
            ),
            Self::RouteNotFound => {
                describe(S::NOT_FOUND, "route_not_found", "No such route", "没有这个地址。", "There is no such route.")
            }
            Self::NotFound { what, id } => Description {
                status: S::NOT_FOUND,
                code: "not_found",
                title: "Not found",
                zh: format!("没有找到 {id}。"),
                en: format!("There is no {what} `{id}`."),
            },
            Self::MethodNotAllowed { allow } => Description {
                status: S::METHOD_NOT_ALLOWED,
                code: "method_not_allowed",
                title: "Method not allowed",
                zh: format!("此地址只接受 {allow}。"),
                en: format!("This route takes {allow} only."),
            },
            Self::BodyTooLarge { limit } => Description {
                status: S::PAYLOAD_TOO_LARGE,
                code: "body_too_large",
                title: "Body too large",
                zh: format!("请求内容过大，最多 {limit} 字节。"),
                en: format!("The body is longer than {limit} bytes."),
            },
            Self::BodyUnreadable(_) => describe(
                S::BAD_REQUEST,
                "body_unreadable",
                "Body unreadable",
                "请求内容不完整。",
                "The body is incomplete.",
            ),
            Self::UnsupportedMediaType { expected } => Description {
                status: S::UNSUPPORTED_MEDIA_TYPE,
                code: "unsupported_media_type",
                title: "Unsupported media type",
                zh: format!("请求内容的类型应为 {expected}。"),
                en: format!("The body must be {expected}, and say so in Content-Type."),
            },
            Self::MalformedJson(reason) => Description {
                status: S::BAD_REQUEST,
                code: "malformed_json",
                title: "Malformed JSON",
                zh: format!("请求内容不是有效的 JSON（{reason}）。"),
                en: format!("The body is not valid JSON: {reason}."),
            },
            Self::InvalidFields(errors) => {
                let fields = |between: &str| errors.iter().map(|e| e.field.as_str()).collect::<Vec<_>>().join(between);
                let details = errors.iter().map(|e| format!("{}: {}", e.field, e.detail)).collect::<Vec<_>>();
                Description {
                    status: S::UNPROCESSABLE_ENTITY,
                    code: "invalid_request",
                    title: "Invalid request",
                    zh: format!("以下内容填写有误：{}。", fields("、")),
                    en: format!("Invalid fields: {}.", details.join("; ")),
                }
            }
            Self::ShuttingDown => describe(
                S::SERVICE_UNAVAILABLE,
                "shutting_down",
                "Shutting down",
                "服务正在重启，请稍后再试。",
                "The server is shutting down. Try again shortly.",
            ),
            Self::Generation(error) => describe_generation(error),
            Self::Encode(EncodeError::Unavailable(_)) => describe(
                S::SERVICE_UNAVAILABLE,
                "model_unavailable",
                "Model not ready",
                "文本编码模型尚未就绪，请稍后再试（/readyz 显示进度）。",
                "The text encoder is not ready yet; /readyz shows its progress.",
            ),
            Self::UnknownTopic { topic, suggestions } => {
                let near = suggestions.iter().map(|concept| concept.label.as_str()).collect::<Vec<_>>().join("、");
                let offer = if near.is_empty() { String::new() } else { format!("相近的知识点有：{near}。") };
                Description {
                    status: S::UNPROCESSABLE_ENTITY,
                    code: "unknown_topic",
                    title: "Unknown topic",
                    zh: format!("知识图谱里还没有“{topic}”，无法有依据地备课。{offer}"),
                    en: "The knowledge graph has nothing on this topic; `suggestions` has the nearest concepts."
                        .to_owned(),
                }
            }
            Self::TooManyPlans { .. } => describe(
                S::TOO_MANY_REQUESTS,
                "too_many_plans",
                "Too many lesson plans",
                "正在生成的教案较多，请稍后再试。",
                "Too many lesson plans are being written. Try again shortly.",
            ),
            Self::Conflict => describe(
                S::CONFLICT,
                "conflict",
                "Changed meanwhile",
                "内容刚刚被修改过，请刷新后再试。",
                "It was changed meanwhile. Load it again, then try again.",
            ),
            Self::Encode(EncodeError::Internal(_)) | Self::Store(_) | Self::Search(_) | Self::Internal(_) => internal(),
        }
    }
}

fn internal() -> Description {
    describe(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
        "Internal error",
        "服务内部出错，请稍后再试。",
        "Something went wrong inside. Try again later.",
    )
}

fn describe_generation(error: &GenerationError) -> Description {
    use StatusCode as S;
    match error {
        GenerationError::QueueFull { .. } => describe(
            S::TOO_MANY_REQUESTS,
            "queue_full",
            "Too many requests",
            "当前使用的人较多，请稍后再试。",
            "The server is busy. Try again shortly.",
        ),
        GenerationError::PromptTooLong { prompt_tokens, context_length } => Description {
            status: S::UNPROCESSABLE_ENTITY,
            code: "prompt_too_long",
            title: "Prompt too long",
            zh: format!("内容过长：共 {prompt_tokens} 个词元，模型最多容纳 {context_length} 个。"),
            en: format!("The prompt has {prompt_tokens} tokens; the model's context holds {context_length}."),
        },
        GenerationError::InvalidRequest { field, reason } => Description {
            status: S::UNPROCESSABLE_ENTITY,
            code: "invalid_request",
            title: "Invalid request",
            zh: format!("以下内容填写有误：{field}。"),
            en: format!("Invalid fields: {field}: {reason}."),
        },
        GenerationError::DeadlineExceeded => describe(
            S::GATEWAY_TIMEOUT,
            "deadline_exceeded",
            "Deadline exceeded",
            "生成超时，请缩短内容或稍后再试。",
            "The answer was not complete in time. Ask for less, or try again later.",
        ),
        GenerationError::Unavailable(_) => describe(
            S::SERVICE_UNAVAILABLE,
            "model_unavailable",
            "Model not ready",
            "语言模型尚未就绪，请稍后再试（/readyz 显示进度）。",
            "The language model is not ready yet; /readyz shows its progress.",
        ),
        GenerationError::Internal(_) => internal(),
    }
}
