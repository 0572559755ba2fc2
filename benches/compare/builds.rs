//! This bench measures what a client adds to a build: the number of crates, and the processor time of a clean
//! build.
//!
//! Run this bench by `cargo bench --manifest-path benches/compare/Cargo.toml --bench build [-- --time | --quick]
//! [NAME...]`. The bench takes many minutes. With `--quick` and without `--time`, the bench counts crates and
//! builds nothing. A NAME is a name in the first column of the printed table. If names are given, only these
//! configurations are measured. For each configuration, the bench makes a crate in a temporary folder that only
//! sends a GET. The bench counts the crates of a normal build on this machine. The client counts as one of these
//! crates, and the crate in the folder does not count. The bench builds each crate once, without optimisation,
//! after all dependencies were fetched.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use support::measure::Report;
use support::{Arguments, BoxError};

fn main() -> Result<(), BoxError> {
    let arguments = Arguments::read()?;
    let is_timed = !arguments.is_quick || arguments.words.iter().any(|word| word == "--time");
    let folder = Folder::new()?;
    let mut report = Report::new("build");
    println!("\n### Minimal crates\n");
    println!("| client | configuration | crates | clean build, s of processor time |\n|---|---|---:|---:|");
    let wanted = |name: &str| arguments.words.iter().any(|word| word == name);
    let is_any = configurations().iter().any(|(name, ..)| wanted(name));
    for (name, what, dependencies, main) in configurations() {
        if is_any && !wanted(name) {
            continue;
        }
        let made = Made::new(&folder.0.join(name), &dependencies, main)?;
        let crates = made.crates()?;
        let time = if is_timed { Some(made.build()?.as_secs_f64()) } else { None };
        let told = time.map_or_else(|| "not measured".to_owned(), |time| format!("{time:.1}"));
        println!("| {name} | {what} | {crates} | {told} |");
        report.result("crates", name, crates as f64, "crates");
        if let Some(time) = time {
            report.result("cpu", name, time, "s");
        }
    }
    report.end();
    Ok(())
}

/// Returns the configurations. Each configuration has its name, its description, the dependencies of its crate,
/// and the code of its crate.
fn configurations() -> Vec<(&'static str, &'static str, String, &'static str)> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let handclasp = |more: &str| format!("handclasp = {{ path = {own:?}{more} }}\n{TOKIO}");
    let on_tokio = |more: &str| format!("{more}\n{TOKIO}");
    let hyper = on_tokio(
        "http-body-util = \"0.1\"\n\
         hyper-util = { version = \"0.1.21\", features = [\"client-legacy\", \"http1\", \"tokio\"] }\n\
         bytes = \"1\"",
    );
    vec![
        ("handclasp-bare", "without default features", handclasp(", default-features = false"), HANDCLASP),
        (
            "handclasp-rustls",
            "rustls alone (ring)",
            handclasp(", default-features = false, features = [\"rustls\"]"),
            HANDCLASP,
        ),
        ("handclasp-default", "default", handclasp(""), HANDCLASP),
        ("hyper-util", "client-legacy, http1, tokio", hyper.clone(), HYPER_UTIL),
        (
            "hyper-util-rustls",
            "the same, and hyper-rustls (ring)",
            hyper
                + "hyper-rustls = { version = \"0.27\", default-features = false, features = [\"http1\", \"ring\", \"tls12\", \"webpki-roots\"] }\n",
            HYPER_RUSTLS,
        ),
        (
            "reqwest-bare",
            "without default features",
            on_tokio("reqwest = { version = \"0.13\", default-features = false }"),
            REQWEST,
        ),
        (
            "reqwest-ring",
            "rustls-no-provider, and ring",
            on_tokio(
                "reqwest = { version = \"0.13\", default-features = false, features = [\"rustls-no-provider\"] }\n\
                 rustls = { version = \"0.23\", default-features = false, features = [\"ring\", \"std\", \"tls12\"] }",
            ),
            REQWEST,
        ),
        (
            "reqwest-rustls",
            "rustls alone (its own provider, aws-lc-rs)",
            on_tokio("reqwest = { version = \"0.13\", default-features = false, features = [\"rustls\"] }"),
            REQWEST,
        ),
        ("reqwest-default", "default", on_tokio("reqwest = \"0.13\""), REQWEST),
        (
            "ureq-bare",
            "without default features",
            "ureq = { version = \"3.5\", default-features = false }\n".to_owned(),
            UREQ,
        ),
        (
            "ureq-rustls",
            "rustls (ring)",
            "ureq = { version = \"3.5\", default-features = false, features = [\"rustls\"] }\n".to_owned(),
            UREQ,
        ),
        (
            "aioduct-bare",
            "tokio",
            on_tokio("aioduct = { version = \"0.2.6\", features = [\"tokio\"] }"),
            AIODUCT,
        ),
        (
            "aioduct-rustls",
            "tokio, rustls (ring)",
            on_tokio(
                "aioduct = { version = \"0.2.6\", features = [\"rustls\", \"rustls-ring\", \"tokio\"] }",
            ),
            AIODUCT,
        ),
    ]
}

struct Made(PathBuf);

impl Made {
    /// Makes a crate in `folder`, and fetches its dependencies.
    fn new(folder: &Path, dependencies: &str, main: &str) -> Result<Self, BoxError> {
        fs::create_dir_all(folder.join("src"))?;
        let manifest = format!(
            "[package]\nname = \"minimal\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n[dependencies]\n{dependencies}"
        );
        fs::write(folder.join("Cargo.toml"), manifest)?;
        let main = match main.starts_with("fn ") {
            true => main.to_owned(),
            false => format!("async fn get() {{\n{main}\n}}\n\n{RUN}"),
        };
        fs::write(folder.join("src/main.rs"), main)?;
        let made = Self(folder.to_owned());
        // Without a network, the crates that were fetched earlier are enough.
        if made.cargo(&["fetch"]).is_err() {
            made.cargo(&["fetch", "--offline"])?;
        }
        Ok(made)
    }

    fn crates(&self) -> Result<usize, BoxError> {
        let tree = self.cargo(&["tree", "--offline", "-e", "normal", "--prefix", "none"])?;
        let crates: BTreeSet<_> = tree.lines().map(|line| line.trim_end_matches(" (*)").trim()).collect();
        Ok(crates.into_iter().filter(|name| !name.is_empty() && !name.starts_with("minimal v")).count())
    }

    fn build(&self) -> Result<Duration, BoxError> {
        let before = of_children()?;
        self.cargo(&["build", "--offline"])?;
        let took = of_children()? - before;
        fs::remove_dir_all(self.0.join("target"))?;
        Ok(took)
    }

    /// Runs cargo in the folder of the crate. Returns its output.
    fn cargo(&self, arguments: &[&str]) -> Result<String, BoxError> {
        let mut command = Command::new("timeout");
        command.arg("900").arg(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command
            .args(arguments)
            .arg("--quiet")
            .current_dir(&self.0)
            .env("CARGO_TARGET_DIR", self.0.join("target"));
        for variable in ["RUSTC_WRAPPER", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_INCREMENTAL"] {
            command.env_remove(variable);
        }
        let output = command.stdin(Stdio::null()).output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("cargo {arguments:?} in {:?}: {said}", self.0).into());
        }
        Ok(String::from_utf8(output.stdout)?)
    }
}

/// Returns the processor time of all descendants of this process that have ended.
fn of_children() -> Result<Duration, BoxError> {
    let text = fs::read_to_string("/proc/self/stat")?;
    // The name of the program may contain any character, so that the last bracket is its end. Times are in
    // hundredths of a second.
    let (_, rest) = text.rsplit_once(')').ok_or("the line has no program name")?;
    let ticks = rest.split_whitespace().skip(13).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(Duration::from_millis(ticks * 10))
}

/// A temporary folder, which is removed when the value is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self, BoxError> {
        let path = std::env::temp_dir().join(format!("handclasp-compare-{}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // An error is ignored, because nothing depends on the folder any more.
        let _ = fs::remove_dir_all(&self.0);
    }
}

const TOKIO: &str = "tokio = { version = \"1.49\", features = [\"net\", \"rt\", \"time\"] }\n";

const RUN: &str = r#"fn main() {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(get());
}
"#;

const HANDCLASP: &str = r#"    let client = handclasp::Client::new();
    let response = client.get("http://127.0.0.1:1/").send().await.unwrap();
    println!("{}", response.bytes().await.unwrap().len());"#;

const HYPER_UTIL: &str = r#"    use http_body_util::BodyExt;
    let executor = hyper_util::rt::TokioExecutor::new();
    let client = hyper_util::client::legacy::Client::builder(executor).build_http();
    let client: hyper_util::client::legacy::Client<_, http_body_util::Empty<bytes::Bytes>> = client;
    let response = client.get("http://127.0.0.1:1/".parse().unwrap()).await.unwrap();
    println!("{}", response.into_body().collect().await.unwrap().to_bytes().len());"#;

const HYPER_RUSTLS: &str = r#"    use http_body_util::BodyExt;
    let https = hyper_rustls::HttpsConnectorBuilder::new().with_webpki_roots().https_or_http().enable_http1().build();
    let executor = hyper_util::rt::TokioExecutor::new();
    let client = hyper_util::client::legacy::Client::builder(executor).build(https);
    let client: hyper_util::client::legacy::Client<_, http_body_util::Empty<bytes::Bytes>> = client;
    let response = client.get("http://127.0.0.1:1/".parse().unwrap()).await.unwrap();
    println!("{}", response.into_body().collect().await.unwrap().to_bytes().len());"#;

const REQWEST: &str = r#"    let response = reqwest::get("http://127.0.0.1:1/").await.unwrap();
    println!("{}", response.bytes().await.unwrap().len());"#;

const AIODUCT: &str = r#"    let client = aioduct::TokioClient::new();
    let response = client.get("http://127.0.0.1:1/").unwrap().send().await.unwrap();
    println!("{}", response.bytes().await.unwrap().len());"#;

const UREQ: &str = r#"fn main() {
    let mut response = ureq::get("http://127.0.0.1:1/").call().unwrap();
    println!("{}", response.body_mut().read_to_vec().unwrap().len());
}
"#;
