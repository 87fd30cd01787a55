//! The API through the router: routes, roles, refusals.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use axum::body::Body;
use axum::http::{Request, header};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use common::{Answer, ENCODER, GENERATOR, ROLES, Script, TestApp, get_without_key};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;
use zhujiao::domain::Role;
use zhujiao::http::policy::{Access, TABLE};
use zhujiao::retrieval::{Collection, IngestOptions, SourceDocument, SourceFormat};
use zhujiao::runtime::{Constraint, GenerationError};

const CHAT: &str = "/v1/chat/completions";

fn chat(more: Value) -> Value {
    let mut body = json!({"model": GENERATOR, "messages": [{"role": "user", "content": "你好"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

async fn answering() -> TestApp {
    TestApp::new(Script::Answer(vec!["你", "好", "！"])).await
}

#[tokio::test]
async fn every_route_of_the_document_has_a_policy_and_the_other_way_round() {
    let app = answering().await;
    let document = app.send(get_without_key("/openapi.json")).await.json();
    let mut described = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            described.push((method.to_uppercase(), path.clone()));
        }
    }
    // The document and its reader do not describe themselves.
    let is_reader = |path: &str| path == "/openapi.json" || path.starts_with("/docs");
    let mut table: Vec<_> = TABLE.iter().map(|rule| (rule.method.to_owned(), rule.path.to_owned())).collect();
    table.retain(|(_, path)| !is_reader(path));
    described.sort();
    table.sort();
    assert_eq!(described, table);
}

#[tokio::test]
async fn each_role_reaches_its_routes_and_no_other() {
    let app = answering().await;
    for rule in TABLE {
        let request = |bearer: Option<&str>| {
            let mut request = Request::builder().method(rule.method).uri(rule.path.replace(['{', '}', '*'], ""));
            if let Some(bearer) = bearer {
                request = request.header(header::AUTHORIZATION, format!("Bearer {bearer}"));
            }
            request.body(Body::empty()).unwrap()
        };
        let anonymous = app.send(request(None)).await;
        let wrong = app.send(request(Some("zj_wrong"))).await;
        let Access::Roles(roles) = rule.access else {
            assert!(![401, 403].contains(&anonymous.status.as_u16()), "{rule:?}: {anonymous:?}");
            continue;
        };
        anonymous.assert_problem(401, "unauthenticated");
        assert_eq!(anonymous.headers[header::WWW_AUTHENTICATE], "Bearer");
        wrong.assert_problem(401, "invalid_token");
        for role in ROLES {
            let answer = app.send(request(Some(app.key(role)))).await;
            if roles.contains(&role) {
                assert!(![401, 403].contains(&answer.status.as_u16()), "{rule:?} {role:?}: {answer:?}");
            } else {
                answer.assert_problem(403, "forbidden");
            }
        }
    }
}

#[tokio::test]
async fn readiness_says_what_is_missing() {
    let app = answering().await;
    assert_eq!(app.send(get_without_key("/healthz")).await.text, "ok");
    let ready = app.send(get_without_key("/readyz")).await;
    assert_eq!(ready.status, 200);
    assert_eq!(ready.json()["ready"], true);

    let app = TestApp::without_models().await;
    app.state.models.generator.report(zhujiao::http::ModelState::Downloading, Some("35 %".to_owned()));
    let waiting = app.send(get_without_key("/readyz")).await;
    assert_eq!(waiting.status, 503);
    let generator = json!({"name": GENERATOR, "role": "generator", "state": "downloading", "detail": "35 %"});
    let encoder = json!({"name": ENCODER, "role": "encoder", "state": "missing", "detail": null});
    assert_eq!(waiting.json(), json!({"ready": false, "models": [generator, encoder]}));

    let refused = app.post(CHAT, Role::Teacher, chat(json!({}))).await;
    refused.assert_problem(503, "model_unavailable");
    assert!(refused.headers.contains_key(header::RETRY_AFTER));
    let refused = app.post("/v1/embeddings", Role::Teacher, json!({"model": ENCODER, "input": "x"})).await;
    refused.assert_problem(503, "model_unavailable");
}

#[tokio::test]
async fn a_chat_completion_has_openais_shape() {
    let app = answering().await;
    let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}}});
    let format = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}});
    let body = chat(json!({"max_tokens": 9, "stop": "。", "seed": 3, "response_format": format}));
    let answer = app.post(CHAT, Role::Teacher, body).await;
    assert_eq!(answer.status, 200);
    let completion = answer.json();
    assert!(completion["id"].as_str().unwrap().starts_with("chatcmpl-"));
    assert_eq!(completion["object"], "chat.completion");
    assert_eq!(completion["model"], GENERATOR);
    let message = json!({"role": "assistant", "content": "你好！"});
    assert_eq!(completion["choices"], json!([{"index": 0, "message": message, "finish_reason": "stop"}]));
    let usage = json!({"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10,
                       "prompt_tokens_details": {"cached_tokens": 4}});
    assert_eq!(completion["usage"], usage);

    let requests = app.generator.requests.lock().unwrap();
    assert_eq!(requests[0].max_tokens, Some(9));
    assert_eq!(requests[0].stop, ["。"]);
    assert_eq!(requests[0].sampling.seed, Some(3));
    assert_eq!(requests[0].constraint, Some(Constraint::JsonSchema(schema)));
}

#[tokio::test]
async fn a_stream_ends_with_usage_and_done() {
    let app = answering().await;
    let body = chat(json!({"stream": true, "stream_options": {"include_usage": true}}));
    let answer = app.post(CHAT, Role::Teacher, body).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers[header::CONTENT_TYPE], "text/event-stream");
    let mut data: Vec<_> = answer.text.split("\n\n").filter_map(|event| event.strip_prefix("data: ")).collect();
    assert_eq!(data.pop(), Some("[DONE]"));
    let chunks: Vec<Value> = data.iter().map(|chunk| serde_json::from_str(chunk).unwrap()).collect();
    assert_eq!(chunks[0]["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
    let text: String = chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(text, "你好！");
    let [.., end, usage] = chunks.as_slice() else { panic!("{chunks:?}") };
    assert_eq!(end["choices"][0]["finish_reason"], "stop");
    assert_eq!(usage["choices"], json!([]));
    assert_eq!(usage["usage"]["total_tokens"], 10);
}

#[tokio::test]
async fn a_stream_that_fails_ends_with_the_problem() {
    let error = GenerationError::Internal("/secret/path".to_owned());
    let app = TestApp::new(Script::Break(vec!["一"], error)).await;
    let answer = app.post(CHAT, Role::Teacher, chat(json!({"stream": true}))).await;
    let last = answer.text.trim_end().rsplit("\n\n").next().unwrap();
    let problem = last.strip_prefix("event: error\ndata: ").unwrap();
    let problem: Value = serde_json::from_str(problem).unwrap();
    assert_eq!((&problem["code"], &problem["error"]["code"]), (&json!("internal"), &json!("internal")));
    assert!(!answer.text.contains("secret") && !answer.text.contains("[DONE]"));
}

#[tokio::test]
async fn a_full_queue_answers_429_with_retry_after() {
    let error = GenerationError::QueueFull { retry_after: Duration::from_millis(2500) };
    let app = TestApp::new(Script::Refuse(error)).await;
    for stream in [false, true] {
        let answer = app.post(CHAT, Role::Teacher, chat(json!({ "stream": stream }))).await;
        let problem = answer.assert_problem(429, "queue_full");
        assert_eq!(answer.headers[header::RETRY_AFTER], "3");
        assert_eq!(problem["retry_after"], 3);
        assert_eq!(problem["error"]["type"], "rate_limit_error");
    }
}

#[tokio::test]
async fn bad_bodies_are_refused_with_the_reason() {
    let app = answering().await;
    let check = async |body: String, status: u16, code: &str, field: Option<&str>| {
        let problem = app.post_text(CHAT, Role::Teacher, body).await.assert_problem(status, code);
        assert_eq!(problem["errors"][0]["field"].as_str(), field, "{problem}");
        assert_eq!(problem["error"]["code"], code);
    };
    check("{\"model\": ".to_owned(), 400, "malformed_json", None).await;
    check(String::new(), 400, "malformed_json", None).await;
    check("[1]".to_owned(), 422, "invalid_request", Some("body")).await;
    check(json!({"model": GENERATOR}).to_string(), 422, "invalid_request", Some("messages")).await;
    let message = json!([{"role": "user", "content": 5}]);
    check(chat(json!({ "messages": message })).to_string(), 422, "invalid_request", Some("messages[0].content")).await;
    check(chat(json!({"temperature": "hot"})).to_string(), 422, "invalid_request", Some("temperature")).await;
    check(chat(json!({"tools": [{}]})).to_string(), 422, "invalid_request", Some("tools")).await;
    check(chat(json!({"model": "gpt-4"})).to_string(), 404, "not_found", None).await;
    let huge = chat(json!({"messages": [{"role": "user", "content": "长".repeat(100_000)}]}));
    check(huge.to_string(), 413, "body_too_large", None).await;

    let request = Request::post(CHAT).header(header::AUTHORIZATION, format!("Bearer {}", app.key(Role::Teacher)));
    let answer = app.send(request.body(Body::from(chat(json!({})).to_string())).unwrap()).await;
    answer.assert_problem(415, "unsupported_media_type");
    assert!(app.generator.requests.lock().unwrap().is_empty());
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems() {
    let app = answering().await;
    app.get("/v1/nothing", Role::Teacher).await.assert_problem(404, "route_not_found");
    let answer = app.get(CHAT, Role::Teacher).await;
    answer.assert_problem(405, "method_not_allowed");
    assert_eq!(answer.headers[header::ALLOW], "POST");
}

#[tokio::test]
async fn problems_speak_the_readers_language() {
    let app = answering().await;
    let check = async |language: &str, expected: &str| {
        let request = Request::get("/v1/session").header(header::ACCEPT_LANGUAGE, language);
        let answer = app.send(request.body(Body::empty()).unwrap()).await;
        let problem = answer.assert_problem(401, "unauthenticated");
        assert!(problem["detail"].as_str().unwrap().contains(expected), "{problem}");
    };
    check("zh-CN,zh;q=0.9", "请先登录").await;
    check("en-US,en;q=0.9,zh;q=0.5", "Sign in").await;
}

#[tokio::test]
async fn a_request_id_comes_back() {
    let app = answering().await;
    let check = async |id: &str, taken: bool| {
        let request = Request::get("/healthz").header("x-request-id", id).body(Body::empty()).unwrap();
        assert_eq!(app.send(request).await.headers["x-request-id"] == *id, taken, "{id}");
    };
    check("lesson-42", true).await;
    check("a b", false).await;
}

#[tokio::test]
async fn embeddings_come_as_numbers_or_base64() {
    let app = answering().await;
    let embed = async |body: Value| app.post("/v1/embeddings", Role::Integrator, body).await;
    let answer = embed(json!({"model": ENCODER, "input": ["ab", "方程"], "input_type": "query"})).await.json();
    assert_eq!(answer["data"][1]["index"], 1);
    assert_eq!(answer["data"][1]["embedding"], json!([6.0, 1.0, 0.5, -2.0]));
    assert_eq!(answer["usage"], json!({"prompt_tokens": 4, "total_tokens": 4}));

    let answer = embed(json!({"model": ENCODER, "input": "ab", "encoding_format": "base64"})).await.json();
    let bytes = BASE64_STANDARD.decode(answer["data"][0]["embedding"].as_str().unwrap()).unwrap();
    let numbers: Vec<_> = bytes.chunks(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect();
    assert_eq!(numbers, [2.0, 0.0, 0.5, -2.0]);

    let check = async |more: Value, field: &str| {
        let mut body = json!({"model": ENCODER, "input": "x"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let problem = embed(body).await.assert_problem(422, "invalid_request");
        assert_eq!(problem["errors"][0]["field"], field);
    };
    check(json!({"input": [[1, 2, 3]]}), "input").await;
    check(json!({"input": []}), "input").await;
    check(json!({"input": ["a", " "]}), "input[1]").await;
    check(json!({"encoding_format": "hex"}), "encoding_format").await;
    check(json!({"dimensions": 2}), "dimensions").await;
}

#[tokio::test]
async fn the_models_are_listed() {
    let app = answering().await;
    let list = app.get("/v1/models", Role::Integrator).await.json();
    assert_eq!(list["object"], "list");
    assert_eq!((&list["data"][0]["id"], &list["data"][0]["context_length"]), (&json!(GENERATOR), &json!(4096)));
    assert_eq!((&list["data"][1]["id"], &list["data"][1]["dimensions"]), (&json!(ENCODER), &json!(4)));
}

#[tokio::test]
async fn concepts_are_found_page_by_page() {
    let app = answering().await;
    let get = async |path: &str| app.get(path, Role::Student).await;
    let subjects = get("/v1/graph/subjects").await.json();
    assert_eq!(subjects["items"][0]["id"], "math");

    let found =
        get("/v1/graph/concepts?q=%E4%B8%80%E5%85%83%E4%B8%80%E6%AC%A1%E6%96%B9%E7%A8%8B&subject=&grade=7&limit=3");
    let found = found.await.json();
    assert_eq!(found["items"][0]["label"], "一元一次方程", "{found}");

    let first = get("/v1/graph/concepts?limit=200").await.json();
    let all = first["items"].as_array().unwrap();
    let mut paged = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = get(&format!("/v1/graph/concepts?limit=7&cursor={cursor}")).await.json();
        paged.extend(page["items"].as_array().unwrap().clone());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(&paged[..all.len()], all.as_slice());

    let check = async |path: &str, field: &str| {
        let problem = get(path).await.assert_problem(422, "invalid_request");
        assert_eq!(problem["errors"][0]["field"], field, "{path}: {problem}");
    };
    check("/v1/graph/concepts?grade=0", "grade").await;
    check("/v1/graph/concepts?grade=seven", "grade").await;
    check("/v1/graph/concepts?subject=maths", "subject").await;
    check("/v1/graph/concepts?limit=0", "limit").await;
    check("/v1/graph/concepts?limit=201", "limit").await;
    check("/v1/graph/concepts?cursor=abc", "cursor").await;
    check("/v1/graph/concepts?cursor=999999", "cursor").await;
    check("/v1/graph/path?from=math:equation", "to").await;
}

#[tokio::test]
async fn a_concept_has_neighbours_and_ways_to_others() {
    let app = answering().await;
    let get = async |path: &str| app.get(path, Role::Teacher).await;
    let id = "math:linear-equation-one-unknown";
    let concept = get(&format!("/v1/graph/concepts/{id}")).await.json();
    assert_eq!(concept["id"], id);
    let before = concept["prerequisites"][0]["id"].as_str().unwrap();

    let around = get(&format!("/v1/graph/concepts/{id}/neighbourhood?depth=1")).await.json();
    assert_eq!(around["nodes"][0]["id"], id);
    let edge = json!({"from": id, "to": before, "relation": "requires"});
    assert!(around["edges"].as_array().unwrap().contains(&edge), "{around}");

    let path = get(&format!("/v1/graph/path?from={before}&to={id}")).await.json();
    assert_eq!((&path["kind"], &path["nodes"][0]["id"]), (&json!("prerequisite"), &json!(before)));

    get("/v1/graph/concepts/math:nothing").await.assert_problem(404, "not_found");
    get("/v1/graph/concepts/math:nothing/neighbourhood").await.assert_problem(404, "not_found");
    get(&format!("/v1/graph/path?from={id}&to=math:nothing")).await.assert_problem(404, "not_found");
    let deep = get(&format!("/v1/graph/concepts/{id}/neighbourhood?depth=4")).await;
    assert_eq!(deep.assert_problem(422, "invalid_request")["errors"][0]["field"], "depth");
}

#[tokio::test]
async fn a_search_finds_shared_passages_and_those_of_the_own_school() {
    let app = answering().await;
    for (reference, school) in [("shared.md", None), ("own.md", Some("no-1".to_owned()))] {
        let options = IngestOptions { collection: Collection::Curriculum, subject: None, grade: None, school };
        let text = format!("# 移项\n\n移项时要变号（{reference}）。");
        let format = SourceFormat::Markdown;
        let document = SourceDocument { reference: reference.to_owned(), format, bytes: text.into_bytes() };
        app.indexer.ingest(document, &options).await.unwrap();
    }
    let query = json!({"query": "移项为什么变号", "collection": "all", "limit": 5});
    let answer = app.post("/v1/search", Role::Student, query.clone()).await.json();
    let hits = answer["hits"].as_array().unwrap();
    assert_eq!(hits.len(), 1, "{answer}");
    assert!(hits[0]["text"].as_str().unwrap().contains("shared.md"), "{answer}");
    assert_eq!(answer["semantic"], true);

    let body = json!({"role": "teacher", "school": "no-1", "name": "x"});
    let key = app.post("/v1/keys", Role::Administrator, body).await.json()["key"].clone();
    let request = Request::post("/v1/search")
        .header(header::AUTHORIZATION, format!("Bearer {}", key.as_str().unwrap()))
        .header(header::CONTENT_TYPE, "application/json");
    let answer = app.send(request.body(Body::from(query.to_string())).unwrap()).await.json();
    assert_eq!(answer["hits"].as_array().unwrap().len(), 2, "{answer}");

    let check = async |body: Value, field: &str| {
        let problem = app.post("/v1/search", Role::Student, body).await.assert_problem(422, "invalid_request");
        assert_eq!(problem["errors"][0]["field"], field);
    };
    check(json!({}), "query").await;
    check(json!({"query": " "}), "query").await;
    check(json!({"query": "题".repeat(1001)}), "query").await;
    check(json!({"query": "x", "grade": 0}), "grade").await;
    check(json!({"query": "x", "subject": "maths"}), "subject").await;
    check(json!({"query": "x", "limit": 201}), "limit").await;
    check(json!({"query": "x", "collection": "secrets"}), "collection").await;
}

#[tokio::test]
async fn an_administrator_makes_keys() {
    let app = answering().await;
    let create = async |body: Value| app.post("/v1/keys", Role::Administrator, body).await;
    let answer = create(json!({"role": "teacher", "school": "no-1", "name": " 王老师 "})).await;
    assert_eq!(answer.status, 201);
    let key = answer.json();
    assert_eq!((&key["role"], &key["school"], &key["name"]), (&json!("teacher"), &json!("no-1"), &json!("王老师")));

    let session = with_bearer(&app, "/v1/session", key["key"].as_str().unwrap()).await;
    assert_eq!(session.json(), json!({"role": "teacher", "school": "no-1", "expires_at": null}));

    let check = async |body: Value, field: &str| {
        let problem = create(body).await.assert_problem(422, "invalid_request");
        assert_eq!(problem["errors"][0]["field"], field);
        assert!(problem.get("error").is_none(), "OpenAI's shape is for OpenAI's routes");
    };
    check(json!({"role": "king", "name": "x"}), "role").await;
    check(json!({"role": "teacher"}), "name").await;
    check(json!({"role": "teacher", "name": " "}), "name").await;
    check(json!({"role": "teacher", "name": "x", "school": ""}), "school").await;
    check(json!({"role": "teacher", "name": "x", "admin": true}), "admin").await;
}

#[tokio::test]
async fn a_schools_administrator_stays_in_the_school() {
    let app = answering().await;
    let body = json!({"role": "administrator", "school": "no-1", "name": "x"});
    let key = app.post("/v1/keys", Role::Administrator, body).await.json()["key"].clone();
    let create = async |body: Value| {
        let request = Request::post("/v1/keys")
            .header(header::AUTHORIZATION, format!("Bearer {}", key.as_str().unwrap()))
            .header(header::CONTENT_TYPE, "application/json");
        app.send(request.body(Body::from(body.to_string())).unwrap()).await
    };
    let own = create(json!({"role": "teacher", "name": "x"})).await;
    assert_eq!(own.json()["school"], "no-1");
    create(json!({"role": "teacher", "name": "x", "school": "no-2"})).await.assert_problem(403, "forbidden");
}

#[tokio::test]
async fn a_sign_in_link_works_once() {
    let app = answering().await;
    let keys = app.state.keys.list().await.unwrap();
    let administrator = keys.iter().find(|key| key.role == Role::Administrator).unwrap();
    let token = app.state.keys.create_sign_in(administrator.id, Timestamp::now()).await.unwrap();
    let open = async || {
        let request = Request::post("/v1/sessions").header(header::CONTENT_TYPE, "application/json");
        app.send(request.body(Body::from(json!({"token": token.expose()}).to_string())).unwrap()).await
    };
    let session = open().await;
    assert_eq!(session.status, 201);
    let session = session.json();
    let who = with_bearer(&app, "/v1/session", session["token"].as_str().unwrap()).await.json();
    assert_eq!((&who["role"], &who["expires_at"]), (&json!("administrator"), &session["expires_at"]));
    open().await.assert_problem(401, "invalid_sign_in");
}

async fn with_bearer(app: &TestApp, path: &str, bearer: &str) -> Answer {
    let request = Request::get(path).header(header::AUTHORIZATION, format!("Bearer {bearer}"));
    app.send(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn the_page_is_for_browsers() {
    let app = answering().await;
    let page = app.send(get_without_key("/")).await;
    assert_eq!(page.status, 200);
    assert_eq!(page.headers[header::CONTENT_TYPE], "text/html; charset=utf-8");
    assert!(page.headers.contains_key(header::CONTENT_SECURITY_POLICY));
    let accept = |path: &str| Request::get(path).header(header::ACCEPT, "text/html,*/*").body(Body::empty()).unwrap();
    assert_eq!(app.send(accept("/plans/1")).await.status, 200);
    app.send(accept("/v1/nothing")).await.assert_problem(404, "route_not_found");
    app.send(get_without_key("/nothing.js")).await.assert_problem(404, "route_not_found");
    app.send(get_without_key("/../Cargo.toml")).await.assert_problem(404, "route_not_found");
}

#[tokio::test]
async fn the_document_reader_needs_nothing_from_outside() {
    let app = answering().await;
    assert_eq!(app.send(get_without_key("/docs")).await.status, 303);
    let page = app.send(get_without_key("/docs/")).await;
    assert_eq!(page.status, 200);
    assert!(!page.text.contains("https://") && !page.text.contains("src=\"//"), "{}", page.text);
    let script = app.send(get_without_key("/docs/swagger-initializer.js")).await;
    assert!(script.text.contains("/openapi.json") && script.text.contains("none"), "{}", script.text);
}
