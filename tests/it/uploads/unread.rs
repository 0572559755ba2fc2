//! uploads to a server that does not read.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use handclasp::{Body, Client, ErrorKind, Phase, RequestBuilder, Written};
use tokio::time::Instant;

use super::GATHERED;
use crate::support::lines::{Line, Lines, send, settle};

const SECOND: Duration = Duration::from_secs(1);
const PIECE: usize = 1000;
/// Number of bytes that the connection takes before it takes no more.
const ROOM: usize = 10_000;

/// A stream without end. The stream counts its pieces, and the drop of the stream frees one of two references to the count.
struct Endless(Arc<AtomicUsize>);

impl futures_core::Stream for Endless {
    type Item = std::io::Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Poll::Ready(Some(Ok(Bytes::from_static(&[b'x'; PIECE]))))
    }
}

/// Returns a request with a stream without end, and the number of pieces that were taken from the stream.
fn upload(client: &Client, is_known: bool) -> (RequestBuilder, Arc<AtomicUsize>) {
    let taken = Arc::new(AtomicUsize::new(0));
    let request = client.post("http://h/").body(Body::from_stream(Endless(taken.clone())));
    (if is_known { request.header("content-length", 1u64 << 40) } else { request }, taken)
}

/// Fails unless the client has closed the connection, has freed the source, and has taken no more from the source than
/// the connection took and one write holds.
#[track_caller]
fn assert_ended(client: &Client, line: &Line, taken: &Arc<AtomicUsize>) {
    let pieces = taken.load(Ordering::SeqCst);
    assert!(line.len() == ROOM && pieces * PIECE <= ROOM + GATHERED * PIECE, "A-14: {pieces} pieces");
    assert_eq!(Arc::strong_count(taken), 1, "A-14: the source is freed");
    let total = client.pool().stats().total;
    let counts = (total.active, total.idle, total.dialing, total.waiting, total.closed_total());
    assert!(line.is_gone() && counts == (0, 0, 0, 0, 1), "A-14: {total}");
}

#[tokio::test(start_paused = true)]
async fn a_14_a_timeout_ends_an_upload_that_nobody_reads() {
    for is_known in [true, false] {
        for (name, set) in [
            ("write_timeout", (|it| it.write_timeout(SECOND * 7)) as fn(RequestBuilder) -> RequestBuilder),
            ("timeout", |it| it.timeout(SECOND * 7)),
        ] {
            let lines = Lines::default();
            lines.room(ROOM);
            let client = lines.client();
            let (request, taken) = upload(&client, is_known);
            let begun = Instant::now();
            let error = set(request).send().await.unwrap_err();
            assert_eq!(
                (error.kind(), error.phase()),
                (ErrorKind::Timeout, Some(Phase::Send)),
                "A-14: {name}"
            );
            assert_eq!(
                (error.request_written(), begun.elapsed()),
                (Written::Partly, SECOND * 7),
                "A-14: {name}"
            );
            settle().await;
            assert_ended(&client, &lines.line(0).await, &taken);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_14_an_upload_that_nobody_reads_is_cancelled_at_once() {
    for is_known in [true, false] {
        let lines = Lines::default();
        lines.room(ROOM);
        let client = lines.client();
        let (request, taken) = upload(&client, is_known);
        let sending = send(request);
        let line = lines.line(0).await;
        settle().await;
        assert_eq!((line.len(), line.is_gone()), (ROOM, false));
        let begun = Instant::now();
        sending.abort();
        assert!(sending.await.unwrap_err().is_cancelled());
        settle().await;
        assert_eq!(begun.elapsed(), Duration::ZERO, "A-14");
        assert_ended(&client, &line, &taken);
    }
}
