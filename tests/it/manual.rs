//! Tests that every test and file that the manual or the changelog names exists.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Pages that name tests as proof.
const PAGES: &[&str] = &[
    "CHANGELOG.md",
    "src/manual/attacks.md",
    "src/manual/internals.md",
    "src/manual/performance.md",
    "src/manual/pool_rules.md",
];

/// Number of names that the pages together must mention at least, so that the check does not pass by finding no names.
const LEAST: usize = 250;

/// Names in `src/`, `tests/`, `benches/` and `examples/`.
struct Source {
    /// Names of all functions, public fields and files, without the endings of the files.
    names: BTreeSet<String>,
    /// Names of all files, without their folders.
    files: BTreeSet<String>,
}

impl Source {
    fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut paths = Vec::new();
        for folder in ["src", "tests", "benches", "examples"] {
            list(&root.join(folder), &mut paths);
        }
        let (mut names, mut files) = (BTreeSet::new(), BTreeSet::new());
        for path in paths {
            files.insert(path.file_name().unwrap().to_str().unwrap().to_owned());
            // A line of the changelog names an example as a program, without the ending of its file.
            names.insert(path.file_stem().unwrap().to_str().unwrap().to_owned());
            let text = std::fs::read_to_string(path).unwrap();
            names.extend(text.split("fn ").skip(1).map(|rest| word(rest).to_owned()));
            let public = text.lines().filter_map(|line| line.trim_start().strip_prefix("pub "));
            names.extend(public.map(|rest| word(rest).to_owned()));
        }
        Self { names, files }
    }

    /// Returns the names in backticks that look like a test or a Rust file, and for each whether it exists.
    fn look_up<'a>(&self, page: &'a str) -> Vec<(&'a str, bool)> {
        let mut found = Vec::new();
        for line in page.lines() {
            for quoted in line.split('`').skip(1).step_by(2) {
                let name = quoted.rsplit("::").next().unwrap_or(quoted);
                if name.ends_with(".rs") && !name.contains(' ') {
                    let file = name.rsplit('/').next().unwrap_or(name);
                    found.push((quoted, self.files.contains(file)));
                } else if is_test_name(name) {
                    found.push((quoted, self.names.contains(name)));
                }
            }
        }
        found
    }
}

/// Whether a name looks like the name of a test: at least four words in lower case.
fn is_test_name(name: &str) -> bool {
    let is_snake = name.chars().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '_');
    is_snake && name.split('_').filter(|part| !part.is_empty()).count() > 3
}

fn word(text: &str) -> &str {
    let end = text.find(|it: char| !it.is_ascii_alphanumeric() && it != '_').unwrap_or(text.len());
    &text[..end]
}

fn list(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        // The build folders of the packages in `tests/` and `benches/` are not part of the source.
        if path.is_dir() && !path.ends_with("target") {
            list(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            out.push(path);
        }
    }
}

#[test]
fn every_test_that_a_page_names_exists() {
    let source = Source::read();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut seen, mut missing) = (0, Vec::new());
    for page in PAGES {
        let text = std::fs::read_to_string(root.join(page)).unwrap();
        for (name, exists) in source.look_up(&text) {
            seen += 1;
            if !exists {
                missing.push(format!("{page}: {name}"));
            }
        }
    }
    assert!(missing.is_empty(), "no such test or file:\n{}", missing.join("\n"));
    assert!(seen >= LEAST, "only {seen} names were found");
}

/// Files that the page "where to look" may name although they do not exist yet.
const NOT_YET: &[&str] = &["connect/proxy.rs", "connect/socks.rs"];

/// Every file on the page "where to look" exists, and every function is defined in the file that the page names before the
/// function.
#[test]
fn what_the_page_where_to_look_names_is_there() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let page = include_str!("../../src/manual/where_to_look.md");
    let (mut seen, mut wrong) = (0, Vec::new());
    for line in page.lines().filter(|line| line.starts_with("| ")) {
        let mut text = String::new();
        for quoted in line.split('`').skip(1).step_by(2) {
            seen += 1;
            if quoted.ends_with(".rs") {
                let file = std::fs::read_to_string(src.join(quoted));
                if file.is_ok() == NOT_YET.contains(&quoted) {
                    wrong.push(format!("{quoted}: whether it exists is not as the page says"));
                }
                text = file.unwrap_or_default();
            } else if let Some(name) = quoted.rsplit("::").next().filter(|name| is_function(name)) {
                let is_there =
                    [format!("fn {name}("), format!("fn {name}<")].iter().any(|it| text.contains(it));
                if !is_there && !text.is_empty() {
                    wrong.push(format!("{quoted}: not in the file before it, in: {line}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen >= 80, "only {seen} names were found");
}

/// Whether a name can be the name of a function.
fn is_function(name: &str) -> bool {
    name.chars().all(|it| it.is_ascii_lowercase() || it == '_')
}

#[test]
fn every_rule_and_every_attack_has_its_row() {
    for (page, ids) in [
        (include_str!("../../src/manual/pool_rules.md"), (1..=40).map(|id| format!("| {id} | ")).collect()),
        (
            include_str!("../../src/manual/attacks.md"),
            (1..=80).map(|id| format!("| A-{id:02} | ")).collect::<Vec<_>>(),
        ),
    ] {
        for id in ids {
            let rows: Vec<_> = page.lines().filter(|line| line.starts_with(&id)).collect();
            assert_eq!(rows.len(), 1, "{id}");
            let cells = rows[0].trim_matches('|').split(" | ").count();
            let proof = rows[0].trim_matches('|').rsplit(" | ").next().unwrap().trim();
            assert!(cells >= 3 && (proof.contains('`') || proof == "open"), "{}", rows[0]);
        }
    }
}

/// The links of the README lead to files on its own page, and to pages of the manual in rustdoc.
#[test]
fn the_links_of_the_readme_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let library = include_str!("../../src/lib.rs");
    let readme = include_str!("../../README.md");
    let definitions: Vec<_> =
        readme.lines().filter_map(|line| line.strip_prefix('[')?.split_once("]: ")).collect();
    for (name, path) in &definitions {
        assert!(root.join(path).is_file(), "README.md: {path}");
        assert!(readme.contains(&format!("][{name}]")), "README.md: nothing links to {name}");
        if path.ends_with(".svg") {
            let is_absolute =
                |line: &str| line.starts_with(&format!("//! [{name}]: https://")) && line.ends_with(path);
            assert!(library.lines().any(is_absolute), "src/lib.rs does not define {name}");
            continue;
        }
        assert!(
            library.contains(&format!("//! [{name}]: manual::{name}")),
            "src/lib.rs does not define {name}"
        );
        assert!(library.contains(&format!("pub mod {name} {{}}")), "src/lib.rs has no page {name}");
    }
    assert!(definitions.len() >= 7, "only {} links", definitions.len());
    let contributing = std::fs::read_to_string(root.join("CONTRIBUTING.md")).unwrap();
    let links: Vec<_> =
        contributing.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()).collect();
    for path in &links {
        assert!(root.join(path).is_file(), "CONTRIBUTING.md: {path}");
    }
    assert!(links.len() >= 6, "only {} links", links.len());
}

/// Every file of the manual is a page of rustdoc, is in the list of pages, and is linked from an item that the page explains.
#[test]
fn every_page_of_the_manual_is_linked() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let library = include_str!("../../src/lib.rs");
    let mut paths = Vec::new();
    list(&src, &mut paths);
    let mut docs = String::new();
    for path in paths {
        let text = std::fs::read_to_string(path).unwrap();
        docs.extend(text.lines().map(str::trim_start).filter(|line| line.starts_with("//")));
    }
    let mut seen = 0;
    for entry in std::fs::read_dir(src.join("manual")).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        let name = file.strip_suffix(".md").unwrap();
        assert!(library.contains(&format!("#[doc = include_str!(\"manual/{file}\")]")), "{file}");
        assert!(library.contains(&format!("pub mod {name} {{}}")), "src/lib.rs has no page {name}");
        assert!(
            library.contains(&format!("[`{name}`](manual::{name})")),
            "{name} is not in the list of pages"
        );
        assert!(docs.contains(&format!("](crate::manual::{name})")), "no item links to {name}");
        seen += 1;
    }
    assert!(seen >= 14, "only {seen} pages");
}

/// The table of features in the README has a row for each feature of `Cargo.toml`, and says which are on by default.
#[test]
fn every_feature_has_its_row_in_the_readme() {
    let manifest = include_str!("../../Cargo.toml");
    let readme = include_str!("../../README.md").split("\n## Features").nth(1).unwrap();
    let features = manifest.split("\n[features]\n").nth(1).unwrap().split("\n[").next().unwrap();
    let features: Vec<_> = features.lines().filter_map(|line| line.split_once(" = ")).collect();
    let (_, defaults) = features.iter().find(|(name, _)| *name == "default").unwrap();
    let mut seen = 0;
    for (name, _) in features.iter().filter(|(name, _)| !["default", "test-util"].contains(name)) {
        let start = format!("| `{name}` | ");
        let rows: Vec<_> = readme.lines().filter_map(|line| line.strip_prefix(&start)).collect();
        assert_eq!(rows.len(), 1, "{name}");
        let is_default = defaults.contains(&format!("\"{name}\""));
        assert_eq!(rows[0].starts_with("yes |"), is_default, "{name}: {}", rows[0]);
        let crates = rows[0].trim_end_matches(" |").rsplit(" | ").next().unwrap();
        assert!(crates.parse::<u32>().is_ok_and(|crates| crates > 16), "{name}: {crates} crates");
        seen += 1;
    }
    assert!(seen >= 13, "only {seen} features");
}

#[test]
fn a_name_that_does_not_exist_is_found() {
    let source = Source::read();
    let page = "`rule_06_nothing_of_the_kind`, `tests/nowhere.rs`, `every_test_that_a_page_names_exists`, `manual.rs`, \
                `max_connections_per_host`, `A-01`";
    let missing: Vec<_> = source.look_up(page).into_iter().filter(|(_, exists)| !exists).collect();
    assert_eq!(missing, [("rule_06_nothing_of_the_kind", false), ("tests/nowhere.rs", false)]);
}

/// What other clients got wrong in public with redirects (RD), cookies (CK) and content codings (CE): an integration test
/// names each case, and each attack of the same kind.
#[test]
fn every_case_of_redirects_cookies_and_codings_is_named_by_a_test() {
    let mut paths = Vec::new();
    list(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests"), &mut paths);
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let tests: String = paths.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let names: BTreeSet<_> = tests.split("fn a_").skip(1).filter_map(|rest| rest.get(..2)).collect();
    for (kind, count) in [("RD", 12), ("CK", 6), ("CE", 4)] {
        for id in (1..=count).map(|number| format!("{kind}-{number:02}")) {
            assert!(tests.contains(&id), "{id}");
        }
    }
    for id in [6, 10, 14, 20].into_iter().chain(34..=48).chain(74..=78).map(|id| format!("{id:02}")) {
        assert!(tests.contains(&format!("A-{id}")) || names.contains(&*id), "A-{id}");
    }
}

/// Attacks on names, addresses and TLS: a test names each of them.
#[test]
fn every_attack_on_names_addresses_and_tls_is_named_by_a_test() {
    let mut paths = Vec::new();
    for folder in ["tests", "src"] {
        list(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut paths);
    }
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let tests: String = paths.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    for id in [13].into_iter().chain(31..=33).chain(49..=55) {
        assert!(tests.contains(&format!("A-{id}")), "A-{id}");
    }
}
