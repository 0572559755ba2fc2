//! A server on loopback with a thread for each connection. The server uses no async runtime, so that tests can run
//! the client on any runtime.
//!
//! The server answers `/bytes/N` with N bytes. The server answers every other path with the number of the connection. The
//! answer to `/slow/MS` comes after MS milliseconds.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test uses a part of this file, and the file is test code"
)]

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// A server that runs until the process ends.
#[derive(Clone)]
pub(crate) struct Plain {
    pub(crate) address: SocketAddr,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    accepted: AtomicUsize,
    open: AtomicUsize,
    peak: AtomicUsize,
    requests: AtomicUsize,
}

impl Plain {
    pub(crate) fn start() -> Self {
        super::order::check_all();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self { address: listener.local_addr().unwrap(), counts: Arc::default() };
        let counts = server.counts.clone();
        std::thread::spawn(move || {
            let mut live: Vec<Weak<TcpStream>> = Vec::new();
            for stream in listener.incoming().map_while(Result::ok) {
                let stream = Arc::new(stream);
                live.retain(|stream| stream.upgrade().is_some_and(|stream| !has_ended(&stream)));
                live.push(Arc::downgrade(&stream));
                counts.peak.fetch_max(live.len(), Ordering::SeqCst);
                let number = counts.accepted.fetch_add(1, Ordering::SeqCst) + 1;
                counts.open.fetch_add(1, Ordering::SeqCst);
                let counts = counts.clone();
                std::thread::spawn(move || {
                    // An error ends the connection, and the tests do not depend on the error's cause.
                    let _ = serve(&stream, number, &counts);
                    counts.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        server
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn accepted(&self) -> usize {
        self.counts.accepted.load(Ordering::SeqCst)
    }

    pub(crate) fn open(&self) -> usize {
        self.counts.open.load(Ordering::SeqCst)
    }

    /// Returns the highest number of connections that were open when a new connection was accepted. A connection that
    /// the client had already closed does not count.
    pub(crate) fn peak(&self) -> usize {
        self.counts.peak.load(Ordering::SeqCst)
    }

    pub(crate) fn requests(&self) -> usize {
        self.counts.requests.load(Ordering::SeqCst)
    }
}

/// Whether the client has closed the connection. The peek finds the client's FIN even if the connection's thread has not
/// read it yet. On loopback the FIN arrives before the client's next connection.
#[cfg(target_os = "linux")]
fn has_ended(stream: &TcpStream) -> bool {
    const MSG_PEEK: i32 = 0x02;
    const MSG_DONTWAIT: i32 = 0x40;

    let mut byte = [std::mem::MaybeUninit::uninit()];
    let peeked = socket2::SockRef::from(stream).recv_with_flags(&mut byte, MSG_PEEK | MSG_DONTWAIT);
    match peeked {
        Ok(read) => read == 0,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    }
}

/// Returns false, because a peek without `MSG_DONTWAIT` could block. A connection counts as open until its thread ends.
#[cfg(not(target_os = "linux"))]
fn has_ended(_: &TcpStream) -> bool {
    false
}

fn serve(mut stream: &TcpStream, number: usize, counts: &Counts) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let path = line.split(' ').nth(1).unwrap_or("/").to_owned();
        while line != "\r\n" {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
        }
        counts.requests.fetch_add(1, Ordering::SeqCst);
        if let Some(after) = path.strip_prefix("/slow/") {
            std::thread::sleep(Duration::from_millis(after.parse().unwrap()));
        }
        let body = match path.strip_prefix("/bytes/") {
            Some(length) => vec![b'x'; length.parse().unwrap()],
            None => number.to_string().into_bytes(),
        };
        let mut answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes();
        answer.extend_from_slice(&body);
        stream.write_all(&answer)?;
    }
}
