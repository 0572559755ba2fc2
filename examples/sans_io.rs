//! An example that uses the codec without the client. The example sends three requests over one blocking
//! `std::net::TcpStream`, and needs neither a runtime nor a pool.
//!
//! Run the example by `cargo run --release --example sans_io`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;

use bytes::BytesMut;
use handclasp::BoxError;
use handclasp::codec::{BodyLength, Event, Limits, Machine, RequestHead, Target, Verdict};
use http::{HeaderMap, Method};

#[path = "support/server.rs"]
mod server;
#[path = "support/terminal.rs"]
mod terminal;

use terminal::say;

fn main() -> ExitCode {
    terminal::status(run())
}

fn run() -> Result<(), BoxError> {
    if !terminal::is_to_run(HELP)? {
        return Ok(());
    }
    let server = server::Server::start(None)?;
    let mut stream = TcpStream::connect(server.address())?;
    let host = server.address().to_string();

    // The buffer holds bytes that were received and not decoded yet. These bytes belong to the connection, not to one exchange.
    let mut received = BytesMut::new();
    for (method, path, body) in [
        (Method::GET, "/chunked/40000", ""),
        (Method::POST, "/echo", "one handshake, many requests\n"),
        (Method::GET, "/hello", ""),
    ] {
        say!("{method} {path}");
        let headers = HeaderMap::new();
        let mut head = RequestHead::new(&method, Target::Origin(path), Some(host.as_bytes()), &headers);
        if !body.is_empty() {
            head.body = BodyLength::Known(body.len() as u64);
        }
        match exchange(&mut stream, &mut received, &head, body)? {
            Verdict::Reuse => say!("  verdict: the connection can be reused\n"),
            Verdict::Close(reasons) => {
                for reason in reasons.iter() {
                    say!("  verdict: the connection has to be closed: {}", reason.explain());
                }
                break;
            }
            Verdict::Unfinished => unreachable!("the response was read to its end"),
        }
    }
    Ok(())
}

/// Sends one request, and reads its whole response. Returns the verdict on the reuse of the connection. A `Machine` serves
/// one exchange, so each call makes a new `Machine`.
fn exchange(
    stream: &mut TcpStream,
    received: &mut BytesMut,
    head: &RequestHead<'_>,
    body: &str,
) -> Result<Verdict, BoxError> {
    let mut machine = Machine::new(Limits::default());
    let mut out = BytesMut::new();
    machine.encode_head(head, &mut out)?;
    let after = machine.encode_data(body.len(), &mut out)?;
    out.extend_from_slice(body.as_bytes());
    out.extend_from_slice(after);
    machine.encode_end(None, &mut out)?;
    stream.write_all(&out)?;
    say!("  sent: {} bytes", out.len());

    let mut chunk = [0; 16 * 1024];
    let mut is_closed = false;
    loop {
        let event = if is_closed { machine.decode_eof(received)? } else { machine.decode(received)? };
        match event {
            Some(Event::Head(head)) => {
                say!("  head: {} {:?}, {} fields", head.status, head.version, head.headers().len());
                if let Some(framing) = machine.framing() {
                    say!("        framing of the body: {framing:?}");
                }
            }
            Some(Event::Data(data)) => say!("  data: {} bytes", data.len()),
            Some(Event::End) => {
                say!("  end");
                return Ok(machine.verdict(received.len()));
            }
            Some(other) => say!("  {other:?}"),
            None => {
                let length = stream.read(&mut chunk)?;
                is_closed = length == 0;
                received.extend_from_slice(&chunk[..length]);
            }
        }
    }
}

const HELP: &str = "\
sans_io

Sends three requests over one blocking socket, by the HTTP/1.1 codec alone, and
prints the events that the codec returns.
";
