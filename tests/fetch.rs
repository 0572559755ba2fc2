//! The example `fetch`, run as a program: its options, what it prints, and what it never prints.
#![allow(missing_docs, clippy::unwrap_used)]

#[allow(dead_code, reason = "the tests call only the functions that have no other proof")]
#[path = "../examples/fetch/show.rs"]
mod show;
mod support;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use serde_json::Value;

use crate::support::{PATIENCE, Request, Server, Signal, example};

/// Returns the path of the example.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| example::build("fetch"))
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.args(arguments).env_remove("COLUMNS").env_remove("NO_COLOR").stdin(Stdio::null());
    command
}

/// Runs the example to its end.
fn fetch(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

/// Returns the JSON objects on stderr.
fn objects(output: &Output) -> Vec<Value> {
    stderr(output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Starts a server that answers each request by `answer`.
fn server(answer: impl Fn(&Request) -> String + Send + Sync + 'static) -> Server {
    Server::start(move |peer| {
        while let Some(request) = peer.request()? {
            peer.send(answer(&request))?;
        }
        Ok(())
    })
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// Runs the example against a server, and returns the only request that the server has seen.
fn sent(arguments: &[&str]) -> Request {
    let server = server(|_| ok("done"));
    let output = fetch(&[arguments, &[&server.url("/a")]].concat());
    assert!(output.status.success(), "{output:?}");
    assert_eq!(stdout(&output), "done");
    let mut seen = server.seen();
    assert_eq!(seen.len(), 1);
    seen.remove(0).request
}

/// Returns a path for a file of one test.
fn path(name: &str) -> String {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name).to_str().unwrap().to_owned()
}

#[test]
fn without_arguments_a_demonstration_runs() {
    let output = fetch(&[]);
    assert!(output.status.success(), "{output:?}");
    assert!(stdout(&output).contains("conn 1 #5"), "{}", stdout(&output));
    assert!(output.stderr.is_empty());
    narrow(stdout(&output));
}

/// Checks that each line fits a terminal of 80 columns, and that nothing is coloured.
#[track_caller]
fn narrow(text: &str) {
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{} columns: {line}", line.chars().count());
        assert!(!line.contains('\x1b'), "a colour without a terminal: {line:?}");
    }
}

#[test]
fn the_help_text_fits_80_columns() {
    let output = fetch(&["--help"]);
    assert!(output.status.success());
    narrow(stdout(&output));
    assert!(stdout(&output).contains("--timings FORM"));
}

#[cfg(feature = "url")]
#[test]
fn a_redirect_is_followed_only_with_the_option() {
    let server = server(|request| match request.target.as_str() {
        "/from" => "HTTP/1.1 303 See Other\r\nlocation: /to\r\ncontent-length: 4\r\n\r\nmove".to_owned(),
        target => ok(&format!("{} {target}", request.method)),
    });
    let url = server.url("/from");
    assert_eq!(stdout(&fetch(&["-d", "a", &url])), "move");
    let output = fetch(&["-L", "-d", "a", "--timings", "json", &url]);
    assert_eq!(stdout(&output), "GET /to");
    let object = &objects(&output)[0];
    assert_eq!(object["redirects"], serde_json::json!([{ "status": 303, "url": url }]));
    assert_eq!(object["status"], 200);
    assert!(stderr(&fetch(&["-L", &url])).starts_with(&format!("303 from {url}\n200 ")));
}

#[test]
fn json_is_sent_with_its_fields() {
    let request = sent(&["--json", "{\"a\":", "--json", "1}"]);
    assert_eq!((request.method.as_str(), &request.body[..]), ("POST", &b"{\"a\":1}"[..]));
    assert_eq!(request.field("content-type"), Some("application/json"));
    assert_eq!(request.field("accept"), Some("application/json"));

    let request = sent(&["-H", "accept: text/x", "--json", "{}", "-H", "Content-Type: application/ld+json"]);
    assert_eq!(request.field("content-type"), Some("application/ld+json"));
    assert_eq!(request.field("accept"), Some("text/x"));
    assert_eq!(request.head.to_lowercase().matches("content-type").count(), 1);
}

#[test]
fn data_is_a_form_unless_a_field_says_otherwise() {
    let request = sent(&["-d", "a=1", "--data", "b=2"]);
    assert_eq!((request.method.as_str(), &request.body[..]), ("POST", &b"a=1&b=2"[..]));
    assert_eq!(request.field("content-type"), Some("application/x-www-form-urlencoded"));

    let file = path("fetch-data");
    std::fs::write(&file, b"one\r\ntwo\n\xff").unwrap();
    let request = sent(&["-d", &format!("@{file}"), "-X", "PUT", "-H", "content-type: text/plain"]);
    assert_eq!((request.method.as_str(), &request.body[..]), ("PUT", &b"one\r\ntwo\n\xff"[..]));
    assert_eq!(request.field("content-type"), Some("text/plain"));
}

#[test]
fn data_is_read_from_stdin() {
    let server = server(|request| ok(std::str::from_utf8(&request.body).unwrap()));
    let url = server.url("/");
    let mut child =
        command(&["-s", "-d", "@-", &url]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"from a pipe").unwrap();
    assert_eq!(stdout(&child.wait_with_output().unwrap()), "from a pipe");
}

#[test]
fn a_user_is_sent_as_basic_unless_a_field_says_otherwise() {
    let request = sent(&["-u", "Aladdin:open sesame"]);
    assert_eq!(request.field("authorization"), Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="));
    let request = sent(&["-u", "Aladdin"]);
    assert_eq!(request.field("authorization"), Some("Basic QWxhZGRpbjo="));
    let request = sent(&["-u", "a:b", "-H", "authorization: Bearer t"]);
    assert_eq!(request.field("authorization"), Some("Bearer t"));
}

#[cfg(feature = "gzip")]
#[test]
fn content_is_decoded_only_with_the_option() {
    const HELLO: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xcb\x48\xcd\xc9\xc9\xd7\x51\x28\xcf\x2f\xca\x49\xe1\x02\x00\x53\x74\x24\xf4\x0d\x00\x00\x00";
    let server = Server::start(|peer| {
        while peer.request()?.is_some() {
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
                HELLO.len()
            );
            peer.send([head.as_bytes(), HELLO].concat())?;
        }
        Ok(())
    });
    let url = server.url("/");
    assert_eq!(fetch(&[&url]).stdout, HELLO);
    let output = fetch(&["--compressed", "--timings", "json", &url]);
    assert_eq!(stdout(&output), "hello, world\n");
    assert_eq!(objects(&output)[0]["received"], 13);
    let seen = server.seen();
    assert_eq!(seen[0].request.field("accept-encoding"), None);
    assert!(seen[1].request.field("accept-encoding").unwrap().contains("gzip"));
}

#[test]
fn what_is_not_there_is_an_error_of_usage() {
    let output = fetch(&["-F", "file=@secret", "http://127.0.0.1:1/"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("multipart content is not supported yet"), "{}", stderr(&output));
    assert!(!stderr(&output).contains("secret"));
    let is_built = cfg!(any(feature = "gzip", feature = "deflate", feature = "brotli", feature = "zstd"));
    if !is_built {
        let output = fetch(&["--compressed", "http://127.0.0.1:1/"]);
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains("--features gzip"), "{}", stderr(&output));
    }
    assert_eq!(fetch(&["-d", "a", "--json", "{}", "http://127.0.0.1:1/"]).status.code(), Some(2));
}

#[test]
fn no_error_repeats_a_secret() {
    let refused = "http://user:hunter2@127.0.0.1:1/";
    for (arguments, status) in [
        (&["-H", "Authorization hunter2", refused][..], 2),
        (&["-H", "Authorization hunter2: x", refused], 2),
        (&["-H", "Authorization: hun\u{7f}ter2 hunter2", refused], 2),
        (&["-u", "user:hunter2\n", refused], 2),
        (&["--timings", "hunter2", refused], 2),
        (&["-H", "Authorization:", "Bearer", "hunter2", refused], 1),
        (&["-H", "Authorization:", "Basic hunter2://", refused, "--timings", "json"], 1),
        (&["-H", "Authorization: hunter2", "-u", "a:hunter2", "--json", "hunter2", refused], 1),
        (&[refused, "http://user:hunter2@127.0.0.1:2/", "http:\\\\user:hunter2@127.0.0.1:2/"], 1),
    ] {
        let output = fetch(arguments);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {output:?}");
        assert!(!stderr(&output).is_empty(), "{arguments:?}");
        assert!(!stderr(&output).contains("hunter2"), "{arguments:?}: {}", stderr(&output));
    }
}

/// Starts a server that answers its first request when the second one has come.
fn meeting() -> Server {
    let (came, both) = (AtomicUsize::new(0), Signal::new());
    Server::start(move |peer| {
        while peer.request()?.is_some() {
            match came.fetch_add(1, Ordering::SeqCst) {
                0 => peer.wait(&both)?,
                1 => both.raise(),
                _ => {}
            }
            peer.send(ok("met\n"))?;
        }
        Ok(())
    })
}

#[test]
fn timings_in_json_say_which_requests_overlap() {
    let server = meeting();
    let url = server.url("/a");
    let output = fetch(&["-n", "3", "-c", "2", "--timings", "json", &url]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(stdout(&output), "met\n");
    let mut objects = objects(&output);
    assert_eq!(objects.len(), 3);
    objects.sort_by_key(|object| object["start_us"].as_u64());
    for object in &objects {
        assert_eq!((&object["url"], &object["method"]), (&url.clone().into(), &"GET".into()));
        assert_eq!((&object["status"], &object["received"]), (&200.into(), &4.into()));
        assert_eq!((&object["error"], &object["redirects"]), (&Value::Null, &Value::Array(Vec::new())));
        assert_eq!(object["connection"]["peer"], server.address().to_string());
        let phases = object["phases_us"].as_object().unwrap();
        assert_eq!(phases.len(), 9);
        let sum: u64 = phases.values().filter_map(Value::as_u64).sum();
        let total = object["total_us"].as_u64().unwrap();
        // Each of the nine phases is rounded down to a microsecond.
        assert!((total - 9..=total).contains(&sum), "{sum} of {total}: {object}");
    }
    let start = |index: usize| objects[index]["start_us"].as_u64().unwrap();
    assert!(start(1) < start(0) + objects[0]["total_us"].as_u64().unwrap(), "{objects:?}");
    assert_eq!(objects[2]["connection"]["reused"], true);
}

#[test]
fn an_error_is_a_part_of_the_json() {
    let server = server(|_| "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_owned());
    let output = fetch(&["-f", "-s", "--timings", "json", &server.url("/"), "http://127.0.0.1:1/"]);
    assert_eq!(output.status.code(), Some(1));
    let objects = objects(&output);
    assert_eq!(objects[0]["error"], "the server answered 404 Not Found");
    assert_eq!((&objects[1]["status"], &objects[1]["connection"]), (&Value::Null, &Value::Null));
    assert!(objects[1]["error"].as_str().unwrap().contains("refused"), "{}", objects[1]);
}

#[test]
fn one_request_has_a_bar_and_no_ledger() {
    let server = server(|_| ok("hello"));
    let output = fetch(&[&server.url("/")]);
    let text = stderr(&output);
    narrow(text);
    assert!(text.starts_with("200 ") && text.contains("conn 1 #1"), "{text}");
    assert!(text.contains("connect "), "the phases have their times: {text}");
    assert!(!text.contains("handshakes saved"), "{text}");
    assert!(stderr(&fetch(&["-s", &server.url("/")])).is_empty());
}

#[test]
fn several_requests_share_one_axis() {
    let server = meeting();
    let (long, url) = (server.url(&format!("/{}", "long/".repeat(40))), server.url("/b"));
    let output = fetch(&["-c", "2", &long, &url, &url]);
    let text = stderr(&output);
    narrow(text);
    let bars: Vec<_> = text.lines().filter(|line| line.starts_with("200 ")).collect();
    assert_eq!(bars.len(), 3, "{text}");
    let cells = |line: &str| -> Vec<bool> {
        let bar = line.split('|').nth(1).unwrap();
        bar.chars().map(|letter| letter != ' ').collect()
    };
    let (first, third) = (cells(bars[0]), cells(bars[2]));
    assert_eq!((first.len(), third.len()), (40, 40));
    assert!(first[0], "the axis begins with the first request: {text}");
    let last = |cells: &[bool]| cells.iter().rposition(|is_on| *is_on).unwrap();
    let begin = |cells: &[bool]| cells.iter().position(|is_on| *is_on).unwrap();
    // The third request begins when one of the others has ended.
    let ended = last(&first).min(last(&cells(bars[1])));
    assert!(begin(&third) >= ended, "{text}");
    assert!(text.contains("handshakes saved"), "{text}");
}

#[test]
fn the_width_follows_the_environment() {
    let server = server(|_| ok("hello"));
    let output = command(&["-n", "2", &server.url("/")]).env("COLUMNS", "100").output().unwrap();
    let bar = stderr(&output).lines().find(|line| line.starts_with("200 ")).unwrap().to_owned();
    assert_eq!(bar.split('|').nth(1).unwrap().len(), 60, "{bar}");
}

#[test]
fn an_error_in_a_body_names_the_partial_file() {
    let server = Server::start(|peer| {
        peer.request()?;
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345")?;
        peer.fin()
    });
    let file = path("fetch-partial");
    let output = fetch(&["-o", &file, &server.url("/")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains(&format!("its body in {file} is partial")), "{}", stderr(&output));
    assert_eq!(std::fs::read(&file).unwrap(), b"12345");
}

/// `fetch` succeeds if the reader of its output closes the pipe early, and fails if a request failed before.
#[cfg(unix)]
#[test]
fn a_reader_that_leaves_hides_no_failure() {
    let server = Server::start(|peer| {
        peer.request()?;
        peer.send("HTTP/1.1 200 OK\r\n\r\n")?;
        while peer.send([b'x'; 65_536]).is_ok() {}
        Ok(())
    });
    let url = server.url("/");
    for (arguments, expected) in [(&["-s", &url][..], 0), (&["-s", "http://127.0.0.1:1/", &url], 1)] {
        let mut child = command(arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        child.stdout.take().unwrap().read_exact(&mut [0; 5]).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(expected), "{arguments:?}");
    }
}

#[test]
fn sizes_and_times_fit_their_columns() {
    use std::time::Duration;
    for shift in 0..64 {
        for bytes in
            [1_u64 << shift, (1 << shift) - 1, 1000 << shift.min(54), 1023 << shift.min(54), u64::MAX]
        {
            let size = show::size(bytes);
            assert!(size.chars().count() <= 10, "{bytes}: {size}");
        }
    }
    for shift in 0..46 {
        for nanos in [1_u64 << shift, (1 << shift) - 1] {
            let time = show::time(Duration::from_nanos(nanos));
            assert!(time.chars().count() <= 7, "{nanos}: {time}");
        }
    }
    assert_eq!((show::size(1_048_000), show::size(1_024)), ("1023 KiB".into(), "1.00 KiB".into()));
}

#[test]
fn a_time_of_zero_is_an_error_of_usage() {
    for seconds in ["0", "1e-12", "-1", "nan", "inf", "1e400", "x", ""] {
        let output = fetch(&["--timeout", seconds, "http://127.0.0.1:1/"]);
        assert_eq!(output.status.code(), Some(2), "{seconds}: {output:?}");
        assert!(stderr(&output).contains("--timeout: give a number of seconds above 0"));
    }
}

#[cfg(unix)]
fn interrupt(mut child: Child, file: &str, length: u64) -> (Option<i32>, String) {
    let started = Instant::now();
    while std::fs::metadata(file).map_or(0, |file| file.len()) < length {
        assert!(started.elapsed() < PATIENCE, "the file did not get {length} bytes");
        std::thread::yield_now();
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    (child.wait().unwrap().code(), text)
}

#[cfg(unix)]
#[test]
fn ctrl_c_says_what_is_partial() {
    let server = Server::start(|peer| {
        while let Some(request) = peer.request()? {
            if request.target == "/whole" {
                peer.send(ok("whole"))?;
            } else {
                peer.send("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")?;
                peer.send([b'x'; 400])?;
                peer.stall()?;
            }
        }
        Ok(())
    });
    for form in ["bars", "json"] {
        let file = path(&format!("fetch-interrupted-{form}"));
        let _ = std::fs::remove_file(&file);
        let urls = [server.url("/whole"), server.url("/part")];
        let arguments = ["-o", &file, "--timings", form, &urls[0], &urls[1], &urls[0]];
        let child = command(&arguments).stderr(Stdio::piped()).spawn().unwrap();
        let (status, text) = interrupt(child, &file, 405);
        assert_eq!(status, Some(130), "{text}");
        let holds = format!(
            "1 of 3 requests had ended, 1 under way; {file} has 405 bytes: 1 whole body, and a partial body of {}: \
             400 of 1000 bytes",
            urls[1]
        );
        let last = text.lines().last().unwrap();
        match form {
            "bars" => assert_eq!(last, format!("fetch: interrupted: {holds}"), "{text}"),
            _ => assert_eq!(
                serde_json::from_str::<Value>(last).unwrap(),
                serde_json::json!({ "interrupted": holds })
            ),
        }
        assert_eq!(std::fs::metadata(&file).unwrap().len(), 405);
    }
}

/// Runs the example in a terminal that `script` makes. Returns `None` if there is no `script` of util-linux.
#[cfg(target_os = "linux")]
fn in_a_terminal(arguments: &[&str], environment: &[(&str, &str)]) -> Option<String> {
    let line = [&[program().to_str().unwrap()], arguments].concat().join(" ");
    let mut script = Command::new("script");
    script.args(["-qec", &line, "/dev/null"]).env_remove("NO_COLOR").env("TERM", "xterm");
    let output = script.envs(environment.iter().copied()).stdin(Stdio::null()).output();
    let Ok(output) = output else {
        eprintln!("skipped: there is no program script");
        return None;
    };
    assert!(output.status.success(), "{output:?}");
    Some(String::from_utf8(output.stdout).unwrap())
}

#[cfg(target_os = "linux")]
#[test]
fn a_terminal_gets_colours_and_progress() {
    let server = server(|_| ok("hello"));
    let url = server.url("/");
    let arguments = ["-n", "3", "-o", "/dev/null", &url];
    let Some(text) = in_a_terminal(&arguments, &[]) else { return };
    assert!(text.contains("\x1b[34m") || text.contains("\x1b[37m"), "{text:?}");
    assert!(text.contains("of 3 requests"), "{text:?}");
    let text = in_a_terminal(&arguments, &[("NO_COLOR", "1")]).unwrap();
    assert!(text.contains("of 3 requests"), "{text:?}");
    let chart = &text[text.rfind("\x1b[2K").map_or(0, |at| at + 4)..];
    assert!(chart.contains("conn 1 #3") && !chart.contains('\x1b'), "{chart:?}");
}
