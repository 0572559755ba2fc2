//! The dial over a unix socket: from a path to a connected stream.
//!
//! The connection to the socket replaces the name lookup and TCP. The TLS handshake is the same as in a direct dial,
//! with the host of the URL. Invariants: this file looks up no name, and connects to no address. So neither the address
//! filter nor an option of TCP applies.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixStream;

use super::{Dialed, Dialer, end_phase};
use crate::connect::destination::Destination;
use crate::connect::error::{DialError, Scope};
use crate::connect::limit::Limit;
use crate::connect::shortage::shortage;
use crate::connect::socket_path::SocketPath;
use crate::connect::stream::Stream;
use crate::error::{ErrorKind, Phase};
use crate::time;
use crate::timings::Rounded;
use crate::trace::Setup;

impl Dialer {
    /// Makes one connection over a unix socket.
    pub(super) async fn dial_by_socket(
        &self,
        path: &SocketPath,
        to: &Destination,
        tag: Option<&Arc<str>>,
        setup: &Setup,
        limit: Limit,
    ) -> Result<Dialed, DialError> {
        if self.connector.is_some() {
            let message = "a client with a connector uses no unix sockets, because the connector makes the connections: leave one of them out";
            return Err(DialError::new(ErrorKind::Request, Phase::Queue, message.into(), Scope::Host));
        }
        let tls = match to.is_https() {
            true => Some(Box::pin(self.load_tls(limit)).await?),
            false => None,
        };
        let phase = setup.unix(path);
        let connected = limit.run(connect(path)).await;
        let connected = match connected {
            Some(Ok(unix)) => Ok(unix),
            Some(Err(error)) => Err(failure(path, error).await),
            None => Err(too_late(path, self.config.connect_timeout)),
        };
        let unix = end_phase(phase, connected)?;
        let (stream, tls) = match tls {
            Some(tls) => {
                let tls = tls.isolated(tag, to.via());
                Box::pin(self.secure(tls.handshake(to.host(), unix), to, setup, limit)).await?
            }
            None => (Stream::Unix(unix), None),
        };
        Ok(Dialed { stream, peer: None, local: None, round_trip: None, seat: None, tls })
    }
}

/// Connects to a unix socket. If the server's queue is full, Linux returns an error instead of waiting. So this
/// function tries again until the queue has room.
async fn connect(path: &SocketPath) -> io::Result<UnixStream> {
    let mut pause = FIRST_PAUSE;
    loop {
        match UnixStream::connect(path.as_path()).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                time::sleep_until(time::after(time::now(), pause)).await;
                pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
            }
            connected => return connected,
        }
    }
}

/// Returns the error of a socket that could not be connected to.
#[cold]
async fn failure(path: &SocketPath, error: io::Error) -> DialError {
    let scope = if shortage(&error).is_some() { Scope::Shortage } else { Scope::Host };
    let message = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            format!("there is no unix socket {path}: start the server, or correct the path")
        }
        io::ErrorKind::PermissionDenied => format!(
            "this process may not use the unix socket {path}: run the process as a user or in a group that may write to the socket and enter its folders"
        ),
        // Linux returns the same error for a file that is not a socket and for a socket without a server.
        _ if is_other_file(path).await => {
            format!("the file {path} is not a unix socket: give the path on which the server listens")
        }
        io::ErrorKind::ConnectionRefused => {
            format!("no server listens on the unix socket {path}: start the server")
        }
        _ => format!("the client could not connect to the unix socket {path}"),
    };
    DialError::new(ErrorKind::Connect, Phase::Tcp, message, scope).because(error)
}

/// Whether the path names a file that is not a socket.
async fn is_other_file(path: &SocketPath) -> bool {
    let is_other = |file: std::fs::Metadata| !file.file_type().is_socket();
    !path.is_abstract() && tokio::fs::metadata(path.as_path()).await.is_ok_and(is_other)
}

#[cold]
fn too_late(path: &SocketPath, connect_timeout: Duration) -> DialError {
    let after = Rounded(connect_timeout);
    let message = format!(
        "the server of the unix socket {path} accepted no connection within {after} (connect_timeout): its queue is full"
    );
    DialError::new(ErrorKind::Timeout, Phase::Tcp, message, Scope::Host)
}

/// Time before the first repeated attempt to enter a full queue. The time doubles with each attempt.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
/// Longest time before a repeated attempt to enter a full queue.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);
