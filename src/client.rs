//! The client: its verbs, and the fixed order in which a request goes through pool, exchange and retry.
//!
//! It does no I/O of its own. Invariant: a request is sent again only where [`resend`](crate::call::resend) says so, once,
//! and once without an expectation that the server refused; and every lease it takes goes back to the pool on every path.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::{AUTHORIZATION, CONTENT_LENGTH, EXPECT, PROXY_AUTHORIZATION, TRAILER, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version};

use crate::body::Body;
use crate::call::http10::{self, OldServers, Tells};
use crate::call::resend::{self, Attempt, End};
use crate::codec::{BodyLength, RequestHead, ResponseHead, Target};
use crate::config::{ClientBuilder, RequestConfig};
use crate::connect::{DialError, Dialer};
use crate::error::{Error, ErrorKind, Phase, Result};
use crate::exchange::Upload;
use crate::exchange::timeout::{self, Chosen, Deadline, NEVER, Timeouts};
use crate::exchange::{Exchange, ExchangeConfig, Failure};
use crate::pool::key::RouteRef;
use crate::pool::lease::Lease;
use crate::pool::{DropReason, NotGranted, Pool, PoolConfig, Wait};
use crate::request::{IntoUrl, RequestBuilder, RequestTarget, Settings};
use crate::response::{Head, Requested, Response};
use crate::time::{self, RuntimeGone, Timer};
use crate::trace::RequestTrace;
use crate::upgraded::Upgraded;

/// An HTTP/1.1 client with a pool of kept connections.
///
/// Cloning shares the pool and costs a reference count. A client may be kept in a `static` and used from any number
/// of tokio runtimes: a connection is used only on the runtime it was made on. The runtime needs I/O and timers; on
/// one without timers, requests fail with [`ErrorKind::Request`](crate::ErrorKind::Request) (after the panic by
/// which tokio says so was caught: its message is still printed).
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    pool: Pool,
    exchange: ExchangeConfig,
    /// The timeouts of a request that has none of its own: without a total timeout, and with one.
    timeouts: [Timeouts; 2],
    request: RequestConfig,
    old_servers: Mutex<OldServers>,
    /// There are any: what most clients never have to look up. Set under the lock.
    knows_old_servers: AtomicBool,
}

impl Client {
    /// A client with the default settings. Does no I/O and does not fail.
    pub fn new() -> Self {
        ClientBuilder::default().build_valid()
    }

    /// Starts building a client with settings of your own.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    pub(crate) fn new_with(
        pool: PoolConfig,
        dialer: Dialer,
        exchange: ExchangeConfig,
        request: RequestConfig,
    ) -> Self {
        let pool = Pool::new(pool, dialer);
        let (old_servers, knows_old_servers) = Default::default();
        let timeouts = [false, true].map(|has_total| Chosen::default().or(exchange.timeouts, has_total));
        Self { inner: Arc::new(Inner { pool, exchange, timeouts, request, old_servers, knows_old_servers }) }
    }

    /// A GET request.
    pub fn get(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::GET, url)
    }

    /// A HEAD request.
    pub fn head(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::HEAD, url)
    }

    /// A POST request.
    pub fn post(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::POST, url)
    }

    /// A PUT request.
    pub fn put(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::PUT, url)
    }

    /// A PATCH request.
    pub fn patch(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::PATCH, url)
    }

    /// A DELETE request.
    pub fn delete(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::DELETE, url)
    }

    /// A request with any method.
    pub fn request(&self, method: Method, url: impl IntoUrl) -> RequestBuilder {
        RequestBuilder::new(self.clone(), method, url)
    }

    /// Sends an [`http::Request`], whose URI must be absolute, and waits for the head of its response.
    ///
    /// The URI and the fields are taken as they are; the version is ignored. Cancel safety and errors as for
    /// [`RequestBuilder::send`].
    pub async fn execute<B: Into<Body>>(&self, request: http::Request<B>) -> Result<Response> {
        RequestBuilder::of(self.clone(), request.map(Into::into)).send().await
    }

    /// The pool: what there is, and what reuse saved.
    pub fn pool(&self) -> &Pool {
        &self.inner.pool
    }

    /// Dials ahead, 8 connections at a time, until so many connections to the URL's origin are idle or being made, and waits
    /// for the dials that it began. (Dials that others had begun are counted, not waited for.)
    ///
    /// It keeps to every limit, and requests come first: it dials nothing while a request waits for the room, and a dial of
    /// its own that stands in a request's way is given up. It returns `Ok` where that leaves fewer connections.
    ///
    /// Dropping the future leaves the dials to themselves: their connections are kept.
    ///
    /// # Errors
    ///
    /// When the URL is invalid, or a dial fails; those that are under way go on.
    pub async fn warm(&self, url: impl IntoUrl, connections: usize) -> Result<()> {
        let uri = url.into_uri()?;
        let route = RouteRef::of(&uri).map_err(|error| error.with_uri(&uri))?;
        self.inner.pool.warm(route, connections).await.map_err(|error| error.with_uri(&uri))
    }

    /// Keeps so many connections to the URL's origin idle from now on: what is taken, or closed, is dialed again at once,
    /// 8 at a time, on the runtime that this is called on. What several runtimes ask for adds up. 0 ends it; so does the end
    /// of the runtime.
    ///
    /// It keeps to every limit, and dials nothing beyond what [`max_idle_per_host`](ClientBuilder::max_idle_per_host) and
    /// [`max_idle`](ClientBuilder::max_idle) let be kept, connections in use included. Requests come first: nothing is dialed
    /// ahead while a request waits for the room, a dial ahead that stands in a request's way is given up, and nothing is
    /// closed to make room for a dial ahead. Where there is no room, and after a failed dial, it tries again some seconds
    /// later.
    ///
    /// The dials are made in the background. To wait for the first, [`warm`](Self::warm) comes first.
    ///
    /// # Errors
    ///
    /// When the URL is invalid, there is no tokio runtime, or the pool was shut down.
    pub fn min_idle(&self, url: impl IntoUrl, connections: usize) -> Result<()> {
        let uri = url.into_uri()?;
        let route = RouteRef::of(&uri).map_err(|error| error.with_uri(&uri))?;
        self.inner.pool.set_min_idle(route, connections).map_err(|error| error.with_uri(&uri))
    }

    /// Adds what every request of this client says.
    pub(crate) fn complete(&self, uri: &Uri, headers: &mut HeaderMap, body: &Body) -> Result<()> {
        let config = &self.inner.request;
        let is_empty = matches!(body.length(), BodyLength::None | BodyLength::Known(0));
        if body.has_too_many_trailers() {
            return Err(Error::request("the request has too many trailers").with_uri(uri));
        }
        for name in config.default_headers.keys() {
            // Without content there is nothing to expect.
            if has(headers, name) || (*name == EXPECT && is_empty) {
                continue;
            }
            for value in config.default_headers.get_all(name) {
                if headers.try_append(name.clone(), value.clone()).is_err() {
                    return Err(Error::request("the request has too many header fields").with_uri(uri));
                }
            }
        }
        Ok(())
    }

    #[inline]
    fn exchange(
        &self,
        method: &Method,
        uri: &Uri,
        body: Body,
        port: u16,
        settings: &Settings,
        now: Instant,
    ) -> Exchange {
        let trace = RequestTrace::begin(method, uri, port, now);
        let config = self.inner.exchange;
        let total = settings.timeout.or(self.inner.request.timeout).flatten();
        let deadline = total.map(|after| Deadline { at: time::after(now, after), after });
        let has_total = deadline.is_some();
        let timeouts = match &settings.timeouts {
            None => self.inner.timeouts[usize::from(has_total)],
            Some(own) => own.or(config.timeouts, has_total),
        };
        Exchange::new(Upload::new(body), config, timeouts, deadline, trace)
    }

    /// Runs a request through pool, exchange and retry. (Its URI goes to the response afterwards.)
    pub(crate) async fn attempt(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &mut HeaderMap,
        body: Body,
        settings: &Settings,
    ) -> Result<Response> {
        let route = RouteRef::of(uri)?.isolated(settings.isolation.as_ref());
        let now = time::now();
        let inner = &*self.inner;
        let mut exchange = self.exchange(method, uri, body, route.port(), settings, now);
        let deadline = exchange.deadline();
        let authority = authority(method, route, settings);
        let host = authority.as_deref().map_or_else(|| route.host_field(), Into::into);
        let target = match (&settings.target, &authority) {
            (_, Some(authority)) => Target::Authority(authority),
            (Some(RequestTarget::Absolute), _) => Target::Absolute(uri),
            (Some(RequestTarget::Asterisk), _) => Target::Asterisk,
            _ => Target::Origin(uri.path_and_query().map_or("/", |target| target.as_str())),
        };
        let idempotent = resend::is_idempotent(method, headers);
        let informed = inner.request.on_informational.as_ref().map(|hook| &*hook.0);
        let binds_connection = settings.isolation.is_none() && binds_connection(headers);
        let fresh = inner.pool.fresh_for_unsafe().filter(|_| !idempotent);
        let mut waiting = None;
        let mut resent = false;
        let mut above = inner.request.expect_continue_above;
        // Whether a 417 in HTTP/1.0 refused this request: it is sent again as to an HTTP/1.0 server.
        let mut sent_back_by_old = false;
        loop {
            // Decided again for each attempt, because the server's version may be known by now.
            let begun = exchange.trace().attempt_started();
            let is_old = || sent_back_by_old || self.old_servers().contains(inner.pool.key(route), begun);
            if announce(headers, exchange.upload(), above, is_old) {
                let write = exchange.write_timeout();
                if let Err(error) = Box::pin(self.gather(route, exchange.upload(), deadline, write)).await {
                    return Err(exchange.error(error));
                }
                // The caller's time: the clocks of the attempt begin now.
                exchange.trace().body_gathered(time::now());
            }
            let mut head = RequestHead::new(method, target, Some(host.as_bytes()), headers);
            head.close = inner.request.closes || binds_connection;
            if let Err(error) = exchange.prepare(head) {
                return Err(exchange.error(error));
            }
            let begun = exchange.trace().attempt_started();
            let found = match waiting.take() {
                Some(wait) => Ok(Err(wait)),
                None => self.inner.pool.checkout(route, fresh, None, begun),
            };
            let mut assigned = None;
            let lease = match found {
                // It was not waited for.
                Ok(Ok(lease)) => {
                    assigned = Some(begun);
                    Ok(lease)
                }
                // (Boxed, as all that is rare: the future of a request is moved, and has room for its largest part.)
                Ok(Err(wait)) => Box::pin(self.granted(route, fresh, wait, &mut exchange, settings)).await,
                Err(error) => Err(error),
            };
            let lease = match lease {
                Ok(lease) => lease,
                Err(error) => return Err(exchange.error(error)),
            };
            exchange.attach(lease, assigned);
            let outcome = loop {
                match poll_fn(|cx| exchange.poll_head(informed, cx)).await {
                    Err(Failure::Stale(reason)) => {
                        // Nothing was written: the next connection gets the same head, and the pieces of the body.
                        let Some(dead) = exchange.detach() else { continue };
                        let lease = match dead.replace(reason, fresh) {
                            Ok(lease) => Ok(lease),
                            Err(wait) => {
                                Box::pin(self.granted(route, fresh, wait, &mut exchange, settings)).await
                            }
                        };
                        match lease {
                            Ok(lease) => exchange.attach(lease, None),
                            Err(error) => break Err((End::Other, error)),
                        }
                    }
                    Err(Failure::Lost(error)) => break Err((End::Lost, error)),
                    Err(Failure::Premature(error)) => break Err((End::Premature, error)),
                    Err(Failure::Other(error)) => break Err((End::Other, error)),
                    Ok(head) => break Ok(head),
                }
            };
            if let Ok(head) = &outcome {
                self.note_version(route, head, &mut exchange);
            }
            let reused = exchange.is_reused();
            let (end, reason) = match &outcome {
                Ok(head) if head.status == StatusCode::REQUEST_TIMEOUT && exchange.says_close() => {
                    (End::RequestTimeout, DropReason::PeerClosed)
                }
                Ok(_) => (End::Other, DropReason::Failed),
                Err((End::Lost, _)) => (End::Lost, DropReason::PeerClosed),
                Err((End::Premature, _)) => (End::Premature, DropReason::Unsolicited),
                Err((end, _)) => (*end, DropReason::Failed),
            };
            let attempt = Attempt {
                reused,
                resent,
                written: exchange.attempt_written(),
                answered: exchange.is_answered(),
                replayable: exchange.is_replayable(),
                idempotent,
                end,
            };
            // > A client that receives a 417 (Expectation Failed) status code in response to a request containing a
            // > 100-continue expectation SHOULD repeat that request without a 100-continue expectation
            // <https://www.rfc-editor.org/rfc/rfc9110#section-10.1.1>
            let is_unexpected = matches!(&outcome, Ok(head) if head.status == StatusCode::EXPECTATION_FAILED)
                && attempt.replayable
                // The server may have acted on content that was sent without waiting any longer.
                && (idempotent || exchange.is_head_alone())
                && headers.remove(EXPECT).is_some();
            if (is_unexpected || resend::is_resent(&attempt))
                && let Some(dead) = exchange.detach()
            {
                resent |= !is_unexpected;
                above = above.filter(|_| !is_unexpected);
                sent_back_by_old =
                    is_unexpected && outcome.as_ref().is_ok_and(|head| head.version == Version::HTTP_10);
                let now = time::now();
                exchange.trace().resent(now);
                exchange.restart();
                waiting = Some(dead.redial(if is_unexpected { DropReason::NotReusable } else { reason }));
                continue;
            }
            match outcome {
                Ok(head) => {
                    let (head, ready, is_whole) = self.respond(head, &mut exchange);
                    let trailers = if is_whole { exchange.take_trailers() } else { None };
                    let body = if is_whole && trailers.is_none() {
                        Body::from(ready)
                    } else {
                        exchange.set_unread();
                        let upload = head.upload;
                        Body::received(ready, (!is_whole).then_some(exchange), trailers, upload)
                    };
                    return Ok(Response::new(head, body));
                }
                Err((_, error)) => {
                    let error = exchange.error(error);
                    exchange.bury(reason);
                    return Err(error);
                }
            }
        }
    }

    /// Remembers a server of HTTP/1.0, and forgets one that speaks HTTP/1.1 by now.
    fn note_version(&self, route: RouteRef<'_>, head: &ResponseHead, exchange: &mut Exchange) {
        if head.version != Version::HTTP_10 && !self.inner.knows_old_servers.load(Ordering::Relaxed) {
            return;
        }
        let now = exchange.trace().head_at().unwrap_or_else(time::now);
        let origin = self.inner.pool.key(route);
        match http10::tells(head.version, head.status, exchange.closes()) {
            Tells::Old => self.change_old_servers(|servers| servers.insert(origin, now)),
            Tells::New => self.change_old_servers(|servers| servers.remove(origin, now)),
            Tells::Nothing => {}
        }
    }

    fn change_old_servers(&self, change: impl FnOnce(&mut OldServers)) {
        let mut servers = self.old_servers();
        change(&mut servers);
        self.inner.knows_old_servers.store(!servers.is_empty(), Ordering::Relaxed);
    }

    fn old_servers(&self) -> MutexGuard<'_, OldServers> {
        self.inner.old_servers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a body of unknown length into memory, for a server that cannot take it otherwise. Nothing of
    /// the request is written meanwhile, so that the write timeout limits it.
    async fn gather(
        &self,
        route: RouteRef<'_>,
        upload: &mut Upload,
        deadline: Option<Deadline>,
        after: Duration,
    ) -> Result<()> {
        let failed = |message: String| Error::new(ErrorKind::Body, message).in_phase(Phase::Send);
        let mut doubt = Doubt { client: self, origin: Some(self.inner.pool.key(route)) };
        let write = Deadline { at: time::after(time::now(), after), after };
        let is_total = deadline.is_some_and(|deadline| deadline.at <= write.at);
        let deadline = deadline.filter(|_| is_total).unwrap_or(write);
        let (mut gathered, mut timer) = (BytesMut::new(), Timer::default());
        let is_whole = poll_fn(|cx| {
            if let Poll::Ready(outcome) = upload.poll_gather(&mut gathered, GATHERED, cx) {
                return Poll::Ready(outcome.map_err(|error| {
                    // That says nothing of the server.
                    doubt.origin = None;
                    failed("the request's body failed while it was read".into()).because(error)
                }));
            }
            timer.poll_until(deadline.at, cx).map(|rung| {
                Err(match rung {
                    Ok(()) if is_total => {
                        Error::timeout(Phase::Send, deadline.after, "the request did not complete")
                    }
                    Ok(()) => Error::timeout(
                        Phase::Send,
                        deadline.after,
                        "the server speaks HTTP/1.0, and the request's body, whose length it has to be told \
                         beforehand, did not end",
                    ),
                    Err(RuntimeGone) => DialError::no_timers().into_error(),
                })
            })
        })
        .await?;
        if !is_whole {
            return Err(failed(format!(
                "the server speaks HTTP/1.0, which takes no body of unknown length beyond {GATHERED} bytes; \
                 give it a content-length"
            )));
        }
        if upload.trailers().is_some() {
            return Err(failed("the server speaks HTTP/1.0, which has no trailers".into()));
        }
        doubt.origin = None;
        Ok(())
    }

    /// The connection that the request waits for.
    async fn granted(
        &self,
        route: RouteRef<'_>,
        fresh: Option<Duration>,
        mut wait: Wait,
        exchange: &mut Exchange,
        settings: &Settings,
    ) -> Result<Lease> {
        let pool = &self.inner.pool;
        // Of one attempt: a connection that was found dead does not begin the wait anew.
        let now = exchange.trace().attempt_started();
        exchange.trace().waits();
        let (total, connect) = (exchange.deadline(), settings.connect_timeout);
        let acquire = timeout::acquire(
            pool.acquire_timeout(),
            pool.acquire_default(),
            total.is_some() || connect.is_some(),
        );
        let limits = [
            acquire.map(|after| (time::after(now, after), after, Limit::Acquire)),
            connect.map(|after| (time::after(now, after), after, Limit::Connect)),
            total.map(|total| (total.at, total.after, Limit::Total)),
        ];
        let earliest = limits.into_iter().flatten().min_by_key(|(at, ..)| *at);
        let (at, after, limit) = earliest.unwrap_or_else(|| (time::after(now, NEVER), NEVER, Limit::Acquire));
        let mut timer = Timer::default();
        let granted = loop {
            let granted = {
                let mut granted = pin!(wait.granted());
                poll_fn(|cx| match granted.as_mut().poll(cx) {
                    Poll::Ready(granted) => Poll::Ready(Ok(granted)),
                    Poll::Pending => timer.poll_until(at, cx).map(Err),
                })
                .await
            };
            if let Ok(Err(NotGranted::Withdrawn)) = granted {
                // We were not polled for a while, and somebody else got what was ours.
                match pool.checkout(route, fresh, Some(&wait), time::now())? {
                    Ok(lease) => break Ok(Ok(lease)),
                    Err(next) => wait = next,
                }
            } else {
                break granted;
            }
        };
        // The timer drops the caller's waker. If that panics, `granted` is dropped as a local. As the function's result it would
        // leak.
        drop(timer);
        match granted {
            Ok(Ok(lease)) => {
                if let Some(setup) = lease.setup() {
                    exchange.trace().dial_ended(setup);
                }
                Ok(lease)
            }
            Ok(Err(NotGranted::Shutdown | NotGranted::Withdrawn)) => Err(Error::shutdown()),
            Ok(Err(NotGranted::Failed(error, setup))) => {
                exchange.trace().dial_ended(&setup);
                Err(error.into_error())
            }
            Err(Err(RuntimeGone)) => Err(DialError::no_timers().into_error()),
            Err(Ok(())) => Err(match limit {
                Limit::Acquire => wait.timed_out(after),
                Limit::Connect | Limit::Total => {
                    let dial = wait.dial();
                    if let Some(dial) = dial {
                        exchange.trace().dial_seen(dial);
                    }
                    let phase = dial.and_then(|dial| dial.latest()).unwrap_or(Phase::Queue);
                    let what = match limit {
                        Limit::Connect => "no connection was made",
                        _ => "the request did not complete",
                    };
                    Error::timeout(phase, after, what)
                }
            }),
        }
    }

    /// The head is here: content that came with it is taken along, and the connection with it if that was all. (A large
    /// exchange is only moved where it goes on.)
    #[inline]
    fn respond(&self, head: ResponseHead, exchange: &mut Exchange) -> (Box<Head>, Bytes, bool) {
        exchange.set_answered();
        let content_length = exchange.announced_length();
        let connection = exchange.take_info().expect("a response came on a connection");
        let tunnel = exchange.take_tunnel();
        let upgraded =
            tunnel.map(|(lease, leftover)| Box::new(Upgraded::new(lease, leftover, connection.clone())));
        let (ready, is_whole) = match upgraded {
            Some(_) => (Bytes::new(), true),
            None => exchange.take_ready(),
        };
        let measured = exchange.measured();
        let written = exchange.written();
        let upload = exchange.upload_progress();
        let head = Box::new(Head {
            received: head,
            requested: Requested::default(),
            connection,
            measured,
            content_length,
            written,
            upload,
            upgraded,
            max_collected: self.inner.request.max_collected_body,
        });
        (head, ready, is_whole)
    }
}

/// Whether the server takes these credentials for those of the connection.
fn binds_connection(headers: &HeaderMap) -> bool {
    headers.iter().any(|(name, value)| {
        (*name == AUTHORIZATION || *name == PROXY_AUTHORIZATION) && {
            let scheme = value.as_bytes().split(|&byte| byte == b' ').next().unwrap_or_default();
            scheme.eq_ignore_ascii_case(b"ntlm") || scheme.eq_ignore_ascii_case(b"negotiate")
        }
    })
}

/// Of a few fields, all are asked sooner than one is found by its hash.
#[inline]
fn has(headers: &HeaderMap, name: &HeaderName) -> bool {
    if headers.len() <= 8 { headers.keys().any(|key| key == name) } else { headers.contains_key(name) }
}

/// What CONNECT asks for, or what the caller names in its place.
fn authority(method: &Method, route: RouteRef<'_>, settings: &Settings) -> Option<String> {
    match &settings.target {
        Some(RequestTarget::Authority(authority)) => Some(authority.clone()),
        None if *method == Method::CONNECT => Some(route.host_and_port()),
        _ => None,
    }
}

/// Readies what the request says of its body: chunks, expectation and trailers. A server that was seen to speak
/// HTTP/1.0 gets no chunks and is not waited for:
///
/// > A client MUST NOT send a request containing Transfer-Encoding unless it knows the server will handle HTTP/1.1
/// > requests (or later minor revisions)
///
/// <https://www.rfc-editor.org/rfc/rfc9112#section-6.1>. `true`: for that, the content is to be taken into memory.
fn announce(
    headers: &mut HeaderMap,
    upload: &mut Upload,
    above: Option<u64>,
    is_old: impl FnOnce() -> bool,
) -> bool {
    let is_coded = has(headers, &TRANSFER_ENCODING);
    let is_announced = || has(headers, &EXPECT) || has(headers, &TRAILER);
    match upload.length() {
        BodyLength::None if !is_coded => return false,
        BodyLength::Known(_) if !is_coded && above.is_none() && !is_announced() => return false,
        _ => {}
    }
    let has_length = headers.contains_key(CONTENT_LENGTH);
    if headers.contains_key(TRAILER) && !has_length {
        upload.expect_trailers();
    }
    if !is_old() {
        let is_long = match upload.length() {
            BodyLength::None => false,
            BodyLength::Known(length) => above.is_some_and(|above| length > 0 && length >= above),
            _ => above.is_some(),
        };
        if is_long && !headers.contains_key(EXPECT) {
            headers.insert(EXPECT, HeaderValue::from_static("100-continue"));
        }
        return false;
    }
    headers.remove(EXPECT);
    let codings = headers.get(TRANSFER_ENCODING);
    let is_chunked = codings.is_some_and(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    // What contradicts itself is refused later, whoever the server is.
    if has_length || (is_coded && !is_chunked) {
        return false;
    }
    headers.remove(TRANSFER_ENCODING);
    if upload.has_known_length() {
        return false;
    }
    headers.remove(TRAILER);
    true
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

/// Forgets that an origin speaks HTTP/1.0, when it is dropped before the body was gathered. The next request then asks the
/// server again, because a request that is never sent cannot learn a new version.
struct Doubt<'a> {
    client: &'a Client,
    /// `None` once the body was gathered.
    origin: Option<u64>,
}

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        if let Some(origin) = self.origin {
            self.client.change_old_servers(|servers| servers.remove(origin, time::now()));
        }
    }
}

/// What is held of a body whose length a server has to know beforehand.
const GATHERED: usize = 1 << 20;

/// Which timeout ends a wait.
#[derive(Clone, Copy)]
enum Limit {
    Acquire,
    Connect,
    Total,
}

/// Fetches a URL by a process-wide client with the default settings, which keeps its connections.
///
/// ```no_run
/// # async fn example() -> handclasp::Result<()> {
/// let page = handclasp::get("https://example.org/").await?.text().await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// As [`RequestBuilder::send`].
pub async fn get(url: impl IntoUrl) -> Result<Response> {
    static CLIENT: OnceLock<Client> = OnceLock::new();
    CLIENT.get_or_init(Client::new).get(url).send().await
}
