//! The OpenAPI document: what the routes declare, plus what they share.

use utoipa::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};

use super::problem::Problem;
use super::{policy, routes};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Zhujiao",
        description = "An AI teaching assistant that a school runs on its own hardware. Errors are problem+json \
                       (RFC 9457) with a stable `code`; streams are server-sent events.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    components(schemas(Problem)),
    tags(
        (name = "operation", description = "Health, metrics"),
        (name = "models", description = "Language model and text encoder, compatible with OpenAI's API"),
        (name = "knowledge", description = "The knowledge graph and the documents"),
        (name = "lessons", description = "Lesson preparation"),
        (name = "access", description = "Keys and sessions"),
    ),
)]
struct Base;

/// What [`document`] starts from.
pub(super) fn base() -> utoipa::openapi::OpenApi {
    Base::openapi()
}

/// Adds the bearer scheme, and to each operation that the policy table protects its requirement and its refusals.
pub(super) fn finish(mut document: utoipa::openapi::OpenApi) -> utoipa::openapi::OpenApi {
    let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    document.components.get_or_insert_default().add_security_scheme("bearer", scheme);
    for rule in policy::TABLE {
        let policy::Access::Roles(roles) = rule.access else { continue };
        let Some(item) = document.paths.paths.get_mut(rule.path) else { continue };
        let operation = match rule.method {
            "GET" => &mut item.get,
            "POST" => &mut item.post,
            "PUT" => &mut item.put,
            "PATCH" => &mut item.patch,
            "DELETE" => &mut item.delete,
            _ => continue,
        };
        let Some(operation) = operation else { continue };
        let requirement = utoipa::openapi::security::SecurityRequirement::new("bearer", Vec::<String>::new());
        operation.security = Some(vec![requirement]);
        let roles: Vec<_> = roles.iter().map(|role| crate::store::keys::role_id(*role)).collect();
        let note = format!("For: {}.", roles.join(", "));
        operation.description = Some(match operation.description.take() {
            Some(description) => format!("{description}\n\n{note}"),
            None => note,
        });
    }
    document
}

/// The document of `/openapi.json`.
pub fn document() -> utoipa::openapi::OpenApi {
    finish(routes::api().into_openapi())
}
