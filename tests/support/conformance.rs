//! The conformance cases of `tests/data/conformance.jsonl`, the recorded outcomes of the cases, and a scorer for the
//! outcomes.
//!
//! The scorer is a port of `tests/data/score.py`, rule by rule and in the same order, so that `cargo test` needs no
//! Python. This module also writes the outcomes in the form that score.py reads. This module does not know how a case is
//! played.

#![allow(clippy::unwrap_used, reason = "test data that is not as it should be fails the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{HeaderMap, Method};
use serde_json::{Value, json};

/// One response on the wire, and the outcome that a client must have.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) id: String,
    pub(crate) group: String,
    /// Level of the requirement, such as MUST or SHOULD.
    pub(crate) level: String,
    pub(crate) method: Method,
    pub(crate) wire: Vec<u8>,
    /// Whether the server sends a FIN after the response. Without a FIN, the server keeps the connection open.
    pub(crate) close_after: bool,
    /// Bytes that the server sends while the connection is idle after the response.
    pub(crate) late: Option<Vec<u8>>,
    /// Whether the server sends a FIN after the late bytes.
    pub(crate) late_close: bool,
    fields: Value,
}

impl Case {
    /// Returns all cases, in the order of the file.
    pub(crate) fn all() -> &'static [Self] {
        static ALL: OnceLock<Vec<Case>> = OnceLock::new();
        ALL.get_or_init(|| include_str!("../data/conformance.jsonl").lines().map(Self::parse).collect())
    }

    fn parse(line: &str) -> Self {
        let mut fields: Value = serde_json::from_str(line).unwrap();
        let object = fields.as_object_mut().unwrap();
        // The script pack.py writes a long field as a list of parts, each with the number of its repetitions.
        let packed: Vec<_> = object.keys().filter(|name| name.ends_with("_parts")).cloned().collect();
        for name in packed {
            let mut octets = Vec::new();
            for part in object.remove(&name).unwrap().as_array().unwrap() {
                let times = part["times"].as_u64().unwrap();
                octets.extend(decode(text(&part["b64"])).repeat(times.try_into().unwrap()));
            }
            object.insert(name.replace("_parts", "_b64"), encode(&octets).into());
        }
        Self {
            id: text(&fields["id"]).to_owned(),
            group: text(&fields["group"]).to_owned(),
            level: text(&fields["level"]).to_owned(),
            method: text(&fields["request_method"]).parse().unwrap(),
            wire: decode(text(&fields["wire_b64"])),
            close_after: fields["close_after"].as_bool().unwrap(),
            late: fields["late_b64"].as_str().map(decode),
            late_close: fields["late_close"].as_bool().unwrap_or(false),
            fields,
        }
    }

    /// Returns the optional capability that a client needs for this case, by the rules of score.py.
    pub(crate) fn takes(&self) -> Option<&'static str> {
        if self.fields["requires"] == "auto-decompress" {
            Some("auto-decompress")
        } else if self.method == Method::CONNECT {
            Some("connect")
        } else if self.group == "upgrade" && !self.request_headers().is_empty() {
            Some("upgrade")
        } else {
            None
        }
    }

    /// Returns the fields of the request.
    pub(crate) fn request_headers(&self) -> Vec<(String, String)> {
        pairs(&self.fields["request_headers"])
    }

    /// Returns the ids of the requirements that the case is about.
    pub(crate) fn rules(&self) -> impl Iterator<Item = &str> {
        self.fields["req"].as_array().into_iter().flatten().map(text)
    }

    fn rule_list(&self) -> String {
        self.rules().collect::<Vec<_>>().join(", ")
    }

    pub(crate) fn octets(&self, name: &str) -> Option<Vec<u8>> {
        self.fields[name].as_str().map(decode)
    }

    /// Returns the outcome that the case prefers, or the outcome that it requires if it has no preference.
    fn advises(&self) -> Option<Outcome> {
        match self.fields["prefer"].as_str().or_else(|| self.fields["expect"].as_str()) {
            Some("ok") => Some(Outcome::Ok),
            Some("error") => Some(Outcome::Error),
            _ => None,
        }
    }

    /// Returns the outcome that `CHOICES` lists for this case, and the reason for it.
    fn choice(&self) -> Option<(Outcome, &'static str)> {
        let choice = CHOICES.iter().find(|(_, _, ids)| ids.contains(&&*self.id));
        choice.map(|(outcome, reason, _)| (*outcome, *reason))
    }

    /// Whether the suite fails if the client breaks a rule of this case. Returns false if the rule allows several
    /// outcomes and the client chose one of these outcomes. With `is_about_reuse`, the rule is about reuse of the
    /// connection.
    #[allow(dead_code, reason = "only one of the including tests uses this function")]
    pub(crate) fn binds(&self, is_about_reuse: bool) -> bool {
        let excludes = |name: &str| self.fields[name].as_array().is_some_and(|list| !list.is_empty());
        if is_about_reuse {
            self.fields["reusable"] == false
        } else {
            !self.expects("either") || excludes("absent_headers") || excludes("forbid_body_b64")
        }
    }

    fn expects(&self, what: &str) -> bool {
        self.fields["expect"] == what
    }

    /// Whether this case is an `either` case that prefers the outcome `what`.
    fn prefers(&self, what: &str) -> bool {
        self.expects("either") && self.fields["prefer"] == what
    }
}

/// End of an exchange.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Outcome {
    Ok,
    Error,
    /// The exchange did not end.
    #[default]
    Hang,
}

/// Outcome of a case that was played in one way, for example through the codec alone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Got {
    pub(crate) outcome: Outcome,
    /// Whether the exchange ended or hung after the caller got the head.
    pub(crate) is_in_body: bool,
    pub(crate) status: Option<u16>,
    /// Names and values of the fields, decoded as ISO-8859-1 like the text of the case file.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Option<Vec<(String, String)>>,
    /// Bytes that came through the tunnel, if the response opened one.
    pub(crate) tunnel: Option<Vec<u8>>,
    /// Whether the connection carried the next request. `None` if the test could not find out.
    pub(crate) reused: Option<bool>,
    /// Text of the error.
    pub(crate) says: String,
}

impl Got {
    /// Returns the differences from `other` that a caller of the client can see, or `None` if there are none. Two ways to cut
    /// the same octets must show no difference.
    pub(crate) fn differs(&self, other: &Self) -> Option<String> {
        let mut fields = Vec::new();
        let mut compare = |name: &str, ours: &dyn fmt::Debug, theirs: &dyn fmt::Debug| {
            let [ours, theirs] =
                [ours, theirs].map(|it| format!("{it:?}").chars().take(80).collect::<String>());
            fields.push(format!("{name} {ours} instead of {theirs}"));
        };
        if self.outcome != other.outcome {
            compare("outcome", &self.outcome, &other.outcome);
        }
        if self.is_in_body != other.is_in_body {
            compare("in the body", &self.is_in_body, &other.is_in_body);
        }
        if self.status != other.status {
            compare("status", &self.status, &other.status);
        }
        if self.headers != other.headers {
            compare("headers", &self.headers, &other.headers);
        }
        if self.body != other.body {
            compare("content", &Octets(&self.body), &Octets(&other.body));
        }
        if self.trailers != other.trailers {
            compare("trailers", &self.trailers, &other.trailers);
        }
        (!fields.is_empty()).then(|| fields.join("; "))
    }

    /// Returns the outcome as one line of the results that score.py reads.
    fn to_json(&self, id: &str) -> String {
        let mut line = json!({
            "id": id,
            "outcome": match self.outcome { Outcome::Ok => "ok", Outcome::Error => "error", Outcome::Hang => "hang" },
            "stage": self.stage(),
        });
        let fields = line.as_object_mut().unwrap();
        let mut set = |name: &str, value: Value| fields.insert(name.to_owned(), value);
        if let Some(status) = self.status {
            set("status", status.into());
            set("headers", json!(self.headers));
        }
        set("body_b64", encode(&self.body).into());
        if let Some(trailers) = &self.trailers {
            set("trailers", json!(trailers));
        }
        if let Some(tunnel) = &self.tunnel {
            set("tunnel_b64", encode(tunnel).into());
        }
        if let Some(reused) = self.reused {
            set("reused", reused.into());
        }
        if !self.says.is_empty() {
            set("err", self.says.clone().into());
        }
        line.to_string()
    }

    fn stage(&self) -> &'static str {
        if self.is_in_body { "body" } else { "head" }
    }
}

/// An objection to the outcome of a case.
#[derive(Debug)]
pub(crate) struct Finding {
    /// The case's level. QUALITY stands for a connection that could have been reused. PREF stands for an outcome that
    /// the RFC allows but advises against.
    pub(crate) severity: String,
    pub(crate) text: String,
}

impl Finding {
    /// Returns the finding as score.py prints it.
    fn line(&self, case: &Case) -> String {
        format!("{:9} {}: {}   [{}]", self.severity, case.id, self.text, case.rule_list())
    }
}

/// Returns the objections to the outcome `got` of a case. This function is a port of `findings` in score.py.
pub(crate) fn findings(case: &Case, got: &Got) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut add = |severity: &str, text: String| found.push(Finding { severity: severity.to_owned(), text });
    let level = &*case.level;
    let is_error = got.outcome == Outcome::Error;
    if got.outcome == Outcome::Hang {
        add(level, format!("hang in {}", got.stage()));
        return found;
    }
    if case.expects("error") {
        if !is_error {
            add(level, format!("accepted: status={:?} body={:?}", got.status, Octets(&got.body)));
            return found;
        }
        if case.fields["stage"] == "head" && got.is_in_body {
            add(level, "failed only in the body, a response head was handed out".to_owned());
        }
    } else if case.expects("ok") && is_error {
        add(level, format!("rejected in {}: {}", got.stage(), got.says));
        return found;
    }
    if is_error {
        if case.octets("partial_of_b64").is_some_and(|whole| !whole.starts_with(&got.body)) {
            add(level, format!("octets handed out before the error are wrong: {:?}", Octets(&got.body)));
        }
        if case.prefers("ok") {
            add("PREF", "rejected, accepting preferred".to_owned());
        }
        if got.reused == Some(true) {
            add("MUST", "connection reused after an error".to_owned());
        }
        return found;
    }
    if case.prefers("error") {
        add("PREF", "accepted, rejecting preferred".to_owned());
    }
    if case.fields["status"].as_u64().is_some_and(|status| got.status.map(u64::from) != Some(status)) {
        add(level, format!("status {:?} != {}", got.status, case.fields["status"]));
    }
    let tunnel = case.octets("tunnel_b64");
    if let (Some(body), None) = (case.octets("body_b64"), &tunnel)
        && got.body != body
    {
        add(level, format!("content {:?} != {:?}", Octets(&got.body), Octets(&body)));
    }
    for forbidden in case.fields["forbid_body_b64"].as_array().into_iter().flatten() {
        if got.body == decode(text(forbidden)) {
            add(level, "forbidden interpretation of the content".to_owned());
        }
    }
    find_in_headers(case, got, &mut add);
    let lower = |fields: &[(String, String)]| -> Vec<_> {
        fields.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect()
    };
    if let Some(trailers) = got.trailers.as_ref().filter(|trailers| !trailers.is_empty())
        && !case.fields["trailers"].is_null()
        && lower(trailers) != lower(&pairs(&case.fields["trailers"]))
    {
        add(level, format!("trailers {trailers:?}"));
    }
    if let (Some(got), Some(expected)) = (&got.tunnel, &tunnel)
        && got != expected
    {
        add(level, format!("tunnel octets {:?}", Octets(got)));
    }
    match (case.fields["reusable"].as_bool(), got.reused) {
        (Some(false), Some(true)) => {
            add(if level == "GRAMMAR" { "MUST" } else { level }, "connection reused".to_owned());
        }
        (Some(true), Some(false)) => add("QUALITY", "connection not reused".to_owned()),
        _ => {}
    }
    found
}

fn find_in_headers(case: &Case, got: &Got, add: &mut impl FnMut(&str, String)) {
    let is_flexible = case.fields["ws_flexible"] == true;
    let group = |fields: &[(String, String)]| {
        let mut groups = BTreeMap::<String, Vec<String>>::new();
        for (name, value) in fields {
            let value = if is_flexible { collapse(value) } else { value.clone() };
            groups.entry(name.to_ascii_lowercase()).or_default().push(value);
        }
        groups
    };
    let (ours, expected) = (group(&got.headers), group(&pairs(&case.fields["headers"])));
    for (name, values) in &expected {
        let got = ours.get(name);
        if got != Some(values) && got != Some(&vec![values.join(", ")]) {
            add(&case.level, format!("header {name}: {got:?} != {values:?}").chars().take(120).collect());
        }
    }
    for name in case.fields["absent_headers"].as_array().into_iter().flatten() {
        if ours.contains_key(text(name)) {
            add(&case.level, format!("header {name} must not be present"));
        }
    }
    for (name, value) in &got.headers {
        if [name, value].iter().any(|text| text.contains(['\r', '\n', '\0'])) {
            add("MUST", format!("CR/LF/NUL handed out in header {name:?}"));
        }
    }
}

/// Replaces each run of spaces and tabs by one space, and removes the spaces and tabs at both ends.
fn collapse(value: &str) -> String {
    value.split([' ', '\t']).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Each entry has an outcome that the client chose, the reason, and the cases to which both apply. The list has all
/// cases that allow several outcomes without a preference, and all cases whose preference the client does not follow.
/// If a case has a preference and is missing from this list, the client follows the preference.
const CHOICES: &[(Outcome, &str, &[&str])] = &[
    (
        Outcome::Ok,
        "a lone LF ends a line of a head, and costs the connection",
        &[
            "lf-all",
            "lf-status",
            "lf-field",
            "lf-end-crlf-lf",
            "lf-after-reason-empty",
            "lf-inject-set-cookie",
            "lf-no-body",
            "lf-chunked-head-only",
            "lf-close-delimited",
            "lf-body-starts-lf",
        ],
    ),
    (Outcome::Error, "a bare LF ends no line of a trailer section", &["ct-lf-lines"]),
    (Outcome::Ok, "folds are spaces, within the limit of the head", &["hs-fold-1000", "te-fold"]),
    (Outcome::Error, "more than 128 fields", &["hl-count-512", "hl-same-name-1000"]),
    (Outcome::Error, "more than 64 KiB of a head", &["hl-value-130000"]),
    (Outcome::Error, "more than 100 interim responses", &["in-1000"]),
    (Outcome::Ok, "a name has no limit but that of its head", &["hl-name-8192"]),
    (Outcome::Ok, "lengths are numbers, however they are spelled", &["cl-leading-zeros-400"]),
    (Outcome::Ok, "leading zeros are digits, within the limit of their line", &["cs-leading-zeros-1000"]),
    (
        Outcome::Ok,
        "blanks may stand behind a chunk size, and cost the connection",
        &["cs-trail-sp", "cs-trail-tab", "cs-last-trail-sp"],
    ),
    (Outcome::Ok, "`identity` changes nothing, and content ends with the connection", &["te-identity"]),
    (Outcome::Ok, "chunks of an HTTP/1.0 server are read, and it is hung up on", &["v10-te", "v10-te-ka"]),
    (
        Outcome::Ok,
        "an extension may lack its name or its value: its end is beyond doubt",
        &["cx-bad-empty", "cx-bad-empty-two", "cx-bad-no-val", "cx-bad-no-name"],
    ),
    (
        Outcome::Ok,
        "a length means nothing where no content can be",
        &["nb-204-cl-bad", "nb-head-cl-bad", "nb-head-cl-conflict", "in-103-cl-bad"],
    ),
    (Outcome::Ok, "a 205 has content like others", &["nb-205-nothing"]),
    (Outcome::Error, "nothing may follow the last member of gzip", &["ce-gzip-trailing-garbage"]),
    (Outcome::Ok, "content is decoded in bounded pieces, whatever its size", &["ce-bomb-10m"]),
];

/// Accepted findings, each with the reason for accepting it.
pub(crate) type Accepted = &'static [(&'static str, &'static str)];

/// Outcomes of all cases that were played in one way, and in one mode of cutting the wire.
pub(crate) struct Sheet {
    level: &'static str,
    mode: &'static str,
    /// Capabilities that the client has when it is played in this way.
    caps: &'static [&'static str],
    results: BTreeMap<&'static str, Got>,
    /// Failures that are not findings: differences between modes, and requests that failed.
    troubles: Vec<String>,
}

impl Sheet {
    pub(crate) fn new(level: &'static str, mode: &'static str, caps: &'static [&'static str]) -> Self {
        Self { level, mode, caps, results: BTreeMap::new(), troubles: Vec::new() }
    }

    pub(crate) fn add(&mut self, case: &'static Case, got: Got) {
        assert!(self.results.insert(&case.id, got).is_none(), "{} was played twice", case.id);
    }

    pub(crate) fn trouble(&mut self, case: &Case, what: impl fmt::Display) {
        self.troubles.push(format!("{}: {what}   [{}]", case.id, case.rule_list()));
    }

    /// Compares all outcomes with `reference`. Every difference is a failure.
    pub(crate) fn compare(&mut self, reference: &BTreeMap<&'static str, Got>) {
        for case in Case::all() {
            let pair = self.results.get(&*case.id).zip(reference.get(&*case.id));
            if let Some(difference) = pair.and_then(|(got, reference)| got.differs(reference)) {
                self.trouble(case, difference);
            }
        }
    }

    pub(crate) fn into_results(self) -> BTreeMap<&'static str, Got> {
        self.results
    }

    /// Writes the results for score.py, prints the findings and the cases that were left out, and fails if anything is
    /// wrong.
    pub(crate) fn finish(self, accepted: Accepted) {
        let (level, mode) = (self.level, self.mode);
        let mut failures = Vec::new();
        let mut hardening = BTreeSet::new();
        let (findings, report) = self.score();
        println!("{report}");
        for (case, finding) in findings {
            match &*finding.severity {
                "MUST" | "GRAMMAR" | "SHOULD" => failures.push(finding.line(case)),
                _ if self.results[&*case.id].outcome == Outcome::Hang => failures.push(finding.line(case)),
                "HARDENING" if accepted.iter().any(|(id, _)| *id == case.id) => {
                    hardening.insert(&*case.id);
                }
                "HARDENING" => failures.push(finding.line(case)),
                // A later check in this function covers the cases that `CHOICES` lists.
                _ if case.choice().is_some() => {}
                _ => failures.push(finding.line(case)),
            }
        }
        for id in CHOICES.iter().flat_map(|(.., ids)| *ids) {
            if !Case::all().iter().any(|case| case.id == *id) {
                failures.push(format!("{id}: there is no such case to decide"));
            }
        }
        for case in Case::all() {
            let id = &case.id;
            let Some(got) = self.results.get(&**id) else { continue };
            match (case.choice(), case.advises()) {
                (None, None) => {
                    failures.push(format!("{id}: the case is not in CHOICES and has no advised outcome"))
                }
                (Some((choice, _)), advice) if advice == Some(choice) => {
                    failures.push(format!("{id}: it was decided to end as it is advised"));
                }
                (Some((choice, reason)), _) if choice != got.outcome => {
                    failures.push(format!("{id}: {:?}, and {choice:?} was decided: {reason}", got.outcome));
                }
                _ => {}
            }
        }
        assert!(hardening.len() <= 6, "{} HARDENING findings are too many", hardening.len());
        for (id, reason) in accepted.iter().filter(|(id, _)| self.results.contains_key(id)) {
            println!("accepted  {id}: {reason}");
            if !hardening.contains(id) {
                failures.push(format!("{id}: there is no finding to accept any more"));
            }
        }
        failures.extend(self.troubles);
        let count = failures.len();
        assert!(failures.is_empty(), "{level}, {mode}: {count} failures:\n{}", failures.join("\n"));
    }

    /// Returns all findings, and a report that ends with the command that scores the written results again.
    pub(crate) fn score(&self) -> (Vec<(&'static Case, Finding)>, String) {
        let mut text = format!("\n== {}, {}\n", self.level, self.mode);
        let (mut missing, mut run) = (0, BTreeMap::<_, usize>::new());
        let mut found = BTreeMap::<_, usize>::new();
        let mut all = Vec::new();
        let mut skipped = BTreeMap::<_, Vec<_>>::new();
        for case in Case::all() {
            if let Some(cap) = case.takes().filter(|cap| !self.caps.contains(cap)) {
                skipped.entry(cap).or_default().push(&*case.id);
                continue;
            }
            let Some(got) = self.results.get(&*case.id) else {
                missing += 1;
                continue;
            };
            *run.entry(&*case.level).or_default() += 1;
            let findings = findings(case, got);
            for severity in findings.iter().map(|finding| finding.severity.clone()).collect::<BTreeSet<_>>() {
                *found.entry(severity).or_default() += 1;
            }
            all.extend(findings.into_iter().map(|finding| (case, finding)));
        }
        for (case, finding) in &all {
            text += &finding.line(case);
            text.push('\n');
        }
        for (cap, ids) in &skipped {
            let (count, ids) = (ids.len(), ids.join(" "));
            text += &format!(
                "not played: {count} that take {cap:?}, which this level is not able to do: {ids}\n"
            );
        }
        if missing > 0 {
            text += &format!("not played: {missing} whose wires are too long to be cut like this\n");
        }
        // The report has the same last line as the output of score.py.
        let counts = json!({
            "run": run.values().sum::<usize>(),
            "missing": missing,
            "per_level": run,
            "cases_with_findings": found,
        });
        let (cases, results) = self.write();
        let caps = if self.caps.is_empty() { "none".to_owned() } else { self.caps.join(",") };
        text += &format!("{counts}\npython3 tests/data/score.py {cases} {results} --caps {caps} -v");
        (all, text)
    }

    fn write(&self) -> (String, String) {
        let write = |name: &str, lines: String| {
            let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("conformance");
            std::fs::create_dir_all(&folder).unwrap();
            let path = folder.join(name);
            // The results are written to a draft that is then renamed, so that no reader finds half a file. Each draft has a
            // name of its own, because tests that run at the same time, in this process or in another, write the same files.
            static DRAFTS: AtomicUsize = AtomicUsize::new(0);
            let number = DRAFTS.fetch_add(1, Ordering::Relaxed);
            let draft = folder.join(format!("{name}.{}-{number}", std::process::id()));
            std::fs::write(&draft, lines).unwrap();
            std::fs::rename(&draft, &path).unwrap();
            path.display().to_string()
        };
        let cases = Case::all().iter().map(|case| case.fields.to_string() + "\n");
        let results = self.results.iter().map(|(id, got)| got.to_json(id) + "\n");
        let name = format!("{}-{}.jsonl", self.level, self.mode);
        (write("cases.jsonl", cases.collect()), write(&name, results.collect()))
    }
}

/// Returns the names and values of the fields as text, decoded as ISO-8859-1 like the case file.
pub(crate) fn latin1(fields: &HeaderMap) -> Vec<(String, String)> {
    let latin1 = |value: &[u8]| value.iter().map(|&octet| char::from(octet)).collect();
    fields.iter().map(|(name, value)| (name.as_str().to_owned(), latin1(value.as_bytes()))).collect()
}

fn pairs(value: &Value) -> Vec<(String, String)> {
    let pair = |pair: &Value| (text(&pair[0]).to_owned(), text(&pair[1]).to_owned());
    value.as_array().into_iter().flatten().map(pair).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// Octets for error messages. The `Debug` output shows at most 40 of them, escaped.
struct Octets<'a>(&'a [u8]);

impl fmt::Debug for Octets<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0[..self.0.len().min(40)].escape_ascii())?;
        if self.0.len() > 40 { write!(f, "... ({})", self.0.len()) } else { Ok(()) }
    }
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn encode(octets: &[u8]) -> String {
    let mut text = String::with_capacity(octets.len().div_ceil(3) * 4);
    for three in octets.chunks(3) {
        let [a, b, c] = [0, 1, 2].map(|at| u32::from(three.get(at).copied().unwrap_or(0)));
        let bits = (a << 16) | (b << 8) | c;
        for at in 0..4 {
            let digit = BASE64[(bits >> (18 - 6 * at)) as usize & 63];
            text.push(if at > three.len() { '=' } else { char::from(digit) });
        }
    }
    text
}

fn decode(text: &str) -> Vec<u8> {
    let mut octets = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0);
    for letter in text.bytes().filter(|letter| *letter != b'=') {
        let digit = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => panic!("{:?} is no base64", char::from(letter)),
        };
        bits = ((bits << 6) | u32::from(digit)) & 0xff_ffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            octets.push((bits >> count) as u8);
        }
    }
    octets
}
