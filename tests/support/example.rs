//! The examples of the crate, as programs that a test runs.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

/// Builds an example and returns its path. The example is built with the features of this test, because
/// `cargo test --test` builds no examples.
pub fn build(name: &str) -> PathBuf {
    let mut features = Vec::new();
    for (name, is_on) in [
        ("url", cfg!(feature = "url")),
        ("hickory-dns", cfg!(feature = "hickory-dns")),
        ("rustls", cfg!(feature = "rustls")),
        ("aws-lc-rs", cfg!(feature = "aws-lc-rs")),
        ("webpki-roots", cfg!(feature = "webpki-roots")),
        ("proxy", cfg!(feature = "proxy")),
        ("system-proxy", cfg!(feature = "system-proxy")),
        ("har", cfg!(feature = "har")),
        ("json", cfg!(feature = "json")),
        ("form", cfg!(feature = "form")),
        ("query", cfg!(feature = "query")),
        ("charset", cfg!(feature = "charset")),
        ("cookies", cfg!(feature = "cookies")),
        ("gzip", cfg!(feature = "gzip")),
        ("deflate", cfg!(feature = "deflate")),
        ("brotli", cfg!(feature = "brotli")),
        ("zstd", cfg!(feature = "zstd")),
        ("fast-open", cfg!(feature = "fast-open")),
        ("otel", cfg!(feature = "otel")),
        ("tower", cfg!(feature = "tower")),
        ("test-util", cfg!(feature = "test-util")),
    ] {
        if is_on {
            features.push(name);
        }
    }
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    cargo.args(["build", "--quiet", "--example", name, "--message-format", "json"]);
    cargo.args(["--no-default-features", "--features", &features.join(",")]);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    let built = cargo.stderr(Stdio::inherit()).output().unwrap();
    assert!(built.status.success(), "the example does not build");
    let messages = built.stdout.split(|byte| *byte == b'\n');
    let messages = messages.filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    let found = messages.filter(|message| message["target"]["name"] == name);
    found.filter_map(|message| Some(message["executable"].as_str()?.into())).next().unwrap()
}
