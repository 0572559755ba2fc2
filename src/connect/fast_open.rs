//! TCP Fast Open: a connection attempt whose SYN carries the first bytes of the client.
//!
//! > TFO allows data to be carried in the SYN and SYN-ACK packets and consumed by the receiving end during the initial
//! > connection handshake, and saves up to one full round-trip time (RTT)
//!
//! <https://www.rfc-editor.org/rfc/rfc7413#section-1>
//!
//! The attempt ends when the server's SYN has arrived, as every other attempt does. So the attempt takes one round
//! trip, a closed port is an error of the attempt, and addresses can be raced. The wait delays no answer, because no
//! data comes before the server's SYN. This file does not know what the bytes mean. Invariant: the server may get the
//! bytes twice, so the caller passes only bytes that may be repeated.

use std::io;
use std::net::SocketAddr;

use tokio::io::Interest;
use tokio::net::{TcpSocket, TcpStream};

/// Connects to `peer`, and sends a part of `first` with the SYN, if the system supports Fast Open and has a cookie of
/// the peer. Without a cookie, asks the peer for a cookie. Returns the connection and the number of bytes that were
/// sent.
pub(super) async fn connect(
    socket: TcpSocket,
    peer: SocketAddr,
    first: &[u8],
) -> io::Result<(TcpStream, usize)> {
    let is_set = set(&socket);
    let tcp = socket.connect(peer).await?;
    if !is_set || tcp.peer_addr().is_ok() {
        // The handshake has ended, because the system has no cookie.
        return Ok((tcp, 0));
    }
    let sent = match tcp.try_write(first) {
        Ok(sent) => sent,
        // The system has sent a SYN without data.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock || is_in_progress(&error) => 0,
        Err(error) => return Err(error),
    };
    tcp.async_io(Interest::WRITABLE, || check(&tcp)).await?;
    Ok((tcp, sent))
}

/// Returns an error of kind [`io::ErrorKind::WouldBlock`] while the server's SYN has not arrived.
fn check(tcp: &TcpStream) -> io::Result<()> {
    if let Some(error) = tcp.take_error()? {
        return Err(error);
    }
    match tcp.peer_addr() {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Err(io::ErrorKind::WouldBlock.into()),
        Err(error) => Err(error),
    }
}

/// Makes the system wait for the first write before the system sends a SYN, if the system has a cookie of the peer.
/// Returns false if the system does not support this option.
#[cfg(all(feature = "fast-open", target_os = "linux"))]
fn set(socket: &TcpSocket) -> bool {
    use nix::sys::socket::{setsockopt, sockopt::TcpFastOpenConnect};

    setsockopt(socket, TcpFastOpenConnect, &true).is_ok()
}

#[cfg(not(all(feature = "fast-open", target_os = "linux")))]
fn set(_: &TcpSocket) -> bool {
    false
}

#[cfg(all(feature = "fast-open", target_os = "linux"))]
fn is_in_progress(error: &io::Error) -> bool {
    error.raw_os_error() == Some(nix::errno::Errno::EINPROGRESS as i32)
}

#[cfg(not(all(feature = "fast-open", target_os = "linux")))]
fn is_in_progress(_: &io::Error) -> bool {
    false
}
