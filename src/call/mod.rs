//! One call, from a verb of the client to its response: everything between [`Client`](crate::Client) and a connection.
//!
//! [`Call::run`] is the fixed order of layers. Each layer has a file of its own, in which every decision that needs no
//! I/O is a pure function:
//!
//! - `head.rs` completes the request head with the client's default fields.
//! - `attempt.rs` tries the request on one connection, step by step. `acquire.rs` waits for that connection.
//! - `proxy.rs` chooses the proxy of each hop, and completes the head for the proxy.
//! - `hook.rs` calls the caller's function before each attempt.
//! - `resend.rs` decides after each attempt whether the request is sent again.
//! - `auth.rs` turns the user and password of a URL into a field.
//! - `cookie.rs` completes the head of each hop with cookies, and stores the cookies of each response.
//! - `redirect.rs` decides after a redirect whether another hop follows, and `hop.rs` makes that hop ready.
//! - `decompress.rs` asks for content codings, and wraps the body of the last response if its content has a coding.
//! - `http10.rs` remembers the servers that speak HTTP/1.0, and prepares requests for them.
//!
//! Invariants: a request is sent again only if `resend.rs` says so. Every connection that is taken from the pool goes back to
//! the pool, or is closed, on every path.

mod acquire;
mod attempt;
pub(crate) mod auth;
#[cfg(feature = "cookies")]
mod cookie;
#[cfg(not(feature = "cookies"))]
#[path = "no_cookie.rs"]
mod cookie;
mod decompress;
mod head;
mod hook;
mod hop;
mod http10;
mod proxy;
#[cfg(feature = "url")]
mod redirect;
mod resend;
mod settings;

use http::{HeaderMap, HeaderValue, Method, Uri};

use self::attempt::{Attempts, Finished};
#[cfg(feature = "cookies")]
pub(crate) use self::cookie::Cookies;
pub(crate) use self::hook::OnRequest;
use self::http10::Http10Servers;
pub use self::settings::RequestTarget;
pub(crate) use self::settings::{Informed, OwnSettings, RequestConfig, Settings};
use crate::body::Body;
pub(crate) use crate::body::coding::Coding;
use crate::connect::Via;
use crate::error::{Error, ErrorKind, Result};
use crate::exchange::ExchangeConfig;
use crate::exchange::timeout::{Chosen, Timeouts};
use crate::pool::Pool;
use crate::pool::key::RouteRef;
use crate::redirect::History;
use crate::response::Response;
use crate::url::Base;

/// The state and settings that all calls of one client share.
#[derive(Debug)]
pub(crate) struct Environment {
    pub(crate) pool: Pool,
    exchange: ExchangeConfig,
    /// Timeouts of a request that sets no timeout itself. The entry at index 0 is for a request without a total
    /// timeout, and the entry at index 1 is for a request with a total timeout.
    timeouts: [Timeouts; 2],
    request: RequestConfig,
    /// The value of `Accept-Encoding`, or `None` if the client decodes nothing.
    accepted: Option<HeaderValue>,
    http10: Http10Servers,
}

impl Environment {
    pub(crate) fn new(pool: Pool, exchange: ExchangeConfig, request: RequestConfig) -> Self {
        let timeouts = [false, true].map(|has_total| Chosen::default().or(exchange.timeouts, has_total));
        let accepted = request.codings.accept();
        Self { pool, exchange, timeouts, request, accepted, http10: Http10Servers::default() }
    }

    /// Returns the URL to which the URLs of requests are joined.
    #[inline]
    pub(crate) fn base(&self) -> &Base {
        &self.request.base
    }

    /// Returns the route of a URI to which connections are dialed before there is a request. Stores in `via` how the
    /// destination is reached. Fails if a request to the URI would be refused.
    pub(crate) fn route_ahead<'a>(&self, uri: &'a Uri, via: &'a mut Via) -> Result<RouteRef<'a>> {
        let route = RouteRef::of(uri)?;
        if self.request.https_only && !route.is_https() {
            return Err(not_https(ErrorKind::Request));
        }
        *via = proxy::choose(self, &OwnSettings::default(), &Method::GET, uri, route, &mut HeaderMap::new())?;
        Ok(route.by(via))
    }
}

/// A request that is being sent. The method, the URI and the fields belong to the current hop. The call only borrows
/// these three, because the caller later moves the URI into the response.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) env: &'a Environment,
    pub(crate) method: &'a mut Method,
    pub(crate) uri: &'a mut Uri,
    pub(crate) headers: &'a mut HeaderMap,
    pub(crate) settings: &'a Settings,
    /// The redirects that were followed.
    pub(crate) history: &'a mut History,
}

/// One hop of a call: the request to one URL.
#[derive(Debug)]
struct Hop<'a> {
    env: &'a Environment,
    method: &'a Method,
    uri: &'a Uri,
    headers: &'a mut HeaderMap,
    settings: &'a Settings,
    #[cfg_attr(not(feature = "url"), allow(dead_code, reason = "there is one hop"))]
    history: &'a mut History,
    /// Whether the store of cookies has added the `Cookie` field.
    #[cfg_attr(not(feature = "cookies"), allow(dead_code, reason = "there is no store"))]
    has_stored_cookies: bool,
    /// Number of attempts that a function of the caller has seen.
    tried: u32,
}

impl Call<'_> {
    /// Runs the call through all layers, and returns the response once its head has come.
    ///
    /// # Errors
    ///
    /// If a layer fails. The caller adds the request's URI to the error.
    #[inline]
    pub(crate) async fn run(mut self, body: Body) -> Result<Response> {
        let mut route = RouteRef::of(self.uri)?;
        if route.has_user() {
            auth::take_user(self.uri, self.headers)?;
            route = RouteRef::of(self.uri)?;
        }
        route = route.isolated(self.settings.isolation.as_ref());
        if self.env.request.https_only && !route.is_https() {
            return Err(not_https(ErrorKind::Request));
        }
        head::complete(self.env, self.headers, &body)?;
        decompress::ask(self.env, self.method, self.headers, self.settings)?;
        let mut exchange = self.open(body, route.port());
        let mut tried = 0;
        loop {
            let Self { env, settings, .. } = self;
            let (method, uri) = (&*self.method, &*self.uri);
            let (headers, history) = (&mut *self.headers, &mut *self.history);
            let has_stored_cookies = match env.request.cookies.add(method, uri, headers) {
                Ok(added) => added,
                Err(error) => return Err(exchange.error(error)),
            };
            let via = match proxy::choose(env, settings, method, uri, route, headers) {
                Ok(via) => via,
                Err(error) => return Err(exchange.error(error)),
            };
            let hop = Hop { env, method, uri, headers, settings, history, has_stored_cookies, tried };
            let mut attempts = Attempts::new(hop, route, &via);
            let next = loop {
                attempts.prepare(&mut exchange).await?;
                attempts.acquire(&mut exchange).await?;
                let outcome = attempts.exchange(&mut exchange).await;
                match attempts.finish(outcome, &mut exchange) {
                    Finished::Resend => {}
                    Finished::Redirected(next) => break next,
                    Finished::Failed(error) => return Err(error),
                    Finished::Complete(response) => {
                        return Ok(decompress::decode(&attempts.call, response, exchange.deadline()));
                    }
                    Finished::Open { head, ready } => {
                        let (upload, deadline) = (head.upload, exchange.deadline());
                        let body = Body::received(ready, Some(exchange), None, upload);
                        return Ok(decompress::decode(&attempts.call, Response::new(head, body), deadline));
                    }
                }
            };
            tried = attempts.call.tried;
            drop(attempts);
            // Boxed because most calls have one hop: keeps the request future small.
            Box::pin(self.go_on(next, &mut exchange)).await;
            route = RouteRef::of(self.uri)?.isolated(self.settings.isolation.as_ref());
            if self.env.request.https_only && !route.is_https() {
                return Err(exchange.error(not_https(ErrorKind::Redirect)));
            }
        }
    }
}

#[cold]
fn not_https(kind: ErrorKind) -> Error {
    let message = match kind {
        ErrorKind::Redirect => {
            "the server redirects to an http URL, and the client allows https only (https_only)"
        }
        _ => "the URL's scheme is http, and the client allows https only (https_only)",
    };
    Error::new(kind, message)
}
