//! Workers. Each worker sends one request after another. The workers of a client with a pool share the client.

use std::future::Future;
use std::io::Read;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Uri};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::clients::{HyperUtil, Kind, Settings};
use crate::error::BoxError;
use crate::payload::{Payload, Reader};
use crate::server::{self, CHUNK, COUNT, LAST_CHUNK};

/// A request that a worker sends again and again.
#[derive(Clone)]
pub struct Job {
    uri: Uri,
    /// The URI as text, for clients that take text.
    text: String,
    url: reqwest::Url,
    /// Content of the request. Without content the request is a GET.
    payload: Payload,
    /// Number of bytes of the response's content.
    size: usize,
    reading: Reading,
    /// Pieces that the loop writes, and how many times it writes each of them.
    writes: Vec<(Bytes, usize)>,
    expected: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// The content is read piece by piece.
    Stream,
    /// The content is read at once, into one buffer.
    Collect,
}

impl Job {
    /// Returns a GET. An example of `origin` is `http://127.0.0.1:80`. [`server`] lists the targets.
    pub fn get(origin: &str, target: &str, reading: Reading) -> Result<Self, BoxError> {
        let size = target.split('/').nth(1).unwrap_or_default().parse()?;
        Self::new(origin, target, Payload::EMPTY, size, reading)
    }

    pub fn post(origin: &str, payload: Payload) -> Result<Self, BoxError> {
        Self::new(origin, "/", payload, COUNT, Reading::Collect)
    }

    fn new(
        origin: &str,
        target: &str,
        payload: Payload,
        size: usize,
        reading: Reading,
    ) -> Result<Self, BoxError> {
        let text = format!("{origin}{target}");
        let uri: Uri = text.parse()?;
        let (method, framing) = match &payload {
            Payload::Whole(None) => ("GET", String::new()),
            Payload::Whole(Some(bytes)) => ("POST", format!("content-length: {}\r\n", bytes.len())),
            Payload::Pieces { .. } => ("POST", "transfer-encoding: chunked\r\n".to_owned()),
        };
        let authority = uri.authority().ok_or("the URI is absolute")?;
        let mut head = format!(
            "{method} {target} HTTP/1.1\r\nhost: {authority}\r\naccept: */*\r\nuser-agent: bench\r\n{framing}\r\n"
        )
        .into_bytes();
        let writes = match &payload {
            Payload::Whole(bytes) => {
                head.extend_from_slice(bytes.as_deref().unwrap_or_default());
                vec![(head.into(), 1)]
            }
            Payload::Pieces { piece, left } => {
                assert_eq!(piece.len(), CHUNK, "the loop sends pieces of this size only");
                // The loop writes 16 pieces in one write, so that it is the fastest client.
                let at_once = (*left).min(16);
                assert_eq!(left % at_once, 0, "the pieces of an upload can be divided by those of one write");
                let chunks = server::chunk().repeat(at_once);
                vec![(head.into(), 1), (chunks.into(), left / at_once), (Bytes::from_static(LAST_CHUNK), 1)]
            }
        };
        let expected = server::response_length(size, target.ends_with("/chunked"));
        Ok(Self { url: text.parse()?, uri, text, payload, size, reading, writes, expected })
    }

    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Returns the number of bytes of content that are sent or received.
    pub fn bytes(&self) -> usize {
        if self.payload.is_empty() { self.size } else { self.payload.len() }
    }

    fn method(&self) -> Method {
        if self.payload.is_empty() { Method::GET } else { Method::POST }
    }

    /// Checks the content of the response. The answer to an upload is its size.
    fn check(&self, length: usize, content: Option<&[u8]>) {
        assert_eq!(length, self.size, "all content arrived");
        if let Some(content) = content
            && !self.payload.is_empty()
        {
            let text = std::str::from_utf8(content).expect("the answer to an upload is a number");
            assert_eq!(text.parse(), Ok(self.payload.len()), "all content was sent");
        }
    }
}

pub enum Worker {
    Plain(TcpStream, Vec<u8>),
    Tls(Box<TlsStream<TcpStream>>, Vec<u8>),
    Hyper(SendRequest<Payload>),
    HyperUtil(HyperUtil),
    Reqwest(reqwest::Client),
    Aioduct(Box<aioduct::TokioClient>),
    Ureq(ureq::Agent),
    Handclasp(handclasp::Client),
}

impl Worker {
    /// Returns workers that send requests to the host of `uri`.
    pub async fn several(
        kind: Kind,
        settings: &Settings,
        uri: &Uri,
        workers: usize,
    ) -> Result<Vec<Self>, BoxError> {
        let mut made = Vec::with_capacity(workers);
        match kind {
            Kind::Loop | Kind::Hyper => {
                for _ in 0..workers {
                    made.push(Self::on_a_connection(kind, settings, uri).await?);
                }
            }
            Kind::HyperUtil => made.resize_with(workers, cloning(settings.hyper_util()?, Self::HyperUtil)),
            Kind::Reqwest => made.resize_with(workers, cloning(settings.reqwest()?, Self::Reqwest)),
            Kind::Aioduct => made.resize_with(workers, cloning(Box::new(settings.aioduct()?), Self::Aioduct)),
            Kind::Ureq => made.resize_with(workers, cloning(settings.ureq()?, Self::Ureq)),
            Kind::Handclasp => made.resize_with(workers, cloning(settings.handclasp()?, Self::Handclasp)),
        }
        Ok(made)
    }

    async fn on_a_connection(kind: Kind, settings: &Settings, uri: &Uri) -> Result<Self, BoxError> {
        let authority = uri.authority().ok_or("the URI is absolute")?;
        let stream = TcpStream::connect(authority.as_str()).await?;
        stream.set_nodelay(true)?;
        let buffer = || vec![0; 4 * CHUNK];
        if uri.scheme_str() == Some("http") {
            return match kind {
                Kind::Loop => Ok(Self::Plain(stream, buffer())),
                _ => Self::hyper(stream).await,
            };
        }
        let connector = TlsConnector::from(Arc::new(settings.tls()?));
        let stream = connector.connect(ServerName::try_from(authority.host())?.to_owned(), stream).await?;
        match kind {
            Kind::Loop => Ok(Self::Tls(Box::new(stream), buffer())),
            _ => Self::hyper(stream).await,
        }
    }

    async fn hyper(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<Self, BoxError> {
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self::Hyper(sender))
    }

    /// Sends `times` requests, one after another. The future is boxed for each kind, so that it is only as large as
    /// its client needs.
    pub fn repeat<'a>(
        &'a mut self,
        job: &'a Job,
        times: usize,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        match self {
            Self::Plain(stream, buffer) => Box::pin(by_loop(stream, buffer, job, times)),
            Self::Tls(stream, buffer) => Box::pin(by_loop(stream, buffer, job, times)),
            Self::Hyper(sender) => Box::pin(by_hyper(sender, job, times)),
            Self::HyperUtil(client) => Box::pin(by_hyper_util(client, job, times)),
            Self::Reqwest(client) => Box::pin(by_reqwest(client, job, times)),
            Self::Aioduct(client) => Box::pin(by_aioduct(client, job, times)),
            // ureq may block this thread, because there is only one worker.
            Self::Ureq(agent) => Box::pin(async move { by_ureq(agent, job, times) }),
            Self::Handclasp(client) => Box::pin(by_handclasp(client, job, times)),
        }
    }
}

fn cloning<C: Clone>(client: C, worker: fn(C) -> Worker) -> impl FnMut() -> Worker {
    move || worker(client.clone())
}

async fn by_loop<S>(stream: &mut S, buffer: &mut [u8], job: &Job, times: usize)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    for _ in 0..times {
        for (bytes, times) in &job.writes {
            for _ in 0..*times {
                stream.write_all(bytes).await.expect("the server reads");
            }
        }
        stream.flush().await.expect("the server reads");
        let mut received = 0;
        while received < job.expected {
            let read = stream.read(buffer).await.expect("the server answers");
            assert_ne!(read, 0, "the server keeps the connection");
            received += read;
        }
        assert_eq!(received, job.expected, "the response has the expected length");
    }
}

async fn by_hyper(sender: &mut SendRequest<Payload>, job: &Job, times: usize) {
    for _ in 0..times {
        let request = Request::builder()
            .method(job.method())
            .uri(job.uri.path())
            .header("host", job.uri.authority().expect("the URI is absolute").as_str())
            .header("accept", "*/*")
            .header("user-agent", "bench")
            .body(job.payload.clone())
            .expect("the request is valid");
        sender.ready().await.expect("the connection is kept");
        let response = sender.send_request(request).await.expect("the server answers");
        read_incoming(response.into_body(), job).await;
    }
}

async fn by_hyper_util(client: &HyperUtil, job: &Job, times: usize) {
    for _ in 0..times {
        let request = Request::builder()
            .method(job.method())
            .uri(job.uri.clone())
            .header("accept", "*/*")
            .header("user-agent", "bench")
            .body(job.payload.clone())
            .expect("the request is valid");
        let response = client.request(request).await.expect("the server answers");
        read_incoming(response.into_body(), job).await;
    }
}

async fn read_incoming(mut content: Incoming, job: &Job) {
    if job.reading == Reading::Collect {
        let content = content.collect().await.expect("the content arrives").to_bytes();
        return job.check(content.len(), Some(&content));
    }
    let mut length = 0;
    while let Some(frame) = content.frame().await {
        length += frame.expect("the content arrives").data_ref().map_or(0, Bytes::len);
    }
    job.check(length, None);
}

async fn by_reqwest(client: &reqwest::Client, job: &Job, times: usize) {
    for _ in 0..times {
        let request = client.request(job.method(), job.url.clone());
        let request = request.header("accept", "*/*").header("user-agent", "bench");
        let request = match &job.payload {
            Payload::Whole(None) => request,
            Payload::Whole(Some(bytes)) => request.body(bytes.clone()),
            pieces @ Payload::Pieces { .. } => request.body(reqwest::Body::wrap(pieces.clone())),
        };
        let mut response = request.send().await.expect("the server answers");
        if job.reading == Reading::Collect {
            let content = response.bytes().await.expect("the content arrives");
            job.check(content.len(), Some(&content));
            continue;
        }
        let mut length = 0;
        while let Some(piece) = response.chunk().await.expect("the content arrives") {
            length += piece.len();
        }
        job.check(length, None);
    }
}

async fn by_aioduct(client: &aioduct::TokioClient, job: &Job, times: usize) {
    for _ in 0..times {
        let request = client.request(job.method(), &job.text).expect("the request is valid");
        let request = request.header_str("accept", "*/*").expect("the request is valid");
        let request = request.header_str("user-agent", "bench").expect("the request is valid");
        let request = match &job.payload {
            Payload::Whole(None) => request,
            Payload::Whole(Some(bytes)) => request.body(bytes.clone()),
            pieces @ Payload::Pieces { .. } => {
                request.body_stream(pieces.clone().map_err(|never| match never {}).boxed_unsync())
            }
        };
        let response = request.send().await.expect("the server answers");
        if job.reading == Reading::Collect {
            let content = response.bytes().await.expect("the content arrives");
            job.check(content.len(), Some(&content));
            continue;
        }
        let (mut content, mut length) = (response.into_bytes_stream(), 0);
        while let Some(piece) = content.next().await {
            length += piece.expect("the content arrives").len();
        }
        job.check(length, None);
    }
}

fn by_ureq(agent: &ureq::Agent, job: &Job, times: usize) {
    let mut buffer = vec![0; 4 * CHUNK];
    for _ in 0..times {
        let response = match &job.payload {
            Payload::Whole(None) => {
                let request = agent.get(job.uri.clone());
                request.header("accept", "*/*").header("user-agent", "bench").call()
            }
            payload => {
                let request = agent.post(job.uri.clone());
                let request = request.header("accept", "*/*").header("user-agent", "bench");
                let request = request.header("content-type", "");
                match payload {
                    Payload::Whole(Some(bytes)) => request.send(&bytes[..]),
                    pieces => request.send(ureq::SendBody::from_owned_reader(Reader::new(pieces.clone()))),
                }
            }
        };
        let mut response = response.expect("the server answers");
        if job.reading == Reading::Collect {
            let content = response.body_mut().with_config().limit(u64::MAX).read_to_vec();
            let content = content.expect("the content arrives");
            job.check(content.len(), Some(&content));
            continue;
        }
        let (mut content, mut length) = (response.body_mut().as_reader(), 0);
        loop {
            match content.read(&mut buffer).expect("the content arrives") {
                0 => break,
                read => length += read,
            }
        }
        job.check(length, None);
    }
}

async fn by_handclasp(client: &handclasp::Client, job: &Job, times: usize) {
    for _ in 0..times {
        let request = client.request(job.method(), job.uri.clone());
        let request = request.header("accept", "*/*").header("user-agent", "bench");
        let request = match &job.payload {
            Payload::Whole(None) => request,
            Payload::Whole(Some(bytes)) => request.body(bytes.clone()),
            pieces @ Payload::Pieces { .. } => request.body(handclasp::Body::wrap(pieces.clone())),
        };
        let mut response = request.send().await.expect("the server answers");
        if job.reading == Reading::Collect {
            let content = response.bytes().await.expect("the content arrives");
            job.check(content.len(), Some(&content));
            continue;
        }
        let mut length = 0;
        while let Some(piece) = response.chunk().await.expect("the content arrives") {
            length += piece.len();
        }
        job.check(length, None);
    }
}
