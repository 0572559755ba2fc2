//! The laws of CONTRIBUTING.md that a test can check in the source tree. One more law is counted at run time: a
//! request starts no task.
//!
//! Each law is a function that takes a tree and returns the places that break the law. The tests run it on the
//! library, on the library with a breach inserted after each item of a file, and on small files that break the law.
//! The law has to find every breach. The law also has to report that it has read enough files and lines.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "laws/modules.rs"]
mod modules;
#[path = "support/order.rs"]
mod order;
#[path = "support/plain.rs"]
mod plain;
#[allow(dead_code, unreachable_pub, missing_docs, missing_debug_implementations)]
#[path = "support/tree.rs"]
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use modules::{TOP, may_use, module_of};
use plain::Plain;
use tree::{File, Tree, Used};

/// Result of checking a tree against one law: the amount of code that was read, and the places that break the law.
#[derive(Default)]
struct Sight {
    /// Number of files that the law has read.
    files: usize,
    /// Number of lines with code in these files.
    lines: usize,
    /// Places that break the law, each with its reason.
    found: Vec<String>,
}

impl Sight {
    fn look_at(&mut self, file: &File) {
        self.files += 1;
        self.lines += file.lines;
    }

    fn find(&mut self, why: &str, places: impl IntoIterator<Item = String>) {
        self.found.extend(places.into_iter().map(|place| format!("{place}   ({why})")));
    }

    fn find_paths(&mut self, why: &str, file: &File, is_bad: impl Fn(&Used) -> bool) {
        let bad = file.paths().into_iter().filter(is_bad);
        self.find(why, bad.map(|used| format!("{} [{}]", file.at(used.line), used.path.join("::"))));
    }
}

type Law = fn(&Tree) -> Sight;

/// A law, the files that it is about, the smallest amount of code that it must read, and code that breaks it.
struct Article {
    name: &'static str,
    law: Law,
    is_about: fn(&str) -> bool,
    /// Smallest number of files, and of lines with code, that the law must read.
    least: (usize, usize),
    /// Items that break the law anywhere in one of its files.
    breaches: &'static [&'static str],
}

const LAWS: &[Article] = &[
    Article {
        name: "the codec knows no sockets",
        law: codec_knows_no_sockets,
        is_about: is_codec,
        least: (15, 2_000),
        breaches: &[
            "fn breach() { std::time::Instant::now(); }",
            "use std::time::SystemTime;",
            "use std::{fmt as words, net::{self, IpAddr}};",
            "fn breach(socket: tokio::net::TcpStream) {}",
            "async fn breach() {}",
            "fn breach() { let later = async {}; }",
            "fn breach() { tracing::info!(\"read\"); }",
            "use crate::error::Error;",
            "use crate::{codec, pool::Pool};",
            "fn breach(timer: super::super::time::Timer) {}",
            "macro_rules! breach { () => { std::io::stdout() } }",
        ],
    },
    Article {
        name: "a pure file reads no clock",
        law: pure_files_read_no_clock,
        is_about: is_pure,
        least: (20, 2_000),
        breaches: &[
            "fn breach() -> std::time::Instant { std::time::Instant::now() }",
            "fn breach() -> std::time::Instant {\n    std::time::Instant::\n        now()\n}",
            "fn breach(since: Option<std::time::Instant>) { since.unwrap_or_else(std::time::Instant::now); }",
            "fn breach() { use std::time::Instant as Clock; Clock::now(); }",
            "fn breach() { <std::time::Instant>::now(); }",
            "fn breach(since: std::time::Instant) { since.elapsed(); }",
            "fn breach() -> std::time::Instant { crate::time::now() }",
            "use crate::time::now as told;",
            "use crate::{error, time};",
            "use std::time::{Duration as Length, UNIX_EPOCH};",
            "fn breach() { tokio::task::yield_now(); }",
            "fn breach() { tracing::info!(\"decided\"); }",
            "fn breach() { std::thread::yield_now(); }",
            "use crate::pool::Shared;",
            "use crate::client::Client;",
            "#[cfg(any(test, debug_assertions))]\nfn breach() { std::time::Instant::now(); }",
            "#[cfg(not(test))]\nfn breach() { std::time::Instant::now(); }",
        ],
    },
    Article {
        name: "the policy builds alone",
        law: the_policy_builds_alone,
        is_about: is_policy,
        least: (18, 1_300),
        breaches: &[
            "use crate::connect::DialError;",
            "use crate::error::Error;",
            "use crate::pool::PoolConfig;",
            "use crate::{pool::policy::Policy, pool::stats};",
            "fn breach(method: http::Method) {}",
        ],
    },
    Article {
        name: "there is one clock",
        law: there_is_one_clock,
        is_about: |name| name != "time.rs",
        least: (80, 9_000),
        breaches: &[
            "fn breach() { std::time::Instant::now(); }",
            "fn breach() { tokio::time::Instant :: now (); }",
            "fn breach() { use std::time::SystemTime as Wall; Wall::now(); }",
            "fn breach(since: std::time::Instant) { since.elapsed(); }",
            "fn breach(since: Option<std::time::Instant>) { since.map(std::time::Instant::elapsed); }",
        ],
    },
    Article {
        name: "only listed files spawn tasks",
        law: only_listed_files_spawn,
        is_about: |_| true,
        least: (80, 9_000),
        breaches: &[
            "fn breach() { tokio::spawn(async {}); }",
            "fn breach() { use tokio::spawn as begin; begin(async {}); }",
            "fn breach(runtime: tokio::runtime::Handle) { runtime\n.spawn\n(async {}); }",
            "fn breach() { tokio::task::spawn_blocking(|| {}); }",
            "fn breach() { std::thread::Builder::new(); }",
            "use tokio::sync::{Notify, oneshot};",
            "fn breach() { std::sync::mpsc::channel::<u8>(); }",
            "type Breach = tokio::task::JoinSet<()>;",
        ],
    },
    Article {
        name: "each module uses only modules below it",
        law: each_module_uses_only_modules_below_it,
        is_about: |name| !TOP.contains(&name) && !name.starts_with("config/") && !name.starts_with("client/"),
        least: (75, 9_000),
        breaches: &[
            "use crate::client::Client as Theirs;",
            "use crate::{config, error as mistakes};",
            "fn breach() -> Option<crate::config::Settings> { None }",
            "fn breach(client: &crate::Client) {}",
            "use crate::Pool;",
        ],
    },
    Article {
        name: "rustls, hickory and the decoders are used in few places",
        law: some_crates_are_used_in_few_places,
        is_about: |name| USED_IN.iter().all(|(_, places)| !is_in(name, places)),
        least: (80, 9_000),
        breaches: &[
            "use rustls::ClientConfig;",
            "fn breach(error: &rustls::Error) {}",
            "use rustls_platform_verifier::Verifier as Platform;",
            "use webpki_roots::TLS_SERVER_ROOTS;",
            "use hickory_resolver::{Hosts, TokioResolver};",
            "use opentelemetry::metrics::Meter;",
            "use tracing_opentelemetry::OpenTelemetrySpanExt as _;",
            "use psl::List;",
            "use ipnet::IpNet;",
            "use system_configuration::dynamic_store::SCDynamicStore;",
            "use windows_registry::CURRENT_USER;",
            "use compression_codecs::{DecodeV2, GzipDecoder};",
        ],
    },
    Article {
        name: "there is no unsafe code",
        law: there_is_no_unsafe_code,
        is_about: |_| true,
        least: (80, 9_000),
        breaches: &[
            "unsafe fn breach() {}",
            "fn breach() { unsafe\n{ std::hint::unreachable_unchecked() } }",
            "unsafe impl Send for Breach {}",
            "macro_rules! breach { () => { unsafe { std::hint::unreachable_unchecked() } } }",
        ],
    },
];

fn is_codec(name: &str) -> bool {
    name.starts_with("codec/")
}

fn is_policy(name: &str) -> bool {
    name.starts_with("pool/policy/")
}

/// Whether a file holds decisions only. A pure file may use other pure files and the types that
/// `pure_files_read_no_clock` lists, and nothing else of the crate.
fn is_pure(name: &str) -> bool {
    let files = [
        "body/coding.rs",
        "call/http10/memory.rs",
        "call/resend.rs",
        "call/redirect.rs",
        "cookie/date.rs",
        "cookie/domain.rs",
        "cookie/lines.rs",
        "cookie/parse.rs",
        "cookie/store.rs",
        "connect/destination.rs",
        "connect/filter.rs",
        "connect/history.rs",
        "connect/order.rs",
        "connect/proxy/environment.rs",
        "connect/proxy/no_proxy.rs",
        "connect/proxy/no_proxy/patterns.rs",
        "connect/proxy/system/plist.rs",
        "connect/race.rs",
        "connect/socket_path.rs",
        "connect/spread.rs",
        "exchange/timeout.rs",
        "har/date.rs",
        "redact.rs",
        "redirect.rs",
        "resolver/cache.rs",
        "resolver/search.rs",
    ];
    is_policy(name) || files.contains(&name)
}

fn codec_knows_no_sockets(tree: &Tree) -> Sight {
    let mut sight = Sight::default();
    for file in tree.files.iter().filter(|file| is_codec(&file.name)) {
        sight.look_at(file);
        let words = ["tokio", "tracing", "Instant", "SystemTime", "socket2", "async", "await"];
        sight.find("the codec uses no sockets, no clock and no spans", file.words(&words));
        sight.find_paths("the codec uses no I/O of std", file, |used| {
            ["net", "io", "fs", "thread", "process", "env"]
                .iter()
                .any(|part| used.starts_with(&["std", part]))
        });
        sight.find_paths("it uses nothing else of the crate", file, |used| {
            is_ours(used) && !used.starts_with(&["crate", "codec"])
        });
        sight.find_paths("the codec uses no other crates than bytes, http and httparse", file, |used| {
            is_dependency(used) && !["bytes", "http", "httparse"].contains(&&*used.path[0])
        });
    }
    sight
}

fn pure_files_read_no_clock(tree: &Tree) -> Sight {
    /// Types that pure files may use although their files are not pure.
    const OTHERS: [&[&str]; 4] = [
        &["crate", "connect", "ProxyServer"],
        &["crate", "error", "Error"],
        &["crate", "error", "Phase"],
        &["crate", "error", "Written"],
    ];
    let mut sight = Sight::default();
    for file in tree.files.iter().filter(|file| is_pure(&file.name)) {
        sight.look_at(file);
        let words = ["tokio", "tracing", "SystemTime", "UNIX_EPOCH", "elapsed", "now (", ":: now"];
        sight.find("a pure file reads no clock and uses no runtime", file.words(&words));
        sight.find_paths("a pure file uses no I/O and no threads of std", file, |used| {
            ["io", "fs", "thread", "process", "env"].iter().any(|part| used.starts_with(&["std", part]))
        });
        sight.find_paths("of this crate, a pure file uses only pure files", file, |used| {
            let is_pure = || tree.file_of(&used.path[1..]).is_some_and(is_pure);
            let is_known = || OTHERS.iter().any(|other| used.starts_with(other));
            is_ours(used) && !is_pure() && !is_known()
        });
        sight.find_paths(
            "a pure file uses no other crates than hashbrown and http, and one more in three places",
            file,
            |used| {
                let is_url =
                    ["call/redirect.rs", "redirect.rs"].contains(&&*file.name) && used.path[0] == "url";
                let is_suffix_list = file.name == "cookie/domain.rs" && used.path[0] == "psl";
                let is_network = file.name == "connect/proxy/no_proxy.rs" && used.path[0] == "ipnet";
                let is_known = is_url || is_suffix_list || is_network;
                is_dependency(used) && !is_known && !["hashbrown", "http"].contains(&&*used.path[0])
            },
        );
    }
    sight
}

/// The folder of the policy uses no other code of the crate, because `.ci/alone` builds the folder as a crate of its
/// own.
fn the_policy_builds_alone(tree: &Tree) -> Sight {
    let mut sight = Sight::default();
    for file in tree.files.iter().filter(|file| is_policy(&file.name)) {
        sight.look_at(file);
        sight.find_paths("it uses nothing else of the crate", file, |used| {
            is_ours(used) && !used.starts_with(&["crate", "pool", "policy"])
        });
        sight.find_paths("the policy uses no other crate than hashbrown", file, |used| {
            is_dependency(used) && used.path[0] != "hashbrown"
        });
    }
    sight
}

fn there_is_one_clock(tree: &Tree) -> Sight {
    let mut sight = Sight::default();
    for file in tree.files.iter().filter(|file| file.name != "time.rs") {
        sight.look_at(file);
        // Code that imports a clock under another name still has to call `now`, so this law looks for the calls.
        let others = (1..file.tokens.len()).filter(|at| {
            let [before, own] = [at - 1, *at].map(|at| &*file.tokens[at].text);
            let is_ours = *at >= 2 && file.tokens[at - 2].text == "time";
            own == "now" && before == "::" && !is_ours || own == "elapsed" && [".", "::"].contains(&before)
        });
        sight.find("only time.rs reads a clock", others.map(|at| file.at(file.tokens[at].line)));
        sight.find("only time.rs reads a clock", file.words(&["SystemTime", "UNIX_EPOCH"]));
    }
    sight
}

/// Only four kinds of tasks are spawned: dials, reapers (one for each pool and runtime), drains, and the lookups of names
/// for which no dial waits (one for each name). Their number is bounded.
fn only_listed_files_spawn(tree: &Tree) -> Sight {
    let mut sight = Sight::default();
    for file in &tree.files {
        sight.look_at(file);
        let (allowed, can_talk): (&[(&str, usize)], _) = match &*file.name {
            "exchange/drain.rs" | "pool/dial.rs" | "pool/reaper.rs" | "resolver/lookups.rs" => {
                (&[("spawn", 1)], false)
            }
            "connect/tls/config.rs" => (&[("spawn_blocking", 1)], false),
            // The system resolver calls `getaddrinfo` on a bounded number of threads.
            "resolver/system.rs" => (&[("spawn", 1), ("thread :: Builder", 1)], true),
            _ => (&[], false),
        };
        for word in
            ["spawn", "spawn_blocking", "spawn_local", "spawn_scoped", "spawn_on", "thread :: Builder"]
        {
            let found = file.find(word);
            let expected = allowed.iter().find(|(known, _)| *known == word).map_or(0, |(_, count)| *count);
            if found.len() != expected {
                sight.find(&format!("the file may use {word} {expected} times"), found);
            }
        }
        let channels = file.words(&["mpsc", "oneshot", "broadcast", "watch", "JoinSet"]);
        sight.find("the file uses a channel or a set of tasks", channels.into_iter().filter(|_| !can_talk));
    }
    sight
}

/// A name that `lib.rs` exports counts as a breach, because such a path does not show the module of the name.
fn each_module_uses_only_modules_below_it(tree: &Tree) -> Sight {
    let mut sight = Sight::default();
    for file in tree.files.iter().filter(|file| !["lib.rs", "test_util.rs"].contains(&&*file.name)) {
        sight.look_at(file);
        let module = module_of(&file.name);
        sight.find_paths("it is not below this module", file, |used| {
            is_ours(used) && !may_use(module, &used.path[1])
        });
    }
    sight
}

/// Each entry has a crate, and the only folders and files that may use the crate.
const USED_IN: [(&str, &[&str]); 13] = [
    ("compression_codecs", &["body/decoder.rs"]),
    ("rustls", &["connect/tls/"]),
    ("rustls_platform_verifier", &["connect/tls/"]),
    ("webpki_roots", &["connect/tls/verify.rs"]),
    ("hickory_resolver", &["resolver/hickory.rs"]),
    ("opentelemetry", &["metrics/opentelemetry_0_33.rs", "trace/link.rs"]),
    ("tracing_core", &["trace/own.rs"]),
    ("tracing_opentelemetry", &["trace/link.rs"]),
    ("psl", &["cookie/domain.rs"]),
    ("nix", &["connect/fast_open.rs"]),
    ("ipnet", &["connect/proxy/no_proxy.rs"]),
    ("system_configuration", &["connect/proxy/system/macos.rs"]),
    ("windows_registry", &["connect/proxy/system/windows.rs"]),
];

/// Whether a file is one of these places, or lies in one of them.
fn is_in(name: &str, places: &[&str]) -> bool {
    places.iter().any(|place| name.starts_with(place))
}

fn some_crates_are_used_in_few_places(tree: &Tree) -> Sight {
    let mut sight = Sight::default();
    for file in &tree.files {
        sight.look_at(file);
        for (name, places) in USED_IN.iter().filter(|(_, places)| !is_in(&file.name, places)) {
            let why = format!("only {} uses {name}", places.join(" and "));
            sight.find_paths(&why, file, |used| used.starts_with(&[name]));
        }
    }
    sight
}

fn there_is_no_unsafe_code(tree: &Tree) -> Sight {
    let mut sight = Sight::default();
    for file in &tree.files {
        sight.look_at(file);
        sight.find("there is no unsafe code", file.words(&["unsafe"]));
        if file.name == "lib.rs" && file.find("# ! [ forbid ( unsafe_code ) ]").is_empty() {
            sight.find("lib.rs does not forbid unsafe code", [file.at(1)]);
        }
    }
    sight
}

/// Whether the path names an item of this crate.
fn is_ours(used: &Used) -> bool {
    used.starts_with(&["crate"]) && used.path.len() > 1
}

/// Whether the path begins with the name of a crate that `Cargo.toml` lists.
fn is_dependency(used: &Used) -> bool {
    static NAMES: OnceLock<BTreeSet<String>> = OnceLock::new();
    let names = NAMES.get_or_init(|| {
        let lines = include_str!("../Cargo.toml").lines().skip_while(|line| *line != "[dependencies]");
        let lines =
            lines.take_while(|line| !line.starts_with("[[")).filter_map(|line| line.split_once(" = "));
        let names: BTreeSet<_> = lines.map(|(name, _)| name.replace('-', "_")).collect();
        assert!(names.contains("tokio") && names.contains("httparse") && names.contains("rustls"));
        names
    });
    used.path.len() > 1 && names.contains(&used.path[0])
}

fn texts() -> &'static BTreeMap<String, String> {
    static TEXTS: OnceLock<BTreeMap<String, String>> = OnceLock::new();
    TEXTS.get_or_init(|| {
        let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let read = |path: std::path::PathBuf| {
            let name = path.strip_prefix(&src).unwrap().to_str().unwrap().replace('\\', "/");
            (name, std::fs::read_to_string(path).unwrap())
        };
        tree::rust_files(&src).into_iter().map(read).collect()
    })
}

fn library() -> &'static Tree {
    static TREE: OnceLock<Tree> = OnceLock::new();
    TREE.get_or_init(|| Tree::of(texts()))
}

#[test]
fn the_library_keeps_each_law() {
    for article in LAWS {
        let Sight { files, lines, found } = (article.law)(library());
        println!("{}: {files} files, {lines} lines", article.name);
        assert!(found.is_empty(), "{}:\n{}", article.name, found.join("\n"));
        assert!(
            files >= article.least.0 && lines >= article.least.1,
            "{}: the law read only {lines} lines of {files} files",
            article.name
        );
    }
}

/// The reader of the tree sees every item of every file. The reader skips the items that the compiler leaves out of the
/// library too.
#[test]
fn every_file_is_seen() {
    let tree = library();
    assert_eq!(tree.strays, BTreeSet::new(), "no `mod` declares these files");
    assert_eq!(tree.files.len() + tree.tests.len(), texts().len());
    for file in &tree.files {
        let parsed = syn::parse_file(&file.text).unwrap();
        for item in parsed.items.iter().filter_map(named) {
            let is_seen = !file.find(&item.1).is_empty();
            assert_eq!(is_seen, !item.0, "src/{}: {}", file.name, item.1);
        }
    }
    // An earlier version of the reader stopped in the first lines of these files.
    for (name, least) in [
        ("pool/policy/mod.rs", 300),
        ("resolver/hickory.rs", 120),
        ("connect/dialer.rs", 200),
        ("codec/mod.rs", 30),
    ] {
        let file = tree.files.iter().find(|file| file.name == name).unwrap();
        assert!(file.lines >= least, "{name}: {} lines", file.lines);
    }
}

/// Returns whether an item is for tests only, and the item's first tokens. Returns `None` for a kind of item that the
/// test does not check.
fn named(item: &syn::Item) -> Option<(bool, String)> {
    let (attributes, name) = match item {
        syn::Item::Fn(item) => (&item.attrs, format!("fn {}", item.sig.ident)),
        syn::Item::Mod(item) => (&item.attrs, format!("mod {}", item.ident)),
        syn::Item::Struct(item) => (&item.attrs, format!("struct {}", item.ident)),
        syn::Item::Enum(item) => (&item.attrs, format!("enum {}", item.ident)),
        _ => return None,
    };
    let is_test = |attribute: &syn::Attribute| {
        let text = format!("{}", quote::ToTokens::to_token_stream(attribute)).replace(' ', "");
        text == "#[cfg(test)]" || text.starts_with("#[cfg(all(test,")
    };
    Some((attributes.iter().any(is_test), name))
}

/// Each law finds a breach after each item of each file.
#[test]
fn each_law_sees_all_of_its_files() {
    for article in LAWS {
        let about = library().files.iter().filter(|file| (article.is_about)(&file.name));
        let (breach, mut tried) = (article.breaches[0], 0);
        for file in about {
            let parsed = syn::parse_file(&file.text).unwrap();
            let (mut text, mut written) = (String::new(), 0);
            for item in &parsed.items {
                let end = syn::spanned::Spanned::span(item).byte_range().end;
                text += &format!("{}\n{breach}\n", &file.text[written..end]);
                written = end;
                tried += 1;
            }
            let found = look(article, &file.name, &text);
            let items = parsed.items.len();
            assert!(
                found.len() >= items,
                "{}: {} of {items} in src/{}",
                article.name,
                found.len(),
                file.name
            );
        }
        assert!(tried >= 8 * article.least.0, "{}: {tried}", article.name);
    }
}

/// Each law finds each of its breaches in four places: alone in a file, after items for tests, between such items,
/// and inside a method.
#[test]
fn each_law_fails_where_it_is_broken() {
    for article in LAWS {
        let file =
            library().files.iter().find(|file| (article.is_about)(&file.name) && file.name != "lib.rs");
        let name = &file.unwrap().name;
        let tests = "#[cfg(test)]\nfn one() { std::time::Instant::now(); unsafe { tokio::spawn(async {}) } }\n\
                     #[cfg(test)]\nmod more { use crate::{client, pool, exchange}; }\n";
        assert_eq!(look(article, name, tests), Vec::<String>::new(), "{}", article.name);
        let comment =
            "//! Instant::now()\n/// tokio::spawn, unsafe, crate::client\nfn fine() { \"Instant::now\"; }\n";
        assert_eq!(look(article, name, comment), Vec::<String>::new(), "{}", article.name);
        for breach in article.breaches {
            for text in [
                (*breach).to_owned(),
                format!("{tests}{breach}"),
                format!("{tests}{breach}\n{tests}"),
                format!(
                    "struct Owner;\nimpl Owner {{\n#[cfg(test)]\nfn one() {{}}\nfn two() {{ {breach} }}\n}}"
                ),
            ] {
                assert_found(article, name, &text, breach);
            }
        }
    }
}

/// A file that may spawn once may not spawn twice. The file `lib.rs` has to forbid unsafe code.
#[test]
fn what_is_allowed_once_is_allowed_once() {
    let article = |name: &str| LAWS.iter().find(|article| article.name == name).unwrap();
    let spawned = article("only listed files spawn tasks");
    let text = "fn run() { runtime.spawn(drain(lease)); }";
    assert_eq!(look(spawned, "exchange/drain.rs", text), Vec::<String>::new());
    assert_eq!(look(spawned, "exchange/send.rs", text).len(), 1);
    assert_eq!(look(spawned, "exchange/drain.rs", &format!("{text}\n{text}")).len(), 2);
    let root = texts()["lib.rs"].replace("#![forbid(unsafe_code)]", "");
    let tree = Tree::of(&BTreeMap::from_iter(
        texts()
            .iter()
            .map(|(name, text)| (name.clone(), if name == "lib.rs" { &root } else { text }.clone())),
    ));
    assert_eq!(there_is_no_unsafe_code(&tree).found.len(), 1);
}

/// The tree leaves a file out only if all `mod` declarations of the file are for tests. The name of the file does not
/// matter.
#[test]
fn a_file_of_tests_is_what_only_tests_use() {
    let tree = |root: &str| {
        let files = [("lib.rs", root), ("some_tests.rs", "mod below;"), ("some_tests/below.rs", "")];
        Tree::of(&files.into_iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect())
    };
    let names = |tree: Tree| tree.files.into_iter().map(|file| file.name).collect::<Vec<_>>();
    assert_eq!(names(tree("#[cfg(test)]\nmod some_tests;")), ["lib.rs"]);
    let all = ["lib.rs", "some_tests.rs", "some_tests/below.rs"];
    assert_eq!(names(tree("mod some_tests;")), all);
    assert_eq!(names(tree("#[cfg(any(test, unix))]\nmod some_tests;")), all);
    assert_eq!(tree("").strays.len(), 2);
}

#[track_caller]
fn assert_found(article: &Article, name: &str, text: &str, breach: &str) {
    let found = look(article, name, text);
    assert!(!found.is_empty(), "{}: {breach:?} is not seen in src/{name}", article.name);
}

/// Returns the breaches that a law finds in the file `name` of the library if the content of the file is `text`.
fn look(article: &Article, name: &str, text: &str) -> Vec<String> {
    let tree = library();
    let module = tree.files.iter().find(|file| file.name == name).unwrap().module.clone();
    let files = vec![File::new(name.to_owned(), module, text)];
    let (tests, strays, modules) = (BTreeSet::new(), BTreeSet::new(), tree.modules.clone());
    (article.law)(&Tree { files, tests, strays, modules }).found
}

/// Each file of the library has at most 700 lines, and begins with a paragraph that says what the file is for.
#[test]
fn no_file_is_long() {
    let is_wrong = |name: &str, text: &str| {
        let lines = text.lines().count();
        let is_told = name == "lib.rs" || text.starts_with("//! ");
        lines > 700 || !is_told
    };
    let files = &library().files;
    let wrong = files.iter().filter(|file| is_wrong(&file.name, &file.text)).map(|file| &file.name);
    assert_eq!(
        wrong.collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "these files have more than 700 lines, or do not begin with a paragraph that says what they are for"
    );
    assert!(files.len() >= 80);
    assert!(
        is_wrong("long.rs", &"//! Long.\n".repeat(701)) && !is_wrong("short.rs", &"//! Short.\n".repeat(700))
    );
    assert!(is_wrong("untold.rs", "use std::fmt;"));
}

/// No test in paused time uses a socket, because paused time jumps ahead while a test waits for a socket.
#[test]
fn no_test_pauses_time_over_sockets() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut paused, mut found) = (0, Vec::new());
    for path in tree::rust_files(&root.join("tests")).into_iter().chain(tree::rust_files(&root.join("src"))) {
        let text = std::fs::read_to_string(&path).unwrap();
        let tests = tree::paused_tests(&text);
        paused += tests.len();
        let name = path.strip_prefix(root).unwrap().display().to_string();
        let over_sockets =
            tests.into_iter().filter_map(|(test, word)| Some(format!("{name}: {test}: {}", word?)));
        found.extend(over_sockets);
    }
    assert!(found.is_empty(), "these tests use sockets in paused time:\n{}", found.join("\n"));
    assert!(paused >= 60, "only {paused} tests in paused time were seen");
    // The check finds each bad test, and reports no good test.
    let helper = "async fn serve() { tokio::net::TcpListener::bind(\"127.0.0.1:0\"); }";
    for (text, is_bad) in [
        ("#[tokio::test(start_paused = true)] async fn one() { TcpListener::bind(0); }".to_owned(), true),
        (format!("#[tokio::test(start_paused = true)] async fn one() {{ serve().await; }}\n{helper}"), true),
        (
            format!(
                "mod tests {{ #[tokio::test(flavor = \"current_thread\", start_paused = true)] async fn one() {{ two().await }} async fn two() {{ serve().await }} {helper} }}"
            ),
            true,
        ),
        (format!("#[tokio::test(start_paused = true)] async fn one() {{ other().await; }}\n{helper}"), false),
    ] {
        let tests = tree::paused_tests(&text);
        assert_eq!((tests.len(), tests[0].1.is_some()), (1, is_bad), "{text}");
    }
    assert_eq!(
        tree::paused_tests(&format!("#[tokio::test] async fn one() {{ serve().await; }}\n{helper}")).len(),
        0
    );
}

/// The order of spans is checked in every test binary that has a client: its own code switches the checker on, or the
/// servers of the kit do.
#[test]
fn every_binary_with_a_client_checks_the_order_of_spans() {
    let is_unchecked = |text: &str| {
        let ways = ["order::check_all()", "Server::start", "Server::echo", "Plain::start", "Peers::new"];
        text.contains("Client::") && !ways.iter().any(|way| text.contains(way))
    };
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let files = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "rs")).collect();
    // A binary may have more files in a folder of its name.
    let whole = |path: &Path| -> String {
        let more = path.with_extension("");
        let more = if more.is_dir() { tree::rust_files(&more) } else { Vec::new() };
        let all = std::iter::once(path.to_owned()).chain(more);
        all.map(|file| std::fs::read_to_string(file).unwrap()).collect()
    };
    let wrong: Vec<_> = files.iter().filter(|path| is_unchecked(&whole(path))).collect();
    assert!(
        wrong.is_empty() && files.len() >= 20,
        "of {} files these check no order: {wrong:?}",
        files.len()
    );
    assert!(is_unchecked("mod support; Client::new()") && !is_unchecked("Plain::start(); Client::new()"));
}

/// A thousand requests start no task, because the request future does its own I/O.
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
        // Waits until the dial's task has ended and only the reaper's task is left.
        let metrics = tokio::runtime::Handle::current().metrics();
        let settled = async {
            while metrics.num_alive_tasks() > 1 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), settled).await.expect("the dial's task ends");
        let before = metrics.num_alive_tasks();
        assert_eq!(before, 1, "only the reaper's task is left");
        for _ in 0..1_000 {
            assert_eq!(fetch().await, "1");
            assert_eq!(metrics.num_alive_tasks(), before);
        }
        let total = client.pool().stats().total;
        assert_eq!((total.opened, total.requests, total.reused), (1, 1_001, 1_000));
        assert_eq!((server.accepted(), server.requests()), (1, 1_001));
    });
}
