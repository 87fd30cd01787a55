use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// What a caller may be. One policy table (`http::policy`) says which route takes which role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Administrator,
    Teacher,
    Student,
    Counsellor,
    Guardian,
    Integrator,
}

/// Who is calling: the key (or the session opened with it), its role and its school.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    pub key_id: Uuid,
    pub role: Role,
    /// The school whose data the caller may see; administrators and integrators of the whole installation have none.
    pub school: Option<String>,
}
