//! servers that ask for one request after another.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::time::Duration;

use handclasp::Client;
use http::Method;
use tokio::time::Instant;

use crate::support::lines::{Lines, send, settle};

/// Values of `Retry-After`: none, at once, in 30,000 years, what no number can hold, in the past, and what is no value.
const VALUES: [&str; 11] = [
    "",
    "0",
    "1",
    "1000000000000",
    "99999999999999999999999999",
    "-1",
    "0.5",
    "Thu, 01 Jan 1970 00:00:00 GMT",
    "Fri, 31 Dec 9999 23:59:59 GMT",
    "soon",
    "0, 0",
];

/// Sends a request, and answers it and every further one with `answer`. Returns the status of the response, and the
/// number of requests that came.
async fn ask(lines: &Lines, client: &Client, method: &Method, answer: &str) -> (u16, usize) {
    let heads = |lines: &Lines| {
        let lines = lines.clone();
        async move {
            let mut heads = 0;
            for number in 0..lines.count() {
                heads += lines.line(number).await.text().matches(" HTTP/1.1\r\n").count();
            }
            heads
        }
    };
    let before = heads(lines).await;
    let sending = send(client.request(method.clone(), "http://h/"));
    let mut answered = 0;
    loop {
        settle().await;
        let asked = heads(lines).await - before;
        if asked == answered {
            break;
        }
        assert!(asked == answered + 1 && asked < 10, "A-76: {asked} requests");
        // The newest connection that is in use has the request.
        lines.line(lines.count() - 1).await.say(answer);
        answered = asked;
    }
    let response = sending.await.unwrap().unwrap();
    let status = response.status().as_u16();
    response.bytes().await.unwrap();
    (status, answered)
}

fn keep(status: u16, fields: &str) -> String {
    format!("HTTP/1.1 {status} X\r\n{fields}content-length: 4\r\n\r\nbody")
}

#[tokio::test(start_paused = true)]
async fn a_76_no_retry_after_makes_the_client_wait_or_ask_again() {
    let begun = Instant::now();
    for method in [Method::GET, Method::PUT, Method::POST] {
        for status in [200, 301, 403, 408, 413, 421, 425, 429, 500, 502, 503, 504] {
            let lines = Lines::default();
            let client = lines.client();
            for value in VALUES {
                let field =
                    if value.is_empty() { String::new() } else { format!("retry-after: {value}\r\n") };
                let got = ask(&lines, &client, &method, &keep(status, &field)).await;
                assert_eq!(got, (status, 1), "A-76: {method} {status} {value:?}");
            }
            assert_eq!(lines.count(), 1, "A-76: one connection is kept");
        }
    }
    assert_eq!(begun.elapsed(), Duration::ZERO, "A-76: no request waited");
}

#[tokio::test(start_paused = true)]
async fn a_76_a_storm_of_408_or_417_costs_one_more_request() {
    let close = "retry-after: 0\r\nconnection: close\r\n";
    for (method, asked) in [(Method::GET, 2), (Method::POST, 1)] {
        let lines = Lines::default();
        let client = lines.client();
        // A 408 may be the end of a kept connection. On the new connection it is the answer.
        assert_eq!(ask(&lines, &client, &method, &keep(200, "")).await, (200, 1));
        let got = ask(&lines, &client, &method, &keep(408, close)).await;
        assert_eq!(got, (408, asked), "A-76: {method}");
        assert_eq!(ask(&lines, &client, &method, &keep(408, close)).await, (408, 1), "A-76: {method}");
    }
    let lines = Lines::default();
    let client = lines.client();
    let sending = send(client.post("http://h/").expect_continue().body("x"));
    lines.written(0, "\r\n\r\n").await.say(keep(417, close));
    lines.written(1, "\r\n\r\nx").await.say(keep(417, close));
    assert_eq!(sending.await.unwrap().unwrap().status(), 417, "A-76");
    assert_eq!(lines.count(), 2, "A-76");
}
