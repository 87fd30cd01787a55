//! Lesson plans over HTTP, with a scripted model and the shipped graph.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use std::collections::HashSet;
use std::time::Duration;

use axum::body::Body;
use axum::http::header;
use common::{Script, TestApp};
use serde_json::{Value, json};
use tower::ServiceExt;
use zhujiao::domain::Role;

const PLANS: &str = "/v1/lesson-plans";

fn request(more: Value) -> Value {
    let mut body = json!({"topic": "一元一次方程", "subject": "math", "grade": 7, "minutes": 45});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

async fn plan(app: &TestApp, more: Value) -> Value {
    let answer = app.post(PLANS, Role::Teacher, request(more)).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    answer.json()
}

/// The named events of a stream and their data.
fn events(text: &str) -> Vec<(String, Value)> {
    text.split("\n\n")
        .filter_map(|block| {
            let name = block.lines().find_map(|line| line.strip_prefix("event: "))?;
            let data = block.lines().find_map(|line| line.strip_prefix("data: "))?;
            Some((name.to_owned(), serde_json::from_str(data).unwrap()))
        })
        .collect()
}

fn citation_lists(value: &Value, found: &mut Vec<Vec<String>>) {
    match value {
        Value::Object(map) => {
            if let Some(keys) = map.get("citations").and_then(Value::as_array) {
                found.push(keys.iter().map(|key| key.as_str().unwrap().to_owned()).collect());
            }
            map.values().for_each(|value| citation_lists(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| citation_lists(value, found)),
        _ => {}
    }
}

fn check_plan(plan: &Value, minutes: u64) {
    let steps = plan["sections"]["procedure"].as_array().unwrap();
    assert_eq!(steps.iter().map(|step| step["minutes"].as_u64().unwrap()).sum::<u64>(), minutes);
    let mut lists = Vec::new();
    citation_lists(&plan["sections"], &mut lists);
    for key in lists.iter().flatten() {
        assert!(plan["citations"].get(key).is_some(), "citation {key} is missing");
    }
    let cited = lists.iter().filter(|keys| !keys.is_empty()).count() as f64 / lists.len() as f64;
    assert!((plan["coverage"]["cited_fraction"].as_f64().unwrap() - cited).abs() < 1e-9);
    assert!(cited >= 0.9);
    let homework = &plan["sections"]["homework"];
    let exercises: Vec<&Value> =
        ["basic", "standard", "challenge"].iter().flat_map(|level| homework[level].as_array().unwrap()).collect();
    let prompts: HashSet<&str> = exercises.iter().map(|item| item["prompt"].as_str().unwrap()).collect();
    assert_eq!(prompts.len(), exercises.len(), "no exercise twice");
    for name in ["objectives", "standards", "key_points", "difficulties", "misconceptions", "assessment"] {
        assert!(!plan["sections"][name].as_array().unwrap().is_empty(), "{name}");
    }
}

#[tokio::test]
async fn a_plan_has_every_section_cited_and_adds_up() {
    let app = TestApp::new(Script::Schema).await;
    for (topic, grade, minutes) in
        [("一元一次方程", 7, 45), ("一次函数", 8, 40), ("一元二次方程", 9, 13), ("有理数的加法", 7, 180)]
    {
        let plan = plan(&app, json!({"topic": topic, "grade": grade, "minutes": minutes})).await;
        check_plan(&plan, minutes);
        assert!(sources(&plan).contains("model"), "{topic}");
    }
}

#[tokio::test]
async fn the_stream_announces_each_section_and_ends_with_the_plan() {
    let app = TestApp::new(Script::Schema).await;
    let accept = app.request("POST", PLANS, Role::Teacher);
    let accept = accept.header(header::ACCEPT, "text/event-stream").header(header::CONTENT_TYPE, "application/json");
    let answer = app.send(accept.body(Body::from(request(json!({})).to_string())).unwrap()).await;
    assert_eq!(answer.status, 200);
    let events = events(&answer.text);
    assert_eq!(events.first().unwrap().0, "plan.created");
    let (last, done) = events.last().unwrap();
    assert_eq!(last, "done");
    check_plan(&done["plan"], 45);
    let completed: Vec<&str> = events
        .iter()
        .filter(|(name, _)| name == "section.completed")
        .map(|(_, data)| data["section"].as_str().unwrap())
        .collect();
    assert_eq!(
        completed,
        [
            "objectives",
            "standards",
            "prerequisites",
            "key_points",
            "difficulties",
            "misconceptions",
            "procedure",
            "board",
            "homework",
            "assessment"
        ]
    );
    let announced: HashSet<&str> =
        events.iter().filter(|(name, _)| name == "citation").map(|(_, data)| data["key"].as_str().unwrap()).collect();
    assert_eq!(announced.len(), done["plan"]["citations"].as_object().unwrap().len());
    for (_, data) in events.iter().filter(|(name, _)| name == "section.completed") {
        assert_eq!(data["content"], done["plan"]["sections"][data["section"].as_str().unwrap()]);
    }
}

#[tokio::test]
async fn a_broken_model_still_gives_a_valid_plan() {
    // What the model says is never JSON here; the vetted wording stands in.
    let app = TestApp::new(Script::Answer(vec!["抱歉"])).await;
    let plan = plan(&app, json!({})).await;
    check_plan(&plan, 45);
    assert_eq!(sources(&plan), HashSet::from(["vetted"]), "and the plan says so");
}

/// Who worded the items that the model is asked for.
fn sources(plan: &Value) -> HashSet<&str> {
    let sections = ["objectives", "procedure", "assessment"].map(|name| plan["sections"][name].as_array().unwrap());
    sections.into_iter().flatten().map(|item| item["source"].as_str().unwrap_or("nobody")).collect()
}

#[tokio::test]
async fn bad_requests_name_the_field() {
    let app = TestApp::new(Script::Schema).await;
    for (more, field) in [
        (json!({"grade": 0}), "grade"),
        (json!({"grade": 13}), "grade"),
        (json!({"minutes": 1000}), "minutes"),
        (json!({"minutes": 0}), "minutes"),
        (json!({"minutes": -1}), "minutes"),
        (json!({"topic": "  "}), "topic"),
        (json!({"topic": "长".repeat(101)}), "topic"),
        (json!({"subject": "cooking"}), "subject"),
        (json!({"language": "en"}), "language"),
        (json!({"notes": "长".repeat(501)}), "notes"),
        (json!({"colour": 1}), "colour"),
    ] {
        let answer = app.post(PLANS, Role::Teacher, request(more.clone())).await;
        assert_eq!(answer.status, 422, "{more}: {}", answer.text);
        assert_eq!(answer.json()["errors"][0]["field"], field, "{more}");
    }
    let huge = app.post(PLANS, Role::Teacher, request(json!({"topic": "长".repeat(1 << 20)}))).await;
    assert_eq!(huge.status, 413);
    assert_eq!(app.post_text(PLANS, Role::Teacher, "{\"topic\":".to_owned()).await.status, 400);
    assert_eq!(app.post(PLANS, Role::Student, request(json!({}))).await.status, 403);
    assert!(app.generator.requests.lock().unwrap().is_empty(), "the model was not asked");
}

#[tokio::test]
async fn an_unknown_topic_offers_the_nearest_and_invents_nothing() {
    let app = TestApp::new(Script::Schema).await;
    let answer = app.post(PLANS, Role::Teacher, request(json!({"topic": "二元一次方城"}))).await;
    let known = answer.status == 201;
    assert!(known || answer.json()["code"] == "unknown_topic");
    for topic in ["红烧肉的做法", "光合作用", "asdf"] {
        let answer = app.post(PLANS, Role::Teacher, request(json!({"topic": topic}))).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["code"]), (422, &json!("unknown_topic")), "{topic}");
    }
    let other_subject = app.post(PLANS, Role::Teacher, request(json!({"subject": "chinese"}))).await;
    assert_eq!(other_subject.json()["code"], "unknown_topic");
}

#[tokio::test]
async fn plans_beyond_the_limit_are_told_when_to_come_back() {
    let app = TestApp::new(Script::Hang).await;
    let mut running = Vec::new();
    for _ in 0..2 {
        let request = app
            .request("POST", PLANS, Role::Teacher)
            .header(header::ACCEPT, "text/event-stream")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(request(json!({})).to_string()))
            .unwrap();
        running.push(app.router.clone().oneshot(request).await.unwrap());
    }
    let refused = app.post(PLANS, Role::Teacher, request(json!({}))).await;
    assert_eq!((refused.status.as_u16(), &refused.json()["code"]), (429, &json!("too_many_plans")));
    assert!(refused.headers.contains_key(header::RETRY_AFTER));

    // Both have asked the model; when the clients leave, the generations are dropped and the places are free again.
    let begun = app.generator.begun.acquire_many(2);
    let _begun = tokio::time::timeout(Duration::from_secs(30), begun).await.unwrap().unwrap();
    drop(running);
    let dropped = tokio::time::timeout(Duration::from_secs(30), app.generator.dropped.acquire_many(2));
    let _dropped = dropped.await.unwrap().unwrap();
    let list = app.get(PLANS, Role::Teacher).await.json();
    assert_eq!(list["items"], json!([]), "nothing half-written is stored");
}

#[tokio::test]
async fn plans_are_listed_shown_exported_and_deleted_by_their_owner() {
    let app = TestApp::new(Script::Schema).await;
    let id = plan(&app, json!({})).await["id"].as_str().unwrap().to_owned();
    let path = format!("{PLANS}/{id}");
    let listed = app.get(PLANS, Role::Teacher).await.json();
    assert_eq!((&listed["items"][0]["id"], &listed["items"][0]["minutes"]), (&json!(id), &json!(45)));
    assert_eq!(app.get(&path, Role::Teacher).await.json()["id"], json!(id));
    let markdown = app.get(&format!("{path}/export?format=md"), Role::Teacher).await;
    assert!(markdown.text.starts_with("# 一元一次方程"));
    assert!(markdown.text.contains("人工智能"));
    assert_eq!(app.get(&format!("{path}/export?format=pdf"), Role::Teacher).await.status, 422);
    let delete = app.send(app.request("DELETE", &path, Role::Teacher).body(Body::empty()).unwrap()).await;
    assert_eq!(delete.status, 204);
    assert_eq!(app.get(&path, Role::Teacher).await.status, 404);
}

#[tokio::test]
async fn a_teachers_edit_is_checked() {
    let app = TestApp::new(Script::Schema).await;
    let plan = plan(&app, json!({})).await;
    let path = format!("{PLANS}/{}", plan["id"].as_str().unwrap());
    let patch = async |body: Value| {
        let request = app.request("PATCH", &path, Role::Teacher).header(header::CONTENT_TYPE, "application/json");
        app.send(request.body(Body::from(body.to_string())).unwrap()).await
    };
    let board = patch(json!({"sections": {"board": "# 新板书"}})).await.json();
    assert_eq!(board["sections"]["board"], "# 新板书");
    assert_eq!(board["sections"]["procedure"], plan["sections"]["procedure"]);
    let missing = json!([{"text": "能解方程。", "competency": "运算能力", "citations": ["c999"]}]);
    assert_eq!(patch(json!({"sections": {"objectives": missing}})).await.status, 422);
    let mut steps = plan["sections"]["procedure"].clone();
    steps[0]["students"] = json!("自己读题。");
    let edited = patch(json!({"sections": {"procedure": steps}})).await.json();
    let marks: Vec<&Value> =
        edited["sections"]["procedure"].as_array().unwrap().iter().map(|step| &step["source"]).collect();
    assert!(
        marks[0].is_null() && marks[1..].iter().all(|mark| mark.is_string()),
        "a person's words are nobody else's: {marks:?}"
    );
    let mut homework = plan["sections"]["homework"].clone();
    homework["basic"][0]["answer"] = json!("改错的答案");
    homework["basic"][0]["verified"] = json!(true);
    let edited = patch(json!({"sections": {"homework": homework}})).await.json();
    assert_eq!(edited["sections"]["homework"]["basic"][0]["verified"], false, "the mark is not the client's to give");
}

async fn say(app: &TestApp, plan: &Value, text: &str) -> Vec<(String, Value)> {
    let path = format!("{PLANS}/{}/messages", plan["id"].as_str().unwrap());
    let answer = app.post(&path, Role::Teacher, json!({"text": text})).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    events(&answer.text)
}

#[tokio::test]
async fn a_wish_changes_the_section_it_means_and_no_other() {
    let app = TestApp::new(Script::Schema).await;
    let plan = plan(&app, json!({})).await;
    let events = say(&app, &plan, "把导入改成生活情境").await;
    let (name, done) = events.last().unwrap();
    assert_eq!((name.as_str(), &done["message"]["section"]), ("done", &json!("procedure")));
    let (before, after) = (&plan["sections"], &done["plan"]["sections"]);
    for (section, content) in before.as_object().unwrap() {
        if section != "procedure" {
            assert_eq!(content, &after[section], "{section}");
        }
    }
    assert_eq!(after["procedure"][0]["title"], "情境导入");
    assert_eq!(before["procedure"].as_array().unwrap()[1..], after["procedure"].as_array().unwrap()[1..]);
    check_plan(&done["plan"], 45);

    let events = say(&app, &done["plan"], "导入缩短到3分钟").await;
    let changed = &events.last().unwrap().1["plan"];
    assert_eq!(changed["sections"]["procedure"][0]["minutes"], 3);
    check_plan(changed, 45);

    let events = say(&app, changed, "作业再加一道基础题").await;
    let more = &events.last().unwrap().1["plan"];
    let count = |plan: &Value| plan["sections"]["homework"]["basic"].as_array().unwrap().len();
    assert_eq!(count(more), count(changed) + 1);
    check_plan(more, 45);
}

#[tokio::test]
async fn a_question_is_answered_with_citations_and_changes_no_section() {
    let app = TestApp::new(Script::Schema).await;
    let plan = plan(&app, json!({})).await;
    let events = say(&app, &plan, "怎样判断一个方程是不是一元一次方程？").await;
    let done = &events.last().unwrap().1;
    let keys = done["message"]["citations"].as_array().unwrap();
    assert!(!keys.is_empty());
    for key in keys {
        assert!(done["plan"]["citations"].get(key.as_str().unwrap()).is_some());
    }
    assert_eq!(done["plan"]["sections"], plan["sections"]);

    let events = say(&app, &plan, "今天食堂吃什么？").await;
    let done = &events.last().unwrap().1;
    assert_eq!(done["message"]["citations"], json!([]));
    assert!(done["message"]["text"].as_str().unwrap().contains("没有"));

    let path = format!("{PLANS}/{}/messages", plan["id"].as_str().unwrap());
    let stored = app.get(&path, Role::Teacher).await.json();
    let roles: Vec<&str> =
        stored["items"].as_array().unwrap().iter().map(|message| message["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["user", "assistant", "user", "assistant"]);
    let empty = app.post(&path, Role::Teacher, json!({"text": " "})).await;
    assert_eq!(empty.json()["errors"][0]["field"], "text");
}

#[tokio::test]
async fn a_section_can_be_written_again() {
    let app = TestApp::new(Script::Schema).await;
    let plan = plan(&app, json!({})).await;
    let path = |section: &str| format!("{PLANS}/{}/sections/{section}/regenerate", plan["id"].as_str().unwrap());
    for section in ["objectives", "homework", "board", "procedure", "assessment"] {
        let answer = app.post(&path(section), Role::Teacher, json!({})).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        check_plan(&answer.json(), 45);
    }
    assert_eq!(app.post(&path("dessert"), Role::Teacher, json!({})).await.status, 404);
}

#[tokio::test]
async fn without_a_model_the_server_says_so() {
    let app = TestApp::without_models().await;
    let answer = app.post(PLANS, Role::Teacher, request(json!({}))).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["code"]), (503, &json!("model_unavailable")));
}
