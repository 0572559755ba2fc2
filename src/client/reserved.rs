//! The handle of a reserved connection, and the verbs of the handle.
//!
//! This module does no I/O and decides nothing. Invariant: a handle that is dropped closes its connection, unless the
//! caller has given the connection back.

use std::fmt;

use http::Method;

use crate::body::Body;
use crate::call::Pinned;
use crate::client::Client;
use crate::error::Result;
use crate::pool::ConnectionInfo;
use crate::request::RequestBuilder;
use crate::response::Response;
use crate::url::IntoUrl;

/// One connection that carries the requests of one caller, one after another. [`Client::reserve`] returns this type.
///
/// Use a reserved connection if the server keeps state for each connection: a login by NTLM or Negotiate, a sticky
/// session behind a load balancer, or a token that is valid on one connection.
///
/// # Requests
///
/// The verbs return a [`RequestBuilder`], and everything that a request of the client can do works here too. The
/// differences follow from the single connection:
///
/// - A request to another origin, through another proxy or unix socket, or with an
///   [`isolation`](RequestBuilder::isolation) tag fails with [`ErrorKind::Request`](crate::ErrorKind::Request) before a
///   byte is written.
/// - A request is never moved to another connection, and never sent again. If the server has closed the connection, the
///   request fails with [`ErrorKind::ConnectionLost`](crate::ErrorKind::ConnectionLost). All later requests fail in the
///   same way.
/// - A request begins when the latest response has ended. While the caller holds a response that was not read to its
///   end, the next request fails with [`ErrorKind::Request`](crate::ErrorKind::Request). To send the next request, read
///   the response to its end or drop it. If a dropped response has at most 64 KiB left, the next request waits until
///   these bytes were read, at most 100 ms, and no longer than its own timeouts allow. If more is left, or if the bytes
///   do not come in time, the connection is closed.
/// - A redirect to the same origin is followed on the connection. A redirect to another origin is not followed, and
///   neither is a redirect after which the server closes the connection. A redirect whose content is longer than 64
///   KiB is not followed, nor is one whose content has no `Content-Length` and has not come with the head. The caller
///   gets this response.
/// - A request with NTLM or Negotiate credentials does not send `Connection: close`, because nobody else uses its
///   connection.
/// - After an upgrade or a CONNECT, the connection carries no further request.
///
/// # The end
///
/// Dropping this value closes the connection. [`release`](Self::release) gives the connection back to the pool instead.
/// In both cases a response under way may be read to its end first.
///
/// A reserved connection counts as active, and takes room under every limit of the pool. No other request gets the
/// connection, and no limit closes the connection. The idle timeout, the maximum lifetime and
/// [`evict_if`](crate::ClientBuilder::evict_if) do not end the reservation. [`Pool::shutdown`](crate::Pool::shutdown)
/// treats the connection as a request under way: requests may use the connection until the time of the shutdown has
/// passed. [`Pool::on_network_change`](crate::Pool::on_network_change), and another TLS identity of the client
/// (`ClientBuilder::identity_provider`), end the reservation at the next request.
///
/// ```no_run
/// # async fn example(client: handclasp::Client, offer: String, proof: fn(&str) -> String) -> handclasp::Result<()> {
/// use handclasp::header::{AUTHORIZATION, WWW_AUTHENTICATE};
///
/// let url = "http://intranet.example/report";
/// let mut connection = client.reserve(url).await?;
/// // A login by NTLM takes three steps on one connection.
/// let response = connection.get(url).header(AUTHORIZATION, offer).send().await?;
/// let challenge = response.headers()[WWW_AUTHENTICATE].to_str().unwrap_or_default().to_owned();
/// response.bytes().await?;
/// let report = connection.get(url).header(AUTHORIZATION, proof(&challenge)).send().await?.text().await?;
/// // The connection is logged in now.
/// let next = connection.get("http://intranet.example/next").send().await?.text().await?;
/// # Ok(())
/// # }
/// ```
pub struct Reserved {
    client: Client,
    pinned: Pinned,
    connection: ConnectionInfo,
}

impl Client {
    /// Reserves one connection to the URL's origin: takes an idle connection, or waits for a connection as a request
    /// does.
    ///
    /// An idle connection is taken only if the server has neither closed the connection nor sent bytes. If the client
    /// has the setting [`fresh_for_unsafe`](crate::ClientBuilder::fresh_for_unsafe), the connection must also have been
    /// used within this time. [`Reserved::connection`] tells whether the connection was used before. All limits of the
    /// pool apply, and the wait ends after the [`acquire_timeout`](crate::ClientBuilder::acquire_timeout).
    ///
    /// The path and the query of the URL do not matter. The connection goes through the same proxy as a GET request to
    /// this URL.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future is safe at any point. A dial that the call began continues, and its connection is kept.
    ///
    /// # Errors
    ///
    /// An error if the URL is invalid, if the pool refuses another connection or was shut down, or if no connection can
    /// be made in time. Nothing was written.
    ///
    /// ```no_run
    /// # async fn example(client: handclasp::Client) -> handclasp::Result<()> {
    /// let mut connection = client.reserve("http://example.org/").await?;
    /// for path in ["http://example.org/login", "http://example.org/data"] {
    ///     let response = connection.get(path).send().await?;
    ///     assert_eq!(response.connection().id(), connection.connection().id());
    ///     println!("{}", response.text().await?);
    /// }
    /// connection.release();
    /// # Ok(())
    /// # }
    /// ```
    pub async fn reserve(&self, url: impl IntoUrl) -> Result<Reserved> {
        let uri = self.base().take_apart(url, &mut None)?;
        // Boxed because the future holds a wait: keeps the futures of callers small.
        let reserved = Box::pin(self.env.reserve(&uri)).await;
        let (pinned, connection) = reserved.map_err(|error| error.with_uri(&uri))?;
        Ok(Reserved { client: self.clone(), pinned, connection })
    }
}

impl Reserved {
    /// Starts a GET request on the connection. An invalid URL is reported when the request is sent or built.
    pub fn get(&mut self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::GET, url)
    }

    /// Starts a HEAD request on the connection. An invalid URL is reported when the request is sent or built.
    pub fn head(&mut self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::HEAD, url)
    }

    /// Starts a POST request on the connection. An invalid URL is reported when the request is sent or built.
    pub fn post(&mut self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::POST, url)
    }

    /// Starts a PUT request on the connection. An invalid URL is reported when the request is sent or built.
    pub fn put(&mut self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::PUT, url)
    }

    /// Starts a PATCH request on the connection. An invalid URL is reported when the request is sent or built.
    pub fn patch(&mut self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::PATCH, url)
    }

    /// Starts a DELETE request on the connection. An invalid URL is reported when the request is sent or built.
    pub fn delete(&mut self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::DELETE, url)
    }

    /// Starts a request with any method on the connection. An invalid URL is reported when the request is sent or
    /// built.
    ///
    /// The builder is bound to the connection, and so is a request that its [`build`](RequestBuilder::build) returns. A
    /// request that is sent after the end of the reservation fails with
    /// [`ErrorKind::ConnectionLost`](crate::ErrorKind::ConnectionLost), and nothing is written.
    pub fn request(&mut self, method: Method, url: impl IntoUrl) -> RequestBuilder {
        self.client.request(method, url).on(self.pinned.clone())
    }

    /// Sends an [`http::Request`] on the connection, and waits for the head of its response.
    ///
    /// [`Client::execute`] describes which requests are allowed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future is safe at any point. If a byte of the request was written, the connection is closed, and
    /// the reservation ends. If nothing was written, the connection stays reserved.
    ///
    /// # Errors
    ///
    /// An error if the request cannot be sent or gets no response head: see [`RequestBuilder::send`] and [`Reserved`].
    pub async fn execute<B: Into<Body>>(&mut self, request: http::Request<B>) -> Result<Response> {
        let request = RequestBuilder::from_parts(self.client.clone(), request);
        request.on(self.pinned.clone()).send().await
    }

    /// Returns the description of the connection at the time of the reservation.
    ///
    /// Its [`ordinal`](ConnectionInfo::ordinal) is the number of requests that the connection had carried, and
    /// [`is_reused`](ConnectionInfo::is_reused) says whether the connection was idle or used before.
    pub fn connection(&self) -> &ConnectionInfo {
        &self.connection
    }

    /// Whether the connection can carry another request.
    ///
    /// If no request uses the connection, this method looks at the connection by a system call that does not block.
    /// While a response is being read, the result is true, although the end of the response may still close the
    /// connection. If the result is false, the error of the next request names the reason.
    ///
    /// The server can close the connection at any moment after this method returns.
    pub fn is_open(&self) -> bool {
        self.pinned.is_open()
    }

    /// Gives the connection back to the pool, so that any request of the client can use it.
    ///
    /// Do not release a connection on which the server knows the caller by an earlier request: other requests of the
    /// client would act in the name of that caller. A connection that has carried NTLM or Negotiate credentials is
    /// closed instead, because the client can see these credentials. The client cannot see any other state that the
    /// server keeps.
    ///
    /// If a response is not read to its end yet, the connection goes back to the pool when that response has ended.
    pub fn release(self) {
        self.pinned.release();
    }

    /// Closes the connection. If a response is not read to its end yet, the connection is closed when that response has
    /// ended.
    ///
    /// Dropping the reservation does the same.
    pub fn close(self) {
        self.pinned.close();
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.pinned.close();
    }
}

impl fmt::Debug for Reserved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reserved")
            .field("pinned", &self.pinned)
            .field("connection", &self.connection)
            .finish()
    }
}
