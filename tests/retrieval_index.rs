//! The contract of a passage index, held by the embedded one.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test stops at the first surprise")]

use uuid::Uuid;
use zhujiao::domain::{Grade, Subject};
use zhujiao::retrieval::{
    Collection, DocumentKey, DocumentKind, EmbeddedIndex, Filter, IndexError, NewDocument, NewPassage, PassageIndex,
    Put, Scored, Segmenter, Vector, Visibility,
};
use zhujiao::store::Database;

async fn index() -> EmbeddedIndex {
    EmbeddedIndex::open(Database::in_memory().await.unwrap()).await.unwrap()
}

fn document(reference: &str, school: Option<&str>) -> NewDocument {
    NewDocument {
        key: DocumentKey {
            collection: Collection::Curriculum,
            kind: DocumentKind::Document,
            reference: reference.to_owned(),
            school: school.map(str::to_owned),
        },
        title: format!("《{reference}》"),
        subject: None,
        grade: None,
        hash: "h1".to_owned(),
    }
}

fn vector(values: [f32; 2]) -> Vector {
    Vector { encoder: "test".to_owned(), values: values.to_vec() }
}

fn passage(words: &str, values: [f32; 2], concepts: &[&str]) -> NewPassage {
    NewPassage {
        locator: Some("一 › 二".to_owned()),
        text: words.replace(' ', ""),
        title_words: String::new(),
        words: words.to_owned(),
        concepts: concepts.iter().map(|&id| id.to_owned()).collect(),
        vector: Some(vector(values)),
    }
}

fn id(put: Put) -> Uuid {
    match put {
        Put::Added(id) | Put::Replaced(id) => id,
    }
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

async fn texts(index: &EmbeddedIndex, found: Vec<Scored>, visibility: &Visibility) -> Vec<String> {
    let ids: Vec<Uuid> = found.iter().map(|scored| scored.id).collect();
    index.passages(&ids, visibility).await.unwrap().into_iter().map(|passage| passage.text).collect()
}

async fn by_words(index: &EmbeddedIndex, query: &str, filter: &Filter) -> Vec<String> {
    let found = index.by_words(&words(query), filter, 10).await.unwrap();
    texts(index, found, &filter.visibility).await
}

async fn by_vector(index: &EmbeddedIndex, query: [f32; 2], filter: &Filter) -> Vec<String> {
    let found = index.by_vector(&vector(query), filter, 10).await.unwrap();
    texts(index, found, &filter.visibility).await
}

#[tokio::test]
async fn a_passage_is_found_by_word_vector_and_concept() {
    let index = index().await;
    let passages = vec![
        passage("方程 移项", [1.0, 0.0], &["math:equation", "math:x"]),
        passage("函数 图象", [0.0, 1.0], &["math:x"]),
    ];
    let document_id = id(index.put(document("a.md", None), passages).await.unwrap());
    let all = Filter::default();
    assert_eq!(by_words(&index, "移项", &all).await, ["方程移项"]);
    assert_eq!(by_vector(&index, [0.6, 0.8], &all).await, ["函数图象", "方程移项"]);
    let wanted = [("math:equation".to_owned(), 1.0), ("math:x".to_owned(), 0.5)];
    let found = index.by_concepts(&wanted, &all, 10).await.unwrap();
    assert_eq!(found.iter().map(|scored| scored.score).collect::<Vec<_>>(), [1.0, 0.5]);
    let read = index.passages(&[found[0].id], &Visibility::Shared).await.unwrap().remove(0);
    assert_eq!(
        (read.document_id, read.title.as_str(), read.locator.as_deref()),
        (document_id, "《a.md》", Some("一 › 二"))
    );
    assert_eq!(read.concepts, ["math:equation", "math:x"]);
    assert_eq!((read.kind, read.reference.as_str()), (DocumentKind::Document, "a.md"));
}

#[tokio::test]
async fn rarer_and_more_words_rank_higher() {
    let index = index().await;
    let passages = ["方程 一", "方程 二", "方程 移项 三"].map(|text| passage(text, [1.0, 0.0], &[]));
    index.put(document("a.md", None), passages.to_vec()).await.unwrap();
    assert_eq!(by_words(&index, "移项 方程", &Filter::default()).await[0], "方程移项三");
}

#[tokio::test]
async fn filters_keep_what_belongs_to_all() {
    let index = index().await;
    let put = async |reference: &str, collection, subject, grade: Option<i64>| {
        let mut document = document(reference, None);
        document.key.collection = collection;
        document.subject = subject;
        document.grade = grade.map(|grade| Grade::new(grade).unwrap());
        index.put(document, vec![passage(&format!("通用 {reference}"), [1.0, 0.0], &["c"])]).await.unwrap();
    };
    put("any", Collection::Curriculum, None, None).await;
    put("math7", Collection::Curriculum, Some(Subject::Math), Some(7)).await;
    put("physics8", Collection::Curriculum, Some(Subject::Physics), Some(8)).await;
    put("rules", Collection::Affairs, None, None).await;
    let check = async |filter: Filter, expected: &[&str]| {
        let expected: Vec<String> = expected.iter().map(|reference| format!("通用{reference}")).collect();
        let mut found = by_words(&index, "通用", &filter).await;
        found.sort_by_key(|text| expected.iter().position(|wanted| wanted == text));
        assert_eq!(found, expected, "{filter:?}");
        assert_eq!(by_vector(&index, [1.0, 0.0], &filter).await.len(), expected.len(), "{filter:?}");
        let concepts = index.by_concepts(&[("c".to_owned(), 1.0)], &filter, 10).await.unwrap();
        assert_eq!(concepts.len(), expected.len(), "{filter:?}");
        assert_eq!(index.documents(&filter, None, 10).await.unwrap().len(), expected.len(), "{filter:?}");
    };
    check(Filter::default(), &["any", "math7", "physics8", "rules"]).await;
    check(Filter { collection: Some(Collection::Affairs), ..Filter::default() }, &["rules"]).await;
    check(Filter { subject: Some(Subject::Math), ..Filter::default() }, &["any", "math7", "rules"]).await;
    check(Filter { grade: Grade::new(8).ok(), ..Filter::default() }, &["any", "physics8", "rules"]).await;
    let physics7 = Filter {
        subject: Some(Subject::Physics),
        grade: Grade::new(7).ok(),
        collection: Some(Collection::Curriculum),
        ..Filter::default()
    };
    check(physics7, &["any"]).await;
}

#[tokio::test]
async fn no_school_sees_another_schools_passages() {
    let index = index().await;
    let shared = id(index.put(document("n", None), vec![passage("公告 共享", [1.0, 0.0], &["c"])]).await.unwrap());
    let a = id(index.put(document("n", Some("a")), vec![passage("公告 甲", [1.0, 0.0], &["c"])]).await.unwrap());
    let b = id(index.put(document("n", Some("b")), vec![passage("公告 乙", [1.0, 0.0], &["c"])]).await.unwrap());
    let everything: Vec<Uuid> = {
        let mut ids = Vec::new();
        for school in ["a", "b"] {
            let filter = Filter { visibility: Visibility::School(school.to_owned()), ..Filter::default() };
            ids.extend(index.by_words(&words("公告"), &filter, 10).await.unwrap().iter().map(|scored| scored.id));
        }
        ids
    };
    let check = async |visibility: Visibility, expected: &[&str], documents: [bool; 3]| {
        let filter = Filter { visibility: visibility.clone(), ..Filter::default() };
        let mut found = by_words(&index, "公告", &filter).await;
        found.sort();
        assert_eq!(found, expected, "words, {visibility:?}");
        let mut found = by_vector(&index, [1.0, 0.0], &filter).await;
        found.sort();
        assert_eq!(found, expected, "vector, {visibility:?}");
        let concepts = index.by_concepts(&[("c".to_owned(), 1.0)], &filter, 10).await.unwrap();
        assert_eq!(concepts.len(), expected.len(), "concepts, {visibility:?}");
        // Knowing an id is not enough to read it.
        let mut read: Vec<String> =
            index.passages(&everything, &visibility).await.unwrap().into_iter().map(|p| p.text).collect();
        read.sort();
        read.dedup();
        assert_eq!(read, expected, "passages, {visibility:?}");
        assert_eq!(index.documents(&filter, None, 10).await.unwrap().len(), expected.len());
        for (document, visible) in [shared, a, b].into_iter().zip(documents) {
            assert_eq!(index.document(document, &visibility).await.unwrap().is_some(), visible);
        }
    };
    check(Visibility::Shared, &["公告共享"], [true, false, false]).await;
    check(Visibility::School("a".to_owned()), &["公告共享", "公告甲"], [true, true, false]).await;
    check(Visibility::School("b".to_owned()), &["公告乙", "公告共享"], [true, false, true]).await;
    check(Visibility::School("c".to_owned()), &["公告共享"], [true, false, false]).await;
}

#[tokio::test]
async fn replacing_keeps_the_ids_of_what_stays() {
    let index = index().await;
    let all = Filter::default();
    let first = vec![passage("旧 内容", [1.0, 0.0], &["c"]), passage("保留 内容", [0.0, 1.0], &[])];
    let added = index.put(document("a.md", None), first).await.unwrap();
    let kept = index.by_words(&words("保留"), &all, 10).await.unwrap()[0].id;
    let second = vec![passage("新 内容", [1.0, 0.0], &[]), passage("保留 内容", [0.0, 1.0], &[])];
    let replacement = NewDocument { hash: "h2".to_owned(), title: "新题".to_owned(), ..document("a.md", None) };
    assert_eq!(index.put(replacement.clone(), second).await.unwrap(), Put::Replaced(id(added)));
    assert_eq!(index.stored(&replacement.key).await.unwrap(), Some((id(added), "h2".to_owned())));
    assert_eq!(by_words(&index, "旧", &all).await, [""; 0]);
    assert_eq!(by_words(&index, "新", &all).await, ["新内容"]);
    assert_eq!(index.by_words(&words("保留"), &all, 10).await.unwrap()[0].id, kept);
    assert_eq!(by_vector(&index, [1.0, 0.1], &all).await, ["新内容", "保留内容"]);
    assert_eq!(index.by_concepts(&[("c".to_owned(), 1.0)], &all, 10).await.unwrap(), []);
    let documents = index.documents(&all, None, 10).await.unwrap();
    assert_eq!((documents.len(), documents[0].title.as_str(), documents[0].passages), (1, "新题", 2));
}

#[tokio::test]
async fn deleting_removes_it_everywhere() {
    let index = index().await;
    let all = Filter::default();
    let gone = id(index.put(document("a.md", None), vec![passage("内容 甲", [1.0, 0.0], &["c"])]).await.unwrap());
    index.put(document("b.md", None), vec![passage("内容 乙", [1.0, 0.0], &["c"])]).await.unwrap();
    assert!(index.delete(gone).await.unwrap());
    assert!(!index.delete(gone).await.unwrap());
    assert_eq!(by_words(&index, "内容 甲", &all).await, ["内容乙"]);
    assert_eq!(by_vector(&index, [1.0, 0.0], &all).await, ["内容乙"]);
    assert_eq!(index.by_concepts(&[("c".to_owned(), 1.0)], &all, 10).await.unwrap().len(), 1);
    assert_eq!(index.document(gone, &Visibility::Shared).await.unwrap(), None);
}

#[tokio::test]
async fn everything_is_there_after_a_restart_and_for_a_second_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("zhujiao.db");
    let all = Filter::default();
    let database = Database::open(&path).await.unwrap();
    let first = EmbeddedIndex::open(database.clone()).await.unwrap();
    first.put(document("a.md", None), vec![passage("方程 甲", [1.0, 0.0], &["c"])]).await.unwrap();
    drop(first);
    database.close().await;

    let server = EmbeddedIndex::open(Database::open(&path).await.unwrap()).await.unwrap();
    assert_eq!(by_words(&server, "方程", &all).await, ["方程甲"]);
    assert_eq!(by_vector(&server, [1.0, 0.0], &all).await, ["方程甲"]);

    // `zhujiao ingest` beside the server: its writes are seen, and the server's own next write loses none of them.
    let command = EmbeddedIndex::open(Database::open(&path).await.unwrap()).await.unwrap();
    command.put(document("b.md", None), vec![passage("方程 乙", [0.9, 0.1], &[])]).await.unwrap();
    server.put(document("c.md", None), vec![passage("方程 丙", [0.5, 0.5], &[])]).await.unwrap();
    assert_eq!(by_vector(&server, [1.0, 0.0], &all).await, ["方程甲", "方程乙", "方程丙"]);
    assert_eq!(by_vector(&command, [1.0, 0.0], &all).await, ["方程甲", "方程乙", "方程丙"]);
}

#[tokio::test]
async fn vectors_can_come_later() {
    let index = index().await;
    let all = Filter::default();
    let bare = NewPassage { vector: None, ..passage("方程 甲", [1.0, 0.0], &[]) };
    index.put(document("a.md", None), vec![bare, passage("方程 乙", [0.0, 1.0], &[])]).await.unwrap();
    assert_eq!(by_vector(&index, [1.0, 0.0], &all).await, ["方程乙"]);
    let missing = index.unencoded("test", 10).await.unwrap();
    assert_eq!(missing.iter().map(|passage| passage.text.as_str()).collect::<Vec<_>>(), ["方程甲"]);
    let vectors = vec![(missing[0].id, vector([1.0, 0.0])), (Uuid::now_v7(), vector([1.0, 0.0]))];
    index.set_vectors(vectors).await.unwrap();
    assert_eq!(by_vector(&index, [1.0, 0.0], &all).await, ["方程甲", "方程乙"]);
    assert_eq!(index.unencoded("test", 10).await.unwrap(), []);
    // A new encoder makes every vector one to be made again.
    assert_eq!(index.unencoded("other", 10).await.unwrap().len(), 2);
}

#[tokio::test]
async fn vectors_of_one_encoder_have_one_length() {
    let index = index().await;
    index.put(document("a.md", None), vec![passage("甲", [1.0, 0.0], &[])]).await.unwrap();
    let odd = NewPassage {
        vector: Some(Vector { encoder: "test".to_owned(), values: vec![1.0] }),
        ..passage("乙", [1.0, 0.0], &[])
    };
    let error = index.put(document("b.md", None), vec![odd]).await.unwrap_err();
    assert!(matches!(error, IndexError::VectorLength { expected: 2, found: 1, .. }));
    assert_eq!(index.documents(&Filter::default(), None, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn no_query_is_full_text_syntax() {
    let index = index().await;
    index.put(document("a.md", None), vec![passage("方程 near", [1.0, 0.0], &[])]).await.unwrap();
    let segmenter = Segmenter::new([]);
    for query in
        ["\"", "方程\" OR *", "NEAR(方程", "title:方程", "a AND NOT", "方程*", "^方程", "(", "²", "𝑥", "-", "\0"]
    {
        let words = segmenter.words(query);
        index.by_words(&words, &Filter::default(), 10).await.unwrap_or_else(|error| panic!("{query:?}: {error}"));
        index.by_words(&[query.to_owned()], &Filter::default(), 10).await.unwrap_or_else(|e| panic!("{query:?}: {e}"));
    }
    assert_eq!(index.by_words(&[], &Filter::default(), 10).await.unwrap(), []);
}

#[tokio::test]
async fn documents_are_listed_in_pages() {
    let index = index().await;
    for name in ["a", "b", "c"] {
        index.put(document(name, None), vec![passage(name, [1.0, 0.0], &[])]).await.unwrap();
    }
    let first = index.documents(&Filter::default(), None, 2).await.unwrap();
    let rest = index.documents(&Filter::default(), Some(first[1].id), 2).await.unwrap();
    let names: Vec<&str> = first.iter().chain(&rest).map(|document| document.key.reference.as_str()).collect();
    assert_eq!(names, ["a", "b", "c"]);
}
