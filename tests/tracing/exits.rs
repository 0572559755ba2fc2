//! A comparison of the exits of one exchange: spans, record, HAR entry, metrics and the timings that the caller gets.

use std::io;
use std::time::Duration;

use handclasp::har::HarLog;
use handclasp::{Body, Client, Error, Response, Timings};
use serde_json::Value;

use super::records::{Records, assert_all_same, sum};
use crate::support::metrics::Meters;
use crate::support::recorder::Recorder;
use crate::support::{Peer, Server, until};

/// Answers each request by its target. `/die` and `/late` are answered well on a later connection.
fn script(peer: &mut Peer) -> io::Result<()> {
    const ENDS: &str = "content-length: 0\r\n\r\n";
    while let Some(request) = peer.request()? {
        let is_first = peer.number() == 0;
        match &*request.target {
            "/chunked" => peer.send(
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n",
            )?,
            "/big" => peer
                .send(["HTTP/1.1 200 OK\r\ncontent-length: 200000\r\n\r\n", &"x".repeat(200_000)].concat())?,
            "/close" => {
                peer.send("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi")?;
                return peer.close();
            }
            "/until" => {
                peer.send("HTTP/1.1 200 OK\r\n\r\nhello")?;
                return peer.close();
            }
            "/none" => peer.send("HTTP/1.1 204 No Content\r\n\r\n")?,
            "/hints" => {
                peer.send("HTTP/1.1 103 Early Hints\r\n\r\n")?;
                peer.respond("hello")?;
            }
            "/missing" => peer.send(format!("HTTP/1.1 404 Not Found\r\n{ENDS}"))?,
            "/switch" => {
                peer.send("HTTP/1.1 101 Switching Protocols\r\nupgrade: foo\r\nconnection: upgrade\r\n\r\n")?;
                return peer.stall();
            }
            "/moved" => peer.send(format!("HTTP/1.1 302 Found\r\nlocation: /end\r\n{ENDS}"))?,
            "/loop" => peer.send(format!("HTTP/1.1 302 Found\r\nlocation: /loop\r\n{ENDS}"))?,
            "/half" => {
                peer.send("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf")?;
                return peer.close();
            }
            "/garbage" => peer.send("garbage\r\n\r\n")?,
            "/lost" => return peer.close(),
            "/die" if is_first => return peer.close(),
            "/late" if is_first => {
                peer.send(format!("HTTP/1.1 408 Late\r\nconnection: close\r\n{ENDS}"))?;
                return peer.close();
            }
            "/stall" => return peer.stall(),
            target => peer.respond(target)?,
        }
    }
    Ok(())
}

/// Reads the response to its end. Returns the timings that the caller gets.
async fn timings(sent: Result<Response, Error>) -> Timings {
    let mut response = match sent {
        Ok(response) => response,
        Err(error) => return *error.timings().unwrap(),
    };
    loop {
        match response.chunk().await {
            Ok(Some(_)) => {}
            Ok(None) => return *response.timings(),
            Err(error) => return *error.timings().unwrap(),
        }
    }
}

/// Returns the nanoseconds of each phase of a HAR entry, and their sum.
fn har_times(entry: &Value) -> (u128, u128) {
    let nanos = |value: &Value| (value.as_f64().unwrap() * 1e6).round();
    let phases = ["blocked", "dns", "connect", "send", "wait", "receive"];
    let times = phases.map(|phase| nanos(&entry["timings"][phase]));
    (times.iter().filter(|time| **time >= 0.0).map(|time| *time as u128).sum(), nanos(&entry["time"]) as u128)
}

/// Each exchange ends in a way of its own, on a new and on a reused connection. All exits report the same facts about each
/// attempt.
#[tokio::test]
async fn all_exits_agree_about_each_exchange() {
    for path in [
        "/end", "/chunked", "/big", "/close", "/until", "/none", "/hints", "/missing", "/switch", "/moved",
        "/loop", "/half", "/garbage", "/lost", "/die", "/late", "/stall",
    ] {
        for (is_warm, has_body) in [(false, false), (true, false), (true, true)] {
            let name = format!("{path}, warm: {is_warm}, body: {has_body}");
            let (server, log, meters) = (Server::start(script), HarLog::new(), Meters::new());
            let (recorder, _guard) = Recorder::start();
            let (records, builder) = Records::of(Client::builder());
            let builder = builder.on_exchange(log.recorder()).metrics(meters.metrics()).max_connections(4);
            let client = builder.build().unwrap();
            if is_warm {
                timings(client.get(server.url("/end")).send().await).await;
            }
            let mut request = client.put(server.url(path)).header("upgrade", "foo");
            if has_body {
                let pieces = ["some ", "content"].map(Ok::<_, io::Error>);
                request = request.body(Body::from_stream(futures_util::stream::iter(pieces)));
            }
            if path == "/stall" {
                request = request.timeout(Duration::from_millis(20));
            }
            let told = timings(request.send().await).await;
            let opened = client.pool().stats().total.opened;
            drop(client);
            let closed = || meters.total("http.client.connection.duration");
            until("all has ended", || recorder.is_quiet() && closed() == i64::try_from(opened).unwrap())
                .await;

            let (records, spans) = (records.take(), recorder.take());
            assert_all_same(&records, &spans);
            assert_eq!(sum(&told), told.total, "{name}: {told:?}");
            let last = *records.last().unwrap().timings();
            assert_eq!(
                (last.wait, last.receive, last.total),
                (told.wait, told.receive, told.total - told.previous)
            );
            let file: Value = serde_json::from_str(&log.to_json()).unwrap();
            let entries = file["log"]["entries"].as_array().unwrap();
            assert_eq!(entries.len(), records.len(), "{name}");
            for (entry, record) in entries.iter().zip(&records) {
                let total = record.timings().total.as_nanos();
                assert_eq!(har_times(entry), (total, total), "{name}: {entry}");
                let status = record.status().map_or(0, |status| status.as_u16());
                assert_eq!(entry["response"]["status"], status, "{name}: {entry}");
            }
            let read = meters.read();
            let duration = &read["http.client.request.duration"].points;
            let measured: f64 = duration.values().map(|point| point.sum).sum();
            let total: Duration = records.iter().map(|record| record.timings().total).sum();
            assert!((measured - total.as_secs_f64()).abs() < 1e-9, "{name}: {measured} {total:?}");
            let count = duration.values().map(|point| point.count).sum::<i64>();
            assert_eq!(count, i64::try_from(records.len()).unwrap(), "{name}");
            assert_eq!(meters.total("http.client.active_requests"), 0, "{name}");
            assert_eq!(meters.total("http.client.open_connections"), 0, "{name}");
            assert_eq!(meters.total("handclasp.client.connection.closes"), closed(), "{name}");
        }
    }
}
