//! `zhujiao eval retrieval`: the searches of this program on a data set in the common corpus/queries/qrels form.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::embedded::EmbeddedIndex;
use super::fusion::{Candidates, FusionWeights, fuse};
use super::index::{
    Collection, DocumentKey, DocumentKind, Filter, IndexError, NewDocument, NewPassage, PassageIndex, Scored,
};
use super::ingest::Indexer;
use super::parts::RetrievalParts;
use super::search::{CANDIDATES, SearchError, SearchRequest, Searcher};
use super::segment::Segmenter;
use crate::embedding::TextEncoder;
use crate::store::{Database, StoreError};

/// Depth of every measure.
const DEPTH: usize = 10;

/// Rankings measured over the same queries.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RetrievalReport {
    pub bm25: Metrics,
    pub dense: Metrics,
    pub fused: Metrics,
    /// What [`Searcher::search`] answers.
    #[serde(rename = "final")]
    pub answered: Metrics,
    /// Of [`Searcher::search`], one query after the other, the query's encoding included.
    pub latency_ms: Latency,
    pub passages: usize,
    pub queries: usize,
    pub encoder: String,
}

/// Means over the queries, at ten hits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Metrics {
    pub ndcg_10: f64,
    pub recall_10: f64,
    pub mrr_10: f64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Latency {
    pub p50: f64,
    pub p95: f64,
}

/// Why a data set could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path}, line {line}: {reason}")]
    Line { path: PathBuf, line: usize, reason: String },
    #[error("the data set has no query with a relevant passage")]
    NothingToMeasure,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error(transparent)]
    Search(#[from] SearchError),
}

#[derive(Deserialize)]
struct Entry {
    id: String,
    text: String,
}

/// A data set: `corpus.jsonl` and `queries.jsonl` with `{id, text}` per line, `qrels.tsv` with query, passage and a
/// relevance above 0 per line.
struct Dataset {
    corpus: Vec<Entry>,
    /// Only those with a relevant passage.
    queries: Vec<Entry>,
    relevant: HashMap<String, HashSet<String>>,
}

impl Dataset {
    fn load(folder: &Path) -> Result<Self, EvalError> {
        let corpus = entries(&folder.join("corpus.jsonl"))?;
        let known: HashSet<&str> = corpus.iter().map(|entry| entry.id.as_str()).collect();
        let path = folder.join("qrels.tsv");
        let mut relevant: HashMap<String, HashSet<String>> = HashMap::new();
        for (line, text) in lines(&path)? {
            let fields: Vec<&str> = text.split('\t').map(str::trim).collect();
            let [query, passage, grade] = fields[..] else {
                return Err(EvalError::Line { path, line, reason: "three fields expected".to_owned() });
            };
            match grade.parse::<f64>() {
                Ok(grade) if grade > 0.0 && known.contains(passage) => {
                    relevant.entry(query.to_owned()).or_default().insert(passage.to_owned());
                }
                Ok(_) => {}
                // A header line, as some tools write it.
                Err(_) if line == 1 => {}
                Err(error) => return Err(EvalError::Line { path, line, reason: error.to_string() }),
            }
        }
        let mut queries = entries(&folder.join("queries.jsonl"))?;
        queries.retain(|query| relevant.contains_key(&query.id));
        if queries.is_empty() {
            return Err(EvalError::NothingToMeasure);
        }
        Ok(Self { corpus, queries, relevant })
    }
}

fn lines(path: &Path) -> Result<Vec<(usize, String)>, EvalError> {
    let read = |source| EvalError::Read { path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(read)?;
    let lines = BufReader::new(file).lines().collect::<Result<Vec<_>, _>>().map_err(read)?;
    Ok(lines.into_iter().enumerate().filter(|(_, l)| !l.trim().is_empty()).map(|(i, l)| (i + 1, l)).collect())
}

fn entries(path: &Path) -> Result<Vec<Entry>, EvalError> {
    let parse = |(line, text): (usize, String)| {
        serde_json::from_str(&text).map_err(|error| EvalError::Line {
            path: path.to_owned(),
            line,
            reason: error.to_string(),
        })
    };
    lines(path)?.into_iter().map(parse).collect()
}

/// Indexes the corpus in memory and ranks every query: by words, by vector, by both fused, and as a search answers.
/// Progress goes to standard error.
pub async fn evaluate(
    folder: &Path,
    encoder: Arc<dyn TextEncoder>,
    weights: FusionWeights,
) -> Result<RetrievalReport, EvalError> {
    let dataset = Dataset::load(folder)?;
    let segmenter = Arc::new(Segmenter::new([]));
    let index = Arc::new(EmbeddedIndex::open(Database::in_memory().await?).await?);
    let names = fill(&index, &segmenter, &dataset.corpus).await?;
    let name = encoder.name().to_owned();
    let parts = RetrievalParts::new(index, segmenter).with_encoder(encoder);
    eprintln!("encoding {} passages", dataset.corpus.len());
    Indexer::new(parts.clone()).encode_missing().await?;
    let searcher = Searcher::new(parts).with_weights(weights);
    let mut sums = [Sum::default(); 4];
    let mut times = Vec::with_capacity(dataset.queries.len());
    for (number, query) in dataset.queries.iter().enumerate() {
        let relevant = &dataset.relevant[&query.id];
        let rankings = rank(&searcher, &query.text, weights, &mut times).await?;
        for (sum, ranking) in sums.iter_mut().zip(rankings) {
            let ranking: Vec<&str> = ranking.iter().filter_map(|id| names.get(id)).map(String::as_str).collect();
            sum.add(&ranking, relevant);
        }
        if (number + 1) % 100 == 0 {
            eprintln!("{} of {} queries", number + 1, dataset.queries.len());
        }
    }
    let [bm25, dense, fused, answered] = sums.map(|sum| sum.mean());
    times.sort_by(f64::total_cmp);
    let latency_ms = Latency { p50: percentile(&times, 0.50), p95: percentile(&times, 0.95) };
    let (passages, queries) = (dataset.corpus.len(), dataset.queries.len());
    Ok(RetrievalReport { bm25, dense, fused, answered, latency_ms, passages, queries, encoder: name })
}

/// Puts every text of the corpus in as one passage, as it is; answers the corpus's names of the passages.
async fn fill(
    index: &EmbeddedIndex,
    segmenter: &Segmenter,
    corpus: &[Entry],
) -> Result<HashMap<Uuid, String>, EvalError> {
    let document = NewDocument {
        key: DocumentKey {
            collection: Collection::Curriculum,
            kind: DocumentKind::Document,
            reference: "corpus".to_owned(),
            school: None,
        },
        title: String::new(),
        subject: None,
        grade: None,
        hash: String::new(),
    };
    let passages = corpus
        .iter()
        .map(|entry| NewPassage {
            text: entry.text.clone(),
            words: segmenter.joined(&entry.text),
            ..NewPassage::default()
        })
        .collect();
    index.put(document, passages).await?;
    // In the order in which they were put in.
    let stored = index.unencoded("", corpus.len()).await?;
    Ok(stored.iter().zip(corpus).map(|(passage, entry)| (passage.id, entry.id.clone())).collect())
}

/// The four rankings of one query, and the time of the last one in milliseconds.
async fn rank(
    searcher: &Searcher,
    query: &str,
    weights: FusionWeights,
    times: &mut Vec<f64>,
) -> Result<[Vec<Uuid>; 4], EvalError> {
    let (candidates, _) = searcher.candidates(query, &[], &Filter::default(), CANDIDATES).await?;
    let top = |list: &[Scored]| list.iter().take(DEPTH).map(|scored| scored.id).collect::<Vec<_>>();
    let pair = Candidates { words: candidates.words, vector: candidates.vector, concepts: Vec::new() };
    let fused = fuse(&pair, weights, DEPTH);
    let started = Instant::now();
    let request = SearchRequest { query: query.to_owned(), limit: DEPTH, ..SearchRequest::default() };
    let answer = searcher.search(&request).await?;
    times.push(started.elapsed().as_secs_f64() * 1e3);
    let answered = answer.hits.iter().map(|hit| hit.id).collect();
    Ok([top(&pair.words), top(&pair.vector), top(&fused), answered])
}

#[derive(Clone, Copy, Default)]
struct Sum {
    metrics: Metrics,
    queries: usize,
}

impl Sum {
    fn add(&mut self, ranking: &[&str], relevant: &HashSet<String>) {
        let gain = |rank: usize| 1.0 / (rank as f64 + 2.0).log2();
        let found: Vec<usize> =
            (0..ranking.len().min(DEPTH)).filter(|&rank| relevant.contains(ranking[rank])).collect();
        let ideal: f64 = (0..relevant.len().min(DEPTH)).map(gain).sum();
        self.metrics.ndcg_10 += found.iter().map(|&rank| gain(rank)).sum::<f64>() / ideal;
        self.metrics.recall_10 += found.len() as f64 / relevant.len() as f64;
        self.metrics.mrr_10 += found.first().map_or(0.0, |&rank| 1.0 / (rank as f64 + 1.0));
        self.queries += 1;
    }

    fn mean(self) -> Metrics {
        let count = self.queries.max(1) as f64;
        let Metrics { ndcg_10, recall_10, mrr_10 } = self.metrics;
        Metrics { ndcg_10: ndcg_10 / count, recall_10: recall_10 / count, mrr_10: mrr_10 / count }
    }
}

/// Nearest rank, of a sorted list.
fn percentile(sorted: &[f64], fraction: f64) -> f64 {
    let rank = (sorted.len() as f64 * fraction).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(ranking: &[&str], relevant: &[&str], expected: (f64, f64, f64)) {
        let mut sum = Sum::default();
        sum.add(ranking, &relevant.iter().map(|&id| id.to_owned()).collect());
        let mean = sum.mean();
        for (found, expected) in
            [mean.ndcg_10, mean.recall_10, mean.mrr_10].iter().zip([expected.0, expected.1, expected.2])
        {
            assert!((found - expected).abs() < 1e-4, "{mean:?} for {ranking:?}");
        }
    }

    #[test]
    fn metrics_follow_their_definitions() {
        check(&["a", "b"], &["a"], (1.0, 1.0, 1.0));
        check(&["b", "a"], &["a"], (0.6309, 1.0, 0.5));
        check(&["b", "a", "c"], &["a", "x"], (0.3869, 0.5, 0.5));
        check(&[], &["a"], (0.0, 0.0, 0.0));
        check(&["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "a"], &["a"], (0.0, 0.0, 0.0));
    }

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let sorted: Vec<f64> = (1..=20).map(f64::from).collect();
        assert_eq!((percentile(&sorted, 0.5), percentile(&sorted, 0.95), percentile(&[], 0.5)), (10.0, 19.0, 0.0));
    }

    #[test]
    fn damaged_data_sets_are_named_with_their_line() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("corpus.jsonl", "{\"id\":\"p\",\"text\":\"t\"}\n");
        write("queries.jsonl", "{\"id\":\"q\",\"text\":\"t\"}\n{broken\n");
        write("qrels.tsv", "query-id\tcorpus-id\tscore\nq\tp\t1\n");
        assert!(matches!(Dataset::load(folder.path()), Err(EvalError::Line { line: 2, .. })));
        write("queries.jsonl", "{\"id\":\"other\",\"text\":\"t\"}\n");
        assert!(matches!(Dataset::load(folder.path()), Err(EvalError::NothingToMeasure)));
        write("qrels.tsv", "q\tp\n");
        assert!(matches!(Dataset::load(folder.path()), Err(EvalError::Line { line: 1, .. })));
        assert!(matches!(Dataset::load(&folder.path().join("none")), Err(EvalError::Read { .. })));
    }
}
