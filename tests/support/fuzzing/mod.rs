//! The bodies of the fuzz targets: properties that the codec has for every input.
//!
//! `tests/fuzz` and `tests/seeded.rs` include this module. In `tests/fuzz` libFuzzer chooses the bytes, and in
//! `tests/seeded.rs` a seeded generator chooses them. The module uses only the codec's public interface. The expectations
//! come from an independent implementation of RFC 9110 and 9112 that reads the whole input at once. Invariant: the same
//! bytes are always the same case, and a broken property is a panic.

#![allow(unsafe_code, reason = "a global allocator that counts cannot be written without")]
#![allow(dead_code, unreachable_pub, reason = "each fuzz target uses one body")]
#![allow(clippy::unwrap_used, reason = "a test")]

mod choices;
#[path = "../heap.rs"]
mod heap;
#[path = "../random.rs"]
pub(crate) mod random;
mod receiver;
mod reference;
mod request;
mod seen;
mod sender;

use handclasp::codec::{
    BodyLength, CloseReason, Limits, Machine, ProtocolError, RequestHead, Target, Verdict,
};
use http::{Method, Uri, Version};

use self::choices::Choices;
use self::heap::ThreadPeak;
use self::random::Rng;
use self::receiver::Receiver;
use self::reference::{End, Reference};
use self::seen::{Head, Seen, elements, is_token, values};
use self::sender::{Sender, Sending};

/// Checks the response that is on the wire. The first four bytes of the input choose the method and the limits, and the
/// other bytes are the wire.
pub fn response_head(data: &[u8]) {
    let mut choices = Choices(data);
    let limits = choices.limits();
    let method = choices.method();
    let seed = choices.byte();
    let plan = Plan { closes: true, offers: seed & 1 != 0, ..Plan::new(method, limits) };
    let wire = choices.rest();
    let played = play_always(&plan, &[], wire, seed);
    for head in played.seen.iter().filter_map(Seen::head) {
        comes_back(&plan, head);
    }
}

/// Checks chunked bodies: decodes the wire as a chunked body, and encodes the bytes of the wire as the content of a
/// chunked body. The first three bytes of the input are choices, and the other bytes are the wire.
pub fn chunked(data: &[u8]) {
    let mut choices = Choices(data);
    let limits = choices.limits();
    let seed = choices.byte();
    let sizes = choices.byte();
    let plan = Plan { closes: true, ..Plan::new(Method::GET, limits) };
    let body = choices.rest();
    let wire = [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", body].concat();
    // The limits of the head are raised, so that a small limit affects the chunks only.
    let plan = Plan { limits: with_room_for_a_head(plan.limits), ..plan };
    play_always(&plan, &[], &wire, seed);
    encode_chunked(body, sizes);
}

/// Checks a whole exchange. The first seven bytes of the input are choices, of which the last is the number of operations.
/// The operations follow, and the wire follows the operations.
pub fn exchange(data: &[u8]) {
    let mut choices = Choices(data);
    let limits = choices.limits();
    let method = choices.method();
    let body = match choices.byte() {
        0..=63 => BodyLength::None,
        kind @ 64..=159 => BodyLength::Known(u64::from(kind - 64) * 7),
        160 => BodyLength::Known(u64::MAX),
        _ => BodyLength::Chunked,
    };
    let flags = choices.byte();
    let seed = choices.byte();
    let operations = choices.byte();
    let operations = choices.take(usize::from(operations % 64));
    let plan = Plan {
        body: if matches!(method, Method::TRACE | Method::CONNECT) { BodyLength::None } else { body },
        closes: flags & 1 != 0,
        says_close: flags & 14 == 14,
        offers: flags & 0x30 == 0x30,
        is_unasked: flags & 0xf0 == 0xf0,
        ..Plan::new(method, limits)
    };
    let plan = Plan { expects: flags & 0xc0 == 0xc0 && plan.has_body(), ..plan };
    play_always(&plan, operations, choices.rest(), seed);
}

/// Checks the head of a request. The bytes of the input choose every part of the head.
pub fn request_head(data: &[u8]) {
    let mut choices = Choices(data);
    let method = if choices.byte() < 200 {
        choices.method()
    } else {
        Method::from_bytes(choices.counted()).unwrap_or(Method::GET)
    };
    let kind = choices.byte();
    let text = String::from_utf8_lossy(choices.counted()).into_owned();
    let uri: Uri = text.parse().unwrap_or_else(|_| Uri::from_static("http://u@h.test:80?q"));
    let target = match kind % 8 {
        0..=3 => Target::Origin(&text),
        4 => Target::Absolute(&uri),
        5 => Target::AbsoluteAsterisk(&uri),
        6 => Target::Authority(&text),
        _ => Target::Asterisk,
    };
    let host = match choices.byte() {
        0..=9 => None,
        10..=200 => Some(&b"h.test:8080"[..]),
        _ => Some(choices.counted()),
    };
    let body = match choices.byte() {
        0..=99 => BodyLength::None,
        length @ 100..=199 => BodyLength::Known(u64::from(length - 100)),
        200 => BodyLength::Known(u64::MAX),
        _ => BodyLength::Chunked,
    };
    let headers = choices.headers();
    let mut request = RequestHead::new(&method, target, host, &headers);
    request.body = body;
    let extras = choices.byte();
    request.close = extras & 3 == 3;
    let trailers = choices.headers();
    request.trailers = (extras & 12 == 12).then_some(&trailers);
    request::check(&request);
}

/// Request and limits of a case, and the peer's behaviour: whether it sends bytes before the request, and whether it
/// closes.
#[derive(Debug)]
struct Plan {
    method: Method,
    limits: Limits,
    body: BodyLength,
    says_close: bool,
    /// Whether the request has `Expect: 100-continue`.
    expects: bool,
    /// Whether the request offers to switch protocols.
    offers: bool,
    /// Whether the peer sends bytes before the request.
    is_unasked: bool,
    /// Whether the peer closes the connection at the end of the wire.
    closes: bool,
}

impl Plan {
    fn new(method: Method, limits: Limits) -> Self {
        Self {
            method,
            limits,
            body: BodyLength::None,
            says_close: false,
            expects: false,
            offers: false,
            is_unasked: false,
            closes: false,
        }
    }

    fn has_body(&self) -> bool {
        !matches!(self.body, BodyLength::None | BodyLength::Known(0))
    }

    /// Whether a 101 names only protocols that the request offered: `echo/1`, `other` in any version, or one of
    /// them over HTTP/1.1.
    fn may_switch(&self, head: &Head) -> bool {
        let mut answers = elements(values(head, "upgrade"));
        answers.retain(|answer| !answer.is_empty());
        let is_offered = |answer: &String| {
            let version = answer.strip_prefix("other/");
            ["echo/1", "other"].contains(&&**answer)
                || version.is_some_and(|version| is_token(version.as_bytes()))
        };
        let keeps_to_it = answers.first().is_some_and(is_offered)
            && answers.iter().all(|answer| is_offered(answer) || answer == "http/1.1");
        self.offers && self.method != Method::CONNECT && keeps_to_it
    }
}

/// The protocols that a request offers.
const OFFER: &str = "echo/1, other";

/// Way in which the wire is cut into reads.
#[derive(Debug)]
enum Cut {
    Whole,
    Bytes,
    Random(Rng),
}

impl Cut {
    fn next(&mut self, left: usize) -> usize {
        let most = match self {
            Self::Whole => left,
            Self::Bytes => 1,
            Self::Random(rng) => {
                let most = [2, 8, 40, 300][rng.below(4) as usize];
                1 + rng.below(most) as usize
            }
        };
        most.min(left)
    }
}

/// Visible outcome of an exchange, which must not depend on how the wire was cut.
#[derive(Debug, PartialEq)]
struct Played {
    seen: Vec<Seen>,
    error: Option<ProtocolError>,
    verdict: Verdict,
    /// Bytes that came after the response.
    left: Vec<u8>,
}

/// Plays the exchange several times, with the wire cut in different ways, and returns the outcome. Panics if two outcomes
/// differ, or if an outcome differs from the reference.
fn play_always(plan: &Plan, operations: &[u8], wire: &[u8], seed: u8) -> Played {
    let peak = ThreadPeak::start();
    let whole = play(plan, operations, wire, Cut::Whole);
    let most = peak.bytes();
    let allowed = FIXED_MEMORY + wire.len() * MEMORY_PER_BYTE + operations.len() * MEMORY_PER_OPERATION;
    assert!(most <= allowed, "{most} bytes for {} of wire", wire.len());
    for cut in [Cut::Bytes, Cut::Random(Rng::new(seed.into()))] {
        let text = format!("{cut:?}");
        let other = play(plan, operations, wire, cut);
        if plan.closes || (whole.error.is_some() == other.error.is_some()) {
            assert_eq!(other, whole, "{text}: {plan:?}, {:?}", wire.escape_ascii().to_string());
        } else {
            // In an unfinished section, the cuts decide at which byte the codec finds an error. If the peer sends no
            // FIN, one way to cut may therefore find an error that another way does not find.
            assert_eq!(other.seen, whole.seen);
            assert!([other.verdict, whole.verdict].contains(&Verdict::Unfinished));
        }
    }
    if !plan.is_unasked {
        agree(plan, wire, &whole, &Reference::read(plan, wire));
    }
    whole
}

/// Checks that the outcome equals the reference's outcome for the same bytes, including the end of the exchange and the
/// leniencies that were used.
fn agree(plan: &Plan, wire: &[u8], played: &Played, expected: &Reference) {
    let context = || format!("{plan:?}, {:?}", wire.escape_ascii().to_string());
    let is_error = played.error.is_some();
    match expected.end {
        End::Depends => {
            assert!(played.seen.starts_with(&expected.seen), "before the switch: {}", context());
            return;
        }
        End::Complete { used } => {
            assert_eq!(played.error, None, "the codec refused what the reference accepts: {}", context());
            assert_eq!(played.left, &wire[used..], "the surplus stays in the buffer: {}", context());
        }
        End::Refused => {
            assert!(is_error || !plan.closes, "the codec accepted what the reference refuses: {}", context())
        }
        End::Cut => {
            let is_closed = played.error.is_some_and(|error| error.is_closed());
            assert!(is_closed || !plan.closes, "{:?}, though cut off: {}", played.error, context());
        }
    }
    assert_eq!(played.seen, expected.seen, "the reference sees something else: {}", context());
    match played.verdict {
        Verdict::Close(reasons) if !is_error => {
            let is_lenient = reasons.contains(CloseReason::Lenient);
            assert_eq!(reasons.contains(CloseReason::LenientField), expected.is_mended, "{}", context());
            assert!(
                is_lenient || !expected.is_framed_leniently,
                "the codec does not report the leniency: {}",
                context()
            );
            assert!(
                !is_lenient || expected.is_lenient,
                "the codec reports a leniency that it did not need: {}",
                context()
            );
        }
        Verdict::Reuse => {
            let is_lenient = expected.is_framed_leniently || expected.is_mended;
            assert!(!is_lenient, "the connection is reused after a leniency: {}", context())
        }
        _ => {}
    }
}

fn play(plan: &Plan, operations: &[u8], wire: &[u8], mut cut: Cut) -> Played {
    let mut sender = Sender::new(plan);
    let mut receiver = Receiver::new(plan);
    let mut machine = Machine::new(plan.limits);
    if plan.is_unasked {
        receiver.feed(&mut machine, &wire[..wire.len().min(1)]);
        assert_eq!(receiver.error, (!wire.is_empty()).then_some(ProtocolError::SpokeFirst));
        assert!(!machine.has_peer_spoken() && !machine.is_head_sent());
        is_unasked_still(plan, wire);
    }
    sender.head(plan, &mut machine);
    let mut rest = if plan.is_unasked { &[][..] } else { wire };
    for operation in operations.iter().copied().map(Some).chain([None]) {
        let amount = operation.map_or(usize::MAX, |operation| usize::from(operation >> 3));
        let feed = match operation.map(|operation| operation & 7) {
            Some(0) => sender.data(&mut machine, amount),
            Some(1) => sender.data(&mut machine, amount * 40),
            Some(2) => sender.end(&mut machine, None),
            Some(3) => sender.end(&mut machine, Some(amount)),
            Some(4) if amount > 20 => sender.abort(&mut machine),
            Some(4) => sender.head_again(plan, &mut machine),
            Some(5) => amount + 1,
            Some(6) => amount * 16 + 1,
            _ => rest.len(),
        };
        let mut due = feed.min(rest.len());
        while due > 0 && receiver.error.is_none() {
            let (piece, behind) = rest.split_at(cut.next(due));
            (rest, due) = (behind, due - piece.len());
            receiver.feed(&mut machine, piece);
            receiver.judge(&machine, &sender);
        }
        receiver.judge(&machine, &sender);
    }
    if plan.closes && receiver.error.is_none() {
        receiver.close(&mut machine);
        receiver.judge(&machine, &sender);
    }
    let verdict = machine.verdict(receiver.buf.len());
    receiver.stays_as_it_is(&mut machine);
    sender.is_well_formed();
    Played {
        verdict,
        left: if receiver.has_ended() { receiver.buf.to_vec() } else { Vec::new() },
        seen: receiver.seen,
        error: receiver.error,
    }
}

/// Checks that bytes before the request's head are an error, even if the request was aborted before they came. Checks
/// too that the codec demands to close the connection after these bytes.
fn is_unasked_still(plan: &Plan, wire: &[u8]) {
    let (mut sender, mut receiver) = (Sender::new(plan), Receiver::new(plan));
    let mut machine = Machine::new(plan.limits);
    machine.abort_send();
    sender.state = Sending::Aborted;
    sender.head_again(plan, &mut machine);
    receiver.feed(&mut machine, &wire[..wire.len().min(1)]);
    assert_eq!(receiver.error, (!wire.is_empty()).then_some(ProtocolError::SpokeFirst));
    assert!(!machine.has_peer_spoken() && !machine.is_head_sent() && machine.is_send_aborted());
    let Verdict::Close(reasons) = machine.verdict(0) else { panic!("the connection has to be closed") };
    assert!(reasons.contains(CloseReason::UploadAborted));
}

/// Encodes the content in chunks of varying size, and checks that the reference decodes the same content.
fn encode_chunked(content: &[u8], sizes: u8) {
    let mut sender = Sender::new(&Plan::new(Method::PUT, Limits::default()));
    sender.promised = BodyLength::Chunked;
    let plan = Plan { body: BodyLength::Chunked, ..Plan::new(Method::PUT, Limits::default()) };
    let mut machine = Machine::new(plan.limits);
    sender.head(&plan, &mut machine);
    let (mut rest, mut rng) = (content, Rng::new(sizes.into()));
    while !rest.is_empty() {
        let (chunk, behind) = rest.split_at(rest.len().min(1 + rng.below(1 + u64::from(sizes)) as usize));
        let after = machine.encode_data(chunk.len(), &mut sender.out).unwrap();
        sender.out.extend_from_slice(chunk);
        sender.out.extend_from_slice(after);
        sender.content.extend_from_slice(chunk);
        rest = behind;
    }
    sender.end(&mut machine, Some(usize::from(sizes & 3)));
    sender.is_well_formed();
}

/// Checks that an accepted head has the same meaning after it is written again without leniencies.
fn comes_back(plan: &Plan, head: &Head) {
    let mut wire = Vec::new();
    wire.extend_from_slice(if head.version == Version::HTTP_10 { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
    wire.extend_from_slice(head.status.to_string().as_bytes());
    wire.push(b' ');
    wire.extend_from_slice(&head.reason);
    wire.extend_from_slice(b"\r\n");
    for (name, value) in &head.written {
        wire.extend_from_slice(name);
        wire.extend_from_slice(b": ");
        wire.extend_from_slice(value);
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b"\r\n");
    let mut limits = with_room_for_a_head(Limits::default());
    limits.leniency = plan.limits.leniency;
    let plan = Plan { offers: plan.offers, ..Plan::new(plan.method.clone(), limits) };
    let played = play(&plan, &[], &wire, Cut::Whole);
    assert_eq!(played.seen.first().and_then(Seen::head), Some(head), "{:?}", wire.escape_ascii().to_string());
    assert!(played.left.is_empty() && played.error.is_none());
}

fn with_room_for_a_head(mut limits: Limits) -> Limits {
    limits.head = limits.head.max(1 << 20);
    limits.fields = limits.fields.max(4);
    limits.informational_bytes = limits.informational_bytes.max(1 << 20);
    limits
}

/// Number of bytes that a case may allocate regardless of its input.
const FIXED_MEMORY: usize = 32 * 1024;
/// Number of bytes that a case may allocate for each byte that has arrived. The number is large because a field of three
/// bytes has a slot in the map and a slot in the index, and this module copies the field. A length that was only announced
/// allows no allocation.
const MEMORY_PER_BYTE: usize = 128;
/// Number of bytes that each operation may allocate for the content that this module sends.
const MEMORY_PER_OPERATION: usize = 8 * 1024;
