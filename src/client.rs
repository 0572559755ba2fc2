//! The client: a handle that is cheap to clone, and its verbs.
//!
//! This module does no I/O and decides nothing. Every request goes through [`call`](crate::call). Invariant: all clones
//! of a client share one pool.

mod reserved;

use std::sync::{Arc, OnceLock};

use http::{HeaderMap, Method, Uri};

pub use self::reserved::Reserved;
use crate::body::Body;
use crate::call::{Call, Environment, RequestConfig, Settings};
use crate::config::ClientBuilder;
use crate::connect::{Dialer, Via};
use crate::error::Result;
use crate::exchange::ExchangeConfig;
use crate::pool::{Pool, PoolConfig};
use crate::redirect::History;
use crate::request::RequestBuilder;
use crate::response::Response;
use crate::url::{Base, IntoUrl};

/// An HTTP/1.1 client with a pool of kept connections.
///
/// Cloning a client costs a reference count, and the clones share one pool. A client may be kept in a `static` and used
/// from any number of tokio runtimes, because a connection is only used on the runtime on which it was made.
///
/// The runtime needs I/O and timers. On a runtime without timers, requests fail with
/// [`ErrorKind::Request`](crate::ErrorKind::Request). Tokio reports missing timers by a panic. The client catches this
/// panic, but the message of the panic is still printed.
///
/// The page on [coming from reqwest](crate::manual::from_reqwest) compares both clients method by method. The page on
/// [testing](crate::manual::testing) says how to test code that uses a client, and the page on
/// [performance](crate::manual::performance) has measurements.
///
/// ```no_run
/// # async fn example() -> handclasp::Result<()> {
/// let client = handclasp::Client::new();
/// for page in ["http://example.org/1", "http://example.org/2"] {
///     let response = client.get(page).send().await?;
///     // The second request reuses the connection of the first request.
///     println!("{} on a reused connection: {}", response.status(), response.connection().is_reused());
///     println!("{}", response.text().await?);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    env: Arc<Environment>,
}

impl Client {
    /// Returns a client with the default settings. This function does no I/O and cannot fail.
    pub fn new() -> Self {
        ClientBuilder::default().build_valid()
    }

    /// Returns a builder for a client with other settings.
    ///
    /// ```
    /// # fn main() -> handclasp::Result<()> {
    /// use std::time::Duration;
    /// let client = handclasp::Client::builder().timeout(Duration::from_secs(10)).build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    pub(crate) fn new_with(
        pool: PoolConfig,
        dialer: Dialer,
        exchange: ExchangeConfig,
        request: RequestConfig,
    ) -> Self {
        Self { env: Arc::new(Environment::new(Pool::new(pool, dialer), exchange, request)) }
    }

    /// Starts a GET request. An invalid URL is reported when the request is sent or built.
    ///
    /// ```no_run
    /// # async fn example(client: handclasp::Client) -> handclasp::Result<()> {
    /// let page = client.get("http://example.org/?q=rust").send().await?.text().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn get(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::GET, url)
    }

    /// Starts a HEAD request. An invalid URL is reported when the request is sent or built.
    pub fn head(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::HEAD, url)
    }

    /// Starts a POST request. An invalid URL is reported when the request is sent or built.
    ///
    /// ```no_run
    /// # async fn example(client: handclasp::Client) -> handclasp::Result<()> {
    /// let response = client.post("http://example.org/notes").body("one handshake").send().await?;
    /// response.error_for_status()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn post(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::POST, url)
    }

    /// Starts a PUT request. An invalid URL is reported when the request is sent or built.
    pub fn put(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::PUT, url)
    }

    /// Starts a PATCH request. An invalid URL is reported when the request is sent or built.
    pub fn patch(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::PATCH, url)
    }

    /// Starts a DELETE request. An invalid URL is reported when the request is sent or built.
    pub fn delete(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::DELETE, url)
    }

    /// Starts a request with any method. An invalid URL is reported when the request is sent or built.
    ///
    /// ```no_run
    /// # async fn example(client: handclasp::Client) -> handclasp::Result<()> {
    /// let response = client.request(http::Method::OPTIONS, "http://example.org/").send().await?;
    /// println!("{:?}", response.headers().get("allow"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn request(&self, method: Method, url: impl IntoUrl) -> RequestBuilder {
        RequestBuilder::new(self.clone(), method, url)
    }

    /// Sends an [`http::Request`] and waits for the head of its response.
    ///
    /// The URI must be absolute, unless the client has a base URL (`ClientBuilder::base_url`). The client adds its default
    /// fields, sends the user and password of the URI as Basic, and sends everything else unchanged. The version is
    /// ignored.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future is safe at any point; see [`RequestBuilder::send`].
    ///
    /// # Errors
    ///
    /// An error if the request cannot be sent or gets no response head: see [`RequestBuilder::send`].
    ///
    /// ```no_run
    /// # async fn example(client: handclasp::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let request = http::Request::put("http://example.org/notes/1").body("one handshake")?;
    /// let response = client.execute(request).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn execute<B: Into<Body>>(&self, request: http::Request<B>) -> Result<Response> {
        RequestBuilder::of(self.clone(), request.map(Into::into)).send().await
    }

    /// Returns the pool, which shows its connections, its events, and the time that reuse saved.
    ///
    /// ```
    /// let client = handclasp::Client::new();
    /// let total = client.pool().stats().total;
    /// println!("{} connections opened, {} requests reused one", total.opened, total.reused);
    /// ```
    pub fn pool(&self) -> &Pool {
        &self.env.pool
    }

    /// Dials ahead until `connections` connections to the URL's origin are idle or being made. Waits for the dials that
    /// this call began.
    ///
    /// Eight connections are dialed at a time. Dials that other calls or requests began are counted, but this call does
    /// not wait for these dials.
    ///
    /// All limits of the pool apply, and requests come first. No dial begins while a limit makes a request wait, and a
    /// dial of this call is given up if a request needs its room under a limit. If the call makes fewer
    /// connections for these reasons, the call still returns `Ok`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future is safe at any point. The dials that the call began continue, and their connections are
    /// kept.
    ///
    /// # Errors
    ///
    /// An error if the URL is invalid, or if a dial fails. A failed dial does not end the other dials. An http URL is
    /// refused if the client is [`https_only`](ClientBuilder::https_only).
    ///
    /// ```no_run
    /// # async fn example(client: handclasp::Client) -> handclasp::Result<()> {
    /// client.warm("https://api.example.org", 4).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn warm(&self, url: impl IntoUrl, connections: usize) -> Result<()> {
        let uri = self.base().take_apart(url, &mut None)?;
        let mut via = Via::Direct;
        let route = self.env.route_ahead(&uri, &mut via).map_err(|error| error.with_uri(&uri))?;
        self.env.pool.warm(route, connections).await.map_err(|error| error.with_uri(&uri))
    }

    /// Keeps `connections` connections to the URL's origin idle from now on.
    ///
    /// A connection that a request takes, or that is closed, is replaced at once by a new dial. The dials are made in
    /// the background, eight at a time, on the runtime on which this method is called. If several runtimes keep
    /// connections to one origin, their numbers add up. A call with 0 connections stops these dials. The end
    /// of the runtime stops these dials too.
    ///
    /// All limits of the pool apply. No connection is dialed beyond the number of connections that
    /// [`max_idle_per_host`](ClientBuilder::max_idle_per_host) and [`max_idle`](ClientBuilder::max_idle) allow to be
    /// kept, connections in use included. Requests come first: no dial ahead begins while a limit makes a request wait,
    /// and a dial ahead is given up if a request needs its room under a limit. No connection is closed in favor of a
    /// dial ahead. If a limit leaves no room, or if a dial has failed, the next dial follows some seconds later.
    ///
    /// To wait for the first connections, call [`warm`](Self::warm) before this method.
    ///
    /// # Errors
    ///
    /// An error if the URL is invalid, if there is no tokio runtime, or if the pool was shut down. An http URL is refused
    /// if the client is [`https_only`](ClientBuilder::https_only).
    ///
    /// ```no_run
    /// # async fn example(client: handclasp::Client) -> handclasp::Result<()> {
    /// client.warm("https://api.example.org", 2).await?;
    /// client.min_idle("https://api.example.org", 2)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn min_idle(&self, url: impl IntoUrl, connections: usize) -> Result<()> {
        let uri = self.base().take_apart(url, &mut None)?;
        let mut via = Via::Direct;
        let route = self.env.route_ahead(&uri, &mut via).map_err(|error| error.with_uri(&uri))?;
        self.env.pool.set_min_idle(route, connections).map_err(|error| error.with_uri(&uri))
    }

    /// Returns the URL to which the URLs of requests are joined.
    #[inline]
    pub(crate) fn base(&self) -> &Base {
        self.env.base()
    }

    /// Returns a call of this client, which the caller runs.
    #[inline]
    pub(crate) fn call<'a>(
        &'a self,
        method: &'a mut Method,
        uri: &'a mut Uri,
        headers: &'a mut HeaderMap,
        settings: &'a Settings,
        history: &'a mut History,
    ) -> Call<'a> {
        Call { env: &self.env, method, uri, headers, settings, history }
    }
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

/// Fetches a URL with a GET request of a process-wide client, and waits for the head of the response.
///
/// The client has the default settings. Its connections are kept, so that a later call may reuse them.
///
/// ```no_run
/// # async fn example() -> handclasp::Result<()> {
/// let page = handclasp::get("https://example.org/").await?.text().await?;
/// # Ok(())
/// # }
/// ```
///
/// # Cancel safety
///
/// Dropping the future is safe at any point; see [`RequestBuilder::send`].
///
/// # Errors
///
/// An error if the URL is invalid, or if the request gets no response head: see [`RequestBuilder::send`].
pub async fn get(url: impl IntoUrl) -> Result<Response> {
    static CLIENT: OnceLock<Client> = OnceLock::new();
    CLIENT.get_or_init(Client::new).get(url).send().await
}
