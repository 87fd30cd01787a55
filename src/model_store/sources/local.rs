//! A file on this machine.

use std::path::Path;

use futures::StreamExt;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt, SeekFrom};

use super::{Download, Piece, Request, SourceError};

const CHUNK: usize = 1 << 20;

pub(super) async fn open(path: &Path, request: Request<'_>) -> Result<Download, SourceError> {
    let unreadable = |error: std::io::Error| {
        SourceError::unavailable(error.to_string(), "Check the path in the manifest, and that its drive is mounted")
    };
    let mut file = File::open(path).await.map_err(unreadable)?;
    file.seek(SeekFrom::Start(request.offset)).await.map_err(unreadable)?;
    let pieces = futures::stream::try_unfold(file, |mut file| async move {
        let mut chunk = bytes::BytesMut::with_capacity(CHUNK);
        match file.read_buf(&mut chunk).await {
            Ok(0) => Ok(None),
            Ok(_) => Ok(Some((Piece::Bytes(chunk.freeze()), file))),
            Err(error) => Err(SourceError::Interrupted(error.to_string())),
        }
    });
    Ok(Download { start: request.offset, pieces: pieces.boxed() })
}
