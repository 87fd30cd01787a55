//! The Hugging Face hub, or a mirror with its interface (`HF_ENDPOINT`); private repositories by `HF_TOKEN`.
//!
//! The bytes are streamed into the models directory instead of through the hub's own cache, which would keep a second copy
//! of every file and cannot resume one.

use std::error::Error as _;
use std::time::Duration;

use futures::StreamExt;
use hf_hub::{HFClient, HFError, split_id};
use tokio::time::timeout;

use super::{Download, Piece, Request, SourceError};

/// Longest time to the answer's first byte: where the hub is unreachable, the next source should have its turn soon.
const ANSWER_DEADLINE: Duration = Duration::from_secs(15);

#[derive(Clone, Copy)]
pub(super) struct HubFile<'a> {
    pub repo: &'a str,
    pub revision: &'a str,
    pub path: &'a str,
}

pub(super) async fn open(
    endpoint: Option<&str>,
    HubFile { repo, revision, path }: HubFile<'_>,
    request: Request<'_>,
) -> Result<Download, SourceError> {
    let mut builder = HFClient::builder().retry_max_attempts(1);
    if let Some(endpoint) = endpoint {
        builder = builder.endpoint(endpoint);
    }
    let client = builder.build().map_err(|error| {
        SourceError::unavailable(chain(&error), "Check HF_ENDPOINT: it must be a URL like https://huggingface.co")
    })?;
    let address = client.endpoint().to_owned();
    let (owner, name) = split_id(repo);
    let repository = client.model(owner, name);
    let answer = repository
        .download_file_stream()
        .filename(path)
        .revision(revision)
        .range(request.offset..request.file.size)
        .send();
    let (_, stream) = match timeout(ANSWER_DEADLINE, answer).await {
        Ok(Ok(opened)) => opened,
        Ok(Err(error)) => return Err(refusal(&error, &address)),
        Err(_) => {
            let reason = format!("{address} did not answer within {} s", ANSWER_DEADLINE.as_secs());
            return Err(SourceError::unavailable(reason, REACH));
        }
    };
    let pieces = stream.map(|chunk| match chunk {
        Ok(bytes) => Ok(Piece::Bytes(bytes)),
        Err(error) => Err(SourceError::Interrupted(chain(&error))),
    });
    Ok(Download { start: request.offset, pieces: pieces.boxed() })
}

const REACH: &str = "Set HF_ENDPOINT to a mirror that this network reaches, or HTTPS_PROXY to a proxy";

fn refusal(error: &HFError, address: &str) -> SourceError {
    let advice = match error {
        HFError::AuthRequired { .. } | HFError::Forbidden { .. } => {
            "Set HF_TOKEN to a token that may read this repository, and accept its licence on its page"
        }
        HFError::RepoNotFound { .. } | HFError::RevisionNotFound { .. } | HFError::EntryNotFound { .. } => {
            "Check the manifest; behind a mirror (HF_ENDPOINT), whether it carries this repository"
        }
        HFError::RateLimited { .. } => "Try again later, or set HF_TOKEN",
        // The enum is open; what is left are faults of the network and the server.
        _ => REACH,
    };
    SourceError::unavailable(format!("{address}: {}", chain(error)), advice)
}

/// The error with its causes: reqwest's own text says only that a request failed.
fn chain(error: &HFError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}
