//! One call, from a verb of the client to its response: everything between [`Client`](crate::Client) and a connection.
//!
//! [`Call::run`] is the fixed order of layers. Each layer has a file of its own, in which every decision that needs no
//! I/O is a pure function:
//!
//! - `head.rs` completes the request head with the client's default fields.
//! - `attempt.rs` tries the request on one connection, step by step. `acquire.rs` waits for that connection.
//! - `resend.rs` decides after each attempt whether the request is sent again.
//! - `http10.rs` remembers the servers that speak HTTP/1.0, and prepares requests for them.
//!
//! Layers that are still to be written have fixed positions. `cookie.rs` and `auth.rs` will complete the head of each
//! hop. `redirect.rs` will decide after the attempts of a hop whether another hop follows. The exchange still holds the
//! request's body at this point, and [`Exchange::restart`](crate::exchange::Exchange::restart) replays the body.
//! `decompress.rs` will wrap the body of the last response.
//!
//! Invariants: a request is sent again only if `resend.rs` says so. Every connection that is taken from the pool goes back to
//! the pool, or is closed, on every path.

mod acquire;
mod attempt;
mod head;
mod http10;
mod resend;
mod settings;

use http::{HeaderMap, Method, Uri};

use self::attempt::{Attempts, Finished};
use self::http10::Http10Servers;
pub use self::settings::RequestTarget;
pub(crate) use self::settings::{Informed, RequestConfig, Settings};
use crate::body::Body;
use crate::error::Result;
use crate::exchange::ExchangeConfig;
use crate::exchange::timeout::{Chosen, Timeouts};
use crate::pool::Pool;
use crate::pool::key::RouteRef;
use crate::response::Response;

/// The state and settings that all calls of one client share.
#[derive(Debug)]
pub(crate) struct Environment {
    pub(crate) pool: Pool,
    exchange: ExchangeConfig,
    /// Timeouts of a request that sets no timeout itself. The entry at index 0 is for a request without a total
    /// timeout, and the entry at index 1 is for a request with a total timeout.
    timeouts: [Timeouts; 2],
    request: RequestConfig,
    http10: Http10Servers,
}

impl Environment {
    pub(crate) fn new(pool: Pool, exchange: ExchangeConfig, request: RequestConfig) -> Self {
        let timeouts = [false, true].map(|has_total| Chosen::default().or(exchange.timeouts, has_total));
        Self { pool, exchange, timeouts, request, http10: Http10Servers::default() }
    }
}

/// A request that is being sent. The URI is only borrowed, because the caller later moves it into the response.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) env: &'a Environment,
    pub(crate) method: &'a Method,
    pub(crate) uri: &'a Uri,
    pub(crate) headers: &'a mut HeaderMap,
    pub(crate) settings: &'a Settings,
}

impl Call<'_> {
    /// Runs the call through all layers, and returns the response once its head has come.
    ///
    /// # Errors
    ///
    /// If a layer fails. The caller adds the request's URI to the error.
    #[inline]
    pub(crate) async fn run(mut self, body: Body) -> Result<Response> {
        self.complete(&body)?;
        // A redirect will begin its next hop here, with its own URI, cookies and credentials.
        let route = RouteRef::of(self.uri)?.isolated(self.settings.isolation.as_ref());
        let mut attempts = Attempts::new(self, route);
        let mut exchange = attempts.open(body);
        loop {
            attempts.prepare(&mut exchange).await?;
            attempts.acquire(&mut exchange).await?;
            let outcome = attempts.exchange(&mut exchange).await;
            match attempts.finish(outcome, &mut exchange) {
                Finished::Resend => {}
                Finished::Failed(error) => return Err(error),
                Finished::Complete(response) => return Ok(response),
                // Decoding of the content will wrap the body in this arm and in the arm of `Complete`.
                Finished::Open { head, ready } => {
                    let upload = head.upload;
                    return Ok(Response::new(head, Body::received(ready, Some(exchange), None, upload)));
                }
            }
        }
    }
}
