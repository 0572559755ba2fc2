//! An example of three ways to send content: a file, a file that the server may refuse before the content is sent,
//! and a stream with a trailer that is known only at the end of the stream.
//!
//! Run the example by `cargo run --release --example upload -- [FILE [URL]]`. By default the example sends its own
//! source to a server that it starts.

use std::convert::Infallible;
use std::error::Error;
use std::hash::{DefaultHasher, Hasher};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use handclasp::{Body, Client, Response};
use http::{HeaderMap, HeaderValue};
use http_body::Frame;

#[path = "support/server.rs"]
mod server;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let file = args.next().unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/", file!()).to_owned());
    let server = server::Server::start(None)?;
    let url = args.next().unwrap_or_else(|| format!("http://{}/echo", server.address()));
    let client =
        Client::builder().on_informational(|status, _| println!("  interim response: {status}")).build()?;

    println!("A file, sent with its length:");
    show(client.put(&url).body(Body::from_file(&file).await?).send().await?).await?;

    println!("The same file, with Expect: 100-continue. The content is sent once the server has agreed:");
    let body = Body::from_file(&file).await?;
    show(client.put(&url).expect_continue().body(body).send().await?).await?;

    println!("A stream in chunks, with its hash as a trailer:");
    let body = Body::wrap(Hashed { pieces: 100, hasher: DefaultHasher::new() });
    show(client.put(&url).header("trailer", "x-hash").body(body).send().await?).await?;

    println!("\n{}", client.pool().stats().total);
    Ok(())
}

async fn show(response: Response) -> Result<(), handclasp::Error> {
    let (status, upload) = (response.status(), response.upload());
    println!("  {status}, {} bytes sent, upload complete: {}", upload.bytes(), upload.is_complete());
    let timings = *response.timings();
    println!(
        "  send {:?}, wait {:?}, {} bytes received",
        timings.send,
        timings.wait,
        response.bytes().await?.len()
    );
    Ok(())
}

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
