//! Tests of uploads to servers that answer in HTTP/1.0. These servers do not know the chunked coding (RFC 9112, section 6.1).

use std::time::Duration;

use bytes::Bytes;
use handclasp::{Body, Client, ErrorKind, Phase, RequestBuilder, Written};
use http::HeaderMap;

use super::{OK, teach_that_it_is_old, trailers};
use crate::support::lines::{Fed, Lines, Source, Step, send, until};

/// R-9112-2.3-2, R-9112-6.1-3: the client sends no chunks and no `Expect` to a server that has answered in HTTP/1.0.
#[tokio::test]
async fn a_server_of_http_1_0_gets_no_chunks_r_9112_6_1_3() {
    use Step::{Data, Later, Trailer};

    for keeps in [false, true] {
        let lines = Lines::default();
        let client = lines.builder().expect_continue_above(0).build().unwrap();
        let body = || Body::from_stream(Source::new(&[Data("he"), Later, Data("llo")]));
        // The client assumes that an unknown server speaks HTTP/1.1.
        let sending = send(client.post("http://h/").body(body()));
        let line = lines.written(0, "\r\n\r\n").await;
        assert!(line.text().ends_with("expect: 100-continue\r\ntransfer-encoding: chunked\r\n\r\n"));
        line.say("HTTP/1.1 100 Continue\r\n\r\n");
        let line = lines.written(0, "0\r\n\r\n").await;
        let kept = if keeps { "connection: keep-alive\r\n" } else { "" };
        let answer = format!("HTTP/1.0 200 OK\r\n{kept}content-length: 0\r\n\r\n");
        line.say(&answer);
        sending.await.unwrap().unwrap();

        let number = usize::from(!keeps);
        for request in [
            client.post("http://h/two").body(body()),
            client.post("http://h/two").expect_continue().body(body()),
            client.post("http://h/two").header("transfer-encoding", "chunked").body(body()),
            client
                .post("http://h/two")
                .header("transfer-encoding", "chunked")
                .expect_continue()
                .body("hello"),
        ] {
            let before = if lines.count() > number { lines.line(number).await.len() } else { 0 };
            let sending = send(request);
            let line = lines.line(number).await;
            until("the request is sent", || line.len() > before).await;
            let line = lines.written(number, "hello").await;
            assert_eq!(
                &line.text()[before..],
                "POST /two HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\nhello",
                "R-9112-2.3-2"
            );
            line.say("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 0\r\n\r\n");
            sending.await.unwrap().unwrap();
        }
        let mut dialed = lines.count();

        // The client refuses content that can only be sent in chunks, and writes no byte of the request.
        let large = vec![b'x'; (1 << 20) + 1];
        let fed = |bytes: Vec<u8>| {
            let (feed, fed) = tokio::sync::mpsc::channel(1);
            feed.try_send(Bytes::from(bytes)).unwrap();
            Body::from_stream(Fed(fed))
        };
        for (name, body) in [
            ("too large", fed(large.clone())),
            ("trailers", Body::from("a").with_trailers(trailers("x-sum", "7"))),
            ("trailers of its own", Body::wrap(Source::new(&[Data("a"), Trailer("x-sum", "7")]))),
            ("an error", Body::wrap(Source::new(&[Data("a"), Step::Fail]))),
        ] {
            let error = client.post("http://h/").body(body).send().await.unwrap_err();
            assert_eq!(
                (error.kind(), error.request_written()),
                (ErrorKind::Body, Written::Nothing),
                "{name}: {error}"
            );
            assert_eq!(lines.count(), dialed, "{name}");
            // After a refusal, the client sends the next request, so that the server can show whether it speaks HTTP/1.1.
            let path = format!("/ask-{}", name.len());
            let sending = send(client.get(format!("http://h{path}")));
            let line = lines.written(number, &format!("{path} HTTP/1.1\r\nhost: h\r\n\r\n")).await;
            line.say("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 0\r\n\r\n");
            sending.await.unwrap().unwrap();
            dialed = lines.count();
        }

        // The client collects a stream of at most 1 MiB. The client does not collect a stream whose length the caller
        // announced.
        let before = lines.line(number).await.len();
        let sending = send(client.post("http://h/").body(fed(large[1..].to_vec())));
        let line = lines.written(number, "xxx").await;
        until("the whole request is sent", || line.len() > before + (1 << 20)).await;
        line.say("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 0\r\n\r\n");
        sending.await.unwrap().unwrap();
        let sending = send(client.post("http://h/").header("content-length", 5).body(body()));
        let line = lines.written(number, "content-length: 5\r\n\r\nhello").await;

        // After any response in HTTP/1.1, the client sends chunks to the server again.
        line.say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        sending.await.unwrap().unwrap();
        let sending = send(client.post("http://h/").body(body()));
        let line = lines.written(number, "transfer-encoding: chunked\r\n\r\n").await;
        line.say("HTTP/1.1 100 Continue\r\n\r\n");
        lines.written(number, "llo\r\n0\r\n\r\n").await.say(OK);
        sending.await.unwrap().unwrap();
    }
}

/// The client remembers a server as HTTP/1.0. A response in HTTP/1.1 to a request without content ends this memory.
#[tokio::test]
async fn any_answer_in_http_1_1_makes_it_forget_that_the_server_was_old() {
    let lines = Lines::default();
    let client = lines.client();
    teach_that_it_is_old(&lines, &client, 0).await;
    let sending = send(client.get("http://h/"));
    lines.written(1, "\r\n\r\n").await.say(OK);
    sending.await.unwrap().unwrap();
    let sending = send(client.post("http://h/").body(Body::from_stream(Source::new(&[Step::Data("a")]))));
    lines.written(1, "transfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n").await.say(OK);
    sending.await.unwrap().unwrap();
}

/// The client does not remember a server as HTTP/1.0 after an error response that closes the connection, because a load
/// balancer mostly sends such a response.
#[tokio::test]
async fn an_error_page_of_http_1_0_says_nothing_of_the_server() {
    for page in [
        "HTTP/1.0 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno",
        "HTTP/1.0 503 Service Unavailable\r\ncontent-length: 2\r\n\r\nno",
        "HTTP/1.0 502 Bad Gateway\r\n\r\nno",
        "HTTP/1.0 400 Bad Request\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.0 408 Request Timeout\r\n\r\n",
    ] {
        let lines = Lines::default();
        let client = lines.client();
        let sending = send(client.get("http://h/"));
        let line = lines.written(0, "\r\n\r\n").await;
        line.say(page);
        line.eof();
        sending.await.unwrap().unwrap().bytes().await.unwrap();
        let steps = vec![Step::Data("0123456789abcdef"); (1 << 16) + 1];
        let sending = send(client.post("http://h/").body(Body::from_stream(Source::new(&steps))));
        let line = lines.written(1, "\r\n0\r\n\r\n").await;
        assert!(line.text().contains("transfer-encoding: chunked\r\n"), "{page}");
        line.say(OK);
        assert!(sending.await.unwrap().unwrap().upload().is_complete(), "{page}");
    }
    // If the client already remembers the server as HTTP/1.0, an HTTP/1.0 error response does not end this memory.
    let lines = Lines::default();
    let client = lines.client();
    teach_that_it_is_old(&lines, &client, 0).await;
    let sending = send(client.get("http://h/"));
    lines.written(1, "\r\n\r\n").await.say("HTTP/1.0 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n");
    sending.await.unwrap().unwrap();
    let sending = send(client.post("http://h/").body(Body::from_stream(Source::new(&[Step::Data("hi")]))));
    lines.written(2, "content-length: 2\r\n\r\nhi").await.say(OK);
    sending.await.unwrap().unwrap();
}

/// After a request to an HTTP/1.0 server failed before it was sent, the client sends the next request in chunks, so that the
/// server can show whether it speaks HTTP/1.1.
#[tokio::test(start_paused = true)]
async fn a_request_is_not_refused_twice_without_asking_the_server() {
    const S: Duration = Duration::from_secs(1);
    for way in ["too large", "trailers", "no end", "a live stream", "total timeout", "dropped"] {
        let lines = Lines::default();
        let client = lines.builder().write_timeout(S * 20).build().unwrap();
        teach_that_it_is_old(&lines, &client, 0).await;
        let (feed, fed) = tokio::sync::mpsc::channel(1);
        let mut request = client.post("http://h/");
        request = match way {
            "too large" => request
                .body(Body::from_stream(Source::new(&vec![Step::Data("0123456789abcdef"); (1 << 16) + 1]))),
            "trailers" => request.body(Body::from("a").with_trailers(trailers("x-sum", "7"))),
            "total timeout" => request.timeout(S * 5).body(Body::from_stream(Fed(fed))),
            _ => request.body(Body::from_stream(Fed(fed))),
        };
        let begun = tokio::time::Instant::now();
        let sending = send(request);
        let feeding = tokio::spawn(async move {
            // The pieces restart no timeout, because the client collects the pieces and does not send them.
            while way == "a live stream" && feed.send("piece".into()).await.is_ok() {
                tokio::time::sleep(S).await;
            }
            std::future::pending::<()>().await;
        });
        if way == "dropped" {
            tokio::time::sleep(S).await;
            sending.abort();
            assert!(sending.await.unwrap_err().is_cancelled());
        } else {
            let error = sending.await.unwrap().unwrap_err();
            let (kind, after) = match way {
                "too large" | "trailers" => (ErrorKind::Body, 0),
                "total timeout" => (ErrorKind::Timeout, 5),
                _ => (ErrorKind::Timeout, 20),
            };
            assert_eq!(
                (error.kind(), error.phase(), begun.elapsed().as_secs()),
                (kind, Some(Phase::Send), after),
                "{way}"
            );
            assert_eq!(error.request_written(), Written::Nothing, "{way}");
        }
        feeding.abort();
        assert_eq!(lines.count(), 1, "{way}");
        let sending =
            send(client.post("http://h/").body(Body::from_stream(Source::new(&[Step::Data("hi")]))));
        let line = lines.written(1, "transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n").await;
        line.say(OK);
        sending.await.unwrap().unwrap();
    }
}

/// The client remembers a server as HTTP/1.0 for ten minutes.
#[tokio::test(start_paused = true)]
async fn a_server_is_taken_for_old_for_ten_minutes() {
    for (seconds, framing) in [(599, "content-length: 2\r\n\r\nhi"), (601, "2\r\nhi\r\n0\r\n\r\n")] {
        let lines = Lines::default();
        let client = lines.client();
        teach_that_it_is_old(&lines, &client, 0).await;
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        let sending =
            send(client.post("http://h/").body(Body::from_stream(Source::new(&[Step::Data("hi")]))));
        lines.written(1, framing).await.say(OK);
        sending.await.unwrap().unwrap();
    }
}

/// R-9112-6.1-3: a 417 response in HTTP/1.0 causes the client to send the request again. The second attempt has no chunks,
/// because the response has shown the version of the server.
#[tokio::test]
async fn a_request_that_an_old_server_sends_back_is_not_chunked() {
    let lines = Lines::default();
    let client = lines.client();
    let body = Body::from_stream(Source::new(&[Step::Data("hi")]));
    let sending = send(client.post("http://h/").expect_continue().body(body));
    lines.written(0, "\r\n\r\n").await.say("HTTP/1.0 417 Expectation Failed\r\n\r\n");
    let line = lines.written(1, "hi").await;
    assert_eq!(line.text(), "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\nhi", "R-9112-6.1-3");
    line.say(OK);
    sending.await.unwrap().unwrap();
}

/// R-9112-6.1-3: the client leaves out `Transfer-Encoding` and `Trailer`, which an HTTP/1.0 server does not understand, if the
/// request has the same meaning without these fields.
#[tokio::test]
async fn an_old_server_gets_what_it_can_take_r_9112_6_1_3() {
    let large = vec![b'x'; 3 << 20];
    let stream = || Body::from_stream(Source::new(&[Step::Data("hello")]));
    for (name, request, expected) in [
        (
            "a coding without content",
            (|client: &Client| client.post("http://h/").header("transfer-encoding", "chunked"))
                as fn(&Client) -> RequestBuilder,
            Ok("content-length: 0\r\n\r\n"),
        ),
        (
            "no trailers after all",
            |client| client.post("http://h/").body(Body::from("hello").with_trailers(HeaderMap::new())),
            Ok("content-length: 5\r\n\r\nhello"),
        ),
    ] {
        let lines = Lines::default();
        let client = lines.client();
        teach_that_it_is_old(&lines, &client, 0).await;
        let sending = send(request(&client));
        let line = lines.line(1).await;
        let expected: Result<&str, ()> = expected;
        let expected = format!("POST / HTTP/1.1\r\nhost: h\r\n{}", expected.unwrap());
        until("the request is sent", || line.len() >= expected.len()).await;
        assert_eq!(line.text(), expected, "{name}: R-9112-6.1-3");
        line.say(OK);
        sending.await.unwrap().unwrap();
    }

    let lines = Lines::default();
    let client = lines.client();
    teach_that_it_is_old(&lines, &client, 0).await;
    let sending = send(client.post("http://h/").header("trailer", "x-sum").body(stream()));
    let line = lines.written(1, "hello").await;
    assert_eq!(
        line.text(),
        "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\nhello",
        "no trailer came"
    );
    line.say(OK.replace("1.1", "1.0"));
    sending.await.unwrap().unwrap();
    let request = client.post("http://h/").header("transfer-encoding", "chunked");
    let sending = send(request.body(large.clone()));
    let line = lines.written(2, "xxx").await;
    until("the whole content is sent", || line.len() > large.len()).await;
    assert!(line.text().starts_with("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 3145728\r\n\r\n"));
    line.say(OK);
    sending.await.unwrap().unwrap();
}
