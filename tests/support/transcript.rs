//! Wire transcripts: exchanges written as text, and three ways to play them.
//!
//! ```text
//! # RFC 9112 §9.3: a chunked response that ended cleanly leaves the connection reusable.
//! request GET http://a.test/one
//! > GET /one HTTP/1.1
//! > host: a.test
//! >
//! < HTTP/1.1 200 OK
//! < content-length: 5
//! <
//! <| hello
//! body hello
//! reused yes
//! ```
//!
//! The client sends the text after `>`, and the server sends the text after `<`, each with a CRLF at its end. After `>|`
//! and `<|` the text has no implied CRLF, and may contain the escapes `\r \n \t \\ \xHH`, and `\s` for a space. Every
//! other line is a directive:
//!
//! | directive | meaning |
//! |---|---|
//! | `request METHOD URL` | begins an exchange, on the same connection as the previous exchange if that connection was reusable |
//! | `with NAME: VALUE` | a field of the request |
//! | `upload TEXT` | the body of the request, of known length |
//! | `stream TEXT\|TEXT` | the body of the request, as a stream of pieces; the piece `~` never comes |
//! | `close`, `reset` | the server sends FIN, or RST |
//! | `whole` | the server's bytes must arrive at once, so that the file is not played in pieces |
//! | `wait SECONDS` | the server waits, so that the file is played only with a paused clock |
//! | `status`, `header`, `no-header`, `trailer`, `body` | the parts that the response must or must not have |
//! | `error kind=K phase=P` | the kind and phase of the error that the exchange must end with |
//! | `says TEXT` | the text of the error |
//! | `reused yes`, `reused no` | whether the connection is reusable after the exchange (required) |

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use handclasp::codec::{BodyLength, Event, Limits, Machine, RequestHead, Target, Verdict};
use handclasp::{Body, Client, ErrorKind, Look, Phase, Transport};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};

use super::Uncoded;
use super::layer::{Layer, Layered};
use super::pipe::Pipe;
use super::server::{Peer, Server, Split};

/// A transcript as it is written in its file.
#[derive(Clone, Debug)]
pub struct Transcript {
    pub path: PathBuf,
    pub exchanges: Vec<Exchange>,
    /// Whether the server's bytes must arrive in one piece.
    pub is_whole: bool,
}

/// One request, the bytes on the wire, and the expected outcome.
#[derive(Clone, Debug)]
pub struct Exchange {
    line: usize,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    upload: Upload,
    steps: Vec<(usize, Step)>,
    expected: Vec<(usize, Expected)>,
    is_reused: bool,
    /// Line number of the `reused` directive in the file.
    verdict: usize,
}

#[derive(Clone, Debug)]
enum Upload {
    None,
    Known(Bytes),
    /// A stream of pieces. The piece `None` never comes.
    Stream(Vec<Option<Bytes>>),
}

#[derive(Clone, Debug)]
enum Step {
    Client(Vec<u8>),
    Server(Vec<u8>),
    Close,
    Reset,
    Wait(Duration),
}

#[derive(Clone, Debug)]
enum Expected {
    Status(u16),
    Header(String, String),
    NoHeader(String),
    Trailer(String, String),
    Body(Vec<u8>),
    Error { kind: String, phase: String },
    Says(String),
}

/// Outcome of an exchange as the client saw it.
#[derive(Default, Debug)]
struct Outcome {
    status: Option<u16>,
    headers: HeaderMap,
    body: Option<Vec<u8>>,
    trailers: HeaderMap,
    /// Kind, phase and text of the error.
    error: Option<(ErrorKind, Option<Phase>, String)>,
    is_reused: bool,
}

type Result<T, E = String> = std::result::Result<T, E>;

impl Transcript {
    /// Reads a transcript from a file. An error names the line of the mistake.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let first = text.lines().next().unwrap_or_default();
        if !(first.starts_with("# RFC ") && first.contains('§') && first.contains(": ")) {
            return Err(format!("{}:1: the first line says which rule of which RFC and §", path.display()));
        }
        let mut transcript = Self { path: path.to_owned(), exchanges: Vec::new(), is_whole: false };
        let mut has_verdict = true;
        for (at, line) in text.lines().enumerate() {
            let number = at + 1;
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if line == "whole" {
                transcript.is_whole = true;
                continue;
            }
            let fail = |what: &str| format!("{}:{number}: {what}", path.display());
            if let Some(rest) = line.strip_prefix("request ") {
                if !has_verdict {
                    return Err(fail("the exchange before has no `reused`"));
                }
                has_verdict = false;
                let exchange = Exchange::new(number, rest).ok_or_else(|| fail("request METHOD URL"))?;
                transcript.exchanges.push(exchange);
                continue;
            }
            let exchange = transcript.exchanges.last_mut().ok_or_else(|| fail("no request yet"))?;
            has_verdict |= line.starts_with("reused ");
            exchange.line(number, line).ok_or_else(|| fail("this line is not understood"))?;
        }
        if !has_verdict || transcript.exchanges.is_empty() {
            return Err(format!("{}: the last exchange has no `reused`", path.display()));
        }
        Ok(transcript)
    }

    /// Whether the server waits in this transcript. Such a transcript needs a paused clock.
    pub fn waits(&self) -> bool {
        self.exchanges.iter().any(|it| it.steps.iter().any(|(_, step)| matches!(step, Step::Wait(_))))
    }

    /// Returns the exchanges, grouped by the connection on which they are played.
    fn connections(&self) -> Vec<Vec<Exchange>> {
        let mut connections: Vec<Vec<Exchange>> = Vec::new();
        for exchange in &self.exchanges {
            match connections.last_mut() {
                Some(last) if last.last().is_some_and(|before| before.is_reused) => {
                    last.push(exchange.clone());
                }
                _ => connections.push(vec![exchange.clone()]),
            }
        }
        connections
    }

    fn at(&self, line: usize, what: impl std::fmt::Display) -> String {
        format!("{}:{line}: {what}", self.path.display())
    }
}

impl Exchange {
    fn new(line: usize, rest: &str) -> Option<Self> {
        let (method, url) = rest.split_once(' ')?;
        Some(Self {
            line,
            method: method.parse().ok()?,
            uri: url.parse().ok()?,
            headers: HeaderMap::new(),
            upload: Upload::None,
            steps: Vec::new(),
            expected: Vec::new(),
            is_reused: false,
            verdict: line,
        })
    }

    fn line(&mut self, number: usize, line: &str) -> Option<()> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let mut step = |step| self.steps.push((number, step));
        let crlf = |rest: &str| [rest.as_bytes(), b"\r\n"].concat();
        match word {
            ">" => step(Step::Client(crlf(rest))),
            "<" => step(Step::Server(crlf(rest))),
            ">|" => step(Step::Client(unescape(rest)?)),
            "<|" => step(Step::Server(unescape(rest)?)),
            "close" => step(Step::Close),
            "reset" => step(Step::Reset),
            "wait" => step(Step::Wait(Duration::from_secs(rest.trim_end_matches('s').parse().ok()?))),
            "with" => {
                let (name, value) = rest.split_once(": ")?;
                let name: HeaderName = name.parse().ok()?;
                self.headers.append(name, HeaderValue::from_str(value).ok()?);
            }
            "upload" => self.upload = Upload::Known(unescape(rest)?.into()),
            "stream" => {
                let piece = |piece: &str| match piece {
                    "~" => Some(None),
                    piece => unescape(piece).map(|bytes| Some(bytes.into())),
                };
                self.upload = Upload::Stream(rest.split('|').map(piece).collect::<Option<_>>()?);
            }
            "reused" => {
                self.verdict = number;
                self.is_reused = match rest {
                    "yes" => true,
                    "no" => false,
                    _ => return None,
                }
            }
            _ => self.expected.push((number, Expected::parse(word, rest)?)),
        }
        Some(())
    }

    /// Returns the pieces of the request's body. The piece `None` never comes.
    fn pieces(&self) -> Vec<Option<Bytes>> {
        match &self.upload {
            Upload::None => Vec::new(),
            Upload::Known(bytes) => vec![Some(bytes.clone())],
            Upload::Stream(pieces) => pieces.clone(),
        }
    }

    fn body(&self) -> Body {
        match &self.upload {
            Upload::None => Body::empty(),
            Upload::Known(bytes) => bytes.clone().into(),
            Upload::Stream(pieces) => Body::from_stream(Pieces(pieces.clone().into())),
        }
    }

    fn check(&self, outcome: &Outcome) -> Result<(), (usize, String)> {
        let mut expects_error = false;
        for (line, expected) in &self.expected {
            expects_error |= matches!(expected, Expected::Error { .. });
            if let Some(got) = expected.mismatch(outcome) {
                return Err((*line, format!("expected {expected:?}, but got {got}")));
            }
        }
        if let (false, Some((kind, phase, words))) = (expects_error, &outcome.error) {
            return Err((self.line, format!("the request failed: {kind:?} in {phase:?}: {words}")));
        }
        if self.is_reused != outcome.is_reused {
            let said = if self.is_reused { "is kept" } else { "is closed" };
            return Err((self.verdict, format!("expected that the connection {said} afterwards")));
        }
        Ok(())
    }
}

impl Expected {
    fn parse(word: &str, rest: &str) -> Option<Self> {
        let field = || rest.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned()));
        Some(match word {
            "status" => Self::Status(rest.parse().ok()?),
            "header" => field().map(|(name, value)| Self::Header(name, value))?,
            "no-header" => Self::NoHeader(rest.to_owned()),
            "trailer" => field().map(|(name, value)| Self::Trailer(name, value))?,
            "body" => Self::Body(unescape(rest)?),
            "says" => Self::Says(rest.to_owned()),
            "error" => {
                let (kind, phase) = rest.strip_prefix("kind=")?.split_once(" phase=")?;
                Self::Error { kind: kind.to_owned(), phase: phase.to_owned() }
            }
            _ => return None,
        })
    }

    /// Returns how the outcome differs from the expected outcome, or `None` if it does not differ.
    fn mismatch(&self, outcome: &Outcome) -> Option<String> {
        let values = |fields: &HeaderMap, name: &str| {
            let values = fields.get_all(name).iter();
            values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect::<Vec<_>>()
        };
        match self {
            Self::Status(status) => (outcome.status != Some(*status)).then(|| format!("{outcome:?}")),
            Self::Header(name, value) => {
                let values = values(&outcome.headers, name);
                (!values.contains(value)).then(|| format!("{values:?}"))
            }
            Self::NoHeader(name) => outcome.headers.get(name).map(|value| format!("{value:?}")),
            Self::Trailer(name, value) => {
                let values = values(&outcome.trailers, name);
                (!values.contains(value)).then(|| format!("{values:?}"))
            }
            Self::Body(body) => match &outcome.body {
                Some(got) if got == body => None,
                Some(got) => Some(escape(got)),
                None => Some(format!("{outcome:?}")),
            },
            Self::Error { kind, phase } => match &outcome.error {
                Some((got, Some(at), _)) if *kind == format!("{got:?}") && *phase == format!("{at:?}") => {
                    None
                }
                other => Some(format!("{other:?}")),
            },
            Self::Says(words) => match &outcome.error {
                Some((_, _, got)) if got == words => None,
                other => Some(format!("{other:?}")),
            },
        }
    }
}

/// Plays a transcript through the codec alone.
pub fn play_codec(transcript: &Transcript, split: Split) -> Result<()> {
    for exchange in &transcript.exchanges {
        let outcome = decode(exchange, split).map_err(|(line, what)| transcript.at(line, what))?;
        exchange.check(&outcome).map_err(|(line, what)| transcript.at(line, what))?;
    }
    Ok(())
}

fn decode(exchange: &Exchange, split: Split) -> Result<Outcome, (usize, String)> {
    let mut machine = Machine::new(Limits::default());
    let mut out = encode(exchange, &mut machine).map_err(|what| (exchange.line, what))?;
    let mut outcome = Outcome::default();
    let mut buffer = BytesMut::new();
    let mut body = Vec::new();
    for (line, step) in &exchange.steps {
        let is_reset = matches!(step, Step::Reset);
        let (pieces, is_eof) = match step {
            Step::Client(expected) => {
                let sent = out.split_to(expected.len().min(out.len()));
                compare(expected, &sent).map_err(|what| (*line, what))?;
                continue;
            }
            Step::Server(bytes) => (split.pieces(bytes), false),
            Step::Close => (vec![Vec::new()], true),
            Step::Reset => (Vec::new(), false),
            Step::Wait(_) => continue,
        };
        let phase =
            |machine: &Machine| Some(if machine.is_head_received() { Phase::Receive } else { Phase::Wait });
        if is_reset && !machine.is_receive_done() && outcome.error.is_none() {
            outcome.error = Some((ErrorKind::ConnectionLost, phase(&machine), String::new()));
        }
        for piece in pieces {
            if outcome.error.is_some() {
                break;
            }
            buffer.extend_from_slice(&piece);
            loop {
                let event =
                    if is_eof { machine.decode_eof(&mut buffer) } else { machine.decode(&mut buffer) };
                match event {
                    Ok(Some(Event::Head(head))) => {
                        outcome.status = Some(head.status.as_u16());
                        outcome.headers = head.into_headers();
                        if !machine.may_send_body() {
                            machine.abort_send();
                        }
                    }
                    Ok(Some(Event::Data(data))) => body.extend_from_slice(&data),
                    Ok(Some(Event::Trailers(trailers))) => outcome.trailers = trailers,
                    Ok(Some(Event::End)) => outcome.body = Some(std::mem::take(&mut body)),
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(error) => {
                        let kind =
                            if error.is_closed() { ErrorKind::ConnectionLost } else { ErrorKind::Protocol };
                        outcome.error = Some((kind, phase(&machine), error.to_string()));
                        break;
                    }
                }
            }
        }
    }
    outcome.is_reused = machine.verdict(buffer.len()) == Verdict::Reuse;
    Ok(outcome)
}

/// Returns the bytes that the client sends, up to the first piece of the body that never comes.
fn encode(exchange: &Exchange, machine: &mut Machine) -> Result<BytesMut> {
    let mut out = BytesMut::new();
    let host = exchange.uri.authority().map(|authority| authority.as_str().to_owned()).unwrap_or_default();
    let host = host.rsplit('@').next().unwrap_or_default().trim_end_matches(":80").to_owned();
    let target = Target::Origin(exchange.uri.path_and_query().map_or("/", |target| target.as_str()));
    let mut head = RequestHead::new(&exchange.method, target, Some(host.as_bytes()), &exchange.headers);
    head.body = match &exchange.upload {
        Upload::None => BodyLength::None,
        Upload::Known(bytes) => BodyLength::Known(bytes.len() as u64),
        Upload::Stream(_) => BodyLength::Chunked,
    };
    machine.encode_head(&head, &mut out).map_err(|error| error.to_string())?;
    let mut is_complete = true;
    for piece in exchange.pieces() {
        let Some(piece) = piece else {
            is_complete = false;
            break;
        };
        let suffix = machine.encode_data(piece.len(), &mut out).map_err(|error| error.to_string())?;
        out.extend_from_slice(&piece);
        out.extend_from_slice(suffix);
    }
    if is_complete {
        machine.encode_end(None, &mut out).map_err(|error| error.to_string())?;
    }
    Ok(out)
}

/// Plays a transcript through a client over a transport in memory. Must run with a paused clock.
pub async fn play_memory(transcript: &Transcript, split: Split) -> Result<()> {
    let connections = Arc::new(Mutex::new(VecDeque::from(transcript.connections())));
    let served = Arc::new(Mutex::new(Vec::new()));
    let serving = served.clone();
    let connect = move |_| {
        let exchanges = connections.lock().unwrap().pop_front();
        let serving = serving.clone();
        async move {
            let exchanges = exchanges.ok_or("the transcript has no further connection")?;
            let (ours, theirs) = Pipe::pair(64 * 1024);
            let is_reset = Arc::new(Mutex::new(false));
            let server = serve_memory(theirs, exchanges, split, is_reset.clone());
            serving.lock().unwrap().push(tokio::spawn(server));
            Ok(Layered::boxed(Memory { pipe: ours, is_reset }))
        }
    };
    let client = Client::builder()
        .no_user_agent()
        .uncoded()
        .connector(connect)
        .build()
        .map_err(|error| error.to_string())?;
    let outcome = run_client(transcript, &client).await;
    drop(client);
    let servers = std::mem::take(&mut *served.lock().unwrap());
    for server in servers {
        // The failure of the server is reported first, because it is the cause of the client's failure.
        server.await.unwrap().map_err(|(line, what)| transcript.at(line, what))?;
    }
    outcome
}

async fn serve_memory(
    mut stream: DuplexStream,
    exchanges: Vec<Exchange>,
    split: Split,
    is_reset: Arc<Mutex<bool>>,
) -> Result<(), (usize, String)> {
    for exchange in exchanges {
        for (line, step) in exchange.steps {
            let fail = |error: io::Error| (line, error.to_string());
            match step {
                Step::Client(expected) => {
                    let mut got = Vec::new();
                    while got.len() < expected.len() {
                        let mut byte = [0];
                        if stream.read(&mut byte).await.map_err(fail)? == 0 {
                            break;
                        }
                        got.push(byte[0]);
                        if got[..] != expected[..got.len()] {
                            break;
                        }
                    }
                    compare(&expected, &got).map_err(|what| (line, what))?;
                }
                Step::Server(bytes) => {
                    for piece in split.pieces(&bytes) {
                        // An error means that the client has closed the connection, which it may do.
                        let _ = stream.write_all(&piece).await;
                        for _ in 0..3 {
                            tokio::task::yield_now().await;
                        }
                    }
                }
                Step::Close => {
                    let _ = stream.shutdown().await;
                }
                Step::Reset => {
                    *is_reset.lock().unwrap() = true;
                    return Ok(());
                }
                Step::Wait(duration) => tokio::time::sleep(duration).await,
            }
        }
        if !exchange.is_reused {
            let _ = stream.read_to_end(&mut Vec::new()).await;
            return Ok(());
        }
    }
    Ok(())
}

/// Plays a transcript through a client over loopback. Must run with the real clock.
pub async fn play_tcp(transcript: &Transcript, split: Split) -> Result<()> {
    let connections = transcript.connections();
    let failures = Arc::new(Mutex::new(Vec::new()));
    let failed = failures.clone();
    let server = Server::start(move |peer| {
        let Some(exchanges) = connections.get(peer.number()) else { return peer.close() };
        if let Err(failure) = serve_tcp(peer, exchanges, split) {
            failed.lock().unwrap().push(failure);
        }
        Ok(())
    });
    let address = server.address();
    let mut builder = Client::builder().no_user_agent().uncoded();
    for exchange in &transcript.exchanges {
        builder = builder.resolve(exchange.uri.host().unwrap_or_default(), address);
    }
    let client = builder.build().map_err(|error| error.to_string())?;
    let outcome = run_client(transcript, &client).await;
    drop(client);
    let connections = server.connections();
    drop(server);
    if let Some((line, what)) = failures.lock().unwrap().pop() {
        return Err(transcript.at(line, what));
    }
    outcome?;
    match (connections, transcript.connections().len()) {
        (got, expected) if got == expected => Ok(()),
        (got, expected) => Err(transcript.at(1, format!("{got} connections instead of {expected}"))),
    }
}

fn serve_tcp(peer: &mut Peer, exchanges: &[Exchange], split: Split) -> Result<(), (usize, String)> {
    for exchange in exchanges {
        for (line, step) in &exchange.steps {
            match step {
                Step::Client(expected) => {
                    let mut got = Vec::new();
                    while got.len() < expected.len() && got[..] == expected[..got.len()] {
                        let Ok(byte) = peer.take(1) else { break };
                        got.extend_from_slice(&byte);
                    }
                    compare(expected, &got).map_err(|what| (*line, what))?;
                }
                // An error means that the client has closed the connection, which it may do.
                Step::Server(bytes) => peer.send_split(bytes, split).unwrap_or_default(),
                Step::Close => peer.fin().unwrap_or_default(),
                Step::Reset => {
                    peer.reset().unwrap_or_default();
                    return Ok(());
                }
                Step::Wait(_) => return Err((*line, "waiting takes paused time".to_owned())),
            }
        }
        if !exchange.is_reused {
            peer.stall().unwrap_or_default();
            return Ok(());
        }
    }
    Ok(())
}

async fn run_client(transcript: &Transcript, client: &Client) -> Result<()> {
    for exchange in &transcript.exchanges {
        let outcome = fetch(exchange, client).await;
        exchange.check(&outcome).map_err(|(line, what)| transcript.at(line, what))?;
    }
    Ok(())
}

async fn fetch(exchange: &Exchange, client: &Client) -> Outcome {
    let mut outcome = Outcome::default();
    let request = client.request(exchange.method.clone(), &exchange.uri).headers(exchange.headers.clone());
    match request.body(exchange.body()).send().await {
        Ok(response) => {
            outcome.status = Some(response.status().as_u16());
            outcome.headers = response.headers().clone();
            match response.collect().await {
                Ok(collected) => {
                    outcome.body = Some(collected.body.to_vec());
                    outcome.trailers = collected.trailers.unwrap_or_default();
                }
                Err(error) => outcome.error = Some((error.kind(), error.phase(), error.message().to_owned())),
            }
        }
        Err(error) => outcome.error = Some((error.kind(), error.phase(), error.message().to_owned())),
    }
    outcome.is_reused = client.pool().stats().total.idle == 1;
    outcome
}

fn compare(expected: &[u8], got: &[u8]) -> Result<()> {
    if expected == got {
        return Ok(());
    }
    Err(format!("the client should have sent \"{}\", but sent \"{}\"", escape(expected), escape(got)))
}

fn escape(bytes: &[u8]) -> String {
    let mut text = String::new();
    for &byte in bytes {
        match byte {
            b'\r' => text.push_str("\\r"),
            b'\n' => text.push_str("\\n"),
            b'\\' => text.push_str("\\\\"),
            b' '..=b'~' => text.push(byte as char),
            _ => {
                let _ = write!(text, "\\x{byte:02x}");
            }
        }
    }
    text
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'\\' => match rest.next()? {
                b'r' => b'\r',
                b'n' => b'\n',
                b't' => b'\t',
                b's' => b' ',
                b'\\' => b'\\',
                b'x' => {
                    let digits = [rest.next()?, rest.next()?];
                    u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
                }
                _ => return None,
            },
            byte => byte,
        });
    }
    Some(bytes)
}

/// Body of the client's request. The piece `None` never comes.
struct Pieces(VecDeque<Option<Bytes>>);

impl Stream for Pieces {
    type Item = Result<Bytes, io::Error>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.0.front() {
            Some(None) => Poll::Pending,
            _ => Poll::Ready(self.0.pop_front().flatten().map(Ok)),
        }
    }
}

/// A connection in memory that can be reset.
struct Memory {
    pipe: Pipe,
    is_reset: Arc<Mutex<bool>>,
}

impl Layer for Memory {
    type Below = Pipe;

    fn below(&mut self) -> &mut Pipe {
        &mut self.pipe
    }

    fn read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.pipe).poll_read(cx, buf);
        if read.is_ready() && buf.filled().len() == before && *self.is_reset.lock().unwrap() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        read
    }
}
