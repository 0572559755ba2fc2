//! The decision about the next step after a redirect, as one function without I/O.
//!
//! [`decide`] resolves `Location`, removes the fields that must not follow, asks the policy, and checks what the policy
//! follows. Invariants: a field that was removed at a change of origin never comes back. User and password of `Location`
//! are never used.

use std::error::Error as StdError;
use std::fmt;

use http::header::{
    AUTHORIZATION, COOKIE, EXPECT, HOST, LAST_MODIFIED, LOCATION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION,
    REFERER, TRAILER, TRANSFER_ENCODING, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use url::{Position, Url};

use crate::redirect::{Choice, Hop, MOST, Policy, Proposal, Redirects, Rule, USUAL};

/// The next step after a redirect.
#[derive(Debug)]
pub(crate) enum Decision {
    /// The caller gets the response, and no redirect is followed.
    Stop,
    Follow(Box<Next>),
    Fail(Refusal),
}

/// The next request of a chain, apart from its header fields.
#[derive(Debug)]
pub(crate) struct Next {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) fragment: Option<String>,
    /// Whether the content of the request is sent again.
    pub(crate) keeps_content: bool,
    /// Whether the next URL has the origin of the latest URL.
    pub(crate) is_same_origin: bool,
}

/// Reason for which a redirect cannot be followed.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// `Location` cannot be resolved, or nothing can be requested from the URL.
    BadLocation(Box<dyn StdError + Send + Sync>),
    /// The response has several unequal `Location` fields.
    Ambiguous,
    /// The next URL has a scheme that begins with this text.
    Scheme(String),
    Downgrade,
    TooMany {
        most: usize,
        is_loop: bool,
    },
    NotReplayable(StatusCode),
    ByPolicy(Box<dyn StdError + Send + Sync>),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadLocation(_) => f.write_str("the server redirects to a location that is not a URL"),
            Self::Ambiguous => f.write_str("the server redirects to several locations at once"),
            Self::Scheme(scheme) => write!(
                f,
                "the server redirects to a URL whose scheme is {scheme:?}: only http and https can be fetched"
            ),
            Self::Downgrade => f.write_str(
                "the server redirects from https to http: redirect::Policy::allow_https_to_http allows this",
            ),
            Self::TooMany { most, is_loop } => {
                write!(f, "the server redirects more than {most} times")?;
                f.write_str(if *is_loop { ", in a loop" } else { "" })?;
                f.write_str(": Error::redirects has the URLs, redirect::Policy sets the limit")
            }
            Self::NotReplayable(status) => write!(
                f,
                "the server redirects with {}, and the content of the request cannot be sent again: \
                 send bytes or a file, or use expect_continue",
                status.as_u16()
            ),
            Self::ByPolicy(_) => f.write_str("the redirect policy refused a redirect"),
        }
    }
}

/// Whether a response with this status is a redirect if it has a `Location` field.
pub(crate) fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Decides what follows the latest hop of `chain`, which a redirect has answered. `headers` are the fields of the
/// request, and become the fields of the next request. `fragment` belongs to the latest URL.
pub(crate) fn decide(
    settings: &Redirects,
    policy: &Policy,
    chain: &[Hop],
    fragment: Option<&str>,
    headers: &mut HeaderMap,
    is_replayable: bool,
) -> Decision {
    let Some(latest) = chain.last() else { return Decision::Stop };
    let mut from = latest.url.clone();
    from.set_fragment(fragment);
    let to = match resolve(&from, &latest.headers) {
        Ok(Some(to)) => to,
        Ok(None) => return Decision::Stop,
        Err(refusal) => return Decision::Fail(refusal),
    };
    let (method, keeps_content) = next_method(latest.status, &latest.method);
    let is_same_origin = to.origin() == from.origin() && to.origin().is_tuple();
    let is_downgrade = from.scheme() == "https" && to.scheme() == "http";
    if !keeps_content {
        remove(headers, is_of_content);
    }
    if !is_same_origin {
        remove_secrets(headers);
    }
    refer(settings, &from, is_same_origin, is_downgrade, headers);
    let is_loop = chain.iter().any(|hop| hop.method == method && same_page(&hop.url, &to));
    let too_many = |most| Decision::Fail(Refusal::TooMany { most, is_loop });
    match &policy.rule {
        Rule::None => return Decision::Stop,
        Rule::SameOrigin if !is_same_origin => return Decision::Stop,
        Rule::Limited(most) if chain.len() > *most => return too_many(*most),
        Rule::SameOrigin if chain.len() > USUAL => return too_many(USUAL),
        Rule::Custom(_) if chain.len() > MOST => return too_many(MOST),
        Rule::Custom(custom) => {
            match custom(Proposal { method: &method, to: &to, chain, latest, headers }).0 {
                Choice::Follow => {}
                Choice::Stop => return Decision::Stop,
                Choice::Fail(error) => return Decision::Fail(Refusal::ByPolicy(error)),
            }
        }
        Rule::Limited(_) | Rule::SameOrigin => {}
    }
    if !matches!(to.scheme(), "http" | "https") {
        return Decision::Fail(Refusal::Scheme(to.scheme().chars().take(MOST_OF_SCHEME).collect()));
    }
    if is_downgrade && !policy.allows_http {
        return Decision::Fail(Refusal::Downgrade);
    }
    if keeps_content && !is_replayable {
        return Decision::Fail(Refusal::NotReplayable(latest.status));
    }
    let uri = match Uri::try_from(&to[..Position::AfterQuery]) {
        Ok(uri) => uri,
        Err(error) => return Decision::Fail(Refusal::BadLocation(error.into())),
    };
    let fragment = to.fragment().map(Into::into);
    Decision::Follow(Box::new(Next { method, uri, fragment, keeps_content, is_same_origin }))
}

/// Whether a redirect from `from` leads to another origin. `headers` are the fields of the redirect.
pub(crate) fn leaves_origin(from: &Url, headers: &HeaderMap) -> bool {
    resolve(from, headers).is_ok_and(|to| to.is_some_and(|to| to.origin() != from.origin()))
}

/// Resolves `Location` by the rules of WHATWG. Returns `None` if there is no such field. Several equal fields count as
/// one field. The next URL inherits the fragment.
fn resolve(from: &Url, headers: &HeaderMap) -> Result<Option<Url>, Refusal> {
    let mut locations = headers.get_all(LOCATION).iter();
    let Some(location) = locations.next() else { return Ok(None) };
    if locations.any(|other| other != location) {
        return Err(Refusal::Ambiguous);
    }
    let mut text = String::new();
    match std::str::from_utf8(location.as_bytes()) {
        Ok(utf8) => text.push_str(utf8),
        // Bytes of another charset keep their values.
        Err(_) => location.as_bytes().iter().for_each(|byte| match byte.is_ascii() {
            true => text.push(*byte as char),
            false => text.push_str(&format!("%{byte:02X}")),
        }),
    }
    let mut to = from.join(&text).map_err(|error| Refusal::BadLocation(error.into()))?;
    // A URL without a host, such as a mailto URL, has neither user nor password.
    let _ = to.set_username("");
    let _ = to.set_password(None);
    if to.fragment().is_none() && to.has_host() {
        to.set_fragment(from.fragment());
    }
    Ok(Some(to))
}

/// Returns the method of the next request, and whether the content stays.
/// <https://www.rfc-editor.org/rfc/rfc9110#section-15.4>.
fn next_method(status: StatusCode, method: &Method) -> (Method, bool) {
    match status.as_u16() {
        301 | 302 if *method == Method::POST => (Method::GET, false),
        303 if *method == Method::HEAD => (Method::HEAD, false),
        303 => (Method::GET, false),
        _ => (method.clone(), true),
    }
}

fn same_page(one: &Url, other: &Url) -> bool {
    one[..Position::AfterQuery] == other[..Position::AfterQuery]
}

fn remove(headers: &mut HeaderMap, is_unwanted: impl Fn(&HeaderName) -> bool) {
    let unwanted: Vec<_> = headers.keys().filter(|name| is_unwanted(name)).cloned().collect();
    for name in unwanted {
        headers.remove(name);
    }
}

/// Whether a field describes or announces content.
fn is_of_content(name: &HeaderName) -> bool {
    let names = [TRANSFER_ENCODING, EXPECT, TRAILER, LAST_MODIFIED];
    let text = name.as_str();
    text.starts_with("content-") || names.contains(name) || text == "digest" || text == "repr-digest"
}

/// Removes the fields that must not follow to another origin.
fn remove_secrets(headers: &mut HeaderMap) {
    let names = [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION, PROXY_AUTHENTICATE, WWW_AUTHENTICATE, HOST];
    let secret: Vec<_> =
        headers.iter().filter(|(_, value)| value.is_sensitive()).map(|(name, _)| name.clone()).collect();
    remove(headers, |name| names.contains(name) || secret.contains(name) || name.as_str() == "cookie2");
}

/// Sets `Referer` if the client wants it, and removes it on the way from https to http.
/// <https://www.rfc-editor.org/rfc/rfc9110#section-10.1.3>.
fn refer(
    settings: &Redirects,
    from: &Url,
    is_same_origin: bool,
    is_downgrade: bool,
    headers: &mut HeaderMap,
) {
    if is_downgrade {
        headers.remove(REFERER);
    } else if settings.refers {
        let origin = format!("{}/", from.origin().ascii_serialization());
        let referer = if is_same_origin { &from[..Position::AfterQuery] } else { &origin };
        if let Ok(value) = HeaderValue::from_str(referer) {
            // If the map is full, no `Referer` is added, because no server needs this field.
            let _ = headers.try_insert(REFERER, value);
        }
    }
}

/// Largest number of characters of a scheme that an error shows. A server can send a scheme of any length.
const MOST_OF_SCHEME: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "http://a.test:81/d/e?old";

    fn hop(method: &Method, url: &str, status: u16, location: &[u8]) -> Hop {
        let headers = HeaderMap::from_iter([(LOCATION, HeaderValue::from_bytes(location).unwrap())]);
        let status = StatusCode::from_u16(status).unwrap();
        Hop { method: method.clone(), url: Url::parse(url).unwrap(), status, headers }
    }

    /// Decides about the last hop of a chain, for a request with `headers` whose URL has the fragment `top`.
    fn decide_with(policy: &Policy, chain: &[Hop], headers: &mut HeaderMap) -> Decision {
        decide(&Redirects::default(), policy, chain, Some("top"), headers, true)
    }

    /// Decides about a 302 from `from` to `location`.
    fn decide_on(policy: &Policy, from: &str, location: &str) -> Decision {
        decide_with(policy, &[hop(&Method::GET, from, 302, location.as_bytes())], &mut HeaderMap::new())
    }

    fn follow(decision: Decision) -> Next {
        match decision {
            Decision::Follow(next) => *next,
            other => panic!("{other:?}"),
        }
    }

    fn refusal(decision: Decision) -> String {
        match decision {
            Decision::Fail(refusal) => refusal.to_string(),
            other => panic!("{other:?}"),
        }
    }

    fn fields(names: &[&str]) -> HeaderMap {
        let field = |name: &&str| (name.parse().unwrap(), HeaderValue::from_static("v"));
        names.iter().map(field).collect::<Vec<(HeaderName, _)>>().into_iter().collect()
    }

    #[test]
    fn a_40_method_and_content_follow_from_the_status_in_every_row() {
        for status in [301, 302, 303, 307, 308] {
            for name in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"] {
                let (next, keeps) = match (status, name) {
                    (301 | 302, "POST") => ("GET", false),
                    (303, "HEAD") => ("HEAD", false),
                    (303, _) => ("GET", false),
                    _ => (name, true),
                };
                let chain = [hop(&name.parse().unwrap(), BASE, status, b"/x")];
                let next_one = follow(decide_with(&Policy::default(), &chain, &mut HeaderMap::new()));
                let got = (next_one.method.as_str(), next_one.keeps_content);
                assert_eq!(got, (next, keeps), "RD-05 RD-06 A-40: {status} {name}");
                let decision = decide(
                    &Redirects::default(),
                    &Policy::default(),
                    &chain,
                    None,
                    &mut HeaderMap::new(),
                    false,
                );
                let is_refused = matches!(decision, Decision::Fail(Refusal::NotReplayable(_)));
                assert_eq!(is_refused, keeps, "RD-06 A-40: content that stays must be replayable");
            }
        }
        assert!(![300, 304, 305, 306, 399].iter().any(|it| is_redirect(StatusCode::from_u16(*it).unwrap())));
    }

    #[test]
    fn a_39_locations_are_resolved_and_inherit_the_fragment() {
        for (location, to) in [
            (&b""[..], "http://a.test:81/d/e?old#top"),
            (b"#f", "http://a.test:81/d/e?old#f"),
            (b"#", "http://a.test:81/d/e?old#"),
            (b"?q", "http://a.test:81/d/e?q#top"),
            (b"x", "http://a.test:81/d/x#top"),
            (b"../x/./y#f", "http://a.test:81/x/y#f"),
            (b"//b.test/x", "http://b.test/x#top"),
            (b"https://b.test", "https://b.test/#top"),
            (b"HTTP://B.test:80/x", "http://b.test/x#top"),
            (b"\\\\b.test\\x", "http://b.test/x#top"),
            (b"/a b", "http://a.test:81/a%20b#top"),
            (b"/\xc3\xbc", "http://a.test:81/%C3%BC#top"),
            (b"/\xff", "http://a.test:81/%FF#top"),
            (b"http://\xc3\xbc.test/", "http://xn--tda.test/#top"),
            (b"http://u:p@b.test/x", "http://b.test/x#top"),
            (b"http://0x7f000001/", "http://127.0.0.1/#top"),
            (b"http://2130706433/", "http://127.0.0.1/#top"),
            (b"http://0177.0.0.1/", "http://127.0.0.1/#top"),
            (b"http://127.1/", "http://127.0.0.1/#top"),
        ] {
            let chain = [hop(&Method::GET, BASE, 302, location)];
            let next = follow(decide_with(&Policy::default(), &chain, &mut HeaderMap::new()));
            let got = next.fragment.map_or_else(|| next.uri.to_string(), |it| format!("{}#{it}", next.uri));
            assert_eq!(got, to, "RD-11 A-32 A-38 A-39: {location:?}");
        }
    }

    #[test]
    fn a_39_what_is_no_single_url_is_refused() {
        let long = format!("/{}", "x".repeat(70_000));
        for location in ["http://", "http://[::1", "http://a b/", "http://h:65536/", "http://h:x/", &long] {
            let decision = decide_on(&Policy::default(), BASE, location);
            let is_bad = matches!(decision, Decision::Fail(Refusal::BadLocation(_)));
            assert!(is_bad, "RD-11 A-39: {:.20} {decision:?}", location);
        }
        for (other, is_refused) in [("/x", false), ("/y", true)] {
            let mut hop = hop(&Method::GET, BASE, 302, b"/x");
            hop.headers.append(LOCATION, HeaderValue::from_static(other));
            let decision = decide_with(&Policy::default(), &[hop], &mut HeaderMap::new());
            assert_eq!(matches!(decision, Decision::Fail(Refusal::Ambiguous)), is_refused, "RD-11 A-39");
        }
        for scheme in ["ftp://h/", "file:///etc/passwd", "javascript:1", "data:,x", "ws://h/", "mailto:u@h"] {
            let refusal = refusal(decide_on(&Policy::default(), BASE, scheme));
            assert!(refusal.contains(scheme.split(':').next().unwrap()), "A-37: {refusal}");
            assert!(matches!(decide_on(&Policy::same_origin(), BASE, scheme), Decision::Stop), "A-37");
        }
        let mut hop = hop(&Method::GET, BASE, 302, b"");
        hop.headers.clear();
        assert!(matches!(decide_with(&Policy::default(), &[hop], &mut HeaderMap::new()), Decision::Stop));
    }

    #[test]
    fn a_35_secrets_follow_only_within_the_origin() {
        const SECRETS: [&str; 7] = [
            "authorization",
            "cookie",
            "cookie2",
            "proxy-authorization",
            "proxy-authenticate",
            "www-authenticate",
            "host",
        ];
        for (to, is_kept) in [
            ("/x", true),
            ("https://a.test/x", true),
            ("https://A.test:443/x", true),
            ("https://a.test:444/x", false),
            ("https://a.test./x", false),
            ("https://x.a.test/", false),
            ("https://test/", false),
            ("https://b.test/", false),
            ("http://a.test/", false),
            ("http://a.test:443/", false),
        ] {
            let mut headers = fields(&SECRETS);
            let mut key = HeaderValue::from_static("secret");
            key.set_sensitive(true);
            headers.insert("x-key", HeaderValue::from_static("plain"));
            headers.append("x-key", key);
            headers.insert("x-plain", HeaderValue::from_static("plain"));
            let policy = Policy::default().allow_https_to_http(true);
            let chain = [hop(&Method::GET, "https://a.test/", 307, to.as_bytes())];
            let next = follow(decide_with(&policy, &chain, &mut headers));
            assert_eq!(next.is_same_origin, is_kept, "RD-03 RD-04 A-35: {to}");
            for name in SECRETS.into_iter().chain(["x-key"]) {
                let has = headers.contains_key(name);
                assert_eq!(has, is_kept, "RD-01 RD-02 RD-03 RD-04 RD-08 A-35 A-36: {to} {name}");
            }
            assert!(headers.contains_key("x-plain"), "{to}");
        }
    }

    /// Parts of random locations.
    const PARTS: [&[u8]; 32] = [
        b"http:",
        b"https:",
        b"HTTP:",
        b"ftp:",
        b"//",
        b"/",
        b"\\",
        b"a.test",
        b"A.TEST",
        b"b.test",
        b"a.test.",
        b"%61.test",
        b"\xef\xbd\x81.test",
        b"[::1]",
        b"1",
        b"@",
        b"u:p@",
        b":",
        b":81",
        b":443",
        b":0",
        b"?",
        b"#",
        b"..",
        b"%2e",
        b" ",
        b"\t",
        b"\xff",
        b"\xc3\xbc",
        b";",
        b".",
        b"x",
    ];

    /// Checks that a redirect to a random location keeps secrets only within the origin, and leads only to http and
    /// https.
    #[test]
    fn a_35_no_location_takes_secrets_out_of_the_origin() {
        let mut random = crate::random::generator();
        let policy = Policy::default().allow_https_to_http(true);
        let mut counts = [0; 2];
        for _ in 0..50_000 {
            let location: Vec<u8> =
                (0..random(8)).flat_map(|_| PARTS[random(PARTS.len())]).copied().collect();
            let base = ["http://a.test:81/d/e?old", "https://a.test/"][random(2)];
            let mut headers = fields(&["authorization", "cookie"]);
            let decision = decide_with(&policy, &[hop(&Method::GET, base, 302, &location)], &mut headers);
            let Decision::Follow(next) = decision else { continue };
            let is_same = next.uri.scheme_str() == base.split(':').next()
                && next.uri.host() == Some("a.test")
                && next.uri.port_u16() == base.contains(":81").then_some(81);
            let shown = format!("A-35 A-38: {base} {:?} {}", String::from_utf8_lossy(&location), next.uri);
            assert_eq!(
                (next.is_same_origin, headers.len()),
                (is_same, if is_same { 2 } else { 0 }),
                "{shown}"
            );
            let authority = next.uri.authority().map_or("", |authority| authority.as_str());
            assert!(!authority.is_empty() && !authority.contains('@'), "{shown}");
            assert!(matches!(next.uri.scheme_str(), Some("http" | "https")), "{shown}");
            counts[usize::from(is_same)] += 1;
        }
        assert!(counts.iter().all(|count| *count > 1_000), "{counts:?}");
    }

    #[test]
    fn a_40_content_fields_go_with_the_content() {
        const OF_CONTENT: [&str; 12] = [
            "content-length",
            "content-type",
            "content-encoding",
            "content-language",
            "content-location",
            "content-digest",
            "digest",
            "repr-digest",
            "last-modified",
            "transfer-encoding",
            "expect",
            "trailer",
        ];
        for (status, is_kept) in [(302, false), (303, false), (307, true)] {
            let mut headers = fields(&OF_CONTENT);
            headers.insert("accept", HeaderValue::from_static("*/*"));
            let chain = [hop(&Method::POST, BASE, status, b"/x")];
            follow(decide_with(&Policy::default(), &chain, &mut headers));
            for name in OF_CONTENT {
                assert_eq!(headers.contains_key(name), is_kept, "RD-05 A-40: {status} {name}");
            }
            assert!(headers.contains_key("accept"));
        }
    }

    #[test]
    fn a_36_a_downgrade_needs_permission_and_tells_no_referer() {
        let (from, to) = ("https://a.test/p?q", "http://a.test/");
        assert!(
            refusal(decide_on(&Policy::default(), from, to)).contains("allow_https_to_http"),
            "RD-03 A-36"
        );
        let custom = Policy::custom(|redirect| redirect.follow());
        assert!(refusal(decide_on(&custom, from, to)).contains("allow_https_to_http"), "RD-03 A-36");
        let settings = Redirects { policy: Policy::default().allow_https_to_http(true), refers: true };
        for (from, to, referer) in [
            (from, to, None),
            (from, "/x", Some("https://a.test/p?q")),
            (from, "https://b.test/", Some("https://a.test/")),
            ("http://a.test/p", "https://a.test/", Some("http://a.test/")),
        ] {
            let mut headers = fields(&["referer"]);
            let chain = [hop(&Method::GET, from, 302, to.as_bytes())];
            follow(decide(&settings, &settings.policy, &chain, Some("top"), &mut headers, true));
            let got = headers.get(REFERER).map(|value| value.to_str().unwrap());
            assert_eq!(got, referer, "A-36 A-78: {from} {to}");
        }
    }

    #[test]
    fn a_34_each_policy_has_its_limit() {
        let custom = || Policy::custom(|redirect| redirect.follow());
        for (policy, most) in [
            (Policy::default(), 10),
            (Policy::limited(0), 0),
            (Policy::limited(3), 3),
            (Policy::same_origin(), 10),
            (custom(), 100),
        ] {
            let hop = |nth: usize| hop(&Method::GET, &format!("{BASE}{nth}"), 302, b"/x");
            let mut chain: Vec<_> = (0..most).map(hop).collect();
            if most > 0 {
                follow(decide_with(&policy, &chain, &mut HeaderMap::new()));
            }
            chain.push(hop(most));
            let text = refusal(decide_with(&policy, &chain, &mut HeaderMap::new()));
            assert!(text.contains(&format!("more than {most} times:")), "RD-12 A-34: {text}");
            chain[0].url = Url::parse("http://a.test:81/x#other").unwrap();
            let text = refusal(decide_with(&policy, &chain, &mut HeaderMap::new()));
            assert!(text.contains("in a loop"), "RD-12 A-34: {text}");
        }
        assert!(matches!(decide_on(&Policy::none(), BASE, "/x"), Decision::Stop), "RD-09");
        assert!(matches!(decide_on(&Policy::same_origin(), BASE, "http://a.test/"), Decision::Stop), "RD-04");
    }

    #[test]
    fn rd_08_a_custom_policy_sees_and_edits_the_next_request() {
        let policy = Policy::custom(|mut redirect| {
            assert_eq!((redirect.status().as_u16(), redirect.method()), (303, &Method::GET));
            assert_eq!((redirect.from().as_str(), redirect.chain().len()), (BASE, 1));
            assert!(!redirect.headers().contains_key(AUTHORIZATION), "secrets are removed before");
            redirect.headers_mut().remove("x-api-key");
            redirect.headers_mut().insert("x-new", HeaderValue::from_static("v"));
            match redirect.to().path() {
                "/stop" => redirect.stop(),
                "/error" => redirect.error("no"),
                _ => redirect.follow(),
            }
        });
        let decide_to = |to: &str| {
            let mut headers = fields(&["authorization", "x-api-key", "x-plain"]);
            let chain = [hop(&Method::POST, BASE, 303, to.as_bytes())];
            (decide_with(&policy, &chain, &mut headers), headers)
        };
        let (decision, headers) = decide_to("http://b.test/x");
        follow(decision);
        assert_eq!(headers, fields(&["x-plain", "x-new"]), "RD-08");
        assert!(matches!(decide_to("http://b.test/stop").0, Decision::Stop), "RD-08");
        let decision = decide_to("http://b.test/error").0;
        assert!(matches!(decision, Decision::Fail(Refusal::ByPolicy(error)) if error.to_string() == "no"));
    }
}
