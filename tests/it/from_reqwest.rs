//! Tests that the page "Coming from reqwest" has a row for each method of reqwest, and that each row is true.
//!
//! `same.rs` and `renamed.rs` call the methods of the rows, so that a row that is not true does not compile. The tests here
//! check that the two files leave no row out.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::Path;

mod renamed;
mod same;

const PAGE: &str = include_str!("../../src/manual/from_reqwest.md");
const SAME: &str = include_str!("from_reqwest/same.rs");
const RENAMED: &str = include_str!("from_reqwest/renamed.rs");

/// A row of a table: what reqwest has, whether it is here, and the note.
#[derive(Debug)]
struct Row<'a> {
    /// The heading: the type whose methods these are.
    of: &'a str,
    names: Vec<&'a str>,
    here: &'a str,
    note: &'a str,
}

/// Returns the rows of all tables of methods.
fn rows(page: &str) -> Vec<Row<'_>> {
    let mut rows = Vec::new();
    for section in page.split("\n### `").skip(1) {
        let section = section.split("\n## ").next().unwrap();
        let (of, text) = section.split_once('`').unwrap();
        let table =
            text.split("| reqwest | here | note |\n|---|---|---|\n").nth(1).unwrap_or_else(|| panic!("{of}"));
        for line in table.lines().take_while(|line| line.starts_with('|')) {
            let cells: Vec<_> =
                line.strip_prefix("| ").unwrap().strip_suffix('|').unwrap().split(" | ").collect();
            let &[names, here, note] = &*cells else { panic!("{line}") };
            rows.push(Row { of, names: quoted(names), here, note: note.trim() });
        }
    }
    rows
}

/// Returns what stands in backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// Returns the function of a file whose name is that of a heading. For the items of the crate, returns the whole file.
fn function<'a>(file: &'a str, of: &str) -> &'a str {
    if of == "Crate" {
        return file;
    }
    let name = snake(of);
    let start = [format!("\nfn {name}"), format!("\nasync fn {name}")];
    let mut found = start.iter().filter_map(|start| {
        let end = |at: &usize| file[at + start.len()..].starts_with(['(', '<']);
        file.match_indices(start).map(|(at, _)| at).find(end)
    });
    let at = found.next().unwrap_or_else(|| panic!("there is no function {name}"));
    &file[at..at + file[at..].find("\n}").unwrap()]
}

/// Returns `cookie::CookieStore` as `cookie_cookie_store`, without a part that is there twice.
fn snake(path: &str) -> String {
    let mut name = String::new();
    for letter in path.replace("::", "_").chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() && !name.ends_with('_') {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    match name.strip_prefix("cookie_cookie_") {
        Some(rest) => format!("cookie_{rest}"),
        None => name,
    }
}

/// Whether the code has a name as a word of its own. The name of a method has to stand after a dot or two colons.
fn uses(code: &str, name: &str, is_method: bool) -> bool {
    let is_part = |it: char| it.is_ascii_alphanumeric() || it == '_';
    code.match_indices(name).any(|(at, _)| {
        let (before, after) = (&code[..at], &code[at + name.len()..]);
        let stands_alone = !before.ends_with(is_part) && !after.starts_with(is_part);
        stands_alone && (!is_method || before.ends_with('.') || before.ends_with("::"))
    })
}

/// Whether a name of the crate's root or of a trait, instead of a method.
fn is_item(of: &str, name: &str) -> bool {
    of == "Crate" || name.starts_with(|first: char| first.is_ascii_uppercase())
}

/// Returns the names of a row that the files do not use, or why the row is incomplete.
fn faults(row: &Row<'_>) -> Vec<String> {
    let Row { of, names, here, note } = row;
    let unused = |file: &str, names: &[&str]| {
        let code = function(file, of);
        let is_code = |line: &&str| !line.trim_start().starts_with("//");
        let code = code.lines().filter(is_code).collect::<Vec<_>>().join("\n");
        let missing = names.iter().filter(|name| {
            let name = name.rsplit("::").next().unwrap();
            !uses(&code, name, !is_item(of, name))
        });
        missing.map(|name| format!("{of}: no call of {name}")).collect()
    };
    match here.split(" to ").next().unwrap() {
        "same" if *here == "same" => unused(SAME, names),
        "renamed" if !quoted(here).is_empty() => unused(RENAMED, &quoted(here)),
        "not there yet" | "not planned" if !note.is_empty() => {
            let there = names.iter().filter(|name| has(of, name));
            there.map(|name| format!("{of}: {name} is there")).collect()
        }
        _ => vec![format!("{of}: no reason in {row:?}")],
    }
}

/// Whether this crate's source has the method.
fn has(of: &str, name: &str) -> bool {
    let places: &[&str] = match of {
        "ClientBuilder" => &[
            "config.rs",
            "config/codings.rs",
            "config/hooks.rs",
            "config/network.rs",
            "config/proxies.rs",
            "config/sockets.rs",
            "config/tls.rs",
            "config/unix.rs",
        ],
        "RequestBuilder" => &["request.rs", "request/content.rs", "request/proxy.rs", "request/unix.rs"],
        "Error" => &["error.rs"],
        "redirect::Policy" => &["redirect.rs"],
        "Crate" => &["lib.rs"],
        _ => return false,
    };
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let text: String = places.iter().map(|place| std::fs::read_to_string(src.join(place)).unwrap()).collect();
    match of {
        "Crate" => uses(&text, name, false),
        _ => ["(", "<"].iter().any(|end| text.contains(&format!("pub fn {name}{end}"))),
    }
}

#[test]
fn every_row_of_the_page_is_called_or_says_why_not() {
    let rows = rows(PAGE);
    let faults: Vec<_> = rows.iter().flat_map(faults).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let count = |here: &str| -> usize {
        let rows = rows.iter().filter(|row| row.here.starts_with(here));
        rows.map(|row| row.names.len()).sum()
    };
    let counts = ["same", "renamed", "not there yet", "not planned"].map(count);
    assert!(counts[0] >= 170 && counts[1] >= 16 && counts[3] >= 25, "{counts:?}");
}

/// The list has the public methods of reqwest.
#[test]
fn every_method_of_reqwest_has_one_row() {
    let list = include_str!("../data/reqwest-methods.txt");
    let rows = rows(PAGE);
    let mut seen = 0;
    for method in list.lines().filter(|line| !line.starts_with('#')) {
        let (of, name) = method.rsplit_once("::").unwrap();
        let is_it =
            |it: &str| it == name || it.strip_suffix('*').is_some_and(|start| name.starts_with(start));
        let found = rows.iter().filter(|row| row.of == of && row.names.iter().any(|it| is_it(it)));
        assert_eq!(found.count(), 1, "{method}");
        seen += 1;
    }
    assert!(seen >= 190, "only {seen} methods");
}

/// The check of the rows can fail in each of the ways.
#[test]
fn a_row_that_is_not_true_is_found() {
    let row = |of: &'static str, names: &'static str, here: &'static str, note: &'static str| {
        faults(&Row { of, names: quoted(names), here, note })
    };
    assert_eq!(row("Response", "`text`", "same", ""), [""; 0]);
    assert_eq!(row("Response", "`text` `texts`", "same", ""), ["Response: no call of texts"]);
    assert_eq!(row("Request", "`url`", "renamed to `uri`", ""), [""; 0]);
    assert_eq!(row("Request", "`url`", "renamed to `urn`", ""), ["Request: no call of urn"]);
    assert_eq!(row("ClientBuilder", "`proxies`", "not there yet", "later"), [""; 0]);
    assert_eq!(row("ClientBuilder", "`gzip`", "not planned", "why"), ["ClientBuilder: gzip is there"]);
    for here in ["not planned", "renamed", "same?", "gone"] {
        assert_eq!(row("Client", "`get`", here, "").len(), 1, "{here}");
    }
}

/// The new side of the diff is the example after it, which is compiled as a doc test. The old side names reqwest.
#[test]
fn the_diff_of_the_page_leads_to_its_example() {
    let diff = PAGE.split("```diff\n").nth(2).unwrap().split("```").next().unwrap();
    let example = PAGE.split("This is the result:\n\n```\n").nth(1).unwrap().split("```").next().unwrap();
    let example: Vec<_> = example.lines().filter(|line| !line.starts_with("# ")).collect();
    let side = |other: char| -> Vec<&str> {
        let lines = diff.lines().filter(|line| !line.starts_with(other));
        lines.map(|line| line.get(1..).unwrap_or_default()).collect()
    };
    assert_eq!(side('-'), example);
    assert!(!example.iter().any(|line| line.contains("reqwest")));
    assert_eq!(side('+').iter().filter(|line| line.contains("reqwest")).count(), 2);
}
