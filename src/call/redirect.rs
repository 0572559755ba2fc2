//! The decision what follows a response with a redirect, as one function without I/O.
//!
//! [`decide`] resolves `Location`, removes the fields that must not follow, asks the policy, and checks what the policy
//! follows. Invariants: a field that was removed at a change of origin never comes back. User and password of `Location`
//! are never used.

use std::fmt;

use http::header::{
    AUTHORIZATION, COOKIE, EXPECT, HOST, LAST_MODIFIED, LOCATION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION,
    REFERER, TRAILER, TRANSFER_ENCODING, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use url::{Position, Url};

use crate::error::BoxError;
use crate::redirect::{Choice, Hop, MOST, Policy, Proposal, Redirects, Rule, USUAL};

/// What follows a redirect.
#[derive(Debug)]
pub(crate) enum Decision {
    /// The caller gets the response as it is.
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
    /// Whether the next URL has the origin of the latest one.
    pub(crate) is_same_origin: bool,
}

/// Why a redirect cannot be followed.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// `Location` cannot be resolved, or nothing can be requested from the URL.
    BadLocation(BoxError),
    /// Several unequal `Location` fields.
    Ambiguous,
    /// The next URL has this scheme.
    Scheme(String),
    Downgrade,
    TooMany {
        most: usize,
        is_loop: bool,
    },
    NotReplayable(StatusCode),
    ByPolicy(BoxError),
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
/// request, and become the fields of the next one. `fragment` belongs to the latest URL.
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
        return Decision::Fail(Refusal::Scheme(to.scheme().into()));
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

/// Resolves `Location` by the rules of WHATWG. Returns `None` if there is no such field. Several equal fields count as
/// one. The next URL inherits the fragment.
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
            // A map that is full keeps its fields: the field is only a courtesy.
            let _ = headers.try_insert(REFERER, value);
        }
    }
}
