//! Settings of calls: the settings of a client and the settings of one request.

use std::borrow::Cow;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;

use super::cookie::Cookies;
use super::hook::OnRequest;
use super::reserve::Pinned;
use crate::body::coding::Codings;
use crate::codec::Spelling;
use crate::codec::shown::{FieldNames, WithoutUser};
use crate::connect::{AddressFilter, Ways};
use crate::exchange::OnInformational;
use crate::exchange::timeout::{Chosen, Setting};
use crate::record::{KnownMethods, OnExchange};
use crate::redirect::{OwnRedirects, Redirects};
use crate::url::Base;

/// The settings that apply to every call of a client, apart from the settings of the client's pool, dialer and
/// exchanges.
#[derive(Clone)]
pub(crate) struct RequestConfig {
    pub(crate) default_headers: HeaderMap,
    pub(crate) timeout: Setting,
    /// Largest content that is collected in memory, in bytes: 256 MiB by default.
    pub(crate) max_collected_body: usize,
    /// Length of content, in bytes, from which a request says `Expect: 100-continue`.
    pub(crate) expect_continue_above: Option<u64>,
    pub(crate) on_informational: Option<Informed>,
    /// Whether every request says `Connection: close`, because the client keeps no connection.
    pub(crate) closes: bool,
    pub(crate) redirects: Redirects,
    pub(crate) cookies: Cookies,
    /// Whether requests to http URLs are refused.
    pub(crate) https_only: bool,
    /// The URL to which the URLs of requests are joined.
    pub(crate) base: Base,
    pub(crate) on_request: Option<OnRequest>,
    pub(crate) on_exchange: Option<OnExchange>,
    pub(crate) known_methods: KnownMethods,
    /// Spelling of the names of request fields. Boxed because few clients have a spelling: keeps the settings small.
    pub(crate) spelling: Option<Box<Spelling>>,
    /// The content codings that are asked for and decoded.
    pub(crate) codings: Codings,
    pub(crate) ways: Ways,
    /// Filter of the addresses that a proxy may be asked for. `None` allows all addresses.
    pub(crate) filter: Option<AddressFilter>,
}

impl RequestConfig {
    /// Whether heads are changed after they were completed, by a function of the caller or by a spelling.
    #[inline]
    pub(super) fn shapes_heads(&self) -> bool {
        self.on_request.is_some() | self.spelling.is_some()
    }
}

impl Default for RequestConfig {
    fn default() -> Self {
        Self {
            default_headers: HeaderMap::new(),
            timeout: None,
            max_collected_body: crate::response::MAX_COLLECTED,
            expect_continue_above: None,
            on_informational: None,
            closes: false,
            redirects: Redirects::default(),
            cookies: Cookies::default(),
            https_only: false,
            base: Base::default(),
            on_request: None,
            on_exchange: None,
            known_methods: KnownMethods::default(),
            spelling: None,
            codings: Codings::default(),
            ways: Ways::NONE,
            filter: None,
        }
    }
}

impl fmt::Debug for RequestConfig {
    /// Writes only the names of the header fields, because their values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestConfig")
            .field("default_headers", &FieldNames(&self.default_headers))
            .field("timeout", &self.timeout)
            .field("max_collected_body", &self.max_collected_body)
            .field("expect_continue_above", &self.expect_continue_above)
            .field("on_informational", &self.on_informational)
            .field("closes", &self.closes)
            .field("redirects", &self.redirects)
            .field("cookies", &self.cookies)
            .field("https_only", &self.https_only)
            .field("base", &self.base)
            .field("on_request", &self.on_request)
            .field("on_exchange", &self.on_exchange)
            .field("known_methods", &self.known_methods)
            .field("spelling", &self.spelling)
            .field("codings", &self.codings)
            .field("ways", &self.ways)
            .field("filter", &self.filter)
            .finish()
    }
}

/// Function of the caller that gets each interim response.
#[derive(Clone)]
pub(crate) struct Informed(pub(crate) Arc<OnInformational>);

impl fmt::Debug for Informed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Informed")
    }
}

/// The settings in which one request may differ from its client.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) timeout: Setting,
    pub(crate) timeouts: Option<OwnTimeouts>,
    pub(crate) target: Option<RequestTarget>,
    pub(crate) isolation: Option<Arc<str>>,
    /// Template of the request's URL, for spans and records.
    pub(crate) template: Option<UrlTemplate>,
    pub(crate) redirect: OwnRedirects,
    /// Whether the response's content is handed over without being decoded.
    pub(crate) is_raw: bool,
    /// The unix socket or the proxies that replace those of the client.
    pub(crate) ways: Ways,
    /// The reserved connection that carries the request. With `None`, the pool chooses a connection.
    pub(crate) pinned: Option<Pinned>,
}

/// The settings of one request that has not been sent yet. Boxed because few requests have settings: keeps requests
/// small. The first mutable access allocates the box.
#[derive(Clone, Debug, Default)]
pub(crate) struct OwnSettings(Option<Box<Settings>>);

impl Deref for OwnSettings {
    type Target = Settings;

    #[inline]
    fn deref(&self) -> &Settings {
        static NONE: Settings = Settings {
            timeout: None,
            timeouts: None,
            target: None,
            isolation: None,
            template: None,
            redirect: OwnRedirects::NONE,
            is_raw: false,
            ways: Ways::NONE,
            pinned: None,
        };
        self.0.as_deref().unwrap_or(&NONE)
    }
}

impl DerefMut for OwnSettings {
    fn deref_mut(&mut self) -> &mut Settings {
        self.0.get_or_insert_default()
    }
}

/// The timeouts of one request, except for its total timeout.
#[derive(Clone, Debug, Default)]
pub(crate) struct OwnTimeouts {
    /// Longest time that the request waits for a dial.
    pub(crate) connect: Option<Duration>,
    /// Timeouts of the exchange.
    pub(crate) exchange: Chosen,
}

/// The form of a request's target, <https://www.rfc-editor.org/rfc/rfc9112#section-3.2>.
///
/// By default, CONNECT has the authority form, and every other method has the origin form. A request for
/// [`Client::execute`](crate::Client::execute) may have a target form among its extensions.
#[derive(Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RequestTarget {
    /// `/path?query`, for the server itself.
    Origin,
    /// `http://host/path?query`, for a server that is a proxy.
    Absolute,
    /// `*`, for the server as a whole. Only OPTIONS can have this form.
    Asterisk,
    /// `host:port`, for the destination of the tunnel that CONNECT requests from a proxy. This destination replaces the
    /// host and port of the URL, and the value of the Host field. Only CONNECT can have this form.
    Authority(String),
}

/// The template of a request's URL, such as `/users/{id}`, for spans and records.
///
/// [`RequestBuilder::url_template`](crate::RequestBuilder::url_template) sets the template of a request. A request that
/// is passed to [`Client::execute`](crate::Client::execute) may have a template among its extensions:
///
/// ```
/// let request = http::Request::get("http://example.org/users/17")
///     .extension(handclasp::UrlTemplate::new("/users/{id}"))
///     .body(handclasp::Body::empty());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UrlTemplate(Cow<'static, str>);

impl UrlTemplate {
    /// Returns a template. The template should have few different values, because tools count requests by the template.
    pub fn new(template: impl Into<Cow<'static, str>>) -> Self {
        Self(template.into())
    }

    /// Returns the template as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for RequestTarget {
    /// Writes the target without its user and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Origin => f.write_str("Origin"),
            Self::Absolute => f.write_str("Absolute"),
            Self::Asterisk => f.write_str("Asterisk"),
            Self::Authority(authority) => f.debug_tuple("Authority").field(&WithoutUser(authority)).finish(),
        }
    }
}
