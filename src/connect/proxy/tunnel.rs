//! The dialog with a proxy over a stream. No other file of this folder does I/O.
//!
//! `socks.rs` and `connect.rs` decide which bytes are sent and what an answer means. Invariants: after a success, the
//! stream has no byte of the proxy's answer left, and no byte after the answer was read. An error means that the stream
//! must be closed.

use std::io;

use bytes::BytesMut;
use http::HeaderValue;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::connect::Connect;
use super::refusal::Refusal;
use super::server::{Kind, ProxyServer};
use super::socks::{Asked, Next, Socks};
use crate::connect::limit::Limit;
use crate::connect::{DialError, Scope, client_refused};
use crate::error::{ErrorKind, Phase};

/// A dialog with a proxy.
enum Dialog<'a> {
    Connect(Box<Connect>),
    Socks(Socks<'a>),
}

/// Reason why a dialog failed.
enum Failed {
    Refused(Refusal),
    Lost(io::Error),
}

/// Error of a dialog. The stream must be closed after this error.
#[derive(Debug)]
pub(crate) struct NotOpened {
    pub(crate) error: DialError,
    /// Whether the proxy may open a connection to another address of the same host.
    pub(crate) is_of_address: bool,
}

/// Asks the proxy at the other end of `stream` for a connection to a destination. When the function returns `Ok`, the
/// stream is that connection. `agent` is the `User-Agent` of CONNECT.
///
/// # Errors
///
/// If the proxy opens no connection. The kind is [`ErrorKind::Proxy`], or [`ErrorKind::Timeout`] after the limit.
pub(crate) async fn through<S>(
    proxy: &ProxyServer,
    stream: &mut S,
    to: Asked<'_>,
    agent: Option<&HeaderValue>,
    limit: Limit,
) -> Result<(), NotOpened>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let failed = match limit.run(talk(proxy, stream, to, agent)).await {
        Some(Ok(())) => return Ok(()),
        Some(Err(failed)) => failed,
        None => {
            let message = format!("the proxy {proxy} opened no connection within {limit}");
            let error = DialError::new(ErrorKind::Timeout, Phase::Proxy, message, Scope::Attempt);
            return Err(NotOpened { error, is_of_address: false });
        }
    };
    let is_of_address = matches!(&failed, Failed::Refused(refusal) if refusal.is_of_address());
    Err(NotOpened { error: failed.into_error(proxy), is_of_address })
}

/// Sends and receives until the connection is open or refused.
async fn talk<S>(
    proxy: &ProxyServer,
    stream: &mut S,
    to: Asked<'_>,
    agent: Option<&HeaderValue>,
) -> Result<(), Failed>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut dialog, first) = Dialog::begin(proxy, to, agent)?;
    let (mut next, mut buf) = (Next::Send(first), BytesMut::new());
    loop {
        match next {
            Next::Send(bytes) => {
                if let Err(lost) = send(stream, &bytes).await {
                    // The refusal of the client's certificate may have come before the write.
                    let refusal = stream.read_buf(&mut buf).await.err();
                    return Err(refusal
                        .filter(|error| client_refused(error).is_some())
                        .unwrap_or(lost)
                        .into());
                }
            }
            Next::Wait => {
                if stream.read_buf(&mut buf).await? == 0 {
                    return Err(Failed::Refused(Refusal::Closed));
                }
            }
            Next::Open => return Ok(()),
        }
        next = dialog.receive(&mut buf)?;
    }
}

/// Writes the bytes of a message and flushes the stream.
async fn send<S: AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

impl Failed {
    fn into_error(self, proxy: &ProxyServer) -> DialError {
        let error = |message, scope| DialError::new(ErrorKind::Proxy, Phase::Proxy, message, scope);
        match self {
            Self::Lost(lost) => match client_refused(&lost) {
                Some(why) => error(format!("the proxy {proxy} {why}"), Scope::Host).because(lost),
                None => error(format!("the connection to the proxy {proxy} was lost"), Scope::Attempt)
                    .because(lost),
            },
            Self::Refused(refusal) => {
                let (message, scope) = (format!("the proxy {proxy} {refusal}"), refusal.scope());
                let status = refusal.status();
                match refusal {
                    Refusal::Http(cause) => error(message, scope).because(cause),
                    Refusal::Unsendable(cause) => error(message, scope).because(cause),
                    _ => error(message, scope).with_status(status),
                }
            }
        }
    }
}

impl<'a> Dialog<'a> {
    fn begin(
        proxy: &'a ProxyServer,
        to: Asked<'_>,
        agent: Option<&HeaderValue>,
    ) -> Result<(Self, Vec<u8>), Refusal> {
        let socks = match proxy.kind() {
            Kind::Http | Kind::Https => {
                let (connect, first) = Connect::new(&to.to_string(), proxy.fields(), agent)?;
                return Ok((Self::Connect(Box::new(connect)), first));
            }
            Kind::Socks4 | Kind::Socks4a => Socks::v4(to, proxy.login()),
            Kind::Socks5 | Kind::Socks5h => Socks::v5(to, proxy.login()),
        };
        socks.map(|(socks, first)| (Self::Socks(socks), first))
    }

    fn receive(&mut self, buf: &mut BytesMut) -> Result<Next, Refusal> {
        match self {
            Self::Connect(connect) => connect.receive(buf),
            Self::Socks(socks) => socks.receive(buf),
        }
    }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Lost(error)
    }
}

impl From<Refusal> for Failed {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

#[cfg(test)]
#[path = "tunnel_tests.rs"]
mod tests;
