//! The direction of knowledge (DESIGN, ARCHITECTURE.md): which module of the crate may name which other one, and which
//! libraries stay behind which module. Read from the sources' text, test code included.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::BTreeSet;
use std::path::Path;

/// A module of `src/` and the modules that it may name.
const MAY_NAME: [(&str, &[&str]); 14] = [
    ("domain", &[]),
    ("algebra", &[]),
    ("config", &["domain"]),
    ("telemetry", &["config"]),
    ("model_store", &["domain"]),
    // Of the configuration, only the type of a secret.
    ("store", &["config", "domain"]),
    ("runtime", &["domain"]),
    ("embedding", &["runtime"]),
    ("graph", &["algebra", "domain"]),
    ("retrieval", &["domain", "embedding", "graph", "store"]),
    ("safety", &["domain"]),
    ("assistants", &["algebra", "domain", "embedding", "graph", "retrieval", "runtime", "safety", "store"]),
    (
        "http",
        &[
            "algebra",
            "assistants",
            "config",
            "domain",
            "embedding",
            "graph",
            "model_store",
            "retrieval",
            "runtime",
            "safety",
            "store",
            "telemetry",
        ],
    ),
    // The binary's own: it wires the parts.
    ("cli", &[]),
];

/// Libraries and the only modules that may name them. A name ending in `_` stands for all that begin so.
const ONLY_IN: [(&str, &[&str]); 11] = [
    ("axum", &["http"]),
    ("candle_", &["embedding", "runtime"]),
    ("clap", &["cli"]),
    ("figment", &["config"]),
    ("hf_hub", &["model_store"]),
    ("indicatif", &["cli", "model_store"]),
    ("jieba_rs", &["graph", "retrieval"]),
    ("llguidance", &["runtime"]),
    ("oxigraph", &["graph"]),
    ("sqlx", &["retrieval", "store"]),
    ("tokenizers", &["embedding", "runtime"]),
];

#[test]
fn knowledge_points_one_way() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let modules = modules(&source);
    let mut faults = Vec::new();
    for module in &modules {
        if !MAY_NAME.iter().any(|(name, _)| name == module) {
            faults.push(format!("src/{module} is not in the table of tests/architecture.rs: say what it may name"));
        }
    }
    for entry in walkdir::WalkDir::new(&source).sort_by_file_name() {
        let entry = entry.unwrap();
        let path = entry.path().strip_prefix(&source).unwrap();
        if path.extension().is_none_or(|extension| extension != "rs")
            || ["lib.rs", "main.rs"].map(Path::new).contains(&path)
        {
            continue;
        }
        let path_modules = module_path(path);
        for fault in faults_of(&path_modules, &std::fs::read_to_string(entry.path()).unwrap(), &modules) {
            faults.push(format!("src/{}: {fault}", path.display()));
        }
    }
    assert!(faults.is_empty(), "the direction of knowledge is broken:\n{}", faults.join("\n"));
}

/// The top-level modules: folders and files of `src/`.
fn modules(source: &Path) -> BTreeSet<String> {
    let names = source.read_dir().unwrap().map(|entry| entry.unwrap().path());
    let stems = names.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()));
    stems.filter(|name| name != "lib" && name != "main").collect()
}

/// `http/routes/mod.rs` is `[http, routes]`.
fn module_path(path: &Path) -> Vec<String> {
    let mut modules: Vec<_> = path.with_extension("").iter().map(|name| name.to_str().unwrap().to_owned()).collect();
    if modules.last().is_some_and(|name| name == "mod") {
        modules.pop();
    }
    modules
}

/// What a file of the module `path` names and must not.
fn faults_of(path: &[String], text: &str, modules: &BTreeSet<String>) -> Vec<String> {
    let own = path[0].as_str();
    let tokens = tokens(text);
    let allowed = MAY_NAME.iter().find(|(name, _)| *name == own).map_or(&[][..], |(_, allowed)| allowed);
    let mut faults = Vec::new();
    for module in modules_named(&tokens, path.len()) {
        if module != own && modules.contains(module) && !allowed.contains(&module) {
            faults.push(format!("{own} must not know {module}"));
        }
    }
    for library in paths_begun(&tokens) {
        let is_meant = |name: &str| if name.ends_with('_') { library.starts_with(name) } else { library == name };
        let rule = ONLY_IN.iter().find(|(name, _)| is_meant(name));
        if rule.is_some_and(|(_, allowed)| !allowed.contains(&own)) {
            faults.push(format!("{own} must not know the crate {library}"));
        }
    }
    faults
}

/// Identifiers, `::`, braces and other single characters; without comments.
fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    for line in text.lines() {
        let mut rest = match line.split_once("//") {
            Some((code, _)) => code,
            None => line,
        };
        while let Some(first) = rest.chars().next() {
            let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            let length = match first {
                _ if word > 0 => word,
                ':' if rest.starts_with("::") => 2,
                _ => first.len_utf8(),
            };
            let (token, after) = rest.split_at(length);
            if !token.trim().is_empty() {
                tokens.push(token);
            }
            rest = after;
        }
    }
    tokens
}

/// First names after the crate's root: `crate::a::b`, `crate::{a::b, c}`, and `super::…` that climbs to the root from a
/// module `depth` below it.
fn modules_named<'a>(tokens: &[&'a str], depth: usize) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut at = 0;
    while at < tokens.len() {
        let supers = tokens[at..].chunks(2).take_while(|pair| *pair == ["super", "::"]).count();
        let after = match tokens[at] {
            "crate" if tokens.get(at + 1) == Some(&"::") => at + 2,
            _ if supers >= depth => at + 2 * supers,
            _ => {
                at += 1 + (2 * supers).saturating_sub(1);
                continue;
            }
        };
        match tokens.get(after) {
            Some(&"{") => found.extend(names_in_braces(&tokens[after..])),
            Some(name) => {
                found.insert(name);
            }
            None => {}
        }
        at = after + 1;
    }
    found
}

/// The first name of each path in `{a::b, c::{d, e}}`.
fn names_in_braces<'a>(tokens: &[&'a str]) -> Vec<&'a str> {
    let mut names = Vec::new();
    let mut depth = 0;
    let mut previous = "";
    for token in tokens {
        match *token {
            "{" => depth += 1,
            "}" => depth -= 1,
            name if depth == 1 && ["{", ","].contains(&previous) => names.push(name),
            _ => {}
        }
        if depth == 0 {
            break;
        }
        previous = token;
    }
    names
}

/// Identifiers at the beginning of a path: `a` of `a::b`, and `a` of `use a;`.
fn paths_begun<'a>(tokens: &[&'a str]) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    for (at, token) in tokens.iter().enumerate() {
        let before = |steps: usize| at.checked_sub(steps).map_or("", |before| tokens[before]);
        // `::a` begins at the root unless something stands before it: `b::a`, `<T>::a`.
        let goes_on = before(1) == "::" && before(2).ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '>');
        let begins = !goes_on || before(2) == "use";
        if begins && (tokens.get(at + 1) == Some(&"::") || before(1) == "use") {
            found.insert(*token);
        }
    }
    found
}

fn check(path: &str, text: &str, expected: &[&str]) {
    let modules = MAY_NAME.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(faults_of(&module_path(Path::new(path)), text, &modules), expected, "{path}: {text}");
}

#[test]
fn a_forbidden_path_is_found_however_it_is_written() {
    check("http/app.rs", "use crate::store::Database;", &[]);
    check("store/plans.rs", "use crate::http::AppState;", &["store must not know http"]);
    check("store/plans.rs", "fn f() -> crate::http::AppState {}", &["store must not know http"]);
    check("store/plans.rs", "use crate::{domain::Grade, http::{App, State}};", &["store must not know http"]);
    check("store/plans.rs", "use crate::{\n    domain::Grade,\n    graph,\n};", &["store must not know graph"]);
    check("store/plans.rs", "use super::super::graph::Concept;", &["store must not know graph"]);
    check("store/mod.rs", "use super::graph;", &["store must not know graph"]);
    check("store/plans.rs", "use super::graph;", &[]);
    check("runtime/engine/mod.rs", "use super::super::super::graph;", &["runtime must not know graph"]);
    check(
        "runtime/engine/mod.rs",
        "#[cfg(test)]\nmod tests { use crate::graph::Concept; }",
        &["runtime must not know graph"],
    );
    check("runtime/mod.rs", "// see crate::graph\n/// [`crate::http`]\n", &[]);
    check("domain/mod.rs", "pub(crate) fn f() {} use crate::domain::Grade;", &[]);
    check("config.rs", "use crate::store::keys;", &["config must not know store"]);
}

#[test]
fn libraries_stay_behind_their_modules() {
    check("http/app.rs", "use axum::Router;", &[]);
    check("http/app.rs", "use candle_core::Device;", &["http must not know the crate candle_core"]);
    check("http/app.rs", "let x = sqlx::query(sql);", &["http must not know the crate sqlx"]);
    check("http/app.rs", "use ::oxigraph::store::Store;", &["http must not know the crate oxigraph"]);
    check("assistants/lesson/write.rs", "use axum;", &["assistants must not know the crate axum"]);
    check("runtime/model/mod.rs", "use candle_nn::ops; use tokenizers::Tokenizer;", &[]);
    check("graph/mod.rs", "use crate::graph::sqlx::x; let y = my_sqlx::z;", &[]);
}
