//! Cost of an attack for the client: the memory that its thread holds, and the calls of its sockets.
//!
//! This module does not depend on HTTP. Invariant: memory is counted for each thread, so the memory of servers and of
//! other tests, which run on threads of their own, does not count.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll};

use handclasp::{BoxError, Client, ClientBuilder, Destination, Transport};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

pub(crate) use crate::heap::ThreadPeak as Peak;
use crate::support::layer::{Layer, Layered};

/// Counts of the calls of a client's connections. All connections go to loopback, whatever the name of the host.
#[derive(Clone, Default)]
pub(crate) struct Tally {
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    dials: AtomicUsize,
    reads: AtomicUsize,
    read: AtomicUsize,
    written: AtomicUsize,
}

impl Tally {
    /// Returns a builder of a client whose connections this tally counts.
    pub(crate) fn client(&self) -> ClientBuilder {
        let tally = self.clone();
        Client::builder().connector(move |to| tally.clone().dial(to, false))
    }

    /// Returns a builder of a client whose connections this tally counts. A dial ends only when the server has sent a
    /// byte.
    pub(crate) fn patient_client(&self) -> ClientBuilder {
        let tally = self.clone();
        Client::builder().connector(move |to| tally.clone().dial(to, true))
    }

    async fn dial(self, to: Destination, is_patient: bool) -> Result<Box<dyn Transport>, BoxError> {
        self.counts.dials.fetch_add(1, SeqCst);
        let tcp = TcpStream::connect(("127.0.0.1", to.port())).await?;
        if is_patient {
            tcp.readable().await?;
        }
        Ok(Layered::boxed(Counted { tcp, counts: self.counts }))
    }

    pub(crate) fn dials(&self) -> usize {
        self.counts.dials.load(SeqCst)
    }

    /// Returns the number of reads that did not return `Pending`.
    pub(crate) fn reads(&self) -> usize {
        self.counts.reads.load(SeqCst)
    }

    /// Returns the number of bytes that the client has read.
    pub(crate) fn read(&self) -> usize {
        self.counts.read.load(SeqCst)
    }

    /// Returns the number of bytes that the client has written.
    pub(crate) fn written(&self) -> usize {
        self.counts.written.load(SeqCst)
    }
}

struct Counted {
    tcp: TcpStream,
    counts: Arc<Counts>,
}

impl Counted {
    fn count(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(written)) = written {
            self.counts.written.fetch_add(written, SeqCst);
        }
        written
    }
}

impl Layer for Counted {
    type Below = TcpStream;

    fn below(&mut self) -> &mut TcpStream {
        &mut self.tcp
    }

    fn read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.tcp).poll_read(cx, buf);
        self.counts.reads.fetch_add(usize::from(read.is_ready()), SeqCst);
        self.counts.read.fetch_add(buf.filled().len() - before, SeqCst);
        read
    }

    fn write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.tcp).poll_write(cx, buf);
        self.count(written)
    }

    fn write_vectored(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.tcp).poll_write_vectored(cx, bufs);
        self.count(written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}
