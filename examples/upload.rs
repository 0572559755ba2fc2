//! An example of three ways to send content: a file, a file that the server may refuse before the content is sent,
//! and a stream with a trailer that is known only at the end of the stream.
//!
//! Run the example by `cargo run --release --example upload -- [FILE [URL]]`. By default the example sends its own
//! source to a server that it starts.

use std::convert::Infallible;
use std::hash::{DefaultHasher, Hasher};
use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitCode;
use std::task::{Context, Poll};

use bytes::Bytes;
use handclasp::{Body, BoxError, Client, Response};
use http::{HeaderMap, HeaderValue};
use http_body::Frame;
use lexopt::prelude::{Long, Short, Value, ValueExt};

#[path = "support/server.rs"]
mod server;
#[path = "support/terminal.rs"]
mod terminal;
#[path = "support/time.rs"]
mod time;

use terminal::say;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    terminal::status(run().await)
}

async fn run() -> Result<(), BoxError> {
    let Some((file, url)) = arguments()? else {
        terminal::write(format_args!("{HELP}"));
        return Ok(());
    };
    let server = server::Server::start(None)?;
    let url = url.unwrap_or_else(|| format!("http://{}/echo", server.address()));
    let content = async || match Body::from_file(&file).await {
        Ok(content) => Ok(content),
        Err(error) => Err(format!("{}: {error}", file.display())),
    };
    let client =
        Client::builder().on_informational(|status, _| say!("  interim response: {status}")).build()?;

    say!("A file, sent with its length:");
    show(client.put(&url).body(content().await?).send().await?).await?;

    say!("\nThe same file, with Expect: 100-continue. The content is sent once the server");
    say!("has agreed:");
    show(client.put(&url).expect_continue().body(content().await?).send().await?).await?;

    say!("\nA stream in chunks, with its hash as a trailer:");
    let body = Body::wrap(Hashed { pieces: 100, hasher: DefaultHasher::new() });
    show(client.put(&url).header("trailer", "x-hash").body(body).send().await?).await?;

    let total = client.pool().stats().total.to_string();
    say!("\n{}", total.replace("; ", "\n"));
    Ok(())
}

async fn show(response: Response) -> Result<(), handclasp::Error> {
    let (status, upload) = (response.status(), response.upload());
    say!("  {status}, {} bytes sent, upload complete: {}", upload.bytes(), upload.is_complete());
    let timings = *response.timings();
    let received = response.bytes().await?.len();
    let [send, wait] = [timings.send, timings.wait].map(time::time);
    say!("  send {send}, wait {wait}, {received} bytes received");
    Ok(())
}

/// Reads the file and the URL from the command line. Returns `None` for `--help`.
fn arguments() -> Result<Option<(PathBuf, Option<String>)>, lexopt::Error> {
    let (mut file, mut url) = (None, None);
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => return Ok(None),
            Value(path) if file.is_none() => file = Some(path.into()),
            Value(text) if url.is_none() => url = Some(text.string()?),
            other => return Err(other.unexpected()),
        }
    }
    let own = || concat!(env!("CARGO_MANIFEST_DIR"), "/", file!()).into();
    Ok(Some((file.unwrap_or_else(own), url)))
}

const HELP: &str = "\
upload [FILE [URL]]

Sends a file, the same file once the server has agreed to it, and a stream with
a trailer. Without FILE, the source of this example is sent. Without URL, a
server of this example gets the content.
";

/// A body that is generated while the request is sent, with the hash of the content as a trailer.
struct Hashed {
    pieces: usize,
    hasher: DefaultHasher,
}

impl http_body::Body for Hashed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(match self.pieces {
            0 => None,
            1 => {
                self.pieces = 0;
                let mut trailers = HeaderMap::new();
                trailers.insert("x-hash", HeaderValue::from(self.hasher.finish()));
                Some(Ok(Frame::trailers(trailers)))
            }
            left => {
                self.pieces -= 1;
                let piece = Bytes::from(format!("piece {left}\n").repeat(100));
                self.hasher.write(&piece);
                Some(Ok(Frame::data(piece)))
            }
        })
    }
}
