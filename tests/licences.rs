//! Every dependency's licence must be one that an Apache-2.0 binary may be given away under.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::process::Command;

use serde_json::Value;

/// SPDX ids of permissive licences, and of MPL-2.0: it binds only its own files, which we do not change.
const ALLOWED: [&str; 15] = [
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
    "bzip2-1.0.6",
];

/// Whether an SPDX expression leaves a choice that is allowed. `/` is the old way to write OR; an exception (`WITH`) only
/// adds permissions.
fn is_allowed(expression: &str) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    any_of(&mut rest) && rest.is_empty()
}

fn any_of(words: &mut &[&str]) -> bool {
    let mut allowed = all_of(words);
    while let ["OR", rest @ ..] = *words {
        *words = rest;
        allowed |= all_of(words);
    }
    allowed
}

fn all_of(words: &mut &[&str]) -> bool {
    let mut allowed = one(words);
    while let ["AND", rest @ ..] = *words {
        *words = rest;
        allowed &= one(words);
    }
    allowed
}

fn one(words: &mut &[&str]) -> bool {
    match *words {
        ["(", rest @ ..] => {
            *words = rest;
            let allowed = any_of(words);
            match *words {
                [")", rest @ ..] => *words = rest,
                _ => return false,
            }
            allowed
        }
        [licence, "WITH", _, rest @ ..] | [licence, rest @ ..] => {
            *words = rest;
            ALLOWED.contains(licence)
        }
        [] => false,
    }
}

#[test]
fn every_dependency_may_be_given_away() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // Of this platform: what others need may not be downloaded here.
    let host = Command::new(&cargo).args(["-vV"]).output().unwrap();
    let host = String::from_utf8(host.stdout).unwrap();
    let host = host.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let output = Command::new(&cargo)
        .args(["metadata", "--format-version", "1", "--offline", "--locked", "--filter-platform", host])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 100, "only {} packages", packages.len());
    let violations: Vec<String> = packages
        .iter()
        .filter(|package| !package["license"].as_str().is_some_and(is_allowed))
        .map(|package| format!("{} {}: {}", package["name"], package["version"], package["license"]))
        .collect();
    assert!(violations.is_empty(), "licences that are not allowed:\n{}", violations.join("\n"));
}

#[test]
fn expressions_are_read_like_spdx_says() {
    let check = |expression: &str, expected: bool| assert_eq!(is_allowed(expression), expected, "{expression}");
    check("MIT", true);
    check("GPL-3.0-only", false);
    check("MIT/Apache-2.0", true);
    check("GPL-2.0 OR MIT", true);
    check("GPL-2.0 AND MIT", false);
    check("MIT AND (GPL-2.0 OR ISC)", true);
    check("(MIT OR Apache-2.0) AND Unicode-3.0", true);
    check("MIT OR GPL-2.0 AND GPL-3.0", true);
    check("Apache-2.0 WITH LLVM-exception OR GPL-2.0", true);
    check("(MIT", false);
    check("MIT GPL-2.0", false);
    check("", false);
}
