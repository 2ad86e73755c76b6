//! The rooms of the house: who may import whom, and that the map (`ARCHITECTURE.md`) shows what is there.
//!
//! The sources are read as Rust's own lexer would: comments and texts are left out, `use` trees are taken apart, and a
//! path through `super` counts like one through `crate`. What stands in a `mod tests` counts as well.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms, each with the rooms that it may import. `ARCHITECTURE.md` says what each is for.
const ROOMS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("expression", &["domain"]),
    ("clock", &["domain"]),
    ("render", &["domain", "expression"]),
    ("catalog", &["domain", "expression"]),
    ("store", &["domain", "clock"]),
    ("metrics", &["domain", "store"]),
    ("transfer", &[]),
    ("engine", &["domain", "store", "clock"]),
    ("github", &["domain"]),
    ("actions", &["domain", "engine", "expression", "transfer", "clock"]),
    ("discord", &["domain", "render", "engine"]),
    ("web", &["domain", "render", "engine", "store", "metrics", "clock"]),
    ("doctor", &["domain", "catalog", "config", "discord", "github", "store", "clock"]),
    ("cli", &["domain", "catalog", "render", "config", "transfer", "store"]),
    ("planning", &["domain", "catalog", "engine", "actions"]),
    ("tracking", &["domain", "engine", "github", "render"]),
    ("webhook", &["domain", "engine"]),
    ("control", &["domain", "engine"]),
    ("sandbox", &["domain", "clock"]),
    ("config", &["domain", "clock"]),
    ("telemetry", &["config"]),
];

/// The composition root: it may import everything, and alone may import `sandbox`.
const COMPOSITION: &[&str] = &["app", "main", "lib"];

/// What `domain` may use from outside: values, definitions, digests, texts and time as data.
const DOMAIN_CRATES: &[&str] =
    &["chrono", "hex", "indexmap", "proptest", "regex", "schemars", "serde", "serde_json", "sha2", "strsim", "thiserror"];

/// What of the standard library touches the world.
const WORLDLY: &[&[&str]] = &[
    &["std", "env"],
    &["std", "fs"],
    &["std", "net"],
    &["std", "os"],
    &["std", "process"],
    &["std", "thread"],
    &["std", "time", "Instant"],
    &["std", "time", "SystemTime"],
];

#[test]
fn rooms_import_only_what_their_charter_allows() {
    let dependencies = dependencies();
    let mut breaches = Vec::new();
    for file in rust_files(&root().join("src")) {
        let text = fs::read_to_string(&file).expect("a source file is text");
        let file = file.strip_prefix(root()).expect("it lies in the repository");
        breaches.extend(check(&file.to_string_lossy(), &text, &dependencies));
    }
    let list: Vec<String> = breaches.iter().map(Breach::to_string).collect();
    assert!(breaches.is_empty(), "{} imports break the rules of the rooms:\n{}", list.len(), list.join("\n"));
}

#[test]
fn no_room_is_allowed_what_it_does_not_use() {
    for (room, allowed) in ROOMS {
        let folder = root().join("src").join(room);
        let files = if folder.is_dir() { rust_files(&folder) } else { vec![folder.with_extension("rs")] };
        let mut used = BTreeSet::new();
        for file in files {
            let text = fs::read_to_string(&file).expect("a source file is text");
            let module = module_of(&file.strip_prefix(root()).expect("it lies in the repository").to_string_lossy());
            let tokens = tokens(&text);
            let ours =
                paths(&tokens, &module).into_iter().filter(|path| path.segments.first().is_some_and(|first| first == "crate"));
            used.extend(ours.filter_map(|path| path.segments.get(1).cloned()));
        }
        let unused: Vec<&&str> = allowed.iter().filter(|allowed| !used.contains(**allowed)).collect();
        assert!(unused.is_empty(), "`{room}` may import {unused:?} and does not: take that out of ROOMS and of ARCHITECTURE.md");
    }
}

#[test]
fn every_room_has_an_entry_and_a_place_on_the_map() {
    let map = read("ARCHITECTURE.md");
    for room in rooms() {
        assert!(
            COMPOSITION.contains(&room.as_str()) || ROOMS.iter().any(|(name, _)| *name == room),
            "src/{room} is a room without rules: add it to ROOMS in tests/it/architecture.rs, and to ARCHITECTURE.md"
        );
        let row = map.lines().find(|line| line.starts_with(&format!("| `{room}")));
        if let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == room) {
            let row = row.unwrap_or_else(|| panic!("ARCHITECTURE.md has no row for the room `{room}` in its table"));
            let last = row.trim_end_matches('|').rsplit('|').next().unwrap_or_default();
            let shown: BTreeSet<&str> = last.split('`').skip(1).step_by(2).collect();
            assert_eq!(shown, allowed.iter().copied().collect(), "ARCHITECTURE.md, what `{room}` may import");
        }
    }
}

#[test]
fn every_path_that_the_documents_name_exists() {
    let mut missing = Vec::new();
    for document in documents() {
        for (index, line) in read(&document).lines().enumerate() {
            for path in line.split('`').skip(1).step_by(2).filter(|path| is_path(path)) {
                let named = path.split(['#', ':']).next().unwrap_or_default();
                if !root().join(named).exists() {
                    missing.push(format!("{document}:{}: `{path}` does not exist", index + 1));
                }
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn every_test_that_keeps_an_invariant_exists() {
    let map = read("ARCHITECTURE.md");
    let (_, invariants) = map.split_once("## Invariants").expect("the invariants have a section");
    let invariants = invariants.split("\n## ").next().unwrap_or_default();
    let is_test = |name: &&str| name.matches('_').count() >= 3 && name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let named: Vec<&str> = invariants.split('`').filter(is_test).collect();
    assert!(named.len() > 20, "the tests of the invariants can be read from ARCHITECTURE.md: {named:?}");
    let folders = ["src", "tests"].map(|folder| rust_files(&root().join(folder)));
    let code: Vec<String> = folders.iter().flatten().map(|file| fs::read_to_string(file).expect("a source file")).collect();
    for name in named {
        let function = format!("fn {name}(");
        assert!(
            code.iter().any(|text| text.contains(&function)),
            "ARCHITECTURE.md names the test `{name}`, which does not exist"
        );
    }
}

/// Each sample with the lines and paths that must be found in it.
#[test]
fn a_broken_rule_is_found_wherever_it_hides() {
    let dependencies = BTreeSet::from(["tokio".to_owned(), "serde".to_owned()]);
    let cases: &[(&str, &str, &[&str])] = &[
        ("src/engine/mod.rs", "use crate::domain::RunId;", &[]),
        ("src/engine/mod.rs", "use crate::discord::Api;", &["src/engine/mod.rs:1: `crate::discord::Api`"]),
        ("src/engine/x.rs", "use crate::{\n  domain::Plan,\n  sandbox::{a, b},\n};", &["src/engine/x.rs:3: `crate::sandbox::a`"]),
        ("src/engine/x.rs", "fn f() { crate::render::x() }", &["src/engine/x.rs:1: `crate::render::x`"]),
        ("src/engine/x.rs", "use super::shared; use super::super::web::page;", &["src/engine/x.rs:1: `crate::web::page`"]),
        ("src/clock.rs", "use super::store;", &["src/clock.rs:1: `crate::store`"]),
        ("src/clock.rs", "mod tests { use super::*; use super::super::store::x; }", &["src/clock.rs:1: `crate::store::x`"]),
        ("src/store/a.rs", "#[cfg(test)]\nmod tests {\n use crate::engine::E;\n}", &["src/store/a.rs:3: `crate::engine::E`"]),
        ("src/store/a.rs", "use crate::*;", &["src/store/a.rs:1: `crate::*`"]),
        ("src/store/a.rs", "// crate::engine::E\nconst A: &str = \"crate::engine\"; /* crate::web */", &[]),
        ("src/store/a.rs", "const A: &str = r#\"\" crate::engine \"#; const B: char = '\"'; fn f<'a>(x: &'a str) {}", &[]),
        ("src/cli/a.rs", "use crate::sandbox::estate::Estate;", &["src/cli/a.rs:1: `crate::sandbox::estate::Estate`"]),
        ("src/app.rs", "use crate::sandbox::estate::Estate;", &[]),
        ("src/domain/a.rs", "use std::collections::BTreeMap; use serde::Serialize;", &[]),
        ("src/domain/a.rs", "use std::{fmt, fs};", &["src/domain/a.rs:1: `std::fs`"]),
        ("src/domain/a.rs", "fn f() { std::env::var(\"A\") }", &["src/domain/a.rs:1: `std::env::var`"]),
        ("src/domain/a.rs", "use tokio as t;", &["src/domain/a.rs:1: `tokio`"]),
        (
            "src/domain/a.rs",
            "async fn f() { ::tokio::spawn(g()) }",
            &["src/domain/a.rs:1: `tokio::spawn`", "src/domain/a.rs:1: `async`"],
        ),
    ];
    for (file, text, expected) in cases {
        let found: Vec<String> = check(file, text, &dependencies).iter().map(Breach::to_string).collect();
        for start in *expected {
            assert!(found.iter().any(|breach| breach.starts_with(start)), "{file}: {text}\nexpected {start}\nfound {found:?}");
        }
        assert_eq!(expected.is_empty(), found.is_empty(), "{file}: {text}\nfound {found:?}");
    }
}

/// An import that is against the rules.
#[derive(Debug)]
struct Breach {
    file: String,
    line: usize,
    what: String,
    rule: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: `{}`: {}", self.file, self.line, self.what, self.rule)
    }
}

fn check(file: &str, text: &str, dependencies: &BTreeSet<String>) -> Vec<Breach> {
    let module = module_of(file);
    let room = module.first().map_or("main", String::as_str).to_owned();
    let tokens = tokens(text);
    let mut breaches = Vec::new();
    let mut add = |line, what: String, rule: String| breaches.push(Breach { file: file.to_owned(), line, what, rule });
    for path in paths(&tokens, &module) {
        if let Some(rule) = broken_rule(&room, &path.segments, dependencies) {
            add(path.line, path.segments.join("::"), rule);
        }
    }
    if room == "domain" {
        for token in tokens.iter().filter(|token| matches!(token.text.as_str(), "async" | "await")) {
            add(token.line, token.text.clone(), "`domain` decides and never waits: leave it to the engine".to_owned());
        }
    }
    breaches
}

fn broken_rule(room: &str, path: &[String], dependencies: &BTreeSet<String>) -> Option<String> {
    let segments: Vec<&str> = path.iter().map(String::as_str).collect();
    match segments.as_slice() {
        ["crate", other, ..] if *other != room && !COMPOSITION.contains(&room) => {
            let allowed = ROOMS.iter().find(|(name, _)| *name == room).map_or(&[][..], |(_, allowed)| allowed);
            let list = if allowed.is_empty() { "no room of ours".to_owned() } else { allowed.join(", ") };
            (!allowed.contains(other)).then(|| format!("`{room}` may import {list}"))
        }
        ["crate", ..] => None,
        [first, ..] if room == "domain" => {
            let worldly = WORLDLY.iter().any(|banned| segments.starts_with(banned));
            let foreign = dependencies.contains(*first) && !DOMAIN_CRATES.contains(first);
            (worldly || foreign).then(|| "`domain` has no I/O, clock, runtime or logging: take what it says as data".to_owned())
        }
        _ => None,
    }
}

/// The module that a file is: `src/engine/task.rs` is `engine::task`.
fn module_of(file: &str) -> Vec<String> {
    let path = file.trim_start_matches("src/").trim_end_matches(".rs");
    let mut module: Vec<String> = path.split('/').map(str::to_owned).collect();
    if module.last().is_some_and(|last| last == "mod") {
        module.pop();
    }
    module
}

/// A path in a source file, `crate` first if it leads through our own modules.
struct PathUse {
    line: usize,
    segments: Vec<String>,
}

/// Every path of more than one segment, and every imported one, with `super` and `self` resolved.
fn paths(tokens: &[Token], module: &[String]) -> Vec<PathUse> {
    let mut found = Vec::new();
    // The inline modules around the present token; `None` for a brace that is no module's.
    let mut braces: Vec<Option<String>> = Vec::new();
    let mut index = 0;
    while index < tokens.len() {
        let at = |offset: usize| tokens.get(index + offset).map_or("", |token| token.text.as_str());
        match at(0) {
            "mod" if at(2) == "{" => {
                braces.push(Some(at(1).to_owned()));
                index += 3;
                continue;
            }
            "{" => braces.push(None),
            "}" => {
                braces.pop();
            }
            _ => {}
        }
        let before = index.checked_sub(1).map_or("", |before| tokens[before].text.as_str());
        let starts_a_path = is_identifier(at(0)) && before != "::" && before != "." && (at(1) == "::" || before == "use");
        let absolute = at(0) == "::" && is_identifier(at(1)) && !is_identifier(before) && before != ">";
        if starts_a_path || absolute {
            let mut here: Vec<String> = module.to_vec();
            here.extend(braces.iter().flatten().cloned());
            let mut leaves = Vec::new();
            index = expand(tokens, index + usize::from(absolute), &[], &mut leaves);
            found.extend(leaves.into_iter().map(|leaf| resolve(leaf, &here)));
            continue;
        }
        index += 1;
    }
    found
}

/// Follows a path, a tree of them included, and returns the index behind it.
fn expand(tokens: &[Token], mut index: usize, prefix: &[String], leaves: &mut Vec<PathUse>) -> usize {
    let mut segments = prefix.to_vec();
    let mut line = tokens.get(index).map_or(0, |token| token.line);
    while let Some(token) = tokens.get(index) {
        if is_identifier(&token.text) || token.text == "*" {
            segments.push(token.text.clone());
            line = token.line;
            index += 1;
        } else if token.text == "{" {
            index += 1;
            while tokens.get(index).is_some_and(|token| token.text != "}") {
                let start = index;
                index = expand(tokens, index, &segments, leaves);
                // `as name`, and the comma.
                while tokens.get(index).is_some_and(|token| !matches!(token.text.as_str(), "," | "}")) {
                    index += 1;
                }
                index += usize::from(tokens.get(index).is_some_and(|token| token.text == ","));
                assert!(index > start, "a list of imports that cannot be read, line {line}");
            }
            return index + 1;
        }
        if tokens.get(index).is_some_and(|token| token.text == "::") {
            index += 1;
        } else {
            break;
        }
    }
    leaves.push(PathUse { line, segments });
    index
}

fn resolve(path: PathUse, here: &[String]) -> PathUse {
    let PathUse { line, segments } = path;
    if !matches!(segments.first().map(String::as_str), Some("super" | "self")) {
        return PathUse { line, segments };
    }
    let mut module = here.to_vec();
    let mut rest = segments.as_slice();
    while let Some((first, behind)) = rest.split_first().filter(|(first, _)| matches!(first.as_str(), "super" | "self")) {
        if first == "super" {
            module.pop();
        }
        rest = behind;
    }
    let resolved = std::iter::once("crate".to_owned()).chain(module).chain(rest.iter().cloned()).collect();
    PathUse { line, segments: resolved }
}

/// A word or a mark of a source file. `::` is one mark; texts, characters, lifetimes and comments are left out.
#[derive(Debug)]
struct Token {
    line: usize,
    text: String,
}

fn is_identifier(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
}

fn tokens(text: &str) -> Vec<Token> {
    let mut lexer = Lexer { rest: text, line: 1, tokens: Vec::new() };
    while lexer.step() {}
    lexer.tokens
}

struct Lexer<'t> {
    rest: &'t str,
    line: usize,
    tokens: Vec<Token>,
}

impl Lexer<'_> {
    fn step(&mut self) -> bool {
        let Some(first) = self.rest.chars().next() else { return false };
        let length = match first {
            _ if self.rest.starts_with("//") => self.rest.find('\n').unwrap_or(self.rest.len()),
            _ if self.rest.starts_with("/*") => block_comment(self.rest),
            '"' => text_length(self.rest),
            '\'' => character_length(self.rest),
            c if c.is_alphanumeric() || c == '_' => return self.word(),
            _ if self.rest.starts_with("::") => self.push(2),
            c if c.is_whitespace() => c.len_utf8(),
            c => self.push(c.len_utf8()),
        };
        self.skip(length);
        true
    }

    /// A word, unless it is the prefix of a text such as `r#"..."#`.
    fn word(&mut self) -> bool {
        let length = self.rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(self.rest.len());
        let (word, behind) = self.rest.split_at(length);
        let hashes = behind.len() - behind.trim_start_matches('#').len();
        let raw = matches!(word, "r" | "br" | "cr") && behind[hashes..].starts_with('"');
        let length = if raw {
            let end = format!("\"{}", "#".repeat(hashes));
            let body = length + hashes + 1;
            self.rest[body..].find(&end).map_or(self.rest.len(), |at| body + at + end.len())
        } else if matches!(word, "b" | "c") && behind.starts_with('"') {
            length + text_length(behind)
        } else {
            self.push(length)
        };
        self.skip(length);
        true
    }

    fn push(&mut self, length: usize) -> usize {
        self.tokens.push(Token { line: self.line, text: self.rest[..length].to_owned() });
        length
    }

    fn skip(&mut self, length: usize) {
        self.line += self.rest[..length].matches('\n').count();
        self.rest = &self.rest[length..];
    }
}

fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest.starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    at
}

fn text_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// A character such as `'x'` or `'\''`, else just the mark of a lifetime.
fn character_length(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => {
            let behind = text[3..].find('\'').map_or(text.len(), |at| at + 4);
            behind.min(text.len())
        }
        Some((at, c)) if text[at + c.len_utf8()..].starts_with('\'') => at + c.len_utf8() + 1,
        _ => 1,
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of the repository") {
        let path = entry.expect("an entry of it").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// The folders and files right under `src/`.
fn rooms() -> BTreeSet<String> {
    let name = |path: PathBuf| path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let entries = fs::read_dir(root().join("src")).expect("the sources");
    entries.filter_map(|entry| name(entry.expect("an entry of it").path())).collect()
}

/// The names of our dependencies, as Rust spells them.
fn dependencies() -> BTreeSet<String> {
    let manifest = read("Cargo.toml");
    let mut section = "";
    let mut names = BTreeSet::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        } else if matches!(section, "[dependencies]" | "[dev-dependencies]")
            && let Some((name, _)) = line.split_once('=').filter(|_| !line.starts_with('#'))
        {
            names.insert(name.trim().replace('-', "_"));
        }
    }
    assert!(names.contains("tokio"), "the dependencies of Cargo.toml can be read");
    names
}

/// The documents of the project: those at the top and those in `docs/`.
fn documents() -> Vec<String> {
    let in_folder = |folder: &'static str| {
        let entries = fs::read_dir(root().join(folder)).expect("a folder of the repository");
        entries.map(move |entry| format!("{folder}{}", entry.expect("an entry of it").file_name().to_string_lossy()))
    };
    let mut files: Vec<String> = in_folder("").chain(in_folder("docs/")).filter(|file| file.ends_with(".md")).collect();
    files.sort();
    files
}

/// Whether a piece of code in a document names a file of the repository.
fn is_path(text: &str) -> bool {
    let known = ["src/", "tests/", "docs/", "deploy/", "bin/", "runbooks/", ".ci/"];
    known.iter().any(|folder| text.starts_with(folder)) && !text.contains([' ', '*', '{', '<', '…'])
}
