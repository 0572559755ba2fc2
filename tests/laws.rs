//! The laws that can be read off the source tree, and the one that can be counted: no task per request.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/plain.rs"]
mod plain;

use std::path::{Path, PathBuf};
use std::time::Duration;

use plain::Plain;

/// A file of the library, without its tests and comments.
struct File {
    /// Below `src`, with slashes.
    name: String,
    /// As it is.
    text: String,
    /// Lines of code, numbered from 1.
    code: Vec<(usize, String)>,
}

impl File {
    fn has(&self, words: &[&str]) -> Vec<String> {
        let found = self.code.iter().filter(|(_, line)| words.iter().any(|word| line.contains(word)));
        found.map(|(number, line)| format!("src/{}:{number}: {}", self.name, line.trim())).collect()
    }
}

fn sources() -> Vec<File> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    list(&src, &mut paths);
    let files = paths.into_iter().filter_map(|path| {
        let name = path.strip_prefix(&src).unwrap().to_str().unwrap().replace('\\', "/");
        let is_test = name.ends_with("tests.rs");
        (!is_test).then(|| {
            let text = std::fs::read_to_string(&path).unwrap();
            File { name, code: code(&text), text }
        })
    });
    let files: Vec<_> = files.collect();
    assert!(files.len() > 30, "the source tree was not found");
    files
}

fn list(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            list(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            out.push(path);
        }
    }
}

/// What is compiled into the library: tests stand last in a file, and comments do nothing.
fn code(text: &str) -> Vec<(usize, String)> {
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line));
    let code = lines.take_while(|(_, line)| line.trim() != "#[cfg(test)]" || is_declaration(text, line));
    code.filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(number, line)| (number, line.to_owned()))
        .collect()
}

/// Whether `#[cfg(test)]` here only declares a file of tests, with code behind it.
fn is_declaration(text: &str, line: &str) -> bool {
    let rest = &text[line.as_ptr() as usize - text.as_ptr() as usize..];
    let mut behind = rest.lines().skip(1).filter(|line| !line.starts_with("#["));
    behind.next().is_some_and(|line| line.ends_with("mod tests;"))
}

#[track_caller]
fn assert_none(found: impl IntoIterator<Item = String>, law: &str) {
    let found: Vec<_> = found.into_iter().collect();
    assert!(found.is_empty(), "{law}:\n{}", found.join("\n"));
}

#[test]
fn bytes_know_no_sockets() {
    for file in sources().iter().filter(|file| file.name.starts_with("codec/")) {
        let words = ["tokio", "tracing", "Instant", "SystemTime", "std::net", "std::io", "socket2", "async "];
        assert_none(file.has(&words), "codec knows neither sockets, nor time, nor spans");
        let ours = file.has(&["crate::"]).into_iter().filter(|line| !line.contains("crate::codec"));
        assert_none(ours, "codec uses nothing else of the crate");
    }
}

#[test]
fn policy_knows_no_time_but_what_it_is_told() {
    let pure = |name: &str| {
        name.starts_with("layer/")
            || name.starts_with("pool/policy/")
            || ["pool/policy.rs", "pool/hosts.rs", "pool/idle.rs", "pool/slots.rs", "connect/race.rs"]
                .contains(&name)
    };
    let files = sources();
    let files: Vec<_> = files.iter().filter(|file| pure(&file.name)).collect();
    assert!(files.len() >= 5);
    for file in files {
        let words = ["::now(", "tokio", "tracing", "time::", "SystemTime", ".elapsed()"];
        let found = file.has(&words).into_iter().filter(|line| !line.contains("use std::time::"));
        assert_none(found, "a pure file reads no clock and uses no runtime");
    }
}

#[test]
fn there_is_one_clock() {
    for file in sources().iter().filter(|file| file.name != "time.rs") {
        assert_none(file.has(&["Instant::now", "SystemTime::now", "Utc::now"]), "the only clock is time.rs");
    }
    let sources = sources();
    let clock = sources.iter().find(|file| file.name == "time.rs").unwrap();
    assert_eq!(clock.has(&["Instant::now"]).len(), 1, "this test looks at the right things");
}

/// One task per dial, one reaper per pool and runtime, a bounded number of drains: nothing else.
#[test]
fn little_is_spawned() {
    for file in sources() {
        let allowed: &[&str] = match &*file.name {
            "exchange/drain.rs" => &["runtime.spawn(drain("],
            "pool/dial.rs" => &["runtime.handle.spawn(dial.run("],
            "pool/reaper.rs" => &["runtime.handle.spawn(run("],
            "connect/tls.rs" => &["spawn_blocking("],
            "resolver/system.rs" => &["thread::"],
            _ => &[],
        };
        let found = file.has(&["spawn(", "spawn_blocking(", "spawn_local(", "thread::Builder"]).into_iter();
        let found = found.filter(|line| !allowed.iter().any(|allowed| line.contains(allowed)));
        let system = file.name == "resolver/system.rs";
        assert_none(found.filter(|line| !system || line.contains("tokio")), "spawned where it may not be");
        assert_none(file.has(&["mpsc", "oneshot", "JoinSet"]).into_iter().filter(|_| !system), "a channel");
    }
}

/// `client` is on top, then `config`; the codec at the bottom is checked above.
#[test]
fn imports_go_down() {
    let top = ["lib.rs", "client.rs", "config.rs", "request.rs"];
    for file in sources().iter().filter(|file| !top.contains(&&*file.name)) {
        assert_none(file.has(&["crate::client", "crate::config"]), "nothing below the client knows it");
    }
    let leaves = ["error.rs", "time.rs", "trace.rs", "buffer.rs"];
    for file in sources().iter().filter(|file| leaves.contains(&&*file.name)) {
        let used = file.has(&["crate::"]).into_iter();
        let used = used.filter(|line| !["error::", "time", "trace::"].iter().any(|leaf| line.contains(leaf)));
        assert_none(used.filter(|line| line.contains("use ")), "a leaf uses other leaves at most");
    }
    for file in
        sources().iter().filter(|file| ["connect/", "resolver/"].iter().any(|f| file.name.starts_with(f)))
    {
        assert_none(file.has(&["crate::pool", "crate::exchange"]), "connect and resolver know no pool");
    }
    for file in sources().iter().filter(|file| file.name.starts_with("pool/")) {
        assert_none(file.has(&["crate::exchange", "crate::codec", "crate::layer"]), "the pool knows no HTTP");
    }
}

/// A file is read in one sitting.
#[test]
fn no_file_is_long() {
    for file in sources() {
        let lines = file.text.lines().count();
        assert!(lines <= 700, "src/{} has {lines} lines, of 700 at the most", file.name);
        assert!(file.name == "lib.rs" || file.text.starts_with("//! "), "src/{} says what it is", file.name);
    }
}

#[test]
fn there_is_no_unsafe_code() {
    for file in sources() {
        assert_none(
            file.has(&["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"]),
            "there is no unsafe code",
        );
        if file.name == "lib.rs" {
            assert!(file.text.contains("#![forbid(unsafe_code)]"));
        }
    }
}

/// Paused time runs ahead while real sockets are waited for.
#[test]
fn no_test_pauses_time_over_sockets() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    list(&root.join("tests"), &mut paths);
    list(&root.join("src"), &mut paths);
    let this = root.join(file!());
    for path in paths.iter().filter(|path| **path != this) {
        let text = std::fs::read_to_string(path).unwrap();
        let tests = text.split("#[test]").flat_map(|part| part.split("#[tokio::test"));
        for test in tests {
            // As far as the test's own function goes.
            let test = test.split("\n}\n").next().unwrap_or_default();
            let both = test.contains("start_paused") && test.contains("TcpListener");
            assert!(!both, "{}: paused time over a real socket:\n{test}", path.display());
        }
    }
}

/// The request future does its own I/O: neither task nor channel comes with a request.
#[test]
fn a_thousand_requests_start_no_task() {
    let server = Plain::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = handclasp::Client::new();
        let url: http::Uri = server.url("/").parse().unwrap();
        let fetch = async || {
            let response = tokio::time::timeout(Duration::from_secs(20), client.get(&url).send()).await;
            response.unwrap().unwrap().text().await.unwrap()
        };
        assert_eq!(fetch().await, "1");
        // Until the dial's task has ended, and only the reaper is left.
        let metrics = tokio::runtime::Handle::current().metrics();
        let settled = async {
            while metrics.num_alive_tasks() > 1 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), settled).await.expect("the dial's task ends");
        let before = metrics.num_alive_tasks();
        assert_eq!(before, 1, "the reaper");
        for _ in 0..1_000 {
            assert_eq!(fetch().await, "1");
            assert_eq!(metrics.num_alive_tasks(), before);
        }
        let total = client.pool().stats().total;
        assert_eq!((total.opened, total.requests, total.reused), (1, 1_001, 1_000));
        assert_eq!((server.accepted(), server.requests()), (1, 1_001));
    });
}
