//! From files and concepts to the answers that a teacher gets.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use zhujiao::domain::{Grade, Subject};
use zhujiao::embedding::{EncodeError, Encoded, TextEncoder, TextKind};
use zhujiao::graph::LinkedConcept;
use zhujiao::retrieval::{
    Collection, ConceptLinker, ConceptText, DocumentKind, EmbeddedIndex, Filter, Indexer, IngestError, IngestOptions,
    Ingested, PassageIndex, RetrievalParts, SearchRequest, Searcher, Segmenter, SourceDocument, SourceFormat,
    SyncReport,
};
use zhujiao::store::Database;

/// Adds a unit vector per character up: texts with common characters are near.
#[derive(Default)]
struct CharacterEncoder {
    broken: AtomicBool,
    texts: AtomicUsize,
}

#[async_trait]
impl TextEncoder for CharacterEncoder {
    fn name(&self) -> &str {
        "characters"
    }

    fn dimensions(&self) -> usize {
        64
    }

    async fn encode(&self, _: TextKind, texts: Vec<String>) -> Result<Encoded, EncodeError> {
        if self.broken.load(Ordering::Relaxed) {
            return Err(EncodeError::Unavailable("the weights are missing".to_owned()));
        }
        self.texts.fetch_add(texts.len(), Ordering::Relaxed);
        Ok(Encoded { vectors: texts.iter().map(|text| vector(text)).collect(), tokens: texts.len() })
    }
}

fn vector(text: &str) -> Vec<f32> {
    let mut values = vec![0.01; 64];
    text.chars().for_each(|c| values[c as usize * 31 % 64] += 1.0);
    let length = values.iter().map(|value| value * value).sum::<f32>().sqrt();
    values.into_iter().map(|value| value / length).collect()
}

/// Knows two concepts by their labels; the second is next to the first.
struct TwoConcepts;

impl ConceptLinker for TwoConcepts {
    fn link(&self, text: &str, _: Option<Subject>, _: Option<Grade>, limit: usize) -> Vec<LinkedConcept> {
        let known = [("math:equation", "方程"), ("math:equality", "等式")];
        let found = known.into_iter().filter(|(_, label)| text.contains(label)).take(limit);
        found.map(|(id, label)| LinkedConcept { id: id.to_owned(), label: label.to_owned(), score: 0.9 }).collect()
    }

    fn neighbours(&self, id: &str) -> Vec<String> {
        if id == "math:equation" { vec!["math:equality".to_owned()] } else { Vec::new() }
    }
}

struct Setup {
    index: Arc<EmbeddedIndex>,
    encoder: Arc<CharacterEncoder>,
    indexer: Indexer,
    searcher: Searcher,
}

async fn setup() -> Setup {
    let index = Arc::new(EmbeddedIndex::open(Database::in_memory().await.unwrap()).await.unwrap());
    let segmenter = Arc::new(Segmenter::new(["一元一次方程"]));
    let encoder = Arc::new(CharacterEncoder::default());
    let parts =
        RetrievalParts::new(index.clone(), segmenter).with_encoder(encoder.clone()).with_linker(Arc::new(TwoConcepts));
    Setup { index, encoder, indexer: Indexer::new(parts.clone()), searcher: Searcher::new(parts) }
}

fn options(school: Option<&str>) -> IngestOptions {
    IngestOptions {
        collection: Collection::Curriculum,
        subject: Some(Subject::Math),
        grade: None,
        school: school.map(str::to_owned),
    }
}

fn markdown(reference: &str, text: &str) -> SourceDocument {
    SourceDocument { reference: reference.to_owned(), format: SourceFormat::Markdown, bytes: text.as_bytes().to_vec() }
}

fn concept(id: &str, title: &str, text: &str) -> ConceptText {
    ConceptText {
        id: id.to_owned(),
        title: title.to_owned(),
        text: text.to_owned(),
        subject: Subject::Math,
        grade: Grade::new(7).unwrap(),
    }
}

fn ask(query: &str) -> SearchRequest {
    SearchRequest { query: query.to_owned(), limit: 10, ..SearchRequest::default() }
}

const GUIDE: &str = "# 作业设计\n\n## 分层作业\n\n作业分成基础题、变式题和探究题三层，学生自己选择起点。\n\n\
    ## 批改\n\n批改时写下一步怎样做，不只写对错。";

#[tokio::test]
async fn a_question_finds_its_passage_with_locator_and_title() {
    let setup = setup().await;
    setup.indexer.ingest(markdown("guide.md", GUIDE), &options(None)).await.unwrap();
    let found = setup.searcher.search(&ask("怎样布置分层的作业")).await.unwrap();
    assert!(found.semantic);
    let best = &found.hits[0];
    assert_eq!((best.title.as_str(), best.locator.as_deref()), ("作业设计", Some("分层作业")));
    assert_eq!(best.text, "作业分成基础题、变式题和探究题三层，学生自己选择起点。");
    assert!(found.hits.windows(2).all(|pair| pair[0].score >= pair[1].score));
    assert!(found.hits.iter().all(|hit| (0.0..=1.0).contains(&hit.score)));
}

#[tokio::test]
async fn linked_concepts_bring_their_passages_and_their_neighbours() {
    let setup = setup().await;
    // What the vectors say of texts without a common word is no part of this.
    setup.encoder.broken.store(true, Ordering::Relaxed);
    let report = setup
        .indexer
        .sync_concepts([
            concept("math:equation", "方程", "含有未知数的式子叫什么。"),
            concept("math:equality", "天平", "两边一样重。"),
            concept("math:circle", "圆", "到定点距离相等的点的集合。"),
        ])
        .await
        .unwrap();
    assert_eq!(report, SyncReport { added: 3, ..SyncReport::default() });
    let found = setup.searcher.search(&ask("方程")).await.unwrap();
    assert_eq!(found.linked_concepts.iter().map(|c| c.id.as_str()).collect::<Vec<_>>(), ["math:equation"]);
    let best = &found.hits[0];
    assert_eq!((best.kind, best.reference.as_str()), (DocumentKind::Concept, "math:equation"));
    assert_eq!(best.concepts, ["math:equation"]);
    let references: Vec<&str> = found.hits.iter().map(|hit| hit.reference.as_str()).collect();
    assert_eq!(references, ["math:equation", "math:equality"]);
}

#[tokio::test]
async fn passages_of_documents_carry_the_concepts_they_speak_of() {
    let setup = setup().await;
    let text = "# 备课\n\n## 等式\n\n先讲等式，再讲方程。\n\n## 其他\n\n板书要清楚。";
    setup.indexer.ingest(markdown("a.md", text), &options(None)).await.unwrap();
    let found = setup.searcher.search(&ask("先讲等式")).await.unwrap();
    assert_eq!(found.hits[0].concepts, ["math:equation", "math:equality"]);
    let found = setup.searcher.search(&ask("板书")).await.unwrap();
    assert_eq!(found.hits[0].concepts, [""; 0]);
}

#[tokio::test]
async fn without_an_encoder_words_and_graph_answer_and_the_answer_says_so() {
    let setup = setup().await;
    setup.encoder.broken.store(true, Ordering::Relaxed);
    setup.indexer.ingest(markdown("guide.md", GUIDE), &options(None)).await.unwrap();
    let found = setup.searcher.search(&ask("分层作业")).await.unwrap();
    assert!(!found.semantic);
    assert_eq!(found.hits[0].locator.as_deref(), Some("分层作业"));

    setup.encoder.broken.store(false, Ordering::Relaxed);
    assert_eq!(setup.indexer.encode_missing().await.unwrap(), 2);
    assert_eq!(setup.indexer.encode_missing().await.unwrap(), 0);
    let found = setup.searcher.search(&ask("作业分成基础题变式题探究题")).await.unwrap();
    assert!(found.semantic);
    assert_eq!(found.hits[0].locator.as_deref(), Some("分层作业"));
}

#[tokio::test]
async fn a_search_never_answers_with_another_schools_text() {
    let setup = setup().await;
    setup.indexer.ingest(markdown("n.md", "# 通知\n\n甲校春游定在周五。"), &options(Some("a"))).await.unwrap();
    setup.indexer.ingest(markdown("n.md", "# 通知\n\n乙校春游定在周六。"), &options(Some("b"))).await.unwrap();
    let check = async |school: Option<&str>, expected: &[&str]| {
        let request = SearchRequest { school: school.map(str::to_owned), ..ask("春游定在哪天") };
        let found = setup.searcher.search(&request).await.unwrap();
        assert_eq!(found.hits.iter().map(|hit| hit.text.as_str()).collect::<Vec<_>>(), expected);
    };
    check(None, &[]).await;
    check(Some("a"), &["甲校春游定在周五。"]).await;
    check(Some("b"), &["乙校春游定在周六。"]).await;
}

#[tokio::test]
async fn empty_and_odd_queries_are_answered() {
    let setup = setup().await;
    setup.indexer.ingest(markdown("guide.md", GUIDE), &options(None)).await.unwrap();
    assert_eq!(setup.searcher.search(&ask("  ")).await.unwrap().hits, []);
    assert_eq!(setup.searcher.search(&SearchRequest { limit: 0, ..ask("作业") }).await.unwrap().hits.len(), 1);
    for query in ["？！", "\" OR NOT", "作业".repeat(10_000).as_str()] {
        setup.searcher.search(&ask(query)).await.unwrap();
    }
}

#[tokio::test]
async fn an_unchanged_document_is_neither_encoded_nor_written_again() {
    let setup = setup().await;
    let Ingested::Added(id) = setup.indexer.ingest(markdown("a.md", GUIDE), &options(None)).await.unwrap() else {
        panic!("not added");
    };
    let encoded = setup.encoder.texts.load(Ordering::Relaxed);
    let again = setup.indexer.ingest(markdown("a.md", GUIDE), &options(None)).await.unwrap();
    assert_eq!(again, Ingested::Unchanged(id));
    assert_eq!(setup.encoder.texts.load(Ordering::Relaxed), encoded);
    let changed = setup.indexer.ingest(markdown("a.md", &GUIDE.replace("对错", "分数")), &options(None)).await.unwrap();
    assert_eq!(changed, Ingested::Replaced(id));
    // Another grade is a change too, another school another document.
    let grade = IngestOptions { grade: Grade::new(7).ok(), ..options(None) };
    let text = GUIDE.replace("对错", "分数");
    assert_eq!(setup.indexer.ingest(markdown("a.md", &text), &grade).await.unwrap(), Ingested::Replaced(id));
    assert!(matches!(
        setup.indexer.ingest(markdown("a.md", &text), &options(Some("s"))).await.unwrap(),
        Ingested::Added(_)
    ));
}

#[tokio::test]
async fn concepts_that_vanished_are_removed() {
    let setup = setup().await;
    setup.indexer.ingest(markdown("guide.md", GUIDE), &options(None)).await.unwrap();
    let concepts = [concept("math:a", "甲", "甲的定义。"), concept("math:b", "乙", "乙的定义。")];
    setup.indexer.sync_concepts(concepts.clone()).await.unwrap();
    let report =
        setup.indexer.sync_concepts([concepts[0].clone(), concept("math:c", "丙", "丙的定义。")]).await.unwrap();
    assert_eq!(report, SyncReport { added: 1, unchanged: 1, replaced: 0, removed: 1 });
    let left = setup.index.documents(&Filter::default(), None, 10).await.unwrap();
    let mut left: Vec<&str> = left.iter().map(|document| document.key.reference.as_str()).collect();
    left.sort();
    assert_eq!(left, ["guide.md", "math:a", "math:c"]);
}

#[tokio::test]
async fn one_bad_file_stops_nothing() {
    let setup = setup().await;
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("docs");
    std::fs::create_dir(&root).unwrap();
    std::fs::write(root.join("a.md"), GUIDE).unwrap();
    std::fs::write(root.join("b.txt"), [0xb7, 0xbd, 0xb3, 0xcc]).unwrap();
    std::fs::write(root.join("c.md"), "# 只有标题\n").unwrap();
    std::fs::write(root.join("d.txt"), "\u{feff}第一段。\n\n第二段。").unwrap();
    std::fs::write(folder.path().join("e.xyz"), "x").unwrap();
    let paths = [root.clone(), folder.path().join("e.xyz"), folder.path().join("none")];
    let report = setup.indexer.ingest_paths(&paths, &options(None)).await;
    assert_eq!(report.added, ["docs/a.md", "docs/d.txt"]);
    let failed: Vec<(&str, &IngestError)> =
        report.failed.iter().map(|(path, error)| (path.file_name().unwrap().to_str().unwrap(), error)).collect();
    assert!(matches!(
        failed.as_slice(),
        [
            ("none", IngestError::Read(_)),
            ("b.txt", IngestError::Encoding),
            ("c.md", IngestError::Empty),
            ("e.xyz", IngestError::Format)
        ]
    ));
    std::fs::write(root.join("a.md"), GUIDE.replace("三层", "两层")).unwrap();
    let report = setup.indexer.ingest_paths(&paths[..1], &options(None)).await;
    assert_eq!(
        (report.added.len(), report.replaced.as_slice(), report.unchanged.as_slice()),
        (0, ["docs/a.md".to_owned()].as_slice(), ["docs/d.txt".to_owned()].as_slice())
    );
}
