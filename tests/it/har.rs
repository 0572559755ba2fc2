//! Tests of HAR files: what an entry says about an attempt, that its times are the times of the record, which secrets
//! are left out, and that another program reads the file.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use handclasp::har::HarLog;
use handclasp::{Client, ClientBuilder, ErrorKind, HeaderValue, Timings};
use serde_json::{Value, json};

use crate::support::{Peer, Server, Uncoded, until, within};

/// Text that is part of every secret value.
const SECRET: &str = "hunter2";

fn server() -> Server {
    Server::start(script)
}

fn script(peer: &mut Peer) -> io::Result<()> {
    while let Some(request) = peer.request()? {
        match request.target.split('?').next().unwrap_or_default() {
            "/moved" => peer.send(format!(
                "HTTP/1.1 302 Elsewhere\r\nlocation: /end?sig={SECRET}#{SECRET}\r\ncontent-length: 0\r\n\r\n"
            ))?,
            "/cookies" => peer.send(format!(
                "HTTP/1.0 200 OK\r\nset-cookie: a={SECRET}; Path=/; HttpOnly; Secure; Max-Age=1\r\n\
                 set-cookie: {SECRET}\r\nconnection: keep-alive\r\ncontent-length: 0\r\n\r\n"
            ))?,
            "/coded" => peer.send(
                "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-encoding: gzip\r\n\
                 content-length: 4\r\n\r\ngzip",
            )?,
            "/half" => peer.send("HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\nhalf")?,
            "/broken" => {
                peer.send("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf")?;
                return peer.close();
            }
            "/silent" => return peer.is_ended().map(|_| ()),
            "/lost" if peer.number() == 0 => return Ok(()),
            target => peer.respond(target)?,
        }
    }
    Ok(())
}

/// Returns a client whose attempts are noted in the log, and the timings of the records that the log has got.
fn watched(log: &HarLog, builder: ClientBuilder) -> (Client, Arc<Mutex<Vec<Timings>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = seen.clone();
    let builder = builder.uncoded().on_exchange(log.recorder());
    let builder = builder.on_exchange(move |record| noted.lock().unwrap().push(*record.timings()));
    (builder.build().unwrap(), seen)
}

async fn get(client: &Client, url: String) {
    within(20, client.get(url).send()).await.unwrap().bytes().await.unwrap();
}

/// Returns the entries of the log. Another program, the crate `har`, must read the same entries.
fn entries(log: &HarLog) -> Vec<Value> {
    let text = log.to_json();
    let file: Value = serde_json::from_str(&text).unwrap();
    let read = har::from_str(&text).unwrap_or_else(|error| panic!("{error:?}: {text}"));
    let har::Spec::V1_2(read) = read.log else { panic!("another version: {text}") };
    assert_eq!((&*read.creator.name, &*read.creator.version), ("handclasp", env!("CARGO_PKG_VERSION")));
    let entries = file["log"]["entries"].as_array().unwrap().clone();
    assert_eq!(read.entries.len(), entries.len());
    for (entry, read) in entries.iter().zip(&read.entries) {
        let times: Vec<_> = ["blocked", "dns", "connect", "send", "wait", "receive"]
            .map(|phase| entry["timings"][phase].as_f64().unwrap())
            .to_vec();
        assert!(times[3..].iter().all(|time| *time >= 0.0), "{entry}");
        assert!(times.iter().all(|time| *time >= 0.0 || *time == -1.0), "{entry}");
        let sum: u128 = times.iter().filter(|time| **time >= 0.0).map(|time| nanos(*time)).sum();
        assert_eq!(sum, nanos(read.time), "the phases sum to the time: {entry}");
        assert_eq!(read.request.method, entry["request"]["method"].as_str().unwrap());
        assert_eq!(read.response.status, entry["response"]["status"].as_i64().unwrap());
    }
    entries
}

/// Returns the nanoseconds of a number of milliseconds.
fn nanos(milliseconds: f64) -> u128 {
    (milliseconds * 1e6).round() as u128
}

/// Checks that the times of an entry are the times of the record, to the nanosecond.
#[track_caller]
fn assert_same(entry: &Value, timings: &Timings) {
    let setup: Vec<_> = [timings.connect, timings.proxy, timings.tls].into_iter().flatten().collect();
    let connect = (!setup.is_empty()).then(|| setup.into_iter().sum::<Duration>());
    for (phase, took) in [
        ("blocked", Some(timings.previous + timings.queued)),
        ("dns", timings.dns),
        ("connect", connect),
        ("ssl", timings.tls),
        ("send", Some(timings.send)),
        ("wait", Some(timings.wait)),
        ("receive", Some(timings.receive.unwrap_or_default())),
    ] {
        let written = entry["timings"][phase].as_f64().unwrap();
        match took {
            Some(took) => assert_eq!(nanos(written), took.as_nanos(), "{phase} {entry} {timings:?}"),
            None => assert_eq!(written, -1.0, "{phase} {entry} {timings:?}"),
        }
    }
    let proxy = entry["timings"]["_proxy"].as_f64().map(nanos);
    assert_eq!(proxy, timings.proxy.map(|took| took.as_nanos()), "{entry} {timings:?}");
    assert_eq!(nanos(entry["time"].as_f64().unwrap()), timings.total.as_nanos(), "{entry} {timings:?}");
}

#[tokio::test]
async fn an_entry_says_what_was_sent_and_received() {
    let (server, log) = (server(), HarLog::new());
    let began = Arc::new(Mutex::new(Vec::new()));
    let noted = began.clone();
    let builder = Client::builder().no_user_agent();
    let builder = builder.on_exchange(move |record| noted.lock().unwrap().push(record.started()));
    let (client, timings) = watched(&log, builder);
    let request = client.post(server.url("/echo?a=b+c%20d&e&=f&&#end")).header("content-type", "text/plain");
    let request = request.header("x-own", "1").url_template("/{any}").body("content");
    within(20, request.send()).await.unwrap().bytes().await.unwrap();

    let mut entry = entries(&log).remove(0);
    assert_same(&entry, &timings.lock().unwrap()[0]);
    let head = server.seen()[0].request.head.len();
    let expected = json!({
        "method": "POST",
        "url": server.url("/echo?a=b+c%20d&e&=f&&"),
        "httpVersion": "HTTP/1.1",
        "cookies": [],
        "headers": [
            { "name": "host", "value": server.address().to_string() },
            { "name": "content-type", "value": "text/plain" },
            { "name": "x-own", "value": "1" },
            { "name": "content-length", "value": "7" },
        ],
        "queryString": [
            { "name": "a", "value": "b+c%20d" },
            { "name": "e", "value": "" },
            { "name": "", "value": "f" },
        ],
        "postData": { "mimeType": "text/plain", "text": "", "comment": "the content is not kept" },
        "headersSize": head,
        "bodySize": 7,
    });
    assert_eq!(entry["request"].take(), expected);
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n".len();
    let expected = json!({
        "status": 200,
        "statusText": "OK",
        "httpVersion": "HTTP/1.1",
        "cookies": [],
        "headers": [{ "name": "content-length", "value": "5" }],
        "content": { "size": 5, "mimeType": "", "compression": 0 },
        "redirectURL": "",
        "headersSize": head,
        "bodySize": 5,
        "_transferSize": head + 5,
    });
    assert_eq!(entry["response"].take(), expected);
    let started = entry["startedDateTime"].as_str().unwrap();
    let since = began.lock().unwrap()[0].duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let (seconds, milliseconds) = (since.as_secs() % 86_400, since.subsec_millis());
    let time =
        format!("{:02}:{:02}:{:02}.{milliseconds:03}Z", seconds / 3600, seconds / 60 % 60, seconds % 60);
    assert!(started.len() == 24 && started.ends_with(&format!("T{time}")), "{started} is {time}");
    for (name, value) in [
        ("cache", json!({})),
        ("serverIPAddress", "127.0.0.1".into()),
        ("connection", "1".into()),
        ("_reused", false.into()),
        ("_urlTemplate", "/{any}".into()),
        ("_error", Value::Null),
        ("_closeReason", Value::Null),
        ("_resendCount", Value::Null),
    ] {
        assert_eq!(entry[name], value, "{name}");
    }
}

#[tokio::test]
async fn times_are_those_of_the_record_on_new_and_reused_connections() {
    let (server, log) = (server(), HarLog::new());
    let builder = Client::builder().resolve("h.test", server.address());
    let (client, timings) = watched(&log, builder);
    for _ in 0..3 {
        get(&client, format!("http://h.test:{}/", server.address().port())).await;
    }
    let (entries, timings) = (entries(&log), timings.lock().unwrap());
    entries.iter().zip(&*timings).for_each(|(entry, timings)| assert_same(entry, timings));
    assert!(entries[0]["timings"]["connect"].as_f64().unwrap() > 0.0);
    for (entry, is_reused) in entries.iter().zip([false, true, true]) {
        assert_eq!(entry["_reused"], is_reused);
        assert_eq!(entry["timings"]["connect"] == -1, is_reused, "{entry}");
        assert_eq!((&entry["connection"], &entry["timings"]["ssl"]), (&"1".into(), &(-1).into()));
    }
}

#[cfg(all(feature = "rustls", feature = "proxy"))]
#[tokio::test]
async fn tls_and_the_proxy_are_parts_of_connect() {
    use crate::support::gate::{Gate, Kind};

    let (server, log) = (Server::start_tls(script), HarLog::new());
    let gate = Gate::start(Kind::Http, server.address(), None).await;
    let trusted = handclasp::Certificate::from_pem(server.authority().as_bytes()).unwrap();
    let proxy = handclasp::Proxy::all(gate.url("")).unwrap();
    let (client, timings) = watched(&log, Client::builder().add_root_certificate(trusted).proxy(proxy));
    get(&client, server.url("/")).await;
    let (entries, timings) = (entries(&log), timings.lock().unwrap());
    assert_same(&entries[0], &timings[0]);
    let times = ["_proxy", "ssl", "connect"].map(|phase| entries[0]["timings"][phase].as_f64().unwrap());
    assert!(times[0] > 0.0 && times[1] > 0.0 && times[2] > times[0] + times[1], "{times:?}");
}

#[tokio::test]
async fn secrets_are_left_out_unless_they_are_asked_for() {
    let server = server();
    for is_open in [false, true] {
        let log = HarLog::new();
        let log = if is_open { log.keep_secrets() } else { log };
        let (client, _) = watched(&log, Client::builder());
        let mut own = HeaderValue::from_static(SECRET);
        own.set_sensitive(true);
        let url = server.url(&format!("/cookies?a=b&X-Amz-Signature={SECRET}&SIG={SECRET}#{SECRET}"));
        let request = client.get(url.replace("://", &format!("://user:{SECRET}@")));
        let request = request.header("cookie", format!("a={SECRET}; {SECRET}")).header("x-key", own);
        let referer = format!("http://user:pass-{SECRET}@a.test/?sig={SECRET}");
        let request = request.header("proxy-authorization", SECRET).header("referer", referer);
        within(20, request.send()).await.unwrap().bytes().await.unwrap();
        let moved = client.get(server.url("/moved"));
        within(20, moved.send()).await.unwrap().bytes().await.unwrap();

        let (text, entries) = (log.to_json(), entries(&log));
        assert_eq!(text.contains(SECRET), is_open, "A-77 A-60: {text}");
        // The client makes `Authorization` of the URL's user and password.
        assert_eq!(text.contains("dXNlcjpodW50ZXIy"), is_open, "A-77: {text}");
        assert!(!format!("{log:?}").contains(SECRET), "A-77");
        let shown = if is_open { SECRET } else { "REDACTED" };
        let (request, response) = (&entries[0]["request"], &entries[0]["response"]);
        let pair = |name: &str| json!({ "name": name, "value": shown });
        assert_eq!(request["cookies"], json!([pair("a"), pair("")]));
        assert_eq!(request["queryString"].as_array().unwrap()[1..], [pair("X-Amz-Signature"), pair("SIG")]);
        let url = server.url(&format!("/cookies?a=b&X-Amz-Signature={shown}&SIG={shown}"));
        assert_eq!(request["url"], url, "the user and the fragment are left out");
        let cookie = json!({
            "name": "a", "value": shown, "path": "/", "httpOnly": true, "secure": true,
        });
        assert_eq!(response["cookies"], json!([cookie, pair("")]));
        assert_eq!(response["httpVersion"], "HTTP/1.0");
        for name in ["authorization", "proxy-authorization", "cookie", "x-key", "referer"] {
            let fields = request["headers"].as_array().unwrap();
            assert!(fields.iter().any(|field| field["name"] == name), "{name} is shown");
        }
        assert_eq!(entries[1]["response"]["redirectURL"], format!("/end?sig={shown}"));
        assert_eq!(entries[1]["response"]["statusText"], "Elsewhere");
    }
}

#[tokio::test]
async fn failed_and_cancelled_attempts_have_an_error() {
    let (server, log) = (server(), HarLog::new());
    let closed = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let (client, timings) = watched(&log, Client::builder());

    let error = within(20, client.get(format!("http://{closed}/")).send()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect);
    let mut waiting = Box::pin(client.get(server.url("/silent")).send());
    let seen = until("the request is seen", || server.seen().len() == 1);
    tokio::select! {
        _ = &mut waiting => panic!("there is no answer"),
        () = seen => {}
    }
    drop(waiting);
    drop(within(20, client.get(server.url("/half")).send()).await.unwrap());
    let broken = within(20, client.get(server.url("/broken")).send()).await.unwrap();
    within(20, broken.bytes()).await.unwrap_err();

    let (entries, timings) = (entries(&log), timings.lock().unwrap());
    entries.iter().zip(&*timings).for_each(|(entry, timings)| assert_same(entry, timings));
    let expected = [
        (0, "Connect", "TCP", Value::Null, -1),
        (0, "cancelled", "wait", "2".into(), -1),
        (200, "cancelled", "receive", "3".into(), 4),
        (200, "ConnectionLost", "receive", "4".into(), 4),
    ];
    assert_eq!(entries.len(), expected.len());
    for (entry, (status, error, phase, connection, size)) in entries.iter().zip(expected) {
        let response = &entry["response"];
        assert_eq!((&response["status"], &entry["_error"]), (&status.into(), &error.into()), "{entry}");
        assert_eq!((&entry["_phase"], &response["_error"]), (&phase.into(), &error.into()), "{entry}");
        assert_eq!((&entry["connection"], &response["bodySize"]), (&connection, &size.into()), "{entry}");
    }
    assert_eq!(entries[0]["request"]["method"], "GET");
    assert_eq!(entries[0]["response"]["httpVersion"], "");
    assert!(entries[3]["_closeReason"].is_string(), "{}", entries[3]);
}

/// The content of a coded response is counted before it is decoded, and the entry says so.
#[tokio::test]
async fn coded_content_has_no_compression() {
    let (server, log) = (server(), HarLog::new());
    let (client, _) = watched(&log, Client::builder());
    get(&client, server.url("/coded")).await;
    let expected = json!({
        "size": 4, "mimeType": "text/plain", "comment": "size before the content coding is removed",
    });
    assert_eq!(entries(&log)[0]["response"]["content"], expected);
}

#[cfg(feature = "url")]
#[tokio::test]
async fn redirects_and_resends_are_entries_of_their_own() {
    let (server, log) = (server(), HarLog::new());
    let (client, timings) = watched(&log, Client::builder());
    get(&client, server.url("/moved")).await;
    get(&client, server.url("/lost")).await;
    let (entries, timings) = (entries(&log), timings.lock().unwrap());
    entries.iter().zip(&*timings).for_each(|(entry, timings)| assert_same(entry, timings));
    let facts = entries.iter().map(|entry| {
        let url = entry["request"]["url"].as_str().unwrap();
        let path = url.split('?').next().unwrap().rsplit('/').next().unwrap().to_owned();
        (
            path,
            entry["response"]["status"].clone(),
            entry["_resendCount"].clone(),
            entry["_resendCause"].clone(),
        )
    });
    let fact =
        |path: &str, status: u16, count: Value, cause: Value| (path.into(), status.into(), count, cause);
    let none = || Value::Null;
    let expected = [
        fact("moved", 302, none(), none()),
        fact("end", 200, 1.into(), "redirect".into()),
        fact("lost", 0, none(), none()),
        fact("lost", 200, 1.into(), "connection_lost".into()),
    ];
    assert_eq!(facts.collect::<Vec<_>>(), expected);
}

/// Entries stand in the order in which their attempts began, whichever ends first. A full log leaves out the oldest.
#[tokio::test]
async fn entries_are_ordered_by_their_start_and_bounded() {
    let (server, log) = (server(), HarLog::with_max_entries(2));
    let (client, _) = watched(&log, Client::builder());
    let paths = |log: &HarLog| -> Vec<String> {
        let path =
            |entry: &Value| entry["request"]["url"].as_str().unwrap().rsplit('/').next().unwrap().into();
        entries(log).iter().map(path).collect()
    };
    assert!(log.is_empty() && entries(&log).is_empty());
    let first = within(20, client.get(server.url("/half")).send()).await.unwrap();
    get(&client, server.url("/second")).await;
    drop(first);
    assert_eq!((paths(&log), log.left_out()), (vec!["half".into(), "second".into()], 0));
    get(&client, server.url("/third")).await;
    assert_eq!((paths(&log), log.len(), log.left_out()), (vec!["half".into(), "third".into()], 2, 1));
    let mut written = Vec::new();
    log.write_to(&mut written).unwrap();
    assert_eq!(String::from_utf8(written).unwrap(), log.to_json());
    log.clone().clear();
    assert!(log.is_empty() && log.left_out() == 0, "a clone is the same log");
}

/// A writer that fails. The error of the writer is returned.
struct Full;

impl io::Write for Full {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::StorageFull.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_error_of_the_output_is_returned() {
    assert_eq!(HarLog::new().write_to(Full).unwrap_err().kind(), io::ErrorKind::StorageFull);
}
