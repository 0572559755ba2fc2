//! Redirects: whether a client follows a redirect, and the chain of requests that redirects make.
//!
//! A [`Policy`] says which redirects are followed. By default, a client follows up to 10 redirects. A redirect is a
//! response with status 301, 302, 303, 307 or 308 and a `Location` field
//! (<https://www.rfc-editor.org/rfc/rfc9110#section-15.4>). Any other response is returned to the caller.
//!
//! | status | method of the next request | content of the next request |
//! |---|---|---|
//! | 301, 302 | POST becomes GET, any other method stays | none after a POST, otherwise the same content |
//! | 303 | HEAD stays, any other method becomes GET | none |
//! | 307, 308 | the same method | the same content |
//!
//! If the same content is needed but cannot be sent again, the request fails with
//! [`ErrorKind::Redirect`](crate::ErrorKind::Redirect) before anything of the next request is sent. Bytes, text and
//! files can be sent again. A stream can be sent again if nothing was taken from the stream. If content is dropped, the
//! fields that describe content are dropped too.
//!
//! If the next URL has another scheme, host or port, the next request loses `Authorization`, `Cookie`,
//! `Proxy-Authorization`, `Proxy-Authenticate`, `WWW-Authenticate`, `Host`, and every field whose value is
//! [sensitive](http::HeaderValue::set_sensitive). These fields do not come back if a later redirect leads to the first
//! origin again. A user and password in `Location` are never used.
//!
//! A redirect from https to http fails, unless [`Policy::allow_https_to_http`] allows it. A redirect to any other scheme
//! fails. A request whose [target](crate::RequestTarget) is not in the origin form, or whose URI is not a WHATWG URL, is not
//! redirected.
//!
//! [`Response::redirects`](crate::Response::redirects) and [`Error::redirects`](crate::Error::redirects) return the
//! chain. A timeout for the whole request covers all hops together. The content of a redirect is not decoded. If at
//! most 64 KiB of this content remain and come within 100 ms, the client reads the content and keeps the connection. If
//! not, the connection closes.
//!
//! Redirects need the feature `url`. Without this feature, every response is returned to the caller.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode};
use url::Url;

use crate::redact::without_signature;

/// Decides which redirects are followed. [`ClientBuilder::redirect`](crate::ClientBuilder::redirect) sets the policy of
/// a client, and [`RequestBuilder::redirect`](crate::RequestBuilder::redirect) the policy of one request.
///
/// The default is `Policy::limited(10)`.
///
/// ```
/// use handclasp::redirect::Policy;
///
/// # fn main() -> handclasp::Result<()> {
/// let client = handclasp::Client::builder().redirect(Policy::limited(3)).build()?;
/// let request = client.get("http://example.org/").redirect(Policy::none());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Policy {
    pub(crate) rule: Rule,
    pub(crate) allows_http: bool,
}

/// The rule by which a policy decides.
#[derive(Clone)]
pub(crate) enum Rule {
    None,
    Limited(usize),
    SameOrigin,
    Custom(Arc<Custom>),
}

pub(crate) type Custom = dyn Fn(Proposal<'_>) -> Action + Send + Sync;

/// Number of redirects that are followed by default.
pub(crate) const USUAL: usize = 10;

/// Number of redirects after which even a custom policy is not asked again.
pub(crate) const MOST: usize = 100;

impl Policy {
    /// Follows no redirect. Every response is returned to the caller.
    pub fn none() -> Self {
        Rule::None.into()
    }

    /// Follows at most `most` redirects. One more redirect fails with
    /// [`ErrorKind::Redirect`](crate::ErrorKind::Redirect).
    pub fn limited(most: usize) -> Self {
        Rule::Limited(most).into()
    }

    /// Follows at most 10 redirects, and only within the origin of the request. A redirect to another scheme, host or
    /// port is returned to the caller.
    pub fn same_origin() -> Self {
        Rule::SameOrigin.into()
    }

    /// Asks `decide` about each redirect. The function may change the header fields of the next request.
    ///
    /// The function replaces the limit of 10 redirects, but after 100 redirects the request fails without a call of the
    /// function. The function runs within the request's future and must not block.
    ///
    /// The rules of the [module](crate::redirect) apply to a redirect that the function follows. For example, a
    /// redirect to ftp fails if the function follows the redirect, and is returned to the caller if the function stops.
    ///
    /// ```
    /// use handclasp::redirect::Policy;
    ///
    /// // Follows redirects, and gives the API key to no other host.
    /// let policy = Policy::custom(|mut redirect| {
    ///     if redirect.to().host() != redirect.from().host() {
    ///         redirect.headers_mut().remove("x-api-key");
    ///     }
    ///     if redirect.chain().len() > 5 { redirect.error("more than 5 redirects") } else { redirect.follow() }
    /// });
    /// ```
    pub fn custom(decide: impl Fn(Proposal<'_>) -> Action + Send + Sync + 'static) -> Self {
        Rule::Custom(Arc::new(decide)).into()
    }

    /// Sets whether a redirect from https to http is followed. `false` by default, because anyone on the network path
    /// can read and change the bytes of http. Returns the policy.
    #[must_use]
    pub fn allow_https_to_http(mut self, allow: bool) -> Self {
        self.allows_http = allow;
        self
    }
}

impl From<Rule> for Policy {
    fn from(rule: Rule) -> Self {
        Self { rule, allows_http: false }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::limited(USUAL)
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule: &dyn fmt::Debug = match &self.rule {
            Rule::None => &"none",
            Rule::Limited(most) => most,
            Rule::SameOrigin => &"same origin",
            Rule::Custom(_) => &"custom",
        };
        f.debug_struct("Policy").field("rule", rule).field("allow_https_to_http", &self.allows_http).finish()
    }
}

/// A redirect about which a [custom policy](Policy::custom) decides, by [`follow`](Self::follow), [`stop`](Self::stop)
/// or [`error`](Self::error).
pub struct Proposal<'a> {
    pub(crate) method: &'a Method,
    pub(crate) to: &'a Url,
    pub(crate) chain: &'a [Hop],
    pub(crate) latest: &'a Hop,
    pub(crate) headers: &'a mut HeaderMap,
}

impl Proposal<'_> {
    /// Returns the status of the redirect.
    pub fn status(&self) -> StatusCode {
        self.latest.status
    }

    /// Returns the method that the next request would have.
    pub fn method(&self) -> &Method {
        self.method
    }

    /// Returns the URL that was answered by the redirect.
    pub fn from(&self) -> &Url {
        &self.latest.url
    }

    /// Returns the URL of the next request: `Location`, resolved against [`from`](Self::from), without user and
    /// password. Its scheme may be any scheme.
    #[doc(alias = "url")]
    pub fn to(&self) -> &Url {
        self.to
    }

    /// Returns the requests so far, each with the redirect that answered the request. The last request is the request
    /// to [`from`](Self::from).
    #[doc(alias = "previous")]
    pub fn chain(&self) -> &[Hop] {
        self.chain
    }

    /// Returns the header fields of the next request. Fields that do not follow to another origin, and fields of
    /// content that does not follow, are removed already.
    pub fn headers(&self) -> &HeaderMap {
        self.headers
    }

    /// Returns the header fields of the next request, mutably.
    pub fn headers_mut(&mut self) -> &mut HeaderMap {
        self.headers
    }

    /// Follows the redirect.
    pub fn follow(self) -> Action {
        Action(Choice::Follow)
    }

    /// Does not follow the redirect. The caller gets the response.
    pub fn stop(self) -> Action {
        Action(Choice::Stop)
    }

    /// Fails the request with [`ErrorKind::Redirect`](crate::ErrorKind::Redirect), whose source is `error`.
    pub fn error(self, error: impl Into<Box<dyn StdError + Send + Sync>>) -> Action {
        Action(Choice::Fail(error.into()))
    }
}

impl fmt::Debug for Proposal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proposal")
            .field("method", self.method)
            .field("to", &redacted(self.to))
            .field("chain", &self.chain)
            .finish_non_exhaustive()
    }
}

/// The decision of a [custom policy](Policy::custom) about a redirect.
#[derive(Debug)]
#[must_use]
pub struct Action(pub(crate) Choice);

#[derive(Debug)]
pub(crate) enum Choice {
    Follow,
    Stop,
    Fail(Box<dyn StdError + Send + Sync>),
}

/// A request that was answered by a redirect, with the head of this answer.
#[derive(Clone)]
pub struct Hop {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
}

impl Hop {
    /// Returns the method of the request.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Returns the URL of the request, without user and password.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Returns the status of the redirect.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Returns the header fields of the redirect, such as `Location` and `Set-Cookie`.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }
}

impl fmt::Debug for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hop")
            .field("method", &self.method)
            .field("url", &redacted(&self.url))
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// Returns the text of a URL as spans show it: without a fragment, which may hold a token, and without signatures.
fn redacted(url: &Url) -> String {
    let mut url = url.clone();
    url.set_fragment(None);
    // A URL without a host, such as a mailto URL, has neither user nor password.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    without_signature(url.into())
}

/// The settings of redirects that a client has.
#[derive(Clone, Debug, Default)]
pub(crate) struct Redirects {
    pub(crate) policy: Policy,
    /// Whether the next request of a chain sends `Referer`.
    pub(crate) refers: bool,
}

/// The redirect settings of one request.
#[derive(Clone, Default)]
pub(crate) struct OwnRedirects {
    policy: Option<Policy>,
    /// Fragment of the request's URL.
    fragment: Option<String>,
}

impl fmt::Debug for OwnRedirects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnRedirects").field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl OwnRedirects {
    /// The settings of a request that has none.
    pub(crate) const NONE: Self = Self { policy: None, fragment: None };

    pub(crate) fn set_policy(&mut self, policy: Policy) {
        self.policy = Some(policy);
    }

    /// Returns the settings of a request whose URL has this fragment.
    pub(crate) fn of(fragment: Option<String>) -> Self {
        Self { policy: None, fragment }
    }

    pub(crate) fn policy(&self) -> Option<&Policy> {
        self.policy.as_ref()
    }

    /// Returns the history of a request that was not sent yet.
    #[inline]
    pub(crate) fn history(&self) -> History {
        let fragment = self.fragment.clone();
        History(fragment.map(|fragment| Arc::new(Chain { hops: Vec::new(), fragment: Some(fragment) })))
    }
}

/// The redirects that a request has followed. Empty without an allocation until the first redirect.
#[derive(Clone, Debug, Default)]
pub(crate) struct History(Option<Arc<Chain>>);

/// The redirects that [`History`] holds.
#[derive(Clone, Debug, Default)]
struct Chain {
    hops: Vec<Hop>,
    /// Fragment of the latest URL. No request sends the fragment, and the next URL inherits the fragment.
    fragment: Option<String>,
}

impl History {
    pub(crate) fn hops(&self) -> &[Hop] {
        self.0.as_ref().map_or(&[], |chain| &chain.hops)
    }

    /// Whether a redirect was followed.
    pub(crate) fn is_followed(&self) -> bool {
        !self.hops().is_empty()
    }

    pub(crate) fn fragment(&self) -> Option<&str> {
        self.0.as_ref()?.fragment.as_deref()
    }

    pub(crate) fn push(&mut self, hop: Hop) {
        self.chain().hops.push(hop);
    }

    pub(crate) fn pop(&mut self) {
        self.chain().hops.pop();
    }

    pub(crate) fn set_fragment(&mut self, fragment: Option<&str>) {
        self.chain().fragment = fragment.map(Into::into);
    }

    fn chain(&mut self) -> &mut Chain {
        Arc::make_mut(self.0.get_or_insert_default())
    }
}
