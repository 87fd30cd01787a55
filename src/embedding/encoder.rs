//! The encoder behind a worker thread: async callers wait for their turn, never for the processor.

use std::path::Path;
use std::thread::JoinHandle;

use async_trait::async_trait;
use candle_core::Device;
use futures::stream::{self, StreamExt, TryStreamExt};
use tokio::sync::{mpsc, oneshot};

use super::{E5Error, E5Model, EncodeError, Encoded, TextEncoder, TextKind};

/// Jobs that wait; further callers wait in [`TextEncoder::encode`].
const QUEUE: usize = 64;

/// Characters per job, about one passage of full length. A caller with many texts sends them in jobs of this size, so
/// that a search query waits for a fraction of a second behind an import.
const JOB_CHARACTERS: usize = 600;

/// Jobs of one caller under way: the next one is queued while one runs.
const JOBS_IN_FLIGHT: usize = 2;

/// Tokens after which no further job joins a forward pass.
const BATCH_TOKENS: usize = 512;

struct Job {
    kind: TextKind,
    texts: Vec<String>,
    reply: oneshot::Sender<Result<Encoded, EncodeError>>,
}

/// multilingual-e5-small on one worker thread, which ends when the encoder is dropped.
pub struct E5Encoder {
    name: String,
    dimensions: usize,
    /// `None` only while dropping.
    jobs: Option<mpsc::Sender<Job>>,
    worker: Option<JoinHandle<()>>,
}

impl E5Encoder {
    /// Loads the file and starts the worker. Blocks while reading; call it from a blocking thread.
    pub fn load(path: &Path, name: impl Into<String>, device: &Device) -> Result<Self, E5Error> {
        let model = E5Model::load(path, device)?;
        let dimensions = model.dimensions();
        let (jobs, queue) = mpsc::channel(QUEUE);
        let worker = std::thread::Builder::new()
            .name("text-encoder".to_owned())
            .spawn(move || work(&model, queue))
            .map_err(|source| E5Error::Read { path: path.to_owned(), source })?;
        Ok(Self { name: name.into(), dimensions, jobs: Some(jobs), worker: Some(worker) })
    }
}

#[async_trait]
impl TextEncoder for E5Encoder {
    fn name(&self) -> &str {
        &self.name
    }

    fn dimensions(&self) -> usize {
        self.dimensions
    }

    async fn encode(&self, kind: TextKind, texts: Vec<String>) -> Result<Encoded, EncodeError> {
        let stopped = || EncodeError::Unavailable("the encoder has stopped".to_owned());
        let jobs = self.jobs.as_ref().ok_or_else(stopped)?;
        stream::iter(split(texts))
            .map(|texts| async move {
                let (reply, answer) = oneshot::channel();
                jobs.send(Job { kind, texts, reply }).await.map_err(|_| stopped())?;
                answer.await.map_err(|_| stopped())?
            })
            .buffered(JOBS_IN_FLIGHT)
            .try_fold(Encoded::default(), |mut all, part| async move {
                all.vectors.extend(part.vectors);
                all.tokens += part.tokens;
                Ok(all)
            })
            .await
    }
}

impl Drop for E5Encoder {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(worker) = self.worker.take() {
            // Waiting jobs are skipped (nobody can still wait for them), so this lasts one forward pass at most.
            let _ = worker.join();
        }
    }
}

/// Cuts a list into jobs of about [`JOB_CHARACTERS`], in order.
fn split(texts: Vec<String>) -> Vec<Vec<String>> {
    let mut jobs: Vec<Vec<String>> = Vec::new();
    let mut room = 0;
    for text in texts {
        let size = text.chars().take(JOB_CHARACTERS).count();
        match jobs.last_mut() {
            Some(job) if size <= room => {
                room -= size;
                job.push(text);
            }
            _ => {
                room = JOB_CHARACTERS - size;
                jobs.push(vec![text]);
            }
        }
    }
    jobs
}

fn work(model: &E5Model, mut queue: mpsc::Receiver<Job>) {
    while let Some(first) = queue.blocking_recv() {
        let mut jobs = Vec::new();
        let mut sequences = Vec::new();
        let mut tokens: usize = 0;
        let mut next = Some(first);
        while let Some(job) = next {
            // The caller may have left while it waited.
            if !job.reply.is_closed() {
                let start = sequences.len();
                sequences.extend(job.texts.iter().map(|text| model.tokenize(job.kind, text)));
                let own = sequences[start..].iter().map(Vec::len).sum();
                tokens += own;
                jobs.push((job.reply, sequences.len() - start, own));
            }
            next = if tokens < BATCH_TOKENS { queue.try_recv().ok() } else { None };
        }
        match model.encode(&sequences) {
            Ok(vectors) => {
                let mut vectors = vectors.into_iter();
                for (reply, count, tokens) in jobs {
                    let _ = reply.send(Ok(Encoded { vectors: vectors.by_ref().take(count).collect(), tokens }));
                }
            }
            Err(error) => {
                tracing::error!(%error, "text encoder");
                for (reply, ..) in jobs {
                    let _ = reply.send(Err(EncodeError::Internal(error.to_string())));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lengths: &[usize], expected: &[&[usize]]) {
        let texts = lengths.iter().map(|&length| "字".repeat(length)).collect();
        let jobs: Vec<Vec<usize>> =
            split(texts).iter().map(|job| job.iter().map(|text| text.chars().count()).collect()).collect();
        assert_eq!(jobs, expected);
    }

    #[test]
    fn short_texts_share_a_job_and_keep_their_order() {
        check(&[], &[]);
        check(&[10, 20, 30], &[&[10, 20, 30]]);
        check(&[400, 300, 100], &[&[400], &[300, 100]]);
    }

    #[test]
    fn a_text_longer_than_a_job_is_a_job() {
        check(&[5, 5000, 5], &[&[5], &[5000], &[5]]);
    }
}
