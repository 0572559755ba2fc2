//! Tests of exchanges that use both directions at the same time. Some tests use real sockets with small buffers, and others
//! use connections in memory with random splits from a seed.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::convert::Infallible;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;
use handclasp::{Body, Client, ErrorKind, Written};
use socket2::SockRef;

use crate::support;
use crate::support::lines::{Fed, Lines, send, settle};
use crate::support::{Rng, within};

/// Starts a server with small buffers and a thread for each connection.
fn listen(serve: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + Clone + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    SockRef::from(&listener).set_recv_buffer_size(8 * 1024).unwrap();
    SockRef::from(&listener).set_send_buffer_size(8 * 1024).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let serve = serve.clone();
            std::thread::spawn(move || serve(stream));
        }
    });
    format!("http://{address}/")
}

/// Reads a head, and returns the value of its `Content-Length`, or `None` if the head has no such field.
fn read_head(reader: &mut impl BufRead) -> io::Result<Option<usize>> {
    let mut length = None;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = Some(value.trim().parse().unwrap());
        }
        if line == "\r\n" {
            return Ok(length);
        }
    }
}

/// Reads a chunk and returns its data. The data of the last chunk is empty.
fn read_chunk(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let size = usize::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
    let mut data = vec![0; size + 2];
    reader.read_exact(&mut data)?;
    data.truncate(size);
    Ok(data)
}

fn write_chunk(stream: &mut impl Write, data: &[u8]) -> io::Result<()> {
    let mut chunk = format!("{:x}\r\n", data.len()).into_bytes();
    chunk.extend_from_slice(data);
    chunk.extend_from_slice(b"\r\n");
    stream.write_all(&chunk)
}

/// Sends each piece back as it comes, and reads nothing while a write is blocked.
fn echo(stream: TcpStream) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(4096, stream.try_clone()?);
    let mut writer = stream;
    loop {
        match read_head(&mut reader)? {
            Some(mut rest) => {
                write!(writer, "HTTP/1.1 200 OK\r\ncontent-length: {rest}\r\n\r\n")?;
                let mut piece = [0; 4096];
                while rest > 0 {
                    let most = rest.min(piece.len());
                    let read = reader.read(&mut piece[..most])?;
                    if read == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    writer.write_all(&piece[..read])?;
                    rest -= read;
                }
            }
            None => {
                writer.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
                loop {
                    let data = read_chunk(&mut reader)?;
                    write_chunk(&mut writer, &data)?;
                    if data.is_empty() {
                        break;
                    }
                }
            }
        }
    }
}

/// A source of bytes in pieces of several sizes. The value of each byte depends on its position.
struct Content {
    at: usize,
    length: usize,
    taken: Arc<AtomicUsize>,
}

fn value(at: usize) -> u8 {
    (at ^ (at >> 8) ^ (at >> 16)) as u8
}

impl Content {
    fn new(length: usize) -> Self {
        Self { at: 0, length, taken: Arc::default() }
    }
}

impl Stream for Content {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.at == self.length {
            return Poll::Ready(None);
        }
        let size = (1 + self.at * 7 % 70_000).min(self.length - self.at);
        let piece: Vec<u8> = (self.at..self.at + size).map(value).collect();
        self.at += size;
        self.taken.store(self.at, Ordering::SeqCst);
        Poll::Ready(Some(Ok(piece.into())))
    }
}

/// The server sends 16 MiB of content back while the client sends it, through buffers of a few kilobytes.
#[tokio::test]
async fn an_echo_of_16_mib_comes_back_whole() {
    const LENGTH: usize = 16 << 20;
    let url = listen(echo);
    let client = Client::new();
    let all: Bytes = (0..LENGTH).map(value).collect::<Vec<_>>().into();
    for (number, body) in ["chunked", "a known length", "a piece"].into_iter().enumerate() {
        let source = Content::new(LENGTH);
        let request = match body {
            "chunked" => client.post(&*url).body(Body::from_stream(source)),
            "a known length" => {
                client.post(&*url).header("content-length", LENGTH).body(Body::from_stream(source))
            }
            _ => client.post(&*url).body(all.clone()),
        };
        within(60, async {
            // At this point all sent bytes may still be in buffers.
            let mut response = request.send().await.unwrap();
            let mut at = 0;
            while let Some(piece) = response.chunk().await.unwrap() {
                assert!(piece == all[at..at + piece.len()], "{body}: the echo equals the sent content");
                at += piece.len();
            }
            assert_eq!(at, LENGTH, "{body}");
            assert!(response.upload().is_complete(), "{body}");
            assert_eq!(response.upload().bytes(), LENGTH as u64);
            assert_eq!(
                response.connection().ordinal(),
                number as u64 + 1,
                "{body}: one connection serves all requests"
            );
        })
        .await;
    }
    let total = client.pool().stats().total;
    assert_eq!((total.opened, total.idle, total.active), (1, 1, 0));
}

/// The manual's pattern works: one task sends questions and reads answers, and waits for room before each question.
#[tokio::test]
async fn one_task_can_send_questions_and_read_answers() {
    let url = listen(echo);
    let client = Client::new();
    let (questions, source) = tokio::sync::mpsc::channel(1);
    let asking = async {
        for number in 0..5000 {
            questions.send(Bytes::from(format!("question {number}\n"))).await.unwrap();
        }
        drop(questions);
        Ok::<(), handclasp::Error>(())
    };
    let reading = async {
        let mut answers = Vec::new();
        let mut response = client.post(&*url).body(Body::from_stream(Fed(source))).send().await?;
        while let Some(answer) = response.chunk().await? {
            answers.extend_from_slice(&answer);
        }
        assert!(response.upload().is_complete());
        Ok(answers)
    };
    let ((), answers) = within(20, Box::pin(async { tokio::try_join!(asking, reading) })).await.unwrap();
    let expected: String = (0..5000).map(|number| format!("question {number}\n")).collect();
    assert!(answers == expected.as_bytes());
    assert_eq!(client.pool().stats().total.idle, 1);
}

/// Each question is sent after the answer to the previous question. The response's body is polled while the task waits for
/// an answer.
#[tokio::test]
async fn a_question_can_follow_each_answer() {
    let url = listen(echo);
    let client = Client::new();
    within(20, async {
        let (questions, source) = tokio::sync::mpsc::channel(1);
        questions.send("question 0".into()).await.unwrap();
        let mut response = client.post(&*url).body(Body::from_stream(Fed(source))).send().await.unwrap();
        for number in 0..200 {
            let answer = response.chunk().await.unwrap().unwrap();
            assert_eq!(answer, format!("question {number}"));
            questions.send(format!("question {}", number + 1).into()).await.unwrap();
        }
        drop(questions);
        assert_eq!(response.chunk().await.unwrap().unwrap(), "question 200");
        assert_eq!(response.chunk().await.unwrap(), None);
        assert!(response.upload().is_complete());
    })
    .await;
    assert_eq!(client.pool().stats().total.idle, 1);
}

/// The server reads none of the content until the client has read much of the response.
#[tokio::test]
async fn a_server_that_speaks_long_before_it_listens_is_heard() {
    const LENGTH: usize = 4 << 20;
    let url = listen(|stream| {
        let mut reader = BufReader::with_capacity(4096, stream.try_clone()?);
        let mut writer = stream;
        loop {
            let rest = read_head(&mut reader)?;
            writer.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
            for _ in 0..LENGTH / 4096 {
                write_chunk(&mut writer, &[b'x'; 4096])?;
            }
            let mut seen = 0;
            match rest {
                Some(length) => {
                    let mut content = vec![0; length];
                    reader.read_exact(&mut content)?;
                    seen = length;
                }
                None => loop {
                    match read_chunk(&mut reader)?.len() {
                        0 => break,
                        size => seen += size,
                    }
                },
            }
            write_chunk(&mut writer, format!("!{seen}").as_bytes())?;
            write_chunk(&mut writer, b"")?;
        }
    });
    let client = Client::new();
    for is_known in [false, true] {
        let mut request = client.post(&*url).body(Body::from_stream(Content::new(LENGTH)));
        if is_known {
            request = request.header("content-length", LENGTH);
        }
        let all = within(60, async { request.send().await.unwrap().bytes().await.unwrap() }).await;
        assert_eq!(all.len(), LENGTH + 8);
        assert_eq!(all[LENGTH..], *format!("!{LENGTH}").as_bytes());
        let total = client.pool().stats().total;
        assert_eq!((total.idle, total.active), (1, 0));
    }
    assert_eq!(client.pool().stats().total.opened, 1);
}

/// R-9112-9.5-3, R-9112-9.5-4: the client delivers the response of a server that answers and closes at once, and sends the
/// server only a bounded number of bytes.
#[tokio::test]
async fn a_refusal_with_a_reset_is_delivered_r_9112_9_5_3() {
    for (answer, is_reset) in [
        ("HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: 4\r\n\r\nmuch", true),
        ("HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: 4\r\n\r\nmuch", false),
        ("HTTP/1.1 413 Too Large\r\ncontent-length: 4\r\n\r\nmuch", true),
        ("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 4\r\n\r\nmuch", true),
        ("HTTP/1.0 413 Too Large\r\ncontent-length: 4\r\n\r\nmuch", true),
    ] {
        let (say, said) = mpsc::channel();
        let url = listen(move |stream| {
            let mut reader = BufReader::with_capacity(1024, stream.try_clone()?);
            let mut writer = stream;
            read_head(&mut reader)?;
            reader.read_exact(&mut [0; 5000])?;
            writer.write_all(answer.as_bytes())?;
            // If the server leaves bytes unread, the kernel sends a reset when the server closes the socket.
            if !is_reset {
                writer.shutdown(Shutdown::Write)?;
                let rest = io::copy(&mut reader, &mut io::sink()).unwrap_or(0);
                say.send(rest).unwrap();
            }
            Ok(())
        });
        let client = Client::new();
        let source = Content::new(1 << 30);
        let taken = source.taken.clone();
        let request = client.post(&*url).body(Body::from_stream(source));
        within(20, async {
            let response = request.send().await.unwrap();
            let upload = response.upload();
            assert!(!upload.is_complete() && upload.bytes() >= 4000, "{upload:?}");
            assert_eq!(response.text().await.unwrap(), "much", "R-9112-9.5-3");
        })
        .await;
        let taken = taken.load(Ordering::SeqCst);
        assert!(taken < 32 << 20, "R-9112-9.5-4: {taken} bytes of a gigabyte");
        let total = client.pool().stats().total;
        assert_eq!((total.idle, total.active, total.closed_total()), (0, 0, 1));
        if !is_reset {
            assert!(said.recv_timeout(support::PATIENCE).unwrap() <= taken as u64 + 100_000);
        }
    }
}

/// The server sends its whole response when it has read the head, and then reads all of the content.
#[tokio::test]
async fn a_success_before_the_content_was_read_cuts_nothing_off() {
    const LENGTH: usize = 8 << 20;
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nearly",
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nearly",
        "HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nearly",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\nearly",
    ] {
        for is_tls in [false, true] {
            if is_tls && cfg!(not(feature = "rustls")) {
                continue;
            }
            let script = move |peer: &mut support::Peer| {
                while let Some(index) = peer.request_head()? {
                    peer.send(answer)?;
                    let is_until_close = answer.starts_with("HTTP/1.1 200 OK\r\n\r\n");
                    if is_until_close {
                        peer.notify()?;
                        peer.fin()?;
                    }
                    peer.request_body(index)?;
                    if is_until_close || answer.contains("close") || answer.starts_with("HTTP/1.0") {
                        return peer.close();
                    }
                }
                Ok(())
            };
            let server =
                if is_tls { support::Server::start_tls(script) } else { support::Server::start(script) };
            let client = Client::builder();
            #[cfg(feature = "rustls")]
            let client = if is_tls {
                client.add_root_certificate(handclasp::Certificate::from_pem(server.authority()).unwrap())
            } else {
                client
            };
            let client = client.build().unwrap();
            for (number, is_stream) in [false, true].into_iter().enumerate() {
                let body = if is_stream {
                    Body::from_stream(Content::new(LENGTH))
                } else {
                    (0..LENGTH).map(value).collect::<Vec<_>>().into()
                };
                let mut request = client.post(server.url("/")).body(body);
                if answer.starts_with("HTTP/1.0") {
                    // For the second request the client knows that the server speaks HTTP/1.0.
                    request = request.header("content-length", LENGTH);
                }
                let mut response = within(60, request.send()).await.unwrap();
                let mut text = Vec::new();
                while let Some(piece) = within(60, response.chunk()).await.unwrap() {
                    text.extend_from_slice(&piece);
                }
                assert_eq!(text, if answer.contains(" 204 ") { "" } else { "early" }.as_bytes());
                let upload = response.upload();
                assert!(upload.is_complete() && upload.bytes() == LENGTH as u64, "{answer:?}: {upload:?}");
                support::until("the server has read the content", || {
                    server.seen().get(number).is_some_and(|seen| seen.is_complete)
                })
                .await;
                assert!(server.seen()[number].request.body.len() == LENGTH, "{answer:?}");
            }
            let closes =
                answer.contains("close") || answer.starts_with("HTTP/1.0") || answer.contains("OK\r\n\r\n");
            assert_eq!(client.pool().stats().total.opened, if closes { 2 } else { 1 }, "{answer:?}");
        }
    }
}

/// The server reads all content before it sends the rest of its refusal. The server does not wait for content that the
/// client no longer sends.
#[tokio::test]
async fn a_refusal_behind_content_that_does_not_come_is_delivered() {
    let url = listen(|stream| {
        let mut reader = BufReader::with_capacity(1024, stream.try_clone()?);
        let mut writer = stream;
        read_head(&mut reader)?;
        writer.write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 4\r\n\r\n")?;
        io::copy(&mut reader, &mut io::sink())?;
        writer.write_all(b"much")
    });
    let client = Client::new();
    let request = client.post(&*url).body(Body::from_stream(Content::new(1 << 30)));
    let response = within(20, request.send()).await.unwrap();
    assert_eq!(within(20, response.text()).await.unwrap(), "much");
}

/// The server resets the connection in the middle of an upload, without an answer.
#[tokio::test]
async fn a_reset_without_an_answer_is_a_lost_connection() {
    let url = listen(|stream| {
        let mut reader = BufReader::with_capacity(1024, stream);
        read_head(&mut reader)?;
        reader.read_exact(&mut [0; 5000])
    });
    let client = Client::new();
    let error = within(20, client.post(&*url).body(Body::from_stream(Content::new(1 << 30))).send())
        .await
        .unwrap_err();
    assert_eq!((error.kind(), error.request_written()), (ErrorKind::ConnectionLost, Written::Partly));
    let total = client.pool().stats().total;
    assert_eq!((total.idle, total.active), (0, 0));
}

/// A source that pauses and gives pieces of all sizes, including empty pieces. A seed determines the pauses and sizes.
struct Uneven {
    rng: Rng,
    at: usize,
    length: usize,
}

impl Stream for Uneven {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.rng.below(3) == 0 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.at == self.length {
            return Poll::Ready(None);
        }
        let most = [0, 1, 10, 500][self.rng.below(4) as usize];
        let size = most.min(self.length - self.at);
        let piece: Vec<u8> = (self.at..self.at + size).map(|at| b'a' + value(at) % 26).collect();
        self.at += size;
        Poll::Ready(Some(Ok(piece.into())))
    }
}

/// A server in memory echoes the content, and accepts and sends any number of bytes at any time. No byte is lost, repeated
/// or stuck, and one connection carries all requests.
#[tokio::test]
async fn an_echo_comes_back_whole_at_every_pace() {
    for seed in 0..300 {
        let mut rng = Rng::new(seed);
        let lines = Lines::default();
        lines.room(0);
        let client = lines.builder().expect_continue_above((seed % 3 == 0).then_some(1)).build().unwrap();
        let mut answered = 0;
        for number in 0..3 {
            let length = rng.below(3000) as usize + 1;
            let is_known = rng.below(2) == 0;
            let source = Uneven { rng: Rng::new(seed * 7 + number), at: 0, length };
            let mut request = client.post("http://h/").body(Body::from_stream(source));
            if is_known {
                request = request.header("content-length", length);
            }
            let sending = tokio::spawn(async move {
                let mut response = request.send().await?;
                let mut all = Vec::new();
                while let Some(piece) = response.chunk().await? {
                    all.extend_from_slice(&piece);
                }
                Ok::<_, handclasp::Error>((all, response.upload()))
            });
            let line = lines.line(0).await;
            let mut head = None;
            let mut asked = false;
            // The server echoes the content together with its framing.
            let mut owed = std::collections::VecDeque::new();
            let begun = std::time::Instant::now();
            while !sending.is_finished() {
                assert!(begun.elapsed() < support::PATIENCE, "seed {seed}, request {number}: stuck");
                line.take(rng.below(400) as usize);
                for _ in 0..rng.below(8) {
                    tokio::task::yield_now().await;
                }
                let text = line.text();
                let news = &text[answered..];
                if head.is_none() {
                    let Some(end) = news.find("\r\n\r\n") else { continue };
                    if !asked && news.contains("expect: ") {
                        owed.extend(b"HTTP/1.1 100 Continue\r\n\r\n");
                        asked = true;
                    }
                    let framing = if is_known {
                        format!("content-length: {length}")
                    } else {
                        "transfer-encoding: chunked".to_owned()
                    };
                    owed.extend(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n").bytes().take(if asked {
                        0
                    } else {
                        999
                    }));
                    head = Some(framing);
                    answered += end + 4;
                } else {
                    if asked && !news.is_empty() {
                        let framing = head.as_deref().unwrap();
                        owed.extend(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n").bytes());
                        asked = false;
                    }
                    owed.extend(news.bytes());
                    answered += news.len();
                }
                let most = rng.below(500) as usize;
                let some: Vec<u8> = owed.drain(..most.min(owed.len())).collect();
                line.say(some);
            }
            let (all, upload) = sending.await.unwrap().unwrap();
            let expected: Vec<u8> = (0..length).map(|at| b'a' + value(at) % 26).collect();
            assert!(all == expected, "seed {seed}, request {number}");
            assert_eq!((upload.bytes(), upload.is_complete()), (length as u64, true), "seed {seed}");
            settle().await;
            let total = client.pool().stats().total;
            assert_eq!((total.opened, total.idle, total.active), (1, 1, 0), "seed {seed}, request {number}");
        }
    }
}

/// Dropping the future at any point of an upload with an early response leaves exact counts.
#[tokio::test]
async fn an_echo_that_is_dropped_anywhere_leaves_nothing() {
    for rounds in 0..60 {
        let lines = Lines::default();
        lines.room(50);
        let client = lines.client();
        let source = Uneven { rng: Rng::new(rounds), at: 0, length: 2000 };
        let request = client.post("http://h/").body(Body::from_stream(source));
        let sending = send(request);
        for round in 0..rounds {
            tokio::task::yield_now().await;
            if lines.count() == 1 {
                let line = lines.line(0).await;
                line.take(30);
                if round == 20 {
                    line.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n");
                }
            }
        }
        sending.abort();
        drop(sending.await);
        settle().await;
        let total = client.pool().stats().total;
        assert_eq!((total.active, total.waiting, total.dialing), (0, 0, 0), "{rounds}: {total}");
        let live = if lines.count() == 1 { usize::from(!lines.line(0).await.is_gone()) } else { 0 };
        assert_eq!(live, total.idle, "{rounds}");
    }
}

/// The whole content is read at once, in whatever pieces it comes. The upload continues during the read, and an early end
/// of the content is an error.
#[tokio::test]
async fn content_that_is_read_as_one_comes_in_any_pieces() {
    let content: String = (0..20_000).map(|at| char::from(b'a' + (at % 26) as u8)).collect();
    // A large first read returns content together with the head.
    for (name, with_head, step, cut, behind) in [
        ("all of it behind the head", 0, 20_000, 20_000, ""),
        ("in pieces", 0, 3_000, 20_000, ""),
        ("some with the head", 100, 3_000, 20_000, ""),
        ("much with the head", 10_000, 1, 10_100, ""),
        ("too short", 0, 3_000, 15_000, ""),
        ("more than that", 0, 20_000, 20_000, "surplus"),
    ] {
        let lines = Lines::default();
        let client = lines.client();
        let source = Uneven { rng: Rng::new(7), at: 0, length: 2000 };
        lines.room(500);
        let sending =
            send(client.post("http://h/").header("content-length", 2000).body(Body::from_stream(source)));
        let line = lines.line(0).await;
        let length = if name == "much with the head" { cut } else { content.len() };
        line.say(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{}", &content[..with_head]));
        let response = sending.await.unwrap().unwrap();
        let reading = tokio::spawn(response.bytes());
        settle().await;
        line.take(usize::MAX);
        settle().await;
        assert!(line.len() > 2000, "{name}: the upload goes on");
        for at in (with_head..cut).step_by(step) {
            let end = cut.min(at + step);
            line.say([&content[at..end], if end == cut { behind } else { "" }].concat());
            settle().await;
        }
        if cut < length {
            line.eof();
        }
        let read = reading.await.unwrap();
        if cut < length {
            assert_eq!(read.unwrap_err().kind(), ErrorKind::ConnectionLost, "{name}");
        } else {
            assert!(read.unwrap() == content.as_bytes()[..length], "{name}");
        }
        settle().await;
        let total = client.pool().stats().total;
        assert_eq!(
            (total.active, total.idle),
            (0, usize::from(cut == length && behind.is_empty())),
            "{name}"
        );
    }
}
