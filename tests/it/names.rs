//! Names: the default resolver, and a client with its cache, against a DNS server of the test.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::net::IpAddr;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use futures_util::StreamExt;
use handclasp::test_util::hickory_from_files;
use handclasp::{Client, ErrorKind, Family, HickoryResolver, Resolve};

use crate::support::dns::{DnsServer, Fault, Kind, NEGATIVE_TTL};
use crate::support::plain::Plain;
use crate::support::{until, within};

fn resolver(dns: &DnsServer) -> HickoryResolver {
    hickory_from_files(dns.resolv_conf(), dns.hosts(), dns.port())
}

/// Returns the addresses of a name, in order, or the error.
async fn addresses(resolver: &impl Resolve, name: &str) -> Result<Vec<IpAddr>, String> {
    let answer = within(20, resolver.resolve(name, Family::Both)).await;
    let mut found: Vec<_> =
        answer.map_err(|error| error.to_string())?.addresses.iter().map(|a| a.ip()).collect();
    found.sort();
    Ok(found)
}

/// Lets time pass for the clock of this runtime.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

fn client(dns: &DnsServer) -> Client {
    Client::builder().dns_resolver(resolver(dns)).build().unwrap()
}

/// Sends a request to `host` on a new connection, and returns the error if it fails.
async fn fetch(client: &Client, server: &Plain, host: &str) -> handclasp::Result<()> {
    client.pool().close_idle();
    let url = format!("http://{host}:{}/", server.address.port());
    within(20, client.get(url).send()).await?.bytes().await.map(drop)
}

fn ips(all: &[&str]) -> Vec<IpAddr> {
    all.iter().map(|ip| ip.parse().unwrap()).collect()
}

/// Returns the names that were asked for, without repetitions.
fn names_asked(dns: &DnsServer) -> Vec<String> {
    let mut names: Vec<_> = dns.asked().into_iter().map(|asked| asked.name).collect();
    names.dedup();
    names
}

/// The families were walked apart once, so that the addresses of two different hosts were joined.
#[tokio::test]
async fn the_first_name_of_the_search_list_that_has_either_family_wins() {
    let dns = DnsServer::start();
    dns.address("svc.one.corp.", "192.0.2.1", 60).address("svc.two.corp.", "2001:db8::2", 60);
    dns.configure("search zero.corp one.corp two.corp");
    let resolver = resolver(&dns);
    assert_eq!(addresses(&resolver, "svc").await.unwrap(), ips(&["192.0.2.1"]));
    assert_eq!(names_asked(&dns), ["svc.zero.corp.", "svc.one.corp."]);

    // A name that exists without addresses does not end the search.
    dns.nothing("svc.one.corp.");
    assert_eq!(addresses(&resolver, "svc").await.unwrap(), ips(&["2001:db8::2"]));
    // The name itself comes last, because it has fewer dots than `ndots`.
    dns.nothing("svc.two.corp.").address("svc.", "192.0.2.3", 60);
    assert_eq!(addresses(&resolver, "svc").await.unwrap(), ips(&["192.0.2.3"]));
}

#[tokio::test]
async fn a_name_with_a_final_dot_is_absolute() {
    let dns = DnsServer::start();
    dns.address("api.test.evil.corp.", "192.0.2.66", 60).address("api.test.", "192.0.2.1", 60);
    dns.configure("search evil.corp\noptions ndots:5");
    let resolver = resolver(&dns);
    assert_eq!(addresses(&resolver, "api.test.").await.unwrap(), ips(&["192.0.2.1"]));
    assert_eq!(names_asked(&dns), ["api.test."]);
    assert_eq!(addresses(&resolver, "api.test").await.unwrap(), ips(&["192.0.2.66"]));
    dns.nothing("api.test.");
    assert_eq!(addresses(&resolver, "api.test.").await.unwrap(), ips(&[]));
}

#[tokio::test]
async fn a_and_aaaa_records_and_aliases_are_found() {
    let dns = DnsServer::start();
    dns.address("dual.test.", "192.0.2.1", 60).address("dual.test.", "2001:db8::1", 30);
    dns.alias("one.test.", "two.test.", 20).alias("two.test.", "dual.test.", 90);
    dns.alias("lost.test.", "gone.test.", 60).alias("loop.test.", "pool.test.", 60);
    dns.alias("pool.test.", "loop.test.", 60);
    let resolver = resolver(&dns);
    for (name, longest) in [("dual.test.", 30), ("one.test.", 20)] {
        let answer = resolver.resolve(name, Family::Both).await.unwrap();
        let valid_for = answer.valid_for.unwrap();
        assert!(valid_for <= Duration::from_secs(longest), "{name}: {valid_for:?}");
        assert!(valid_for > Duration::from_secs(longest - 15), "{name}: {valid_for:?}");
        assert_eq!(addresses(&resolver, name).await.unwrap(), ips(&["192.0.2.1", "2001:db8::1"]), "{name}");
    }
    for (family, expected) in [(Family::V4, "192.0.2.1:0"), (Family::V6, "[2001:db8::1]:0")] {
        let answer = resolver.resolve("one.test.", family).await.unwrap();
        assert_eq!(answer.addresses, [expected.parse().unwrap()]);
    }
    assert_eq!(addresses(&resolver, "lost.test.").await.unwrap(), ips(&[]));
    // Aliases that lead in a circle end somehow.
    let circle = addresses(&resolver, "loop.test.").await;
    assert!(circle.is_err() || circle.unwrap().is_empty());
    // Each lookup asks anew, because the client has a cache of its own.
    let before = dns.count("dual.test.", Kind::A);
    addresses(&resolver, "dual.test.").await.unwrap();
    assert_eq!(dns.count("dual.test.", Kind::A), before + 1);
}

#[tokio::test]
async fn no_such_name_and_no_address_are_answers_with_a_time() {
    let dns = DnsServer::start();
    dns.nothing("empty.test.");
    let resolver = resolver(&dns);
    for name in ["none.test.", "empty.test."] {
        let answer = resolver.resolve(name, Family::Both).await.unwrap();
        assert_eq!((answer.addresses.len(), answer.valid_for.is_some()), (0, true), "{name}");
        assert!(answer.valid_for.unwrap() <= Duration::from_secs(NEGATIVE_TTL.into()), "{name}");
    }
}

#[tokio::test]
async fn a_failure_is_told_apart_from_no_such_name() {
    let dns = DnsServer::start();
    dns.address("half.test.", "192.0.2.1", 60).fault("half.test.", Kind::Aaaa, Fault::Fails);
    dns.nothing("none.test.").fault("none.test.", Kind::A, Fault::Fails);
    dns.fault("both.test.", Kind::A, Fault::Fails).fault("both.test.", Kind::Aaaa, Fault::Fails);
    let resolver = resolver(&dns);
    assert_eq!(addresses(&resolver, "half.test.").await.unwrap(), ips(&["192.0.2.1"]), "R-8305-3-3");
    for name in ["none.test.", "both.test."] {
        let error = addresses(&resolver, name).await.unwrap_err();
        assert!(error.contains("Server Failure") || error.contains("ServFail"), "{name}: {error}");
    }
    // The rest of a half answer is missing, which the stream says by an error at its end.
    let parts: Vec<_> = resolver.resolve_stream("half.test.", Family::Both).collect().await;
    assert_eq!(parts.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false]);
}

/// A server that answers with an error for one domain may know the next. A server that does not answer will not answer
/// for the next domain either, so that another host must not take the place of the one that is meant.
#[tokio::test]
async fn the_search_goes_on_after_a_servers_error_and_ends_after_silence() {
    let dns = DnsServer::start();
    dns.address("svc.two.corp.", "192.0.2.2", 60);
    dns.configure("search one.corp two.corp\noptions timeout:1 attempts:1");
    let resolver = resolver(&dns);
    for kind in [Kind::A, Kind::Aaaa] {
        dns.fault("svc.one.corp.", kind, Fault::Fails);
    }
    assert_eq!(addresses(&resolver, "svc").await.unwrap(), ips(&["192.0.2.2"]));
    // If no name is found, the error is the outcome.
    let error = addresses(&resolver, "other").await;
    assert_eq!(error.unwrap(), ips(&[]));
    dns.nothing("svc.two.corp.");
    addresses(&resolver, "svc").await.unwrap_err();

    for kind in [Kind::A, Kind::Aaaa] {
        dns.fault("quiet.one.corp.", kind, Fault::Silent);
    }
    dns.address("quiet.two.corp.", "192.0.2.2", 60);
    let error = addresses(&resolver, "quiet").await.unwrap_err();
    assert!(error.contains("timed out"), "{error}");
    assert_eq!(dns.count("quiet.two.corp.", Kind::A), 0);
}

/// One family that never answered made the whole lookup fail once.
#[tokio::test]
async fn the_answer_of_one_family_comes_while_the_other_family_is_silent() {
    let dns = DnsServer::start();
    dns.address("half.test.", "192.0.2.1", 60).fault("half.test.", Kind::Aaaa, Fault::Silent);
    dns.address("other.test.", "2001:db8::1", 60).fault("other.test.", Kind::A, Fault::Silent);
    dns.configure("options timeout:1 attempts:1");
    let resolver = resolver(&dns);
    for (name, address) in [("half.test.", "192.0.2.1"), ("other.test.", "2001:db8::1")] {
        let mut parts = resolver.resolve_stream(name, Family::Both);
        let part = within(20, parts.next()).await.unwrap().unwrap();
        assert_eq!(
            part.addresses.iter().map(|a| a.ip()).collect::<Vec<_>>(),
            ips(&[address]),
            "R-8305-3-3: {name}"
        );
        let end = within(20, parts.next()).await.unwrap().unwrap_err().to_string();
        assert!(end.contains("timed out"), "{end}");
        assert!(within(20, parts.next()).await.is_none());
    }
}

#[tokio::test]
async fn parts_come_in_the_order_in_which_they_are_answered() {
    let dns = DnsServer::start();
    dns.address("dual.test.", "192.0.2.1", 60).address("dual.test.", "2001:db8::1", 60);
    let resolver = resolver(&dns);
    for (held, first) in [(Kind::A, "2001:db8::1"), (Kind::Aaaa, "192.0.2.1")] {
        dns.hold("dual.test.", held);
        let mut parts = resolver.resolve_stream("dual.test.", Family::Both);
        let part = within(20, parts.next()).await.unwrap().unwrap();
        assert_eq!(part.addresses[0].ip(), first.parse::<IpAddr>().unwrap());
        dns.release("dual.test.", held);
        assert!(within(20, parts.next()).await.unwrap().is_ok());
        assert!(within(20, parts.next()).await.is_none());
    }
}

#[tokio::test]
async fn a_truncated_answer_is_asked_for_again_over_tcp() {
    let dns = DnsServer::start();
    for n in 1..=60 {
        dns.address("many.test.", &format!("192.0.2.{n}"), 60);
    }
    dns.fault("many.test.", Kind::A, Fault::Truncated);
    let resolver = resolver(&dns);
    assert_eq!(addresses(&resolver, "many.test.").await.unwrap().len(), 60);
    let asked: Vec<_> = dns.asked().into_iter().filter(|asked| asked.kind == Kind::A).collect();
    assert_eq!(asked.iter().map(|asked| asked.is_tcp).collect::<Vec<_>>(), [false, true]);
}

/// The files were read once for each client once.
#[tokio::test]
async fn files_are_read_again_after_a_change_and_after_a_change_of_the_network() {
    let dns = DnsServer::start();
    dns.address("svc.one.corp.", "192.0.2.1", 60).address("svc.two.corp.", "192.0.2.2", 60);
    dns.configure("search one.corp");
    let resolver = resolver(&dns);
    assert_eq!(addresses(&resolver, "svc").await.unwrap(), ips(&["192.0.2.1"]));
    // A second passes, so that the next lookup checks the files.
    dns.configure("search two.corp");
    pass(Duration::from_secs(1)).await;
    assert_eq!(addresses(&resolver, "svc").await.unwrap(), ips(&["192.0.2.2"]));
    dns.set_hosts("192.0.2.3 svc");
    pass(Duration::from_secs(1)).await;
    assert_eq!(addresses(&resolver, "svc").await.unwrap(), ips(&["192.0.2.3"]), "the hosts file comes first");

    // No second has to pass after a change of the network.
    dns.set_hosts("");
    dns.configure("search one.corp");
    resolver.network_changed();
    assert_eq!(addresses(&resolver, "svc").await.unwrap(), ips(&["192.0.2.1"]));
}

/// One lookup for each family, on whatever runtime the requests are.
#[test]
fn a_hundred_requests_at_once_to_a_cold_name_make_one_lookup_for_each_family() {
    let (dns, server) = (DnsServer::start(), Plain::start());
    dns.address("cold.test.", "127.0.0.1", 60);
    let client = client(&dns);
    let url = format!("http://cold.test:{}/", server.address.port());
    let together = Arc::new(Barrier::new(4));
    let runtimes: Vec<_> = (0..4)
        .map(|n| {
            let (client, url, together) = (client.clone(), url.clone(), Arc::clone(&together));
            thread::spawn(move || {
                let mut builder = match n {
                    0 => tokio::runtime::Builder::new_multi_thread(),
                    _ => tokio::runtime::Builder::new_current_thread(),
                };
                let runtime = builder.enable_all().build().unwrap();
                together.wait();
                runtime.block_on(async {
                    let all: Vec<_> = (0..25).map(|_| tokio::spawn(client.get(&url).send())).collect();
                    for sent in all {
                        within(20, sent).await.unwrap().unwrap();
                    }
                });
            })
        })
        .collect();
    runtimes.into_iter().for_each(|runtime| runtime.join().unwrap());
    let counts = [Kind::A, Kind::Aaaa].map(|kind| dns.count("cold.test.", kind));
    assert_eq!(counts, [1, 1]);
}

#[tokio::test]
async fn rule_36_a_time_to_live_of_a_second_is_kept() {
    let (dns, server) = (DnsServer::start(), Plain::start());
    dns.address("brief.test.", "127.0.0.1", 1);
    let client = client(&dns);
    let asked = || dns.count("brief.test.", Kind::A);
    // The clock of the runtime goes on during this test, so that the first requests may take more than a second.
    fetch(&client, &server, "brief.test").await.unwrap();
    let before = asked();
    // Half a minute later, the answer can only be used if the lookup fails.
    pass(Duration::from_secs(30)).await;
    fetch(&client, &server, "brief.test").await.unwrap();
    until("the name is looked up again", || asked() == before + 1).await;

    // While lookups fail, requests go on.
    for kind in [Kind::A, Kind::Aaaa] {
        dns.fault("brief.test.", kind, Fault::Fails);
    }
    for _ in 0..3 {
        pass(Duration::from_secs(30)).await;
        fetch(&client, &server, "brief.test").await.unwrap();
    }
    // A name that is gone is gone, and a failure is no reason to believe so.
    for kind in [Kind::A, Kind::Aaaa] {
        dns.fault("brief.test.", kind, None);
    }
    dns.nothing("brief.test.");
    pass(Duration::from_secs(30)).await;
    let error = fetch(&client, &server, "brief.test").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Dns);
    let before = asked();
    fetch(&client, &server, "brief.test").await.unwrap_err();
    assert_eq!(asked(), before, "that there is no address is kept too");
}

#[tokio::test]
async fn a_failed_lookup_is_asked_again_and_a_change_of_the_network_empties_the_cache() {
    let (dns, server) = (DnsServer::start(), Plain::start());
    dns.address("svc.test.", "127.0.0.1", 60).fault("svc.test.", Kind::A, Fault::Fails);
    let client = client(&dns);
    let error = fetch(&client, &server, "svc.test").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Dns);
    dns.fault("svc.test.", Kind::A, None);
    fetch(&client, &server, "svc.test").await.unwrap();
    let before = dns.asked().len();
    fetch(&client, &server, "svc.test").await.unwrap();
    assert_eq!(dns.asked().len(), before);

    client.pool().on_network_change();
    fetch(&client, &server, "svc.test").await.unwrap();
    assert_eq!(dns.asked().len(), before + 2, "the name was asked for again");
}

/// At the deadline, what was answered is used.
#[tokio::test]
async fn one_silent_family_does_not_fail_a_request_and_two_do() {
    let (dns, server) = (DnsServer::start(), Plain::start());
    dns.address("half.test.", "127.0.0.1", 60).fault("half.test.", Kind::Aaaa, Fault::Silent);
    for kind in [Kind::A, Kind::Aaaa] {
        dns.fault("quiet.test.", kind, Fault::Silent);
    }
    let builder = Client::builder().dns_resolver(resolver(&dns)).dns_timeout(Duration::from_millis(500));
    let client = builder.build().unwrap();
    fetch(&client, &server, "half.test").await.unwrap();
    let error = fetch(&client, &server, "quiet.test").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    // The second dial joins the lookup of the first, or finds its answer.
    fetch(&client, &server, "half.test").await.unwrap();
}
