//! The shipped guides with the real encoder: a teacher's question finds the guide that answers it.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::Device;
use zhujiao::domain::Subject;
use zhujiao::embedding::E5Encoder;
use zhujiao::retrieval::{
    Collection, EmbeddedIndex, Indexer, IngestOptions, RetrievalParts, SearchRequest, Searcher, Segmenter,
};
use zhujiao::store::Database;

fn weights() -> PathBuf {
    let models = std::env::var_os("ZHUJIAO_MODELS_DIR").map(PathBuf::from).unwrap_or_else(|| {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let cache = cache.unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache"));
        cache.join("zhujiao/models")
    });
    models.join("multilingual-e5-small/e5-small-q4.bin")
}

#[tokio::test]
async fn a_teachers_question_finds_its_guide() {
    let index = Arc::new(EmbeddedIndex::open(Database::in_memory().await.unwrap()).await.unwrap());
    let segmenter = Arc::new(Segmenter::new([]));
    let encoder = Arc::new(E5Encoder::load(&weights(), "multilingual-e5-small", &Device::Cpu).unwrap());
    let parts = RetrievalParts::new(index, segmenter).with_encoder(encoder);
    let indexer = Indexer::new(parts.clone());
    let guides = Path::new(env!("CARGO_MANIFEST_DIR")).join("knowledge_graph/documents");
    let options =
        IngestOptions { collection: Collection::Curriculum, subject: Some(Subject::Math), grade: None, school: None };
    let report = indexer.ingest_paths(std::slice::from_ref(&guides), &options).await;
    assert!(report.failed.is_empty() && report.added.len() >= 5, "{report:?}");
    let report = indexer.ingest_paths(&[guides], &options).await;
    assert!(report.unchanged.len() >= 5 && report.added.is_empty() && report.replaced.is_empty(), "{report:?}");

    let searcher = Searcher::new(parts);
    let check = async |query: &str, title: &str, locator: &str| {
        let request = SearchRequest { query: query.to_owned(), limit: 3, ..SearchRequest::default() };
        let found = searcher.search(&request).await.unwrap();
        let hits: Vec<(&str, &str)> =
            found.hits.iter().map(|hit| (hit.title.as_str(), hit.locator.as_deref().unwrap_or_default())).collect();
        let hit = hits.iter().any(|(found, path)| *found == title && path.contains(locator));
        assert!(hit, "{query}: {hits:?}");
    };
    check("方程第一节课怎么导入比较好", "方程教学的导入与建模", "导入").await;
    check("学生列方程时两边单位不一样怎么办", "方程教学的导入与建模", "方程两边不是同一个量").await;
    check("家长担心孩子被分到差的一层", "分层作业设计", "与家长沟通").await;
    check("提问后要等多久再点名", "课堂提问与形成性评价", "等待时间").await;
    check("学生说 y=5 不是函数", "函数概念教学的常见困难与对策", "把函数等同于式子").await;
    check("抛物线平移左右搞反", "函数概念教学的常见困难与对策", "平移方向").await;
    check("how to design homework with different levels", "分层作业设计", "").await;
    check("下课前怎么快速了解学生学会了没有", "课堂提问与形成性评价", "").await;
}
