//! Requests to httpbin, an independent server that answers with the facts of the request.
//!
//! The first test starts httpbin under gunicorn on loopback, and the tests that run at the same time share the
//! server. The server needs python with the packages `httpbin` and `gunicorn`. `.ci/run` installs the packages into
//! `target/httpbin`. Without this folder, the tests use `python3`. If a package is missing, each test is skipped and prints
//! the reason.
#![cfg(all(
    feature = "json",
    feature = "form",
    feature = "query",
    feature = "cookies",
    feature = "gzip",
    feature = "deflate",
    feature = "brotli"
))]
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/order.rs"]
mod order;

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use handclasp::cookie::Jar;
use handclasp::redirect::Policy;
use handclasp::{
    Body, Client, ClientBuilder, ErrorKind, Method, Phase, RequestBuilder, Response, StatusCode,
};
use serde::Serialize;
use serde_json::{Value, json};

/// The longest that a request or the server's start may take. Only a test that hangs reaches it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A timeout that ends while the server waits for ten seconds.
const SHORT: Duration = Duration::from_millis(100);

/// The configuration of gunicorn. Many threads keep a slow answer from delaying other answers. Gunicorn prints its address
/// when it listens, and ends when its input ends, so that gunicorn does not outlive this process.
const SETTINGS: &str = "\
import os, signal, threading
worker_class, threads, preload_app = 'gthread', 32, True
keepalive, graceful_timeout, control_socket_disable = 600, 1, True
def end():
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)
def when_ready(server):
    threading.Thread(target=end, daemon=True).start()
    print('%s:%d' % server.LISTENERS[0].sock.getsockname(), flush=True)
";

/// A running httpbin, which ends when this value is dropped.
struct Server {
    process: Child,
    address: String,
    /// Gets the lines that the server prints, and is disconnected when every process of the server has ended.
    output: Mutex<Receiver<String>>,
    dir: PathBuf,
}

impl Server {
    /// Returns the server of the tests that run now, and starts one if there is none. Returns `None` and prints the
    /// reason if this machine has no httpbin.
    fn get() -> Option<Arc<Self>> {
        static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = shared.upgrade() {
            return Some(server);
        }
        let server = Arc::new(Self::start()?);
        *shared = Arc::downgrade(&server);
        Some(server)
    }

    fn start() -> Option<Self> {
        static STARTED: Mutex<u32> = Mutex::new(0);
        let number = {
            let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
            *started += 1;
            *started
        };
        let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let dir = tmp.join(format!("httpbin-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("settings.py"), SETTINGS).unwrap();
        let errors = dir.join("errors");
        let own = tmp.parent().unwrap().join("httpbin/bin/python3");
        let python = if own.exists() { own } else { "python3".into() };
        let mut command = Command::new(&python);
        command.args(["-m", "gunicorn", "-c", "settings.py", "-b", "127.0.0.1:0", "httpbin:app"]);
        command.current_dir(&dir).stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(std::fs::File::create(&errors).unwrap());
        let mut process = match command.spawn() {
            Ok(process) => process,
            Err(error) => {
                println!("skipped: {} is not installed ({error})", python.display());
                let _ = std::fs::remove_dir_all(&dir);
                return None;
            }
        };
        let lines = BufReader::new(process.stdout.take().unwrap());
        let (sender, output) = channel();
        std::thread::spawn(move || {
            lines.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)).unwrap_or_default();
        });
        let mut server = Self { process, address: String::new(), output: Mutex::new(output), dir };
        if let Ok(address) = server.line() {
            server.address = address;
            return Some(server);
        }
        let mut said = String::new();
        std::fs::File::open(&errors).unwrap().read_to_string(&mut said).unwrap();
        let missing = said.lines().find(|line| line.contains("No module named"));
        // The test fails if httpbin is installed but does not start.
        println!(
            "skipped: {}: {}",
            python.display(),
            missing.unwrap_or_else(|| panic!("no httpbin: {said}"))
        );
        None
    }

    /// Waits for the next line that the server prints.
    fn line(&self) -> Result<String, RecvTimeoutError> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(PATIENCE)
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        while self.line().is_ok() {}
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Returns the server, or ends the test if this machine has none.
macro_rules! server {
    () => {
        match Server::get() {
            Some(server) => server,
            None => return,
        }
    };
}

fn builder() -> ClientBuilder {
    order::check_all();
    Client::builder().timeout(PATIENCE)
}

fn client() -> Client {
    builder().build().unwrap()
}

async fn get(client: &Client, url: String) -> Response {
    client.get(url).send().await.unwrap()
}

/// Sends the request, and returns the JSON of its response with the status.
async fn answer(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

/// Fails unless the client has sent every request on its first connection.
#[track_caller]
fn assert_one_connection(client: &Client, requests: u64) {
    let total = client.pool().stats().total;
    assert_eq!((total.opened, total.requests), (1, requests), "{total}");
}

#[tokio::test]
async fn basic_credentials_are_accepted() {
    let (server, client) = (server!(), client());
    let url = server.url("/basic-auth/Aladdin/open%20s%C3%A9same");
    let accepted = json!({ "authenticated": true, "user": "Aladdin" });
    let request = client.get(&url).basic_auth("Aladdin", Some("open sésame"));
    assert_eq!(answer(request).await, (200, accepted.clone()));
    let within = url.replace("http://", "http://Aladdin:open%20s%C3%A9same@");
    assert_eq!(answer(client.get(within)).await, (200, accepted));
    for request in [client.get(&url), client.get(&url).basic_auth("Aladdin", None::<&str>)] {
        let response = request.send().await.unwrap();
        assert_eq!(response.headers()["www-authenticate"], "Basic realm=\"Fake Realm\"");
        assert_eq!(response.error_for_status().unwrap_err().status(), Some(StatusCode::UNAUTHORIZED));
    }
    let hidden = server.url("/hidden-basic-auth/u/p");
    assert_eq!(client.get(&hidden).send().await.unwrap().status(), 404);
    assert_eq!(answer(client.get(&hidden).basic_auth("u", Some("p"))).await.0, 200);
    assert_one_connection(&client, 6);
}

#[tokio::test]
async fn a_bearer_token_is_accepted() {
    let (server, client) = (server!(), client());
    let url = server.url("/bearer");
    let accepted = json!({ "authenticated": true, "token": "a.b-c" });
    assert_eq!(answer(client.get(&url).bearer_auth("a.b-c")).await, (200, accepted));
    let refused = get(&client, url).await;
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["www-authenticate"]),
        (401, &"Bearer".parse().unwrap())
    );
    // A challenge that the client does not answer is the caller's.
    let digest = get(&client, server.url("/digest-auth/auth/u/p")).await;
    assert!(
        digest.status() == 401 && digest.headers()["www-authenticate"].as_bytes().starts_with(b"Digest ")
    );
}

#[tokio::test]
async fn cookies_are_set_read_and_deleted_over_redirects() {
    let server = server!();
    let jar = Arc::new(Jar::new());
    let client = builder().cookie_provider(jar.clone()).build().unwrap();
    let cookies = async |client: &Client, path: &str| {
        let response = get(client, server.url(path)).await;
        let hops = response.redirects().len();
        (hops, response.json::<Value>().await.unwrap()["cookies"].take())
    };
    assert_eq!(cookies(&client, "/cookies").await, (0, json!({})));
    assert_eq!(cookies(&client, "/cookies/set?a=1&b=2").await, (1, json!({ "a": "1", "b": "2" })));
    assert_eq!(cookies(&client, "/cookies/set/c/x%20y").await.0, 1);
    assert_eq!(cookies(&client, "/cookies").await, (0, json!({ "a": "1", "b": "2", "c": "x y" })));
    assert_eq!(cookies(&client, "/cookies/delete?a&c").await, (1, json!({ "b": "2" })));
    assert_one_connection(&client, 8);

    let again = Arc::new(Jar::new());
    assert_eq!(again.load(&jar.save_all()).unwrap(), 1);
    let other = builder().cookie_provider(again).build().unwrap();
    assert_eq!(cookies(&other, "/cookies").await, (0, json!({ "b": "2" })));
    let without = self::client();
    assert_eq!(cookies(&without, "/cookies/set?a=1").await, (1, json!({})));
}

#[tokio::test]
async fn redirects_are_followed_to_the_limit() {
    let (server, client) = (server!(), client());
    for kind in ["redirect", "relative-redirect", "absolute-redirect"] {
        let start = server.url(&format!("/{kind}/3"));
        let response = get(&client, start.clone()).await;
        assert_eq!(
            (response.status().as_u16(), response.url().as_str()),
            (200, &*server.url("/get")),
            "{kind}"
        );
        let hops = response.redirects();
        assert_eq!(
            (hops.len(), hops[0].url().as_str(), hops[2].status().as_u16()),
            (3, &*start, 302),
            "{kind}"
        );
        assert_eq!(response.json::<Value>().await.unwrap()["url"], server.url("/get"), "{kind}");
    }
    assert_one_connection(&client, 12);
    assert_eq!(get(&client, server.url("/redirect/10")).await.redirects().len(), 10);
    let error = client.get(server.url("/redirect/11")).send().await.unwrap_err();
    assert_eq!((error.kind(), error.redirects().len()), (ErrorKind::Redirect, 11));
    let stopped = client.get(server.url("/redirect/3")).redirect(Policy::none()).send().await.unwrap();
    assert_eq!(
        (stopped.status().as_u16(), &stopped.headers()["location"]),
        (302, &"/relative-redirect/2".parse().unwrap())
    );
}

#[tokio::test]
async fn redirects_keep_or_drop_the_content_by_their_status() {
    let (server, client) = (server!(), client());
    for (status, method, data) in [
        (301, "GET", ""),
        (302, "GET", ""),
        (303, "GET", ""),
        (307, "POST", "content"),
        (308, "POST", "content"),
    ] {
        let request = client.post(server.url("/redirect-to")).query([("url", "/anything?x=1")]);
        let request =
            request.query([("status_code", status)]).header("content-type", "text/plain").body("content");
        let (code, got) = answer(request).await;
        assert_eq!(
            (code, &got["method"], &got["data"], &got["args"]["x"]),
            (200, &json!(method), &json!(data), &json!("1")),
            "{status}"
        );
        assert_eq!(got["headers"].get("Content-Type").is_some(), method == "POST", "{status}: {got}");
    }
}

#[tokio::test]
async fn a_redirect_to_another_origin_takes_no_secrets() {
    let server = server!();
    let loopback = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let client = builder().cookie_store(true).resolve("localhost", loopback).build().unwrap();
    get(&client, server.url("/cookies/set?a=1")).await;
    let there = server.url("/anything").replace("127.0.0.1", "localhost");
    for (to, is_same) in [("/anything", true), (&*there, false)] {
        let request = client.get(server.url("/redirect-to")).query([("url", to)]).bearer_auth("hunter2");
        let (_, got) = answer(request.header("x-plain", "kept")).await;
        let fields = &got["headers"];
        assert_eq!(fields.get("Authorization").is_some(), is_same, "{fields}");
        assert_eq!(fields.get("Cookie").is_some(), is_same, "{fields}");
        assert_eq!(fields["X-Plain"], "kept", "{fields}");
    }
}

#[tokio::test]
async fn contents_are_decoded_as_they_were_asked_for() {
    let (server, client) = (server!(), client());
    for (path, coding, flag) in
        [("/gzip", "gzip", "gzipped"), ("/deflate", "deflate", "deflated"), ("/brotli", "br", "brotli")]
    {
        let response = get(&client, server.url(path)).await;
        assert!(response.headers().get("content-encoding").is_none(), "{coding}");
        assert_eq!(response.content_length(), None, "{coding}");
        let got: Value = response.json().await.unwrap();
        assert_eq!(got[flag], true, "{got}");
        let asked = got["headers"]["Accept-Encoding"].as_str().unwrap();
        assert!(asked.split(", ").any(|it| it == coding), "{coding}: {asked}");

        let raw = client.get(server.url(path)).decompress(false).send().await.unwrap();
        assert_eq!(raw.headers()["content-encoding"], coding);
        let length = raw.content_length().unwrap();
        let raw = raw.bytes().await.unwrap();
        assert!(raw.len() as u64 == length && serde_json::from_slice::<Value>(&raw).is_err(), "{coding}");
    }
    assert_one_connection(&client, 6);
}

#[tokio::test]
async fn lines_are_streamed() {
    let (server, client) = (server!(), client());
    let mut response = get(&client, server.url("/stream/50?x=1")).await;
    assert_eq!(response.content_length(), None);
    let mut content = Vec::new();
    while let Some(piece) = response.chunk().await.unwrap() {
        content.extend_from_slice(&piece);
    }
    let lines: Vec<Value> =
        String::from_utf8(content).unwrap().lines().map(|it| it.parse().unwrap()).collect();
    assert_eq!(lines.len(), 50);
    for (number, line) in lines.iter().enumerate() {
        assert_eq!((&line["id"], &line["args"]["x"]), (&json!(number), &json!("1")));
    }
    assert_eq!(get(&client, server.url("/get")).await.status(), 200);
    assert_one_connection(&client, 2);
}

#[tokio::test]
async fn bytes_are_the_same_streamed_and_whole() {
    let (server, client) = (server!(), client());
    let whole = get(&client, server.url("/bytes/50000?seed=7")).await;
    assert_eq!(whole.content_length(), Some(50_000));
    let whole = whole.bytes().await.unwrap();
    for size in [1, 999, 50_000] {
        let url = server.url(&format!("/stream-bytes/50000?seed=7&chunk_size={size}"));
        assert_eq!(get(&client, url).await.bytes().await.unwrap(), whole, "{size}");
    }
    assert_one_connection(&client, 4);
}

#[tokio::test]
async fn a_dripping_content_is_complete() {
    let (server, client) = (server!(), client());
    let url = server.url("/drip?numbytes=20&duration=0.2&delay=0&code=203");
    let response = get(&client, url).await;
    assert_eq!((response.status().as_u16(), response.content_length()), (203, Some(20)));
    assert_eq!(response.text().await.unwrap(), "*".repeat(20));
}

#[tokio::test]
async fn ranges_are_parts_of_the_content() {
    let (server, client) = (server!(), client());
    let url = server.url("/range/1000?chunk_size=100");
    let whole = get(&client, url.clone()).await.bytes().await.unwrap();
    assert_eq!(whole.len(), 1000);
    for (range, part, shown) in [
        ("bytes=0-0", 0..1, "bytes 0-0/1000"),
        ("bytes=300-650", 300..651, "bytes 300-650/1000"),
        ("bytes=-5", 995..1000, "bytes 995-999/1000"),
        ("bytes=998-", 998..1000, "bytes 998-999/1000"),
    ] {
        let response = client.get(&url).header("range", range).send().await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["content-range"]),
            (206, &shown.parse().unwrap())
        );
        assert_eq!(response.bytes().await.unwrap(), whole.slice(part), "{range}");
    }
    let beyond = client.get(&url).header("range", "bytes=1000-").send().await.unwrap();
    assert_eq!((beyond.status().as_u16(), beyond.bytes().await.unwrap().len()), (416, 0));
    let (_, got) = answer(client.get(server.url("/anything")).header("range", "bytes=0-")).await;
    assert_eq!(
        got["headers"].get("Accept-Encoding"),
        None,
        "a part of a decoded content cannot be asked for"
    );
}

#[tokio::test]
async fn a_delay_meets_the_timeout() {
    let (server, client) = (server!(), client());
    assert_eq!(answer(client.get(server.url("/delay/0"))).await.0, 200);
    let error = client.get(server.url("/delay/10")).timeout(SHORT).send().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    for path in ["/delay/10", "/drip?numbytes=1&delay=10&duration=0"] {
        let error = client.get(server.url(path)).response_timeout(SHORT).send().await.unwrap_err();
        assert_eq!((error.kind(), error.phase()), (ErrorKind::Timeout, Some(Phase::Wait)), "{error}");
    }
    // The second byte comes ten seconds after the first.
    let slow = client.get(server.url("/drip?numbytes=2&delay=0&duration=20")).read_timeout(SHORT);
    let mut response = slow.send().await.unwrap();
    let mut content = Vec::new();
    let error = loop {
        match response.chunk().await {
            Ok(piece) => content.extend_from_slice(&piece.unwrap()),
            Err(error) => break error,
        }
    };
    assert!(content.len() < 2, "{content:?}");
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Timeout, Some(Phase::Receive)), "{error}");
    assert_eq!(answer(client.get(server.url("/get"))).await.0, 200);
    let total = client.pool().stats().total;
    assert_eq!((total.opened, total.active), (5, 0), "no connection is used after its timeout: {total}");
}

#[tokio::test]
async fn each_status_is_the_callers() {
    let (server, client) = (server!(), client());
    let codes = [
        200, 201, 202, 203, 204, 206, 300, 304, 400, 401, 402, 403, 404, 405, 407, 410, 418, 429, 500, 502,
        503,
    ];
    for code in codes {
        for method in [Method::GET, Method::POST, Method::DELETE, Method::HEAD] {
            if method == Method::HEAD && code == 200 {
                continue;
            }
            let response =
                client.request(method.clone(), server.url(&format!("/status/{code}"))).send().await.unwrap();
            assert_eq!(response.status(), code, "{method}");
            let shown = response.error_for_status_ref().err().map(|error| error.status().unwrap().as_u16());
            assert_eq!(shown, (code >= 400).then_some(code), "{method}");
            let content = response.text().await.unwrap();
            assert_eq!(content.contains("teapot"), code == 418 && method != Method::HEAD, "{method} {code}");
        }
    }
    assert_one_connection(&client, codes.len() as u64 * 4 - 1);
    let error =
        get(&client, server.url("/status/418")).await.error_for_status_with_body(1000).await.unwrap_err();
    assert!(error.body_text().unwrap().contains("teapot"));
    // A 408 is a sign of an idle connection that the server gave up, so the request is sent once more.
    assert_eq!(get(&client, server.url("/status/408")).await.status(), 408);
    let tagged = get(&client, server.url("/etag/x")).await;
    assert_eq!((tagged.status().as_u16(), &tagged.headers()["etag"]), (200, &"x".parse().unwrap()));
    let same = client.get(server.url("/etag/x")).header("if-none-match", "x").send().await.unwrap();
    assert_eq!((same.status().as_u16(), same.bytes().await.unwrap().len()), (304, 0));
}

#[derive(Serialize)]
struct Search<'a> {
    q: &'a str,
    page: Option<u32>,
    after: Option<&'a str>,
}

const SEARCH: Search<'_> = Search { q: "one & two = ü", page: Some(2), after: None };

#[tokio::test]
async fn anything_shows_queries_forms_and_json() {
    let (server, client) = (server!(), client());
    let url = server.url("/anything/a%20b");
    let expected = json!({ "q": "one & two = ü", "page": "2" });
    let (_, got) = answer(client.get(&url).query(&SEARCH)).await;
    assert_eq!((&got["args"], &got["method"], &got["data"]), (&expected, &json!("GET"), &json!("")));
    let (_, got) = answer(client.post(&url).form(&SEARCH)).await;
    assert_eq!((&got["form"], &got["args"], &got["json"]), (&expected, &json!({}), &Value::Null));
    assert_eq!(got["headers"]["Content-Type"], "application/x-www-form-urlencoded");
    let (_, got) = answer(client.put(&url).query([("x", 1), ("x", 2)]).json(&SEARCH)).await;
    assert_eq!(got["json"], json!({ "q": "one & two = ü", "page": 2, "after": null }));
    assert_eq!((&got["args"]["x"], &got["method"]), (&json!(["1", "2"]), &json!("PUT")));
    assert_eq!(got["headers"]["Content-Type"], "application/json");
    assert_one_connection(&client, 3);
}

#[tokio::test]
async fn anything_shows_methods_fields_and_contents() {
    let (server, client) = (server!(), client());
    let content = "0123456789abcdef".repeat(1 << 16);
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        let method: Method = method.parse().unwrap();
        let request =
            || client.request(method.clone(), server.url("/anything")).header("content-type", "text/plain");
        let pieces: Vec<Result<Bytes, std::io::Error>> =
            content.as_bytes().chunks(70_000).map(|it| Ok(Bytes::copy_from_slice(it))).collect();
        let chunked = Body::from_stream(futures_util::stream::iter(pieces));
        for (request, field) in [
            (request().body(content.clone()), ("Content-Length", "1048576")),
            (request().body(chunked), ("Transfer-Encoding", "chunked")),
        ] {
            let (status, got) = answer(request).await;
            assert_eq!((status, &got["method"]), (200, &json!(method.as_str())));
            assert_eq!(got["headers"][field.0], field.1, "{method}");
            assert!(got["data"] == content, "{method}: {field:?}");
        }
    }
    let request = client.get(server.url("/anything")).header("x-one", "1").header("accept", "x/y");
    let (_, got) = answer(request.header("user-agent", "ua")).await;
    for (name, value) in [("X-One", "1"), ("Accept", "x/y"), ("User-Agent", "ua"), ("Host", &*server.address)]
    {
        assert_eq!(got["headers"][name], value, "{got}");
    }
    assert_one_connection(&client, 9);
}

#[tokio::test]
async fn text_and_fields_arrive_as_they_are() {
    let (server, client) = (server!(), client());
    let text = get(&client, server.url("/encoding/utf8")).await.text().await.unwrap();
    assert!(text.contains("∀x∈ℝ") && text.contains("Οὐχὶ"));
    let response =
        client.get(server.url("/response-headers")).query([("x-a", "1"), ("x-a", "2")]).send().await.unwrap();
    let values: Vec<_> = response.headers().get_all("x-a").iter().collect();
    assert_eq!(values, ["1", "2"]);
    let image = get(&client, server.url("/image/png")).await.bytes().await.unwrap();
    assert!(image.starts_with(b"\x89PNG") && image.ends_with(b"IEND\xaeB`\x82"));
}
