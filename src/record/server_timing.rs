//! The `Server-Timing` field, in which the server describes its own time: <https://www.w3.org/TR/server-timing/>.
//!
//! This module does no I/O. Invariants: any bytes give a list. Characters that are part of neither a name nor a value are
//! skipped, as the specification demands, and a metric without a name is left out. The number of metrics is bounded.

use std::time::Duration;

use http::HeaderMap;

/// Largest number of metrics that are read from one response.
const MOST: usize = 64;

/// A metric of the `Server-Timing` field, for example how long the server's database took.
///
/// [`Response::server_timing`](crate::Response::server_timing) returns the metrics of a response. The time of a metric
/// is a part of the server's work, so that this time lies within [`Timings::wait`](crate::Timings::wait) if the server
/// began to work only after the whole request had arrived. The server sets the values, and the client does not check
/// them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerTiming {
    /// Name of the metric, such as `db`.
    pub name: String,
    /// Duration of the metric, from the parameter `dur`. `None` if the metric has no such parameter, or if its value is
    /// not a number of milliseconds.
    pub duration: Option<Duration>,
    /// Description of the metric, from the parameter `desc`.
    pub description: Option<String>,
}

impl ServerTiming {
    /// Reads all `Server-Timing` fields, in their order.
    pub(crate) fn of(headers: &HeaderMap) -> Vec<Self> {
        let mut found = Vec::new();
        for field in headers.get_all("server-timing") {
            let text = String::from_utf8_lossy(field.as_bytes());
            let mut rest = &*text;
            while !rest.is_empty() && found.len() < MOST {
                let (metric, after) = take_metric(rest);
                found.extend(metric);
                rest = after;
            }
        }
        found
    }
}

/// Takes a metric from the start of a list, with the comma after it. The first parameter of a name counts. The metric is
/// `None` if it has no name.
fn take_metric(list: &str) -> (Option<ServerTiming>, &str) {
    let (name, rest) = take_token(trimmed(list));
    let mut metric = ServerTiming { name: name.to_owned(), duration: None, description: None };
    let (mut has_duration, mut has_description) = (false, false);
    let mut rest = skipped(rest);
    while let Some(parameter) = rest.strip_prefix(';') {
        let (key, after) = take_token(trimmed(parameter));
        let (value, after) = match trimmed(after).strip_prefix('=') {
            Some(value) => take_value(trimmed(value)),
            None => (String::new(), after),
        };
        rest = skipped(after);
        if key.eq_ignore_ascii_case("dur") && !std::mem::replace(&mut has_duration, true) {
            metric.duration = milliseconds(&value);
        } else if key.eq_ignore_ascii_case("desc") && !std::mem::replace(&mut has_description, true) {
            metric.description = Some(value);
        }
    }
    let rest = rest.strip_prefix(',').unwrap_or(rest);
    (Some(metric).filter(|metric| !metric.name.is_empty()), rest)
}

fn trimmed(text: &str) -> &str {
    text.trim_start_matches([' ', '\t'])
}

/// Skips characters after a name or a value, up to the next parameter or metric.
///
/// > User agents MUST ignore extraneous characters found after a server-timing-param-value but before the next
/// > server-timing-param and before the end of the current server-timing-metric.
///
/// <https://www.w3.org/TR/server-timing/#the-server-timing-header-field>
fn skipped(text: &str) -> &str {
    &text[text.find([';', ',']).unwrap_or(text.len())..]
}

/// Takes a token, which may be empty, from the start of a text: <https://www.rfc-editor.org/rfc/rfc9110#section-5.6.2>.
fn take_token(text: &str) -> (&str, &str) {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    text.split_at(text.bytes().position(|byte| !is_token(byte)).unwrap_or(text.len()))
}

/// Takes a token or a quoted string from the start of a text: <https://www.rfc-editor.org/rfc/rfc9110#section-5.6.4>. A
/// quoted string without its end takes the rest of the text, and is empty.
fn take_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let (token, rest) = take_token(text);
        return (token.to_owned(), rest);
    };
    let (mut value, mut is_escaped) = (String::new(), false);
    for (at, letter) in quoted.char_indices() {
        match letter {
            '\\' if !is_escaped => {
                is_escaped = true;
                continue;
            }
            '"' if !is_escaped => return (value, &quoted[at + 1..]),
            _ => value.push(letter),
        }
        is_escaped = false;
    }
    (String::new(), "")
}

/// Reads a number of milliseconds.
fn milliseconds(text: &str) -> Option<Duration> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit() || b".+-eE".contains(&byte));
    let number: f64 = text.parse().ok().filter(|_| is_number)?;
    Duration::try_from_secs_f64(number / 1000.0).ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn of(fields: &[&[u8]]) -> Vec<(String, Option<u128>, Option<String>)> {
        let name = || http::HeaderName::from_static("server-timing");
        let headers = fields.iter().map(|value| (name(), HeaderValue::from_bytes(value).unwrap()));
        let mut map = HeaderMap::new();
        headers.for_each(|(name, value)| _ = map.append(name, value));
        let parts = |it: ServerTiming| (it.name, it.duration.map(|it| it.as_micros()), it.description);
        ServerTiming::of(&map).into_iter().map(parts).collect()
    }

    fn metric(
        name: &str,
        micros: Option<u128>,
        description: Option<&str>,
    ) -> (String, Option<u128>, Option<String>) {
        (name.into(), micros, description.map(Into::into))
    }

    #[test]
    fn metrics_are_read_as_the_grammar_says() {
        for (value, expected) in [
            ("", vec![]),
            ("miss", vec![metric("miss", None, None)]),
            ("db;dur=53.2", vec![metric("db", Some(53_200), None)]),
            ("db ; DUR = 1 ; Desc = x", vec![metric("db", Some(1_000), Some("x"))]),
            (
                r#"cache;desc="Cache, \"read\"";dur=23.2,app;dur=47"#,
                vec![
                    metric("cache", Some(23_200), Some("Cache, \"read\"")),
                    metric("app", Some(47_000), None),
                ],
            ),
            ("a;dur=1;dur=2;desc=x;desc=y", vec![metric("a", Some(1_000), Some("x"))]),
            ("a;dur;desc", vec![metric("a", None, Some(""))]),
            ("a;other=1;dur=2", vec![metric("a", Some(2_000), None)]),
            (
                "a;dur=-1, b;dur=x, c;dur=inf, d;dur=1e1",
                vec![
                    metric("a", None, None),
                    metric("b", None, None),
                    metric("c", None, None),
                    metric("d", Some(10_000), None),
                ],
            ),
            (",, a ,,b", vec![metric("a", None, None), metric("b", None, None)]),
            // Characters that are part of neither a name nor a value are ignored.
            (
                "a b, c;, d;=1",
                vec![metric("a", None, None), metric("c", None, None), metric("d", None, None)],
            ),
            ("a;dur=1 2;desc=x", vec![metric("a", Some(1_000), Some("x"))]),
            ("a x;dur=1;;desc=\"x\"y", vec![metric("a", Some(1_000), Some("x"))]),
            (
                "a\"b, c;dur=1\"2, d",
                vec![metric("a", None, None), metric("c", Some(1_000), None), metric("d", None, None)],
            ),
            ("a;dur=;dur=1, b;desc=\"open, c", vec![metric("a", None, None), metric("b", None, Some(""))]),
            ("=1, ;dur=1, \"a\"", vec![]),
        ] {
            assert_eq!(of(&[value.as_bytes()]), expected, "{value}");
        }
        assert_eq!(
            of(&[b"a", b"b;desc=\"\xc3\xa9\""]),
            [metric("a", None, None), metric("b", None, Some("é"))]
        );
        assert_eq!(of(&[b"\xff, a"]), [metric("a", None, None)]);
    }

    #[test]
    fn the_number_of_metrics_is_bounded() {
        let many = "a,".repeat(1000);
        assert_eq!(of(&[many.as_bytes(), many.as_bytes()]).len(), MOST);
    }
}
