//! Which module of the crate may use which other module: one table, and the tests that read it.

use std::collections::BTreeSet;

use super::{LAWS, library, look};

/// Files that no other file may use: the client, its builders, and the exports of the crate.
pub(super) const TOP: [&str; 9] = [
    "lib.rs",
    "client.rs",
    "config.rs",
    "request.rs",
    "request/content.rs",
    "request/proxy.rs",
    "request/unix.rs",
    "test_util.rs",
    "tower.rs",
];

/// Modules that every module except the codec may use. The files of `trace/` count as one module.
const LEAVES: [&str; 6] = ["error", "time", "timer", "timings", "trace", "buffer"];

/// Each module at the root of the crate, and the modules that it may use. The list is ordered from the top to the
/// leaves.
const BELOW: &[(&str, &[&str])] = &[
    ("tower", &["body", "client"]),
    ("har", &["record"]),
    ("metrics", &["pool", "record", "resolver"]),
    // The modules `client`, `config` and `request` use each other.
    (
        "client",
        &["body", "call", "config", "connect", "exchange", "pool", "redirect", "request", "response", "url"],
    ),
    (
        "config",
        &[
            "call", "client", "codec", "connect", "cookie", "exchange", "metrics", "pool", "record",
            "redirect", "resolver", "url",
        ],
    ),
    ("request", &["body", "call", "client", "codec", "connect", "redirect", "response", "url"]),
    (
        "call",
        &[
            "basic", "body", "codec", "connect", "cookie", "exchange", "pool", "record", "redirect",
            "response", "upgraded", "url",
        ],
    ),
    ("response", &["body", "codec", "cookie", "exchange", "pool", "record", "redirect", "upgraded"]),
    // A received body holds the exchange that reads the body. A received body may also be sent as the body of another request.
    ("body", &["codec", "exchange", "record", "redirect"]),
    ("exchange", &["body", "codec", "connect", "pool", "record"]),
    ("record", &["codec", "pool"]),
    ("upgraded", &["connect", "pool"]),
    ("pool", &["connect"]),
    // The look at an idle connection discards line ends, as the codec does before a response.
    ("connect", &["basic", "codec", "resolver"]),
    ("resolver", &[]),
    ("url", &[]),
    ("redirect", &["redact"]),
    // `no_redirect` stands in for `redirect`, and is compiled under the name `redirect`.
    ("no_redirect", &["redirect"]),
    ("cookie", &[]),
    ("basic", &[]),
    ("codec", &[]),
    ("trace", &["error", "time", "timings"]),
    ("error", &["redact", "redirect", "timings"]),
    ("timer", &["time"]),
    ("buffer", &[]),
    ("time", &[]),
    ("timings", &[]),
    ("redact", &[]),
];

/// Groups of modules that use each other, directly or through other modules of the group.
const CIRCLES: [&[&str]; 2] = [&["client", "config", "request"], &["body", "exchange"]];

/// Returns the name of the root module to which a file belongs.
pub(super) fn module_of(name: &str) -> &str {
    name.split('/').next().unwrap_or(name).trim_end_matches(".rs")
}

pub(super) fn may_use(module: &str, other: &str) -> bool {
    let listed =
        BELOW.iter().find(|(name, _)| *name == module).is_some_and(|(_, below)| below.contains(&other));
    // An error holds the redirects before the failure, so that the files of redirects are below the leaves.
    let is_below = ["codec", "redact", "redirect", "no_redirect"].contains(&module);
    let is_above_the_leaves = !is_below && !LEAVES.contains(&module);
    other == module || listed || (is_above_the_leaves && LEAVES.contains(&other))
}

/// Each module may use the modules that `BELOW` lists for it, and no other module.
#[test]
fn each_pair_of_modules_is_allowed_or_refused() {
    let article =
        LAWS.iter().find(|article| article.name == "each module uses only modules below it").unwrap();
    let modules: BTreeSet<_> = library().files.iter().map(|file| module_of(&file.name)).collect();
    let listed: BTreeSet<_> = BELOW.iter().map(|(name, _)| *name).collect();
    assert_eq!(modules.difference(&listed).collect::<Vec<_>>(), [&"lib", &"test_util"]);
    assert_eq!(listed.difference(&modules).count(), 0);
    let mut refused = 0;
    for module in &listed {
        let file = library().files.iter().find(|file| module_of(&file.name) == *module).unwrap();
        for other in &listed {
            let found = look(article, &file.name, &format!("use crate::{other}::Item;")).len();
            assert_eq!(found, usize::from(!may_use(module, other)), "{module} uses {other}");
            refused += found;
        }
    }
    assert!(refused > 180, "{refused}");
}

/// The modules of `BELOW` use each other in the circles that `CIRCLES` names, and in no other circle.
#[test]
fn modules_use_each_other_only_in_the_named_circles() {
    let names: Vec<_> = BELOW.iter().map(|(name, _)| *name).collect();
    let mut reached: BTreeSet<(&str, &str)> = BTreeSet::new();
    for module in &names {
        let mut left = vec![*module];
        while let Some(at) = left.pop() {
            for other in names.iter().filter(|other| **other != at && may_use(at, other)) {
                if reached.insert((module, other)) {
                    left.push(other);
                }
            }
        }
    }
    let both = reached.iter().filter(|(one, other)| one < other && reached.contains(&(other, one)));
    let outside = both
        .filter(|(one, other)| !CIRCLES.iter().any(|circle| circle.contains(one) && circle.contains(other)));
    assert_eq!(outside.collect::<Vec<_>>(), Vec::<&(&str, &str)>::new());
    assert!(reached.contains(&("client", "resolver")) && !reached.contains(&("resolver", "pool")));
}
