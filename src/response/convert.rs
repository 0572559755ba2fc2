//! Conversions between a response and the types of the `http` crate.
//!
//! Invariant: a response that is converted to an `http::Response` and back is unchanged, except that its raw fields are
//! dropped.

use std::net::SocketAddr;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{Extensions, Method, StatusCode, Uri};

use super::{Collected, Head, MAX_COLLECTED, Requested, Response};
use crate::body::{AnsweredRequest, Body};
use crate::codec::{BodyLength, ResponseHead};
use crate::error::Written;
use crate::exchange::UploadProgress;
use crate::pool::ConnectionInfo;
use crate::record::Measured;
use crate::redirect::History;
use crate::timings::Timings;

/// The parts of a response for which an `http::Response` has no field. The extensions of the `http::Response` hold these
/// parts.
#[derive(Clone)]
struct Kept {
    sent: Option<(Method, Uri)>,
    history: History,
    written: Written,
    upload: UploadProgress,
    max_collected: usize,
}

impl Default for Kept {
    /// Returns the parts of a response that was made without a request.
    fn default() -> Self {
        Self {
            sent: None,
            history: History::default(),
            written: Written::All,
            upload: UploadProgress::none(),
            max_collected: MAX_COLLECTED,
        }
    }
}

impl Response {
    /// Returns the address of the server or of the proxy, or `None` if the connection has no address. This method
    /// returns [`connection`](Self::connection)`().peer_addr()`.
    pub fn remote_addr(&self) -> Option<SocketAddr> {
        self.connection().peer_addr()
    }

    /// Returns the extensions: values of any type, which a program keeps with the response. None by default.
    pub fn extensions(&self) -> &Extensions {
        &self.head.requested.extensions
    }

    /// Returns the extensions, mutably.
    ///
    /// ```no_run
    /// # async fn example(client: handclasp::Client) -> handclasp::Result<()> {
    /// #[derive(Clone)]
    /// struct Tenant(u32);
    /// let mut response = client.get("http://example.org/").send().await?;
    /// response.extensions_mut().insert(Tenant(17));
    /// assert_eq!(response.extensions().get::<Tenant>().map(|tenant| tenant.0), Some(17));
    /// # Ok(())
    /// # }
    /// ```
    pub fn extensions_mut(&mut self) -> &mut Extensions {
        &mut self.head.requested.extensions
    }
}

/// Makes a response without a request, for tests of code that reads responses.
///
/// An [`http::Uri`] among the extensions becomes the URI of the request. [`Timings`] and a [`ConnectionInfo`] among the
/// extensions become the timings and the connection of the response. Without these extensions, all timings are zero,
/// and [`Response::connection`] describes no connection: the number is 0, and there are no addresses. The method of the
/// request is GET, and the content is limited by the default of
/// [`max_collected_body`](crate::ClientBuilder::max_collected_body).
///
/// An `http::Response` that was made from a [`Response`] has the request, the redirects and the limit of that response
/// among its extensions. The conversion back restores all three.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let made = http::Response::builder().status(404).body("no such page").unwrap();
/// let response = handclasp::Response::from(made);
/// assert!(response.error_for_status_ref().is_err());
/// assert_eq!(response.text().await.unwrap(), "no such page");
/// # });
/// ```
impl<B: Into<Body>> From<http::Response<B>> for Response {
    #[allow(clippy::needless_update, reason = "without the feature `url` there is only one field")]
    fn from(response: http::Response<B>) -> Self {
        let (parts, body) = response.into_parts();
        let (body, mut extensions) = (body.into(), parts.extensions);
        let kept = extensions.remove::<Kept>().unwrap_or_default();
        let mut sent = kept.sent.unwrap_or_default();
        if let Some(uri) = extensions.remove() {
            sent.1 = uri;
        }
        let announced = || parts.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok();
        let content_length = match body.length() {
            // A response to HEAD and a 304 may announce a length although they have no content.
            _ if sent.0 == Method::HEAD || parts.status == StatusCode::NOT_MODIFIED => announced(),
            BodyLength::None => Some(0),
            BodyLength::Known(length) => Some(length),
            BodyLength::Chunked => announced(),
        };
        let connection = extensions.remove::<ConnectionInfo>().unwrap_or_else(ConnectionInfo::none);
        let measured = Measured::made(extensions.remove::<Timings>().unwrap_or_default());
        let head = Head {
            received: ResponseHead::made(parts.status, parts.version, parts.headers),
            sent: Some(sent),
            requested: Requested { history: kept.history, extensions, ..Requested::default() },
            connection,
            measured,
            content_length,
            written: kept.written,
            upload: kept.upload,
            upgraded: None,
            max_collected: kept.max_collected,
        };
        Self::new(Box::new(head), body)
    }
}

/// Converts a response to the type of the `http` crate, with its extensions, [`Timings`] and [`ConnectionInfo`] as extensions.
///
/// After a switch of protocols, the conversion closes the connection. Call [`Response::upgrade`] instead.
impl From<Response> for http::Response<Body> {
    fn from(response: Response) -> Self {
        let Response { head, mut body } = response;
        let Head { received, sent, requested, connection, measured, written, upload, max_collected, .. } =
            *head;
        if let Some((method, uri)) = sent.clone() {
            body.set_request(AnsweredRequest { method, uri, history: requested.history.clone() });
        }
        let mut out = Self::new(body);
        *out.status_mut() = received.status;
        *out.version_mut() = received.version;
        *out.headers_mut() = received.into_headers();
        *out.extensions_mut() = requested.extensions;
        out.extensions_mut().insert(Kept {
            sent,
            history: requested.history,
            written,
            upload,
            max_collected,
        });
        out.extensions_mut().insert(connection);
        out.extensions_mut().insert(*measured.timings());
        out
    }
}

/// Takes the content of the response, as [`Response::into_body`] does.
impl From<Response> for Body {
    fn from(response: Response) -> Self {
        response.into_body()
    }
}

/// Converts a whole response to the type of the `http` crate, with its [`Timings`] and [`ConnectionInfo`] as extensions. Drops
/// the trailers.
///
/// ```no_run
/// # async fn example() -> handclasp::Result<()> {
/// let whole = handclasp::get("http://example.org/").await?.collect().await?;
/// let response: http::Response<bytes::Bytes> = whole.into();
/// # Ok(())
/// # }
/// ```
impl From<Collected> for http::Response<Bytes> {
    fn from(collected: Collected) -> Self {
        let Collected { status, headers, body, timings, connection, request, .. } = collected;
        let AnsweredRequest { method, uri, history } = request;
        let mut out = Self::new(body);
        *out.status_mut() = status;
        *out.headers_mut() = headers;
        out.extensions_mut().insert(Kept { sent: Some((method, uri)), history, ..Kept::default() });
        out.extensions_mut().insert(connection);
        out.extensions_mut().insert(timings);
        out
    }
}
