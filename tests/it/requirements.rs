//! The table of `src/manual/requirements.md` is complete and true: it has each requirement of
//! `tests/data/requirements.txt` once, and the proof in its row exists and names the requirement.
//!
//! A row ends with its proof, parts of which are separated by semicolons:
//!
//! - `` `tests/file.rs::name` `` or `` `src/file.rs::tests::name` ``: a test with the id in its name, or in its body
//!   outside of comments, where it is part of what a failure prints.
//!   Where `tests/file.rs` has modules in a folder of its own, they are named by their own paths.
//! - `conformance: case, case`: cases of `tests/data/conformance.jsonl` that cite the id and are played. A case
//!   that accepts a failure as well as a success does not prove a MUST or a SHOULD.
//! - `not met: why`: the rule applies, and the client does not keep it, or not all of it.
//! - `does not apply: why`: the only part of its row.
//! - `pending: what`: fails this test, so that the row cannot be forgotten.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::support::conformance::Case;

const LIST: &str = include_str!("../data/requirements.txt");
const TABLE: &str = include_str!("../../src/manual/requirements.md");

/// Number of requirements. `COUNTS` has the numbers of requirements that have a test, do not apply, or are not met in full.
const REQUIREMENTS: usize = 333;
const COUNTS: (usize, usize, usize) = (269, 63, 4);

/// Levels whose cases fail the suite when the outcome is wrong.
const STRICT: [&str; 3] = ["MUST", "GRAMMAR", "SHOULD"];

/// Levels whose rows need a case that fails when the rule is broken, or a test.
const BINDING: [&str; 5] = ["MUST", "MUST NOT", "SHOULD", "SHOULD NOT", "GRAMMAR"];

/// Rules that a case can prove only by whether the connection is reused.
const ABOUT_REUSE: [&str; 6] =
    ["R-9112-6.1-4", "R-9112-6.3-12", "R-9112-9.2-2", "R-9112-9.3-2", "R-9112-9.3-5", "R-9112-9.5-2"];

/// Largest number of cases that a row may name as examples.
const MOST_CASES: usize = 4;

/// Findings of the checker.
#[derive(Default)]
struct Report {
    wrong: Vec<String>,
    tested: usize,
    not_applying: usize,
    not_met: Vec<String>,
}

/// Files with tests, and the conformance cases that are played.
struct Evidence {
    files: BTreeMap<String, String>,
    cases: BTreeMap<&'static str, &'static Case>,
    /// Capabilities of the suite's levels.
    able: BTreeSet<&'static str>,
    /// Cases whose findings the suite accepts. Such a case proves no rule.
    accepted: BTreeSet<&'static str>,
}

#[test]
fn every_requirement_has_its_test_or_its_reason() {
    let report = check(&Evidence::gather(), LIST, TABLE);
    println!(
        "{} of {REQUIREMENTS} tested, {} do not apply, {} not met or in part:\n{}",
        report.tested,
        report.not_applying,
        report.not_met.len(),
        report.not_met.join("\n"),
    );
    let count = report.wrong.len();
    assert!(count == 0, "{count} rows are wrong:\n{}", report.wrong.join("\n"));
    assert_eq!(LIST.lines().count(), REQUIREMENTS);
    assert_eq!((report.tested, report.not_applying, report.not_met.len()), COUNTS);
}

/// The checker finds an error in a good table for each way to spoil the table.
#[test]
fn the_checker_sees_what_is_wrong() {
    let mut evidence = Evidence::gather();
    assert!(evidence.able.contains("connect") && evidence.able.contains("upgrade"), "{:?}", evidence.able);
    evidence.accepted.insert("te-double");
    evidence.able.remove("auto-decompress");
    for file in ["tests/decoys.rs", "src/decoys.rs"] {
        evidence.files.insert(file.to_owned(), DECOYS.to_owned());
    }
    let list = "R-9112-4-1 GRAMMAR\nR-9112-2.2-3 MUST NOT\n";
    let status = "| R-9112-4-1 | GRAMMAR | a status line has its form | conformance: sl-reason-htab |\n";
    let row = |proof: &str| format!("{status}| R-9112-2.2-3 | MUST NOT | no bare CR is sent | {proof} |\n");
    for (proof, expected) in [
        ("`tests/decoys.rs::good_r_9112_2_2_3`", (2, 0, 0)),
        ("`tests/decoys.rs::by_message`; `tests/decoys.rs::inner::deep`", (2, 0, 0)),
        ("`tests/decoys.rs::inner::deep`; not met: the rest", (2, 0, 1)),
        ("not met: it is sent", (1, 0, 1)),
        ("does not apply: nothing is sent", (1, 1, 0)),
    ] {
        let report = check(&evidence, list, &row(proof));
        assert_eq!(report.wrong, [] as [&str; 0], "{proof}");
        assert_eq!((report.tested, report.not_applying, report.not_met.len()), expected, "{proof}");
    }
    let good = row("`tests/decoys.rs::by_message`");
    for (table, expected) in [
        (status.to_owned(), "R-9112-2.2-3 has no row"),
        (format!("{good}{status}"), "R-9112-4-1 has 2 rows"),
        (format!("{good}| R-9112-99-1 | MUST | x | not met: x |\n"), "R-9112-99-1 is no requirement"),
        (good.replace("MUST NOT", "MUST"), "R-9112-2.2-3 is a MUST NOT, not a MUST"),
        (good.replace("no bare CR is sent", " "), "R-9112-2.2-3 does not say what it is"),
        (good.replace("is sent |", "is sent"), "not four cells"),
        (row(""), "R-9112-2.2-3 has no proof"),
        (row("it is tested"), "is no proof: \"it is tested\""),
        (row("pending: trailers"), "R-9112-2.2-3 is pending: trailers"),
        (row("does not apply:"), "gives no reason"),
        (row("not met: "), "gives no reason"),
        (row("does not apply: x; not met: x"), "applies in part"),
        (row("`tests/nothing.rs::name`"), "there is no file tests/nothing.rs"),
        (row("`tests/support/mod.rs::within`"), "there is no file tests/support/mod.rs"),
        (row("`tests/attacks/endless.rs::nobody`"), "there is no test nobody in tests/attacks/endless.rs"),
        (row("`src/decoys.rs::by_message`"), "src/decoys.rs, which is not part of the crate"),
        (row("`tests/decoys.rs`"), "names no test"),
        (row("`tests/decoys.rs::nobody`"), "there is no test nobody"),
        (row("`tests/decoys.rs::deep`"), "there is no test deep"),
        (row("`tests/decoys.rs::no_test_r_9112_2_2_3`"), "there is no test no_test_r_9112_2_2_3"),
        (row("`tests/decoys.rs::outer::by_message`"), "there is no module outer"),
        (row("`tests/decoys.rs::inner::by_message`"), "there is no test by_message"),
        (row("`tests/decoys.rs::ignored_r_9112_2_2_3`"), "which is ignored"),
        (row("`tests/decoys.rs::in_a_comment`"), "does not carry R-9112-2.2-3"),
        (row("`tests/decoys.rs::longer_r_9112_2_2_33`"), "does not carry R-9112-2.2-3"),
        (row("conformance:"), "names no case"),
        (row("conformance: no-such-case"), "there is no case no-such-case"),
        (row("conformance: sl-reason-htab"), "sl-reason-htab does not cite R-9112-2.2-3"),
        (good.replace("conformance: sl-reason-htab", "not met: x"), "R-9112-4-1 is cited by the suite"),
        (good.replace("sl-reason-htab", &["sl-reason-htab"; 5].join(", ")), "names too many cases"),
    ] {
        let wrong = check(&evidence, list, &table).wrong.join("\n");
        assert!(wrong.contains(expected), "{expected:?} was not seen in:\n{table}\nbut: {wrong:?}");
    }
    // Cases that fail the suite come first among those that cite a rule. Cases that are not played prove nothing.
    for (rule, level, case, expected) in [
        ("R-9112-7.1-1", "MUST", "cs-trail-sp", "R-9112-7.1-1 has stricter cases: cs-"),
        ("R-9110-8.4.1-1", "MUST", "ce-gzip", "ce-gzip is not played"),
        ("R-9112-6.1-2", "MUST NOT", "te-double", "te-double is accepted as it is"),
        ("R-9110-5.5-2", "MUST", "hb-nul, cn-nul-header", "R-9110-5.5-2 has no case that fails"),
        ("R-9112-9.3-5", "MUST NOT", "re-default, re-500", "R-9112-9.3-5 has no case that fails"),
    ] {
        let table = format!("| {rule} | {level} | x | conformance: {case} |");
        let wrong = check(&evidence, &format!("{rule} {level}\n"), &table).wrong.join("\n");
        assert!(wrong.contains(expected), "{case}: {wrong:?}");
    }
    // A case that excludes an outcome can prove a rule. A choice can prove a rule only if nothing else can be
    // checked.
    for (rule, level, case) in [
        ("R-9112-2.2-8", "MUST", "hs-lead-ws-first"),
        ("R-9112-9.3-5", "MUST NOT", "re-default, re-close-cap"),
        ("R-9110-5.5-3", "MAY", "hb-ctl-01"),
    ] {
        let table = format!("| {rule} | {level} | x | conformance: {case} |");
        let wrong = check(&evidence, &format!("{rule} {level}\n"), &table).wrong;
        assert_eq!(wrong, [] as [&str; 0], "{case}");
    }
    let twice = check(&evidence, &format!("{list}{list}"), &good).wrong.join("\n");
    assert!(twice.contains("the list has an id twice"), "{twice:?}");
}

/// A file of tests with proofs that the checker has to find, and with texts that it must not take for proofs.
const DECOYS: &str = "
#[test]
fn good_r_9112_2_2_3() {
    assert!(true);
}

#[tokio::test(start_paused = true)]
#[should_panic]
async fn by_message() {
    assert!(false, \"R-9112-2.2-3: what\");
}

#[test]
#[ignore = \"for a reason\"]
fn ignored_r_9112_2_2_3() {
}

#[test]
fn in_a_comment() {
    // R-9112-2.2-3
}

#[test]
fn longer_r_9112_2_2_33() {
    assert!(\"R-9112-2.2-30 XR-9112-2.2-3\" != \"R-9112-2.2\");
}

fn no_test_r_9112_2_2_3() {
}

mod inner {
    #[test]
    fn deep() {
        assert!(true, \"R-9112-2.2-3\");
    }
}
";

fn check(evidence: &Evidence, list: &str, table: &str) -> Report {
    let mut report = Report::default();
    let levels: BTreeMap<_, _> = list.lines().map(|line| line.split_once(' ').unwrap()).collect();
    if levels.len() != list.lines().count() {
        report.wrong.push("the list has an id twice".to_owned());
    }
    let mut rows = BTreeMap::<_, usize>::new();
    for line in table.lines().filter(|line| line.starts_with("| R-") || line.starts_with("|R-")) {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let ["", id, level, words, proof, ""] = cells[..] else {
            report.wrong.push(format!("not four cells: {line}"));
            continue;
        };
        *rows.entry(id).or_default() += 1;
        match levels.get(id) {
            None => report.wrong.push(format!("{id} is no requirement")),
            Some(expected) if *expected != level => {
                report.wrong.push(format!("{id} is a {expected}, not a {level}"));
            }
            Some(_) if words.is_empty() => report.wrong.push(format!("{id} does not say what it is")),
            Some(_) => evidence.judge(id, level, proof, &mut report),
        }
    }
    for id in levels.keys() {
        match rows.get(id) {
            None => report.wrong.push(format!("{id} has no row")),
            Some(1) => {}
            Some(count) => report.wrong.push(format!("{id} has {count} rows")),
        }
    }
    report
}

impl Evidence {
    fn gather() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut files = BTreeMap::new();
        // Files directly in `tests` are binaries of tests; every file in `tests/it` is part of one binary.
        let mut paths = rust_files(&root.join("tests"), false);
        paths.extend(rust_files(&root.join("tests/it"), true));
        // The modules of `tests/attacks.rs` are in the folder `tests/attacks`.
        for program in paths.clone() {
            let text = std::fs::read_to_string(&program).unwrap();
            let folder = format!("#[path = \"{}/", program.file_stem().unwrap().to_str().unwrap());
            let modules = text.lines().filter_map(|line| line.strip_prefix(&*folder)?.strip_suffix("\"]"));
            paths.extend(modules.map(|name| program.with_extension("").join(name)));
        }
        for path in paths.into_iter().chain(rust_files(&root.join("src"), true)) {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
            files.insert(name, std::fs::read_to_string(&path).unwrap());
        }
        let cases = Case::all().iter().map(|case| (&*case.id, case)).collect();
        let able = ["const CODEC_CAPS: &[&str] = &[", "const CLIENT_CAPS: &[&str] = &["];
        let able = able.into_iter().flat_map(texts_in_suite).collect();
        // The texts next to the ids are reasons, and not ids.
        let accepted = texts_in_suite("const ACCEPTED: Accepted = &[").collect();
        Self { files, cases, able, accepted }
    }

    /// Whether a level can play the case.
    fn is_played(&self, case: &Case) -> bool {
        case.takes().is_none_or(|cap| self.able.contains(cap))
    }

    fn judge(&self, id: &str, level: &str, proof: &str, report: &mut Report) {
        let parts: Vec<_> = proof.split(';').map(str::trim).filter(|part| !part.is_empty()).collect();
        let (mut is_tested, mut in_suite, mut not_applying) = (false, false, false);
        let mut is_bound = !BINDING.contains(&level) && !ABOUT_REUSE.contains(&id);
        for &part in &parts {
            let judged = match part.split_once(':') {
                Some(("does not apply" | "not met", reason)) if reason.trim().is_empty() => {
                    Err(format!("{part:?} gives no reason"))
                }
                Some(("does not apply", _)) if parts.len() > 1 => Err("applies in part, or not".to_owned()),
                Some(("does not apply", _)) => {
                    not_applying = true;
                    Ok(())
                }
                Some(("not met", reason)) => {
                    report.not_met.push(format!("{id}: {}", reason.trim()));
                    Ok(())
                }
                Some(("pending", what)) => Err(format!("is pending:{what}")),
                Some(("conformance", cases)) => {
                    (is_tested, in_suite) = (true, true);
                    self.find_cases(id, cases).map(|binds| is_bound |= binds)
                }
                _ => match part.strip_prefix('`').and_then(|part| part.strip_suffix('`')) {
                    Some(path) => {
                        (is_tested, is_bound) = (true, true);
                        self.find_test(id, path)
                    }
                    None => Err(format!("is no proof: {part:?}")),
                },
            };
            report.wrong.extend(judged.err().map(|what| format!("{id} {what}")));
        }
        if parts.is_empty() {
            report.wrong.push(format!("{id} has no proof"));
        }
        if is_tested && !is_bound {
            report.wrong.push(format!("{id} has no case that fails when the rule is broken"));
        }
        let is_strict = |case: &&&Case| STRICT.contains(&&*case.level) && self.is_played(case);
        if !in_suite && self.cases.values().filter(is_strict).any(|case| case.rules().any(|rule| rule == id))
        {
            report.wrong.push(format!("{id} is cited by the suite, which the row does not say"));
        }
        report.tested += usize::from(is_tested);
        report.not_applying += usize::from(not_applying);
    }

    /// Whether one of the cases in `named` fails when the rule is broken.
    fn find_cases(&self, id: &str, named: &str) -> Result<bool, String> {
        let named: Vec<_> = named.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
        if named.is_empty() {
            return Err("names no case".to_owned());
        }
        if named.len() > MOST_CASES {
            return Err("names too many cases".to_owned());
        }
        let (mut has_strict, mut binds) = (false, false);
        for name in &named {
            let case = self.cases.get(name).ok_or_else(|| format!("there is no case {name}"))?;
            if !case.rules().any(|rule| rule == id) {
                return Err(format!("{name} does not cite {id}"));
            }
            if !self.is_played(case) {
                return Err(format!("{name} is not played"));
            }
            if self.accepted.contains(name) {
                return Err(format!("{name} is accepted as it is"));
            }
            has_strict |= STRICT.contains(&&*case.level);
            binds |= case.binds(ABOUT_REUSE.contains(&id));
        }
        let citing =
            self.cases.values().filter(|case| case.rules().any(|rule| rule == id) && self.is_played(case));
        let stricter: Vec<_> =
            citing.filter(|case| STRICT.contains(&&*case.level)).map(|case| &*case.id).take(9).collect();
        if !has_strict && !stricter.is_empty() {
            return Err(format!("has stricter cases: {}", stricter.join(", ")));
        }
        Ok(binds)
    }

    /// Whether another file of the crate says that this one belongs to it.
    fn is_in_crate(&self, name: &str) -> bool {
        let path = Path::new(name.strip_suffix("/mod.rs").unwrap_or(name));
        let [stem, file] = [path.file_stem(), path.file_name()].map(|part| part.unwrap().to_str().unwrap());
        let (by_name, by_path) = (format!("mod {stem};"), format!("#[path = \"{file}\"]"));
        let mut others = self.files.iter().filter(|(other, _)| other.starts_with("src/") && *other != name);
        others.any(|(_, text)| text.lines().any(|line| line.ends_with(&by_name) || line == by_path))
    }

    fn find_test(&self, id: &str, path: &str) -> Result<(), String> {
        let mut words = path.split("::");
        let name = words.next().unwrap_or_default();
        let mut modules: Vec<_> = words.collect();
        let test = modules.pop().ok_or_else(|| format!("names no test: {path}"))?;
        let file = self.files.get(name).ok_or_else(|| format!("there is no file {name}"))?;
        if name.starts_with("src/") && !self.is_in_crate(name) {
            return Err(format!("is proved in {name}, which is not part of the crate"));
        }
        let mut lines: Vec<_> = file.lines().collect();
        for (depth, module) in modules.iter().enumerate() {
            let indent = "    ".repeat(depth);
            let is_module = |line: &&str| {
                let rest = line.strip_prefix(&*indent).unwrap_or_default();
                let rest = rest
                    .strip_prefix("pub(super) ")
                    .or_else(|| rest.strip_prefix("pub(crate) "))
                    .unwrap_or(rest);
                rest == format!("mod {module} {{")
            };
            let at =
                lines.iter().position(is_module).ok_or_else(|| format!("there is no module {module}"))?;
            lines = block(&lines[at..], &indent).to_vec();
        }
        let indent = "    ".repeat(modules.len());
        let is_test = |line: &&str| {
            let rest = line.strip_prefix(&*indent).unwrap_or_default();
            let rest = rest.strip_prefix("async ").unwrap_or(rest);
            rest.starts_with(&format!("fn {test}("))
        };
        let missing = || format!("there is no test {test} in {name}");
        let at = lines.iter().position(is_test).ok_or_else(missing)?;
        let attributes =
            lines[..at].iter().rev().map(|line| line.trim()).take_while(|line| line.starts_with('#'));
        let attributes: Vec<_> = attributes.collect();
        if !attributes.iter().any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test")) {
            return Err(missing());
        }
        if attributes.iter().any(|line| line.starts_with("#[ignore")) {
            return Err(format!("is proved by {test}, which is ignored"));
        }
        let body = block(&lines[at..], &indent);
        if body.iter().any(|line| carries(line, id)) {
            Ok(())
        } else {
            Err(format!("is proved by {test}, which does not carry {id}"))
        }
    }
}

/// Returns the lines of a block: from its first line to the line that closes the block at the indentation `indent`.
fn block<'a, 'b>(lines: &'a [&'b str], indent: &str) -> &'a [&'b str] {
    if lines[0].ends_with("{}") {
        return &lines[..1];
    }
    let end = format!("{indent}}}");
    let at = lines.iter().position(|line| *line == end).unwrap_or(lines.len() - 1);
    &lines[..=at]
}

/// Whether a line of code contains the id, as it is or as part of a name.
fn carries(line: &str, id: &str) -> bool {
    if line.trim_start().starts_with("//") {
        return false;
    }
    let name: String =
        id.chars().map(|it| if it.is_ascii_alphanumeric() { it.to_ascii_lowercase() } else { '_' }).collect();
    let is_there = |text: &str, is_inner: fn(char) -> bool| {
        line.match_indices(text).any(|(at, _)| {
            let (before, after) = (&line[..at], &line[at + text.len()..]);
            !before.ends_with(char::is_alphanumeric) && !after.starts_with(is_inner)
        })
    };
    is_there(id, |it| it.is_ascii_alphanumeric()) || is_there(&name, |it| it.is_ascii_alphanumeric())
}

/// Returns the texts of a list in the suite's own file.
fn texts_in_suite(start: &str) -> impl Iterator<Item = &'static str> + use<> {
    let (_, rest) = include_str!("conformance.rs").split_once(start).expect("the suite's file has this list");
    rest.split("];").next().unwrap_or_default().split('"').skip(1).step_by(2)
}

fn rust_files(folder: &Path, goes_down: bool) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && goes_down {
            found.extend(rust_files(&path, true));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}
