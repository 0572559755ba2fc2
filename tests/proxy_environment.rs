//! Tests of the proxies that the environment names. Each case runs in its own process, because a process has one
//! environment.
#![cfg(feature = "proxy")]
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "support/mod.rs"]
mod support;

use std::process::Command;

use support::{Server, within};

/// Runs [`child`] with these variables and no other variables that name proxies. Returns what the child prints.
fn run(url: &str, builds: &str, variables: &[(&str, &str)]) -> String {
    let mut child = Command::new(std::env::current_exe().unwrap());
    for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
        child.env_remove(name).env_remove(name.to_uppercase());
    }
    child.args(["--exact", "child", "--ignored", "--nocapture"]).env_remove("REQUEST_METHOD");
    child.env("TEST_URL", url).env("TEST_BUILDS", builds).envs(variables.iter().copied());
    let out = child.output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

/// Makes the request of a case and prints the outcome.
#[tokio::test]
#[ignore = "the other tests run this test as a program of their own"]
async fn child() {
    let url = std::env::var("TEST_URL").unwrap();
    let client = match &*std::env::var("TEST_BUILDS").unwrap() {
        "no_proxy" => handclasp::Client::builder().no_proxy().build().unwrap(),
        "builder" => handclasp::Client::builder().build().unwrap(),
        _ => handclasp::Client::new(),
    };
    match within(20, client.get(&url).send()).await {
        Ok(response) => println!("got {}", response.text().await.unwrap()),
        Err(error) => println!("failed {:?} {} {error:?}", error.kind(), error.chain()),
    }
    println!("client {client:?}");
}

#[test]
fn a_61_a_client_takes_its_proxies_from_the_environment_unless_it_is_told_not_to() {
    let proxy = Server::echo();
    let with = |login: &str| format!("http://{login}{}", proxy.address());
    let (plain, known) = (with(""), with("user:planted@"));
    let url = "http://a.invalid/x";
    let through = format!("got {url}");
    for (builds, variables, expected) in [
        ("new", &[("http_proxy", &*known)][..], &*through),
        ("builder", &[("HTTP_PROXY", &*plain)], &*through),
        ("new", &[("ALL_PROXY", &*plain), ("NO_PROXY", "b.invalid")], &*through),
        ("no_proxy", &[("http_proxy", &*plain)], "failed "),
        ("new", &[("http_proxy", &*plain), ("no_proxy", "invalid")], "failed "),
        ("new", &[("https_proxy", &*plain)], "failed "),
        // The field `Proxy` of a CGI request becomes this variable.
        ("new", &[("HTTP_PROXY", &*plain), ("REQUEST_METHOD", "GET")], "failed "),
        ("new", &[("http_proxy", "ftp://user:planted@p.invalid")], "failed Proxy"),
    ] {
        let before = proxy.seen().len();
        let out = run(url, builds, variables);
        assert!(out.contains(expected), "A-61 {variables:?}: {out}");
        assert!(!out.contains("planted"), "A-60 {variables:?}: {out}");
        assert_eq!(proxy.seen().len() - before, usize::from(expected == through), "A-61 {variables:?}");
    }
    assert_eq!(proxy.fields("proxy-authorization")[0], ["Basic dXNlcjpwbGFudGVk"]);
    assert_eq!(proxy.fields("proxy-authorization")[1], Vec::<String>::new());
}

#[test]
fn a_61_this_machine_is_reached_without_a_proxy_of_the_environment() {
    let (proxy, server) = (Server::echo(), Server::echo());
    let named = format!("http://{}", proxy.address());
    for host in ["127.0.0.1", "localhost"] {
        let url = format!("http://{host}:{}/x", server.address().port());
        let out = run(&url, "new", &[("http_proxy", &named), ("all_proxy", &named)]);
        assert!(out.contains("got /x"), "A-61 {url}: {out}");
    }
    assert_eq!((proxy.seen().len(), server.seen().len()), (0, 2), "A-61");
}
