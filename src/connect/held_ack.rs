//! The acknowledgment that ends TCP's handshake, which the first bytes of the client can carry.
//!
//! Linux sends the acknowledgment of the server's SYN at once, unless quick-ACK is off. If quick-ACK is off, the system
//! waits for the first write, which then carries the acknowledgment, and sends the acknowledgment alone after 200 ms.
//! The server does not accept the connection before the acknowledgment arrives. So the acknowledgment must not be held
//! on a connection on which nothing is written at once. After such an early first write, the system would acknowledge
//! the response late. So quick-ACK is switched on again after the write. Errors are ignored, because the connection
//! also works if the acknowledgment is sent alone.

use socket2::SockRef;
use tokio::net::TcpSocket;

use super::Stream;

/// Makes the system hold the acknowledgment of the server's SYN until the first write, if the system supports this.
pub(super) fn hold(socket: &TcpSocket) {
    set_quick(&SockRef::from(socket), false);
}

/// Sends the acknowledgment of the server's SYN, if the system still holds it, and lets the system send the next
/// acknowledgments at once.
#[cold]
pub(super) fn send(stream: &Stream) {
    match stream {
        Stream::Tcp(tcp) => set_quick(&SockRef::from(tcp), true),
        // The request went with the SYN, so that no write carries the acknowledgment.
        Stream::Early(early) => set_quick(&SockRef::from(&early.tcp), true),
        // A stream with TLS has already written its first message.
        _ => {}
    }
}

fn set_quick(socket: &SockRef<'_>, is_quick: bool) {
    #[cfg(any(target_os = "android", target_os = "linux"))]
    let _ = socket.set_tcp_quickack(is_quick);
    #[cfg(not(any(target_os = "android", target_os = "linux")))]
    let _ = (socket, is_quick);
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::io::{self, Read};
    use std::net::TcpListener;

    use tokio::io::AsyncWriteExt;

    use super::*;

    /// Whether the server's end of the connection exists. The system makes it when the acknowledgment has arrived, and
    /// over loopback the acknowledgment has arrived when the call that sends it returns.
    fn accept(listener: &TcpListener) -> Option<std::net::TcpStream> {
        match listener.accept() {
            Ok((peer, _)) => Some(peer),
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                None
            }
        }
    }

    #[tokio::test]
    async fn the_server_accepts_with_the_first_write_or_when_the_acknowledgment_is_sent() {
        for is_sent in [false, true] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            listener.set_nonblocking(true).unwrap();
            let socket = TcpSocket::new_v4().unwrap();
            hold(&socket);
            let tcp = socket.connect(listener.local_addr().unwrap()).await.unwrap();
            assert!(
                SockRef::from(&tcp).tcp_quickack().unwrap(),
                "the system has switched quick-ACK on again"
            );
            assert!(accept(&listener).is_none(), "the acknowledgment is held");
            let mut stream = Stream::Tcp(tcp);
            if is_sent {
                send(&stream);
            } else {
                stream.write_all(b"x").await.unwrap();
            }
            let mut peer = accept(&listener).unwrap();
            send(&stream);
            let Stream::Tcp(tcp) = &stream else { unreachable!() };
            assert!(SockRef::from(tcp).tcp_quickack().unwrap());
            if !is_sent {
                assert_eq!(peer.read(&mut [0; 2]).unwrap(), 1);
            }
        }
    }
}
