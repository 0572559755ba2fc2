//! One entry of a HAR file, made from the record of an attempt.
//!
//! This file does no I/O. Invariants: unless the caller asks for secrets, no entry holds the value of a field of
//! [`SECRET_FIELDS`], a value that is marked as sensitive, the value of a cookie, or a value that signs a URL. The
//! phases of an entry sum to its time.

use std::time::Duration;

use http::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_TYPE, COOKIE, LOCATION,
    PROXY_AUTHORIZATION, REFERER, SET_COOKIE, TRANSFER_ENCODING,
};
use http::{HeaderMap, HeaderName, HeaderValue, Version};
use serde_json::{Map, Value, json};

use super::date::iso_8601;
use crate::error::without_signature;
use crate::record::{ExchangeOutcome, ExchangeRecord};
use crate::time;
use crate::timings::Timings;

/// The fields whose values are secrets in any message.
const SECRET_FIELDS: [HeaderName; 4] = [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE, SET_COOKIE];
/// The fields whose values are URLs.
const URL_FIELDS: [HeaderName; 3] = [LOCATION, CONTENT_LOCATION, REFERER];
const REDACTED: &str = "REDACTED";

/// Makes the entry of an attempt. The entry holds secrets only if `keeps_secrets` is true.
pub(super) fn entry(record: &ExchangeRecord, keeps_secrets: bool) -> Value {
    let maker = Maker { record, keeps_secrets };
    let (timings, total) = timings(record.timings());
    let mut entry = json!({
        "startedDateTime": iso_8601(time::unix_milliseconds(record.started())),
        "time": total,
        "request": maker.request(),
        "response": maker.response(),
        "cache": {},
        "timings": timings,
    });
    if let Some(connection) = record.connection() {
        entry["connection"] = connection.id().to_string().into();
        entry["_reused"] = connection.is_reused().into();
        if let Some(peer) = connection.peer_addr() {
            entry["serverIPAddress"] = peer.ip().to_string().into();
        }
    }
    if let Some(error) = error(record) {
        entry["_error"] = error.into();
        entry["_phase"] = record.phase().to_string().into();
    }
    if let Some(reason) = record.close_reason() {
        entry["_closeReason"] = reason.into();
    }
    if record.resend_count() > 0 {
        entry["_resendCount"] = record.resend_count().into();
    }
    if let Some(cause) = record.cause() {
        entry["_resendCause"] = cause.as_str().into();
    }
    if let Some(template) = record.url_template() {
        entry["_urlTemplate"] = template.into();
    }
    entry
}

struct Maker<'a> {
    record: &'a ExchangeRecord,
    keeps_secrets: bool,
}

impl Maker<'_> {
    fn request(&self) -> Value {
        let (record, fields) = (self.record, self.record.request_headers());
        let url = self.url(&record.uri().to_string());
        let query = url.split_once('?').map_or("", |(_, query)| query);
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let pairs: Value = pairs.map(|(name, value)| json!({ "name": name, "value": value })).collect();
        // No head is empty. The size is zero if the attempt ended before its head was encoded.
        let head = record.request_head_size();
        let mut request = json!({
            "method": record.method().as_str(),
            "url": url,
            "httpVersion": "HTTP/1.1",
            "cookies": self.cookies_sent(fields),
            "headers": self.headers(fields),
            "queryString": pairs,
            "headersSize": if head == 0 { json!(-1) } else { head.into() },
            "bodySize": record.request_body_size(),
        });
        let has_length = fields.get(CONTENT_LENGTH).is_some_and(|length| length != "0");
        if has_length || fields.contains_key(TRANSFER_ENCODING) {
            request["postData"] = json!({
                "mimeType": text(fields, &CONTENT_TYPE),
                "text": "",
                "comment": "the content is not kept",
            });
        }
        request
    }

    fn response(&self) -> Value {
        let record = self.record;
        let none = HeaderMap::new();
        let fields = record.response_headers().unwrap_or(&none);
        let status = record.status();
        let phrase = record.reason().map(String::from_utf8_lossy);
        let usual = || status.and_then(|status| status.canonical_reason()).unwrap_or_default().into();
        let location = match status {
            Some(status) if status.is_redirection() => self.url(&text(fields, &LOCATION)),
            _ => String::new(),
        };
        let size: Value = status.map_or_else(|| (-1).into(), |_| record.response_body_size().into());
        let mut response = json!({
            "status": status.map_or(0, |status| status.as_u16()),
            "statusText": phrase.unwrap_or_else(usual),
            "httpVersion": match record.version() {
                Some(Version::HTTP_10) => "HTTP/1.0",
                Some(_) => "HTTP/1.1",
                None => "",
            },
            "cookies": self.cookies_received(fields),
            "headers": self.headers(fields),
            "content": content(fields, record.response_body_size()),
            "redirectURL": location,
            "headersSize": record.response_head_size().map_or_else(|| json!(-1), Value::from),
            "bodySize": size,
            "_transferSize": record.bytes_received(),
        });
        if let Some(error) = error(record) {
            response["_error"] = error.into();
        }
        response
    }

    fn headers(&self, fields: &HeaderMap) -> Value {
        fields
            .iter()
            .map(|(name, value)| json!({ "name": name.as_str(), "value": self.value(name, value) }))
            .collect()
    }

    fn value(&self, name: &HeaderName, value: &HeaderValue) -> String {
        let text = String::from_utf8_lossy(value.as_bytes());
        if self.keeps_secrets {
            return text.into_owned();
        }
        match () {
            () if value.is_sensitive() || SECRET_FIELDS.contains(name) => REDACTED.into(),
            () if URL_FIELDS.contains(name) => self.url(&text),
            () => text.into_owned(),
        }
    }

    /// Returns a URL without its fragment and, unless secrets are kept, without its secrets.
    fn url(&self, url: &str) -> String {
        let url = url.split('#').next().unwrap_or_default();
        if self.keeps_secrets { url.to_owned() } else { without_signature(without_user(&without_tabs(url))) }
    }

    fn cookies_sent(&self, fields: &HeaderMap) -> Value {
        let values = fields.get_all(COOKIE).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
        let pairs =
            values.flat_map(|value| value.split(';').map(|pair| self.cookie(pair)).collect::<Vec<_>>());
        pairs.flatten().map(Value::from).collect()
    }

    fn cookies_received(&self, fields: &HeaderMap) -> Value {
        let values = fields.get_all(SET_COOKIE).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
        let cookies = values.filter_map(|value| {
            let mut parts = value.split(';');
            let mut cookie = self.cookie(parts.next()?)?;
            for part in parts {
                let (name, value) = part.split_once('=').unwrap_or((part, ""));
                let (key, value) = match name.trim().to_ascii_lowercase().as_str() {
                    "path" => ("path", value.trim().into()),
                    "domain" => ("domain", value.trim().into()),
                    "httponly" => ("httpOnly", true.into()),
                    "secure" => ("secure", true.into()),
                    _ => continue,
                };
                cookie.insert(key.into(), value);
            }
            Some(cookie)
        });
        cookies.map(Value::from).collect()
    }

    /// Reads the pair of a cookie. A pair without an equals sign is the value of a cookie without a name, as RFC
    /// 6265bis says.
    fn cookie(&self, pair: &str) -> Option<Map<String, Value>> {
        let pair = pair.trim();
        let (name, value) = pair.split_once('=').unwrap_or(("", pair));
        let value = if self.keeps_secrets { value.trim() } else { REDACTED };
        let cookie = [("name", name.trim()), ("value", value)];
        (!pair.is_empty())
            .then(|| cookie.map(|(name, text)| (name.to_owned(), text.into())).into_iter().collect())
    }
}

/// Describes content of which `received` bytes came. If the content is coded, its decoded size is not known.
fn content(fields: &HeaderMap, received: u64) -> Value {
    let mut content = json!({ "size": received, "mimeType": text(fields, &CONTENT_TYPE) });
    if fields.contains_key(CONTENT_ENCODING) {
        content["comment"] = "size before the content coding is removed".into();
    } else {
        content["compression"] = 0.into();
    }
    content
}

/// Returns the phases in milliseconds, and their sum. The sum leaves out `ssl`, which is a part of `connect`.
fn timings(timings: &Timings) -> (Value, f64) {
    let Timings { queued, dns, connect, proxy, tls, send, wait, receive, previous, .. } = *timings;
    let setup: Vec<_> = [connect, proxy, tls].into_iter().flatten().collect();
    let connect: Option<Duration> = (!setup.is_empty()).then(|| setup.into_iter().sum());
    let (blocked, receive) = (previous + queued, receive.unwrap_or_default());
    let time = blocked + dns.unwrap_or_default() + connect.unwrap_or_default() + send + wait + receive;
    let optional = |phase: Option<Duration>| -> Value {
        phase.map_or_else(|| (-1).into(), |phase| milliseconds(phase).into())
    };
    let mut phases = json!({
        "blocked": milliseconds(blocked),
        "dns": optional(dns),
        "connect": optional(connect),
        "ssl": optional(tls),
        "send": milliseconds(send),
        "wait": milliseconds(wait),
        "receive": milliseconds(receive),
    });
    if let Some(proxy) = proxy {
        phases["_proxy"] = milliseconds(proxy).into();
    }
    (phases, milliseconds(time))
}

/// Returns a duration with all its nanoseconds. A number of JSON holds the nanoseconds of 100 days exactly.
fn milliseconds(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1e6
}

/// Returns a URL without tabs, which browsers leave out wherever they stand.
fn without_tabs(url: &str) -> String {
    url.replace('\t', "")
}

/// Returns a URL, which may be relative, without its user and password. Browsers take a backslash for a slash, and need no
/// slashes after `http:` and `https:`.
fn without_user(url: &str) -> String {
    const SLASHES: [char; 2] = ['/', '\\'];
    let end = url.find(['/', '\\', '?']).unwrap_or(url.len());
    let scheme = url[..end].find(':').map_or("", |colon| &url[..=colon]);
    let rest = &url[scheme.len()..];
    let host = rest.trim_start_matches(SLASHES);
    let slashes = rest.len() - host.len();
    let is_web = ["http:", "https:"].iter().any(|web| web.eq_ignore_ascii_case(scheme));
    if slashes < 2 && !is_web {
        return url.to_owned();
    }
    let (before, host) = url.split_at(scheme.len() + slashes);
    let (authority, path) = host.split_at(host.find(['/', '\\', '?']).unwrap_or(host.len()));
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{before}{host}{path}")
}

/// Returns the reason for which an attempt was not complete.
fn error(record: &ExchangeRecord) -> Option<String> {
    match record.outcome() {
        ExchangeOutcome::Complete => None,
        ExchangeOutcome::Failed(kind) => Some(format!("{kind:?}")),
        ExchangeOutcome::Cancelled => Some("cancelled".into()),
    }
}

fn text(fields: &HeaderMap, name: &HeaderName) -> String {
    fields.get(name).map_or_else(String::new, |value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn tls_and_the_proxy_lie_within_connect() {
        let all = Timings {
            previous: MS,
            queued: 2 * MS,
            dns: Some(3 * MS),
            connect: Some(4 * MS),
            proxy: Some(5 * MS),
            tls: Some(6 * MS),
            send: Duration::from_nanos(1),
            wait: 8 * MS,
            receive: Some(9 * MS),
            ..Timings::default()
        };
        let (phases, time) = timings(&all);
        let expected = json!({
            "blocked": 3.0, "dns": 3.0, "connect": 15.0, "ssl": 6.0, "_proxy": 5.0,
            "send": 0.000001, "wait": 8.0, "receive": 9.0,
        });
        assert_eq!((phases, time), (expected, 38.000001));
    }

    #[test]
    fn only_phases_that_may_be_absent_are_minus_one() {
        let (phases, time) = timings(&Timings { wait: MS, ..Timings::default() });
        let expected = json!({
            "blocked": 0.0, "dns": -1, "connect": -1, "ssl": -1, "send": 0.0, "wait": 1.0, "receive": 0.0,
        });
        assert_eq!((phases, time), (expected, 1.0));
        let (phases, time) = timings(&Timings { tls: Some(MS), ..Timings::default() });
        assert_eq!((&phases["connect"], &phases["ssl"], time), (&json!(1.0), &json!(1.0), 1.0));
    }

    #[test]
    fn no_url_shows_a_user() {
        for (url, shown) in [
            ("http://user:hunter2@a.test/b@c?d=//e@f", "http://a.test/b@c?d=//e@f"),
            ("//user@a.test:80?x", "//a.test:80?x"),
            ("/path//user@a.test", "/path//user@a.test"),
            ("?next=http://user@a.test/", "?next=http://user@a.test/"),
            ("a/b@c", "a/b@c"),
            ("", ""),
            ("HTTP:/user:hunter2@a.test/b@c", "HTTP:/a.test/b@c"),
            ("https:\\\\user:hunter2@a.test\\b@c", "https:\\\\a.test\\b@c"),
            ("/\\user:hunter2@a.test", "/\\a.test"),
            ("http:user:hunter2@a.test?b@c", "http:a.test?b@c"),
            ("mailto:user@a.test", "mailto:user@a.test"),
            ("ftp://user:hunter2@a.test", "ftp://a.test"),
        ] {
            assert_eq!(without_user(url), shown);
        }
        for (url, shown) in [
            ("http:\t//user:hunter2@a.test/", "http://a.test/"),
            ("/\t/user:hunter2@a.test/", "//a.test/"),
            ("/x?s\tig=hunter2", "/x?sig=REDACTED"),
        ] {
            assert_eq!(without_signature(without_user(&without_tabs(url))), shown);
        }
    }
}
