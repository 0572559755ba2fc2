//! The cases of `tests/data/conformance.jsonl` on three levels: the codec alone, a client in memory, and a client over
//! loopback. On each level the server's octets are cut in several ways.
//!
//! On every level and with every cut there is no finding of severity MUST, GRAMMAR or SHOULD and no hang. At most six
//! findings of severity HARDENING are accepted, each with its reason. If a case allows several outcomes, the client has
//! the outcome that it chose, with a reason if the case prefers another outcome. Outcome, status, headers, content and
//! trailers are the same on all levels and with all cuts. `-- --nocapture` shows all findings.
//!
//! Each test writes the outcomes to `conformance/<level>-<mode>.jsonl` in Cargo's folder for tests (usually
//! `target/tmp`), and prints the command by which the original scorer, `tests/data/score.py`, judges them:
//!
//! ```text
//! cargo test --test it conformance
//! cd target/tmp/conformance
//! python3 ../../../tests/data/score.py cases.jsonl loopback-bytes.jsonl --caps none -v
//! ```
//!
//! `tests/data/pack.py` makes the data file from the published cases, and restores the published cases from the data file.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use handclasp::codec::{Event, Framing, Limits, Machine, RequestHead, ResponseHead, Target, Verdict};
use handclasp::{BoxError, Client, ClientBuilder, Look, RequestTarget, Upgraded};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use tokio::io::{AsyncReadExt, ReadBuf};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::support::conformance::{Accepted, Case, Got, Outcome, Sheet, latin1};
use crate::support::layer::{Layer, Layered, Silence};
use crate::support::{PATIENCE, Peer, Rng, Server, Signal};

/// Optional capabilities of the codec. The cases know three of them: `connect`, `upgrade` and `auto-decompress`. A case that
/// needs a capability missing from this list is reported and not played.
const CODEC_CAPS: &[&str] = &["connect", "upgrade"];

/// Optional capabilities of the client.
#[cfg(all(feature = "gzip", feature = "deflate"))]
const CLIENT_CAPS: &[&str] = &["connect", "upgrade", "auto-decompress"];
#[cfg(not(all(feature = "gzip", feature = "deflate")))]
const CLIENT_CAPS: &[&str] = &["connect", "upgrade"];

/// Accepted findings of severity HARDENING, each with its reason. At most six are allowed.
const ACCEPTED: Accepted = &[];

type Results = BTreeMap<&'static str, Got>;

/// Way to cut the server's octets into pieces. The ways are those of replay.py, which was published with the cases.
#[derive(Clone, Copy, Debug)]
enum Mode {
    Whole,
    /// Pieces of one octet. A long wire is cut only near its beginning and its end.
    Bytes,
    /// Cuts after each CR and each LF, unless there are too many.
    Lines,
    /// Random cuts from a fixed seed.
    Random,
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Bytes => "bytes",
            Self::Lines => "lines",
            Self::Random => "random",
        }
    }

    fn pieces(self, wire: &[u8]) -> Vec<&[u8]> {
        match self {
            _ if wire.is_empty() => Vec::new(),
            Self::Whole => vec![wire],
            Self::Bytes if wire.len() <= 4096 => wire.chunks(1).collect(),
            Self::Bytes => {
                let (begin, rest) = wire.split_at(2048);
                let (middle, end) = rest.split_at(rest.len() - 512);
                begin.chunks(1).chain([middle]).chain(end.chunks(1)).collect()
            }
            Self::Lines => {
                let lines: Vec<_> = wire.split_inclusive(|octet| matches!(octet, b'\r' | b'\n')).collect();
                if lines.len() <= 5000 { lines } else { vec![wire] }
            }
            Self::Random => {
                let mut rng = Rng::new(wire.len() as u64);
                let mut pieces = Vec::new();
                let mut rest = wire;
                while !rest.is_empty() {
                    let size = [1, 2, 3, 7, 64, 1500, 16384][rng.below(7) as usize].min(rest.len());
                    let (piece, left) = rest.split_at(size);
                    pieces.push(piece);
                    rest = left;
                }
                pieces
            }
        }
    }
}

/// Returns the cases that a level with these capabilities plays.
fn cases(caps: &'static [&'static str]) -> impl Iterator<Item = &'static Case> + Clone {
    Case::all().iter().filter(move |case| case.takes().is_none_or(|cap| caps.contains(&cap)))
}

/// Returns the outcomes with which all other outcomes are compared. These outcomes come from the codec, which got each wire
/// whole, or from a client in memory for cases that do not concern the codec.
fn reference() -> &'static Results {
    static REFERENCE: OnceLock<Results> = OnceLock::new();
    REFERENCE.get_or_init(|| {
        let codec = cases(CODEC_CAPS).map(|case| (&*case.id, through_codec(case, &[&case.wire])));
        let mut results: Results = codec.collect();
        if cases(CLIENT_CAPS).any(|case| !results.contains_key(&*case.id)) {
            for (id, got) in in_memory(Mode::Whole).into_results() {
                results.entry(id).or_insert(got);
            }
        }
        results
    })
}

#[test]
fn the_cases_are_all_there() {
    let ids: BTreeSet<_> = Case::all().iter().map(|case| &case.id).collect();
    assert_eq!((Case::all().len(), ids.len()), (655, 655));
    assert_eq!(Case::all().iter().filter(|case| case.wire.len() < 300).count(), 619);
    assert_eq!(Case::all().iter().map(|case| case.wire.len()).max(), Some(1_100_050));
}

#[test]
fn the_codec_conforms_with_whole_wires() {
    let mut sheet = Sheet::new("codec", "whole", CODEC_CAPS);
    for case in cases(CODEC_CAPS) {
        sheet.add(case, reference()[&*case.id].clone());
    }
    sheet.finish(ACCEPTED);
}

#[test]
fn the_codec_conforms_byte_by_byte() {
    let mut sheet = Sheet::new("codec", "bytes", CODEC_CAPS);
    for case in cases(CODEC_CAPS).filter(|case| case.wire.len() <= 64 * 1024) {
        let got = through_codec(case, &case.wire.chunks(1).collect::<Vec<_>>());
        compare_all(&mut sheet, case, &got, "one by one");
        sheet.add(case, got);
    }
    sheet.finish(ACCEPTED);
}

#[test]
fn the_codec_conforms_at_every_split() {
    let mut sheet = Sheet::new("codec", "splits", CODEC_CAPS);
    let mut plays = 0;
    for case in cases(CODEC_CAPS).filter(|case| case.wire.len() < 300) {
        let mut worst = None;
        for at in 1..case.wire.len() {
            let (one, other) = case.wire.split_at(at);
            let got = through_codec(case, &[one, other]);
            plays += 1;
            if compare_all(&mut sheet, case, &got, &format!("split at {at}")) {
                worst.get_or_insert(got);
            }
        }
        // The results have one line for each case. If a cut changed the outcome, the line shows the first such cut.
        sheet.add(case, worst.unwrap_or_else(|| reference()[&*case.id].clone()));
    }
    println!("{plays} splits");
    assert!(plays > 30_000, "only {plays} splits");
    sheet.finish(ACCEPTED);
}

#[test]
fn a_client_in_memory_conforms_with_whole_wires() {
    check(in_memory(Mode::Whole));
}

#[test]
fn a_client_in_memory_conforms_byte_by_byte() {
    check(in_memory(Mode::Bytes));
}

#[test]
fn a_client_in_memory_conforms_line_by_line() {
    check(in_memory(Mode::Lines));
}

#[test]
fn a_client_in_memory_conforms_with_random_cuts() {
    check(in_memory(Mode::Random));
}

#[test]
fn a_client_over_loopback_conforms_with_whole_wires() {
    check(over_loopback(Mode::Whole));
}

#[test]
fn a_client_over_loopback_conforms_byte_by_byte() {
    check(over_loopback(Mode::Bytes));
}

#[test]
fn a_client_over_loopback_conforms_line_by_line() {
    check(over_loopback(Mode::Lines));
}

#[test]
fn a_client_over_loopback_conforms_with_random_cuts() {
    check(over_loopback(Mode::Random));
}

/// Checks that every outcome equals the reference, and that there is no finding.
fn check(mut sheet: Sheet) {
    sheet.compare(reference());
    sheet.finish(ACCEPTED);
}

/// The scorer finds errors. Each good result is changed in the ways that its case is about, and the changed results have
/// findings.
#[test]
fn the_scorer_sees_what_is_wrong() {
    type Spoil = fn(&mut Got);
    let spoils: [(&'static str, Spoil); 8] = [
        ("hang", |got| got.outcome = Outcome::Hang),
        ("outcome", |got| {
            got.outcome = if got.outcome == Outcome::Ok { Outcome::Error } else { Outcome::Ok };
        }),
        ("status", |got| got.status = got.status.map(|status| status + 1)),
        ("content", |got| got.body.insert(0, b'!')),
        ("headers", |got| {
            for (_, value) in &mut got.headers {
                value.push_str("\r!");
            }
        }),
        ("trailers", |got| {
            for (name, _) in got.trailers.iter_mut().flatten() {
                name.push('!');
            }
        }),
        ("tunnel", |got| got.tunnel.iter_mut().for_each(|octets| octets.push(b'!'))),
        ("reuse", |got| got.reused = got.reused.map(|is_reused| !is_reused)),
    ];
    let (mut found, mut seen) = (BTreeMap::new(), BTreeMap::new());
    for (name, spoil) in spoils {
        let mut sheet = Sheet::new("spoiled", name, CODEC_CAPS);
        for case in cases(CODEC_CAPS) {
            let good = &reference()[&*case.id];
            let mut got = good.clone();
            spoil(&mut got);
            *seen.entry(name).or_insert(0) += usize::from(got.differs(good).is_some());
            sheet.add(case, got);
        }
        let (findings, report) = sheet.score();
        let last = report.lines().collect::<Vec<_>>();
        println!("{}", last[last.len() - 2..].join("\n"));
        let cases: BTreeSet<_> = findings.iter().map(|(case, _)| &case.id).collect();
        found.insert(name, cases.len());
    }
    println!("cases with findings: {found:?}\ncases that differ: {seen:?}");
    let count =
        |is_so: fn(&Got) -> bool| cases(CODEC_CAPS).filter(|case| is_so(&reference()[&*case.id])).count();
    let all = cases(CODEC_CAPS).count();
    assert_eq!((found["hang"], seen["hang"]), (all, all));
    assert_eq!(seen["outcome"], all);
    assert_eq!(seen["status"], count(|got| got.status.is_some()));
    assert_eq!(seen["content"], all);
    assert_eq!(seen["headers"], count(|got| !got.headers.is_empty()));
    assert_eq!(seen["trailers"], count(|got| got.trailers.is_some()));
    assert!(found["headers"] >= count(|got| got.outcome == Outcome::Ok && !got.headers.is_empty()));
    // Not every changed result has a finding. For example, the status of a failed exchange does not count, and many cases
    // leave the outcome to the client.
    for (name, least) in [("outcome", 600), ("status", 290), ("content", 350), ("reuse", 550)] {
        assert!(found[name] >= least, "{name}: {found:?}");
    }
    assert!(found["trailers"] >= 3 && found["tunnel"] >= 8, "{found:?}");
}

/// Two sheets of the same name are written at the same time, as two tests or two runs of the tests may do.
#[test]
fn sheets_are_written_at_the_same_time() {
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..3 {
                    Sheet::new("spoiled", "many", CODEC_CAPS).score();
                }
            });
        }
    });
}

#[test]
#[should_panic(
    expected = "spoiled, one: 1 failures:\nGRAMMAR   sl-reason-multiword: hang in head   [R-9112-4-1]"
)]
fn a_finding_fails_the_test() {
    let mut sheet = Sheet::new("spoiled", "one", CODEC_CAPS);
    sheet.add(&Case::all()[0], Got::default());
    sheet.finish(ACCEPTED);
}

/// Compares an outcome with the reference, including the parts that a caller does not see. Records each difference, and
/// returns whether there is one.
fn compare_all(sheet: &mut Sheet, case: &Case, got: &Got, how: &str) -> bool {
    let whole = &reference()[&*case.id];
    let mut differences: Vec<_> = got.differs(whole).into_iter().collect();
    if got.reused != whole.reused {
        differences.push(format!("reused {:?} instead of {:?}", got.reused, whole.reused));
    }
    if got.tunnel != whole.tunnel {
        differences.push(format!("tunnel {:?} instead of {:?}", got.tunnel, whole.tunnel));
    }
    for difference in &differences {
        sheet.trouble(case, format!("{how}: {difference}"));
    }
    !differences.is_empty()
}

fn fields(case: &Case) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for (name, value) in case.request_headers() {
        fields.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(&value).unwrap());
    }
    fields
}

/// Plays the case through the codec alone. The codec gets the wire in the pieces `pieces`.
fn through_codec(case: &Case, pieces: &[&[u8]]) -> Got {
    let mut got = Got::default();
    let mut machine = Machine::new(Limits::default());
    let fields = fields(case);
    let authority = format!("{}.case:443", case.id);
    let path = format!("/c/{}", case.id);
    let target = match case.method {
        Method::CONNECT => Target::Authority(&authority),
        _ => Target::Origin(&path),
    };
    let head = RequestHead::new(&case.method, target, Some(b"a.test"), &fields);
    machine.encode_head(&head, &mut BytesMut::new()).unwrap();
    let mut buffer = BytesMut::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        decode(&mut machine, &mut buffer, &mut got, false);
    }
    if case.close_after {
        decode(&mut machine, &mut buffer, &mut got, true);
    }
    if let Some(late) = &case.late {
        buffer.extend_from_slice(late);
        decode(&mut machine, &mut buffer, &mut got, case.late_close);
    }
    if machine.framing() == Some(Framing::Tunnel) {
        got.tunnel = Some(buffer.to_vec());
    }
    if got.outcome != Outcome::Hang {
        got.reused = Some(machine.verdict(buffer.len()) == Verdict::Reuse);
    }
    got
}

fn decode(machine: &mut Machine, buffer: &mut BytesMut, got: &mut Got, is_eof: bool) {
    loop {
        let event = if is_eof { machine.decode_eof(buffer) } else { machine.decode(buffer) };
        match event {
            Ok(None) => return,
            Ok(Some(Event::Informational(head))) => check_raw(&head),
            Ok(Some(Event::Head(head))) => {
                check_raw(&head);
                got.status = Some(head.status.as_u16());
                got.headers = latin1(head.headers());
                got.is_in_body = true;
            }
            Ok(Some(Event::Data(data))) => got.body.extend_from_slice(&data),
            Ok(Some(Event::Trailers(trailers))) => got.trailers = Some(latin1(&trailers)),
            Ok(Some(Event::End)) => (got.outcome, got.is_in_body) = (Outcome::Ok, false),
            Ok(Some(_)) => {}
            Err(error) => {
                got.outcome = Outcome::Error;
                got.says = error.to_string();
                return;
            }
        }
    }
}

/// Checks that the raw fields of a head equal its parsed fields.
fn check_raw(head: &ResponseHead) {
    let mut fields = HeaderMap::new();
    for (name, value) in head.raw_fields() {
        fields.append(HeaderName::from_bytes(name).unwrap(), HeaderValue::from_bytes(value).unwrap());
    }
    assert_eq!(&fields, head.headers());
}

/// Returns a client for one case, which has one connection.
fn client() -> ClientBuilder {
    let builder = Client::builder().max_connections_per_host(1);
    // The client must not follow redirects, because the cases of 3xx are about the head of the redirect.
    #[cfg(feature = "url")]
    let builder = builder.redirect(handclasp::redirect::Policy::none());
    builder
}

/// Sends the case's request and reads the whole response into `got`. If this future is dropped, `got` has the parts that
/// were read before.
async fn fetch(client: &Client, case: &Case, origin: &str, got: &mut Got) {
    let mut request = client.request(case.method.clone(), format!("{origin}/c/{}", case.id));
    if case.method == Method::CONNECT {
        request = request.target(RequestTarget::Authority(format!("{}.case:443", case.id)));
    }
    let read = async || {
        let mut response = request.headers(fields(case)).send().await?;
        got.status = Some(response.status().as_u16());
        got.headers = latin1(response.headers());
        let is_tunnel = case.method == Method::CONNECT && response.status().is_success();
        if is_tunnel || response.status() == StatusCode::SWITCHING_PROTOCOLS {
            got.tunnel = Some(read_tunnel(&mut response.upgrade().await?, case).await);
            return Ok(());
        }
        got.is_in_body = true;
        while let Some(data) = response.chunk().await? {
            got.body.extend_from_slice(&data);
        }
        got.trailers = response.trailers().await?.as_ref().map(latin1);
        Ok::<_, handclasp::Error>(())
    };
    match read().await {
        Ok(()) => (got.outcome, got.is_in_body) = (Outcome::Ok, false),
        Err(error) => (got.outcome, got.says) = (Outcome::Error, error.chain().to_string()),
    }
}

/// Reads the bytes that the server sent after the head of a tunnel.
async fn read_tunnel(tunnel: &mut Upgraded, case: &Case) -> Vec<u8> {
    let mut octets = Vec::new();
    let expected = case.octets("tunnel_b64").unwrap_or_default().len();
    loop {
        let patience = if octets.len() < expected { PATIENCE } else { Duration::from_millis(20) };
        match tokio::time::timeout(patience, tunnel.read_buf(&mut octets)).await {
            Ok(Ok(1..)) => {}
            _ => return octets,
        }
    }
}

/// Whether the client sends its next request on the connection of the case.
async fn is_reused(client: &Client, case: &Case, origin: &str) -> Result<bool, String> {
    let ping = async { client.get(format!("{origin}/ping")).send().await?.text().await };
    match tokio::time::timeout(PATIENCE, ping).await {
        Ok(Ok(text)) => match text.strip_prefix("case=") {
            Some(id) => Ok(id == case.id),
            None => Err(format!("the next request was answered {text:?}")),
        },
        Ok(Err(error)) => Err(format!("the next request failed: {}", error.chain())),
        Err(_) => Err("the next request hangs".to_owned()),
    }
}

/// Returns whether the connection was reused, or `None` if the cases do not judge this. The cases expect that every error
/// closes the connection. If content cannot be decoded, its end is still known, so the client keeps the connection.
fn judged(case: &Case, got: &Got, is_reused: bool) -> Option<bool> {
    let is_decoding = case.group == "content-coding" && got.outcome == Outcome::Error;
    (!is_decoding || !is_reused).then_some(is_reused)
}

/// Plays the cases through a client whose connections are [`Wire`]s. The clock is paused and nothing in a case waits for
/// time, so that the clock advances only when an exchange hangs.
fn in_memory(mode: Mode) -> Sheet {
    let mut sheet = Sheet::new("memory", mode.name(), CLIENT_CAPS);
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().start_paused(true).build().unwrap().block_on(async {
        for case in cases(CLIENT_CAPS) {
            let world = Arc::new(World { case, mode, lines: Mutex::default() });
            let dialed = world.clone();
            let connect = move |_| {
                let wire = Wire::new(&dialed);
                async { Ok::<_, BoxError>(Layered::boxed(wire)) }
            };
            let client = client().connector(connect).build().unwrap();
            let mut got = Got::default();
            let origin = "http://a.test";
            let ended = tokio::time::timeout(PATIENCE, fetch(&client, case, origin, &mut got)).await;
            if ended.is_err() {
                got.outcome = Outcome::Hang;
            }
            world.be_late();
            match is_reused(&client, case, origin).await {
                Ok(is_reused) => got.reused = judged(case, &got, is_reused),
                Err(what) => sheet.trouble(case, what),
            }
            sheet.add(case, got);
        }
    });
    sheet
}

/// The servers of one case.
struct World {
    case: &'static Case,
    mode: Mode,
    lines: Mutex<Vec<Arc<Mutex<Line>>>>,
}

/// Bytes that the server of one connection has sent and the client has not read.
#[derive(Default)]
struct Line {
    pieces: VecDeque<Bytes>,
    is_closed: bool,
    reader: Option<Waker>,
}

impl World {
    /// Sends the bytes that the server sends on the idle connection.
    fn be_late(&self) {
        let lines = self.lines.lock().unwrap();
        if let (Some(late), Some(line)) = (&self.case.late, lines.first()) {
            line.lock().unwrap().send(Mode::Whole.pieces(late), self.case.late_close);
        }
    }
}

impl Line {
    fn send(&mut self, pieces: Vec<&[u8]>, is_closed: bool) {
        self.pieces.extend(pieces.into_iter().map(Bytes::copy_from_slice));
        self.is_closed |= is_closed;
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

/// A connection in memory. Each piece is one read, and each read is pending once before it returns a piece.
struct Wire {
    world: Arc<World>,
    line: Arc<Mutex<Line>>,
    request: Vec<u8>,
    /// Id of the case that was requested on this connection.
    served: &'static str,
    has_waited: bool,
    silence: Silence,
}

impl Wire {
    fn new(world: &Arc<World>) -> Self {
        let line = Arc::<Mutex<Line>>::default();
        world.lines.lock().unwrap().push(line.clone());
        Self {
            world: world.clone(),
            line,
            request: Vec::new(),
            served: "",
            has_waited: false,
            silence: Silence,
        }
    }

    fn answer(&mut self) {
        let case = self.world.case;
        let mut line = self.line.lock().unwrap();
        if self.request.starts_with(b"GET /ping ") {
            line.send(vec![ping(self.served).as_bytes()], false);
        } else {
            self.served = &case.id;
            line.send(self.world.mode.pieces(&case.wire), case.close_after);
        }
    }
}

/// Returns a response that names the case that the connection has served.
fn ping(served: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\ncase={served}", served.len() + 5)
}

impl Layer for Wire {
    type Below = Silence;

    fn below(&mut self) -> &mut Silence {
        &mut self.silence
    }

    fn look(&mut self) -> Look {
        let line = self.line.lock().unwrap();
        match (line.pieces.is_empty(), line.is_closed) {
            (false, _) => Look::Spoke,
            (true, true) => Look::Closed,
            (true, false) => Look::Silent,
        }
    }

    fn read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !std::mem::replace(&mut self.has_waited, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut line = self.line.lock().unwrap();
        if let Some(mut piece) = line.pieces.pop_front() {
            let most = piece.len().min(buf.remaining());
            buf.put_slice(&piece.split_to(most));
            if !piece.is_empty() {
                line.pieces.push_front(piece);
            }
        } else if !line.is_closed {
            line.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        drop(line);
        self.has_waited = false;
        Poll::Ready(Ok(()))
    }

    fn write(&mut self, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.request.extend_from_slice(buf);
        if self.request.ends_with(b"\r\n\r\n") {
            self.answer();
            self.request.clear();
        }
        Poll::Ready(Ok(buf.len()))
    }
}

/// Number of cases that are played at once.
const AT_ONCE: usize = 16;

/// Plays the cases through a client over TCP, and a server with a thread for each connection.
fn over_loopback(mode: Mode) -> Sheet {
    let stages: HashMap<_, _> = cases(CLIENT_CAPS).map(|case| (&*case.id, Stage::new(case))).collect();
    let stages = Arc::new(stages);
    let serving = stages.clone();
    let server = Server::start(move |peer| serve(peer, &serving, mode));
    let origin = server.url("");
    let sheet = Arc::new(Mutex::new(Sheet::new("loopback", mode.name(), CLIENT_CAPS)));
    let waiting = Arc::new(Mutex::new(cases(CLIENT_CAPS)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for _ in 0..AT_ONCE {
            let (stages, sheet) = (stages.clone(), sheet.clone());
            let (waiting, origin) = (waiting.clone(), origin.clone());
            tasks.spawn(async move {
                loop {
                    let next = waiting.lock().unwrap().next();
                    let Some(case) = next else { return };
                    let (got, trouble) = play_loopback(case, &stages[&*case.id], &origin).await;
                    let mut sheet = sheet.lock().unwrap();
                    if let Some(what) = trouble {
                        sheet.trouble(case, what);
                    }
                    sheet.add(case, got);
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
    });
    drop(server);
    Arc::into_inner(sheet).unwrap().into_inner().unwrap()
}

/// Signals between a client and the server of its case.
struct Stage {
    case: &'static Case,
    /// Raised when the client has read the response.
    is_read: Signal,
    /// Raised when the server has sent all bytes that it sends without a request.
    is_sent: Notify,
}

impl Stage {
    fn new(case: &'static Case) -> Self {
        Self { case, is_read: Signal::new(), is_sent: Notify::new() }
    }
}

async fn play_loopback(case: &'static Case, stage: &Stage, origin: &str) -> (Got, Option<String>) {
    let client = client().build().unwrap();
    let mut got = Got::default();
    if tokio::time::timeout(PATIENCE, fetch(&client, case, origin, &mut got)).await.is_err() {
        got.outcome = Outcome::Hang;
    }
    stage.is_read.raise();
    // The client can find the late bytes only after the server has sent them and the kernel has delivered them.
    if tokio::time::timeout(PATIENCE, stage.is_sent.notified()).await.is_err() {
        return (got, Some("the server could not send everything".to_owned()));
    }
    tokio::time::sleep(Duration::from_millis(2)).await;
    match is_reused(&client, case, origin).await {
        Ok(is_reused) => {
            got.reused = judged(case, &got, is_reused);
            (got, None)
        }
        Err(what) => (got, Some(what)),
    }
}

fn serve(peer: &mut Peer, stages: &HashMap<&'static str, Stage>, mode: Mode) -> io::Result<()> {
    let mut served = "";
    while let Some(request) = peer.request()? {
        let id = request.target.strip_prefix("/c/").or_else(|| request.target.strip_suffix(".case:443"));
        let stage = id.map(|id| &stages[id]);
        let Some(stage) = stage else {
            peer.send(ping(served))?;
            continue;
        };
        served = &stage.case.id;
        // The signal is raised even if the sending fails, because the client may have closed the connection.
        let sent = send(peer, stage, mode);
        stage.is_sent.notify_one();
        sent?;
    }
    Ok(())
}

fn send(peer: &mut Peer, stage: &Stage, mode: Mode) -> io::Result<()> {
    for piece in mode.pieces(&stage.case.wire) {
        peer.send(piece)?;
        // During this pause the client most likely reads the piece before the next piece arrives. In memory, each
        // piece is certainly a read of its own.
        if piece.len() < 64 && !matches!(mode, Mode::Whole) {
            std::thread::sleep(Duration::from_micros(100));
        }
    }
    if let Some(late) = &stage.case.late {
        peer.wait(&stage.is_read)?;
        peer.send(late)?;
    }
    if stage.case.close_after || stage.case.late_close {
        peer.fin()?;
    }
    Ok(())
}
