//! Functions that wait until bytes, or the end of the stream, have arrived at the client's sockets. The client's runtime
//! does not learn of the arrival.
//!
//! These functions ask the kernel instead of reading the sockets, and block the thread. The functions serve tests of the
//! look, which peeks at a socket before the reactor has learned of the bytes.

use std::io;
use std::net::SocketAddr;
use std::thread;
use std::time::Instant;

use super::{PATIENCE, Server};

/// Blocks until the client's socket has bytes to read or has ended.
pub fn wait_for_delivery(local: SocketAddr, remote: SocketAddr) {
    wait_while(local, remote, |socket| socket.is_open && !socket.is_told);
}

/// Blocks until the peer's FIN or reset has arrived at the client's socket, regardless of unread bytes before it.
pub fn wait_for_end(local: SocketAddr, remote: SocketAddr) {
    wait_while(local, remote, |socket| socket.is_open);
}

/// Blocks until each client socket of a server has bytes to read or has ended.
pub fn wait_for_all(server: &Server) {
    for client in server.clients() {
        wait_for_delivery(client, server.address());
    }
}

/// Blocks until all bytes that were sent over loopback before this call have arrived. This function is for tests that
/// cannot name the socket, or whose socket already has other bytes to read.
pub fn wait_for_loopback() {
    send_through_loopback().expect("loopback sockets can be used");
}

/// State of a socket as the kernel reports it.
#[derive(Debug)]
struct Socket {
    /// Whether neither side has closed its direction.
    is_open: bool,
    /// Whether the socket has bytes to read.
    is_told: bool,
}

fn wait_while(local: SocketAddr, remote: SocketAddr, is_waiting: impl Fn(&Socket) -> bool) {
    let begun = Instant::now();
    loop {
        match ask(local, remote) {
            Ok(Some(socket)) if is_waiting(&socket) => {}
            Ok(_) => return,
            // The kernel did not answer the query. A byte that is sent over loopback now arrives after all earlier bytes.
            Err(_) => return send_through_loopback().expect("loopback sockets can be used"),
        }
        assert!(begun.elapsed() < PATIENCE, "nothing arrived at the client");
        thread::yield_now();
    }
}

/// Sends a byte over loopback to this process and waits until the byte arrives.
fn send_through_loopback() -> io::Result<()> {
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut from = TcpStream::connect(listener.local_addr()?)?;
    let (mut to, _) = listener.accept()?;
    from.write_all(&[0])?;
    to.read_exact(&mut [0])
}

/// Asks the kernel about one socket (`man 7 sock_diag`). Returns `None` if there is no such socket.
#[cfg(target_os = "linux")]
fn ask(local: SocketAddr, remote: SocketAddr) -> io::Result<Option<Socket>> {
    use std::io::{Read, Write};
    use std::net::IpAddr;

    use socket2::{Domain, Protocol, Type};

    const NETLINK: i32 = 16;
    const SOCK_DIAG: i32 = 4;
    const SOCK_DIAG_BY_FAMILY: u16 = 20;
    const REQUEST: u16 = 1;
    const ERROR: u16 = 2;
    const NOT_FOUND: i32 = 2;
    const TCP: u8 = 6;
    const ESTABLISHED: u8 = 1;
    const HEADER: usize = 16;

    let (IpAddr::V4(from), IpAddr::V4(to)) = (local.ip(), remote.ip()) else {
        return Err(io::ErrorKind::Unsupported.into());
    };
    // These are the fields of `struct inet_diag_req_v2`: IPv4, TCP, no extensions, any state, ports, addresses, any
    // device, any cookie.
    let mut request = vec![2, TCP, 0, 0];
    request.extend([0xff; 4]);
    request.extend([local.port().to_be_bytes(), remote.port().to_be_bytes()].concat());
    for address in [from, to] {
        request.extend(address.octets());
        request.extend([0; 12]);
    }
    request.extend([[0; 4], [0xff; 4], [0xff; 4]].concat());
    // These are the fields of `struct nlmsghdr`: length, type, flags, number, port.
    let mut message = Vec::new();
    message.extend(u32::try_from(HEADER + request.len()).unwrap().to_ne_bytes());
    message.extend([SOCK_DIAG_BY_FAMILY.to_ne_bytes(), REQUEST.to_ne_bytes()].concat());
    message.extend([0; 8]);
    message.extend(request);

    let mut netlink =
        socket2::Socket::new(Domain::from(NETLINK), Type::DGRAM, Some(Protocol::from(SOCK_DIAG)))?;
    netlink.write_all(&message)?;
    let mut reply = [0; 4096];
    let length = netlink.read(&mut reply)?;
    let (header, reply) = reply[..length].split_at(HEADER);
    if u16::from_ne_bytes([header[4], header[5]]) == ERROR {
        let code = -i32::from_ne_bytes(reply[..4].try_into().unwrap());
        return if code == NOT_FOUND { Ok(None) } else { Err(io::Error::from_raw_os_error(code)) };
    }
    // The fields of `struct inet_diag_msg` are family, state, timer, retransmits, addresses (48 bytes), expiry, bytes
    // to read.
    let is_told = reply[56..60].iter().any(|byte| *byte > 0);
    Ok(Some(Socket { is_open: reply[1] == ESTABLISHED, is_told }))
}

#[cfg(not(target_os = "linux"))]
fn ask(_: SocketAddr, _: SocketAddr) -> io::Result<Option<Socket>> {
    Err(io::ErrorKind::Unsupported.into())
}
