//! The table of cases: what the default resolver answers, and what `getaddrinfo` answers with the same files.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use handclasp::{AddressFilter, Client, HickoryResolver};

use crate::namespace::Namespace;
use crate::support::dns::{DnsServer, Fault, Kind};
use crate::support::within;
use crate::{DNS, Failed, Nothing, Outcome, by_the_system, found, look_up};

/// What a case expects.
enum Expected {
    /// Both resolvers have this outcome.
    Same(Outcome),
    /// The default resolver has the first outcome and `getaddrinfo` the second, for this reason.
    Differs(Outcome, Outcome, &'static str),
}

use Expected::{Differs, Same};

/// Returns the addresses among which a client chooses to connect to `host`.
async fn by_a_client(host: &str) -> Outcome {
    let seen = Arc::<Mutex<Vec<String>>>::default();
    let record = Arc::clone(&seen);
    let filter = AddressFilter::from_fn(move |candidate| {
        record.lock().unwrap().push(candidate.address().ip().to_string());
        false
    });
    let client = Client::builder().address_filter(filter).dns_timeout(None).build().unwrap();
    let error = within(60, client.get(format!("http://{host}:8081/")).send()).await.unwrap_err();
    let seen = seen.lock().unwrap();
    match (seen.is_empty(), error.to_string().contains("no such host")) {
        (false, _) => found(&seen.iter().map(String::as_str).collect::<Vec<_>>()),
        (true, true) => Nothing,
        (true, false) => Failed,
    }
}

/// Checks cases with the current files.
async fn check(what: &str, cases: &[(&str, Expected)]) {
    let resolver = HickoryResolver::new();
    let mut wrong = Vec::new();
    for (name, expected) in cases {
        let (ours, system) = (look_up(&resolver, name).await, by_the_system(name).await);
        let client = by_a_client(name).await;
        let (is_right, why) = match expected {
            Same(outcome) => (ours == *outcome && system == *outcome && client == *outcome, ""),
            Differs(own, other, why) => (ours == *own && client == *own && system == *other, *why),
        };
        if !is_right {
            wrong.push(format!(
                "{name}: the resolver says {ours:?}, the client {client:?}, getaddrinfo {system:?} {why}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{what}:\n{}", wrong.join("\n"));
}

/// Starts a name server with the records of the cases.
fn server(at: SocketAddr) -> DnsServer {
    let dns = DnsServer::start_at(at);
    dns.address("four.test.", "192.0.2.4", 60).address("six.test.", "2001:db8::6", 60);
    dns.address("both.test.", "192.0.2.4", 60).address("both.test.", "2001:db8::6", 60);
    for n in 1..=3 {
        dns.address("many.test.", &format!("192.0.2.{n}"), 60);
        dns.address("many.test.", &format!("2001:db8::{n}"), 60);
    }
    dns.alias("one.test.", "two.test.", 60).alias("two.test.", "both.test.", 60);
    dns.alias("lost.test.", "gone.test.", 60).nothing("empty.test.");
    dns.address("a_b.test.", "192.0.2.5", 60).address("_a.b_.test.", "192.0.2.5", 60);
    dns.address("xn--bcher-kva.test.", "192.0.2.7", 60).address("3com.test.", "192.0.2.8", 60);
    dns.address("svc.one.corp.", "192.0.2.11", 60).address("svc.two.corp.", "2001:db8::12", 60);
    dns.address("a.b.one.corp.", "192.0.2.13", 60).address("a.b.", "192.0.2.14", 60);
    dns.address("both.test.one.corp.", "192.0.2.15", 60).address("only.", "192.0.2.16", 60);
    dns.address("under.my_corp.", "192.0.2.17", 60).address("svc.host.corp.", "192.0.2.18", 60);
    dns
}

#[tokio::test]
async fn records_and_their_absence() {
    let Some(files) = Namespace::enter("compared::records_and_their_absence") else { return };
    let dns = server(DNS);
    files.set_resolv_conf("nameserver 127.0.0.1\noptions timeout:1 attempts:1");
    files.set_hosts("");
    for kind in [Kind::A, Kind::Aaaa] {
        dns.fault("fails.test.", kind, Fault::Fails).fault("refuses.test.", kind, Fault::Refuses);
        dns.fault("silent.test.", kind, Fault::Silent).fault("cut.test.", kind, Fault::Truncated);
    }
    for n in 1..=60 {
        dns.address("cut.test.", &format!("192.0.2.{n}"), 60);
    }
    let cut: Vec<_> = (1..=60).map(|n| format!("192.0.2.{n}")).collect();
    dns.address("half.test.", "192.0.2.1", 60).fault("half.test.", Kind::Aaaa, Fault::Fails);
    dns.address("half6.test.", "2001:db8::1", 60).fault("half6.test.", Kind::A, Fault::Fails);
    dns.nothing("none.test.").fault("none.test.", Kind::A, Fault::Fails);
    let long = "a".repeat(63);
    let too_long = "a".repeat(64);
    dns.address(&format!("{long}.test."), "192.0.2.9", 60);
    let both = || Same(found(&["192.0.2.4", "2001:db8::6"]));
    let many = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1", "2001:db8::2", "2001:db8::3"];
    check(
        "records",
        &[
            ("four.test", Same(found(&["192.0.2.4"]))),
            ("six.test", Same(found(&["2001:db8::6"]))),
            ("both.test", both()),
            ("both.test.", both()),
            ("BOTH.Test", both()),
            ("many.test", Same(found(&many))),
            ("one.test", both()),
            ("two.test.", both()),
            ("lost.test", Same(Nothing)),
            ("nosuch.test", Same(Nothing)),
            ("nosuch.test.", Same(Nothing)),
            ("empty.test", Same(Nothing)),
            ("fails.test", Same(Failed)),
            ("fails.test.", Same(Failed)),
            ("refuses.test", Same(Failed)),
            ("silent.test", Same(Failed)),
            ("half.test", Same(found(&["192.0.2.1"]))),
            ("half6.test", Same(found(&["2001:db8::1"]))),
            (
                "none.test",
                Differs(Failed, Nothing, "the query for A failed, so that the name may have an address"),
            ),
            ("cut.test", Same(found(&cut.iter().map(String::as_str).collect::<Vec<_>>()))),
            ("a_b.test", Same(found(&["192.0.2.5"]))),
            ("_a.b_.test", Same(found(&["192.0.2.5"]))),
            ("xn--bcher-kva.test", Same(found(&["192.0.2.7"]))),
            ("3com.test", Same(found(&["192.0.2.8"]))),
            (&format!("{long}.test"), Same(found(&["192.0.2.9"]))),
            (
                &format!("{too_long}.test"),
                Differs(Failed, Nothing, "the error says that the name is too long"),
            ),
            ("only", Same(found(&["192.0.2.16"]))),
            ("only.", Same(found(&["192.0.2.16"]))),
        ],
    )
    .await;
}

#[tokio::test]
async fn search_lists() {
    let Some(files) = Namespace::enter("compared::search_lists") else { return };
    let dns = server(DNS);
    files.set_hosts("");
    let use_lines = |lines: &str| files.set_resolv_conf(&format!("nameserver 127.0.0.1\n{lines}"));
    let own = || Same(found(&["192.0.2.4", "2001:db8::6"]));

    for (lines, first, second) in [
        ("search one.corp two.corp", "192.0.2.11", "192.0.2.14"),
        ("search one.corp two.corp\noptions ndots:1", "192.0.2.11", "192.0.2.14"),
        ("search two.corp one.corp", "2001:db8::12", "192.0.2.14"),
        ("search zero.corp one.corp", "192.0.2.11", "192.0.2.14"),
        ("search . one.corp", "192.0.2.11", "192.0.2.14"),
        ("search one.corp.", "192.0.2.11", "192.0.2.14"),
        ("search ONE.Corp", "192.0.2.11", "192.0.2.14"),
        ("domain one.corp", "192.0.2.11", "192.0.2.14"),
        // The last line counts, of whichever kind.
        ("domain two.corp\nsearch one.corp", "192.0.2.11", "192.0.2.14"),
        ("search two.corp\ndomain one.corp", "192.0.2.11", "192.0.2.14"),
        ("search two.corp\nsearch one.corp", "192.0.2.11", "192.0.2.14"),
        ("search\tone.corp\t two.corp", "192.0.2.11", "192.0.2.14"),
        ("; a comment\n# another\n\nsearch one.corp", "192.0.2.11", "192.0.2.14"),
        // An option that nobody knows does not change the options around it.
        ("search one.corp\noptions unknown other:7 ndots:2 more:x", "192.0.2.11", "192.0.2.13"),
        ("search one.corp\noptions edns0 trust-ad rotate single-request ndots:2", "192.0.2.11", "192.0.2.13"),
        ("search -- one.corp", "192.0.2.11", "192.0.2.14"),
        ("search my_corp one.corp", "192.0.2.11", "192.0.2.14"),
    ] {
        use_lines(lines);
        let cases = [
            ("svc", Same(found(&[first]))),
            ("a.b", Same(found(&[second]))),
            ("a.b.", Same(found(&["192.0.2.14"]))),
            ("svc.", Same(Nothing)),
            ("only.", Same(found(&["192.0.2.16"]))),
            ("only", Same(found(&["192.0.2.16"]))),
            ("nosuch", Same(Nothing)),
            ("both.test.", own()),
        ];
        check(lines, &cases).await;
    }

    use_lines("search one.corp\noptions ndots:5");
    let cases = [
        ("svc", Same(found(&["192.0.2.11"]))),
        ("both.test", Same(found(&["192.0.2.15"]))),
        ("both.test.", own()),
        ("a.b", Same(found(&["192.0.2.13"]))),
        ("four.test", Same(found(&["192.0.2.4"]))),
        ("nosuch.test", Same(Nothing)),
    ];
    check("ndots:5", &cases).await;

    use_lines("search one.corp\noptions ndots:0");
    check("ndots:0", &[("only", Same(found(&["192.0.2.16"]))), ("svc", Same(found(&["192.0.2.11"])))]).await;

    use_lines("search my_corp");
    check("an underscore in a domain", &[("under", Same(found(&["192.0.2.17"])))]).await;

    // Without a search list, the domain of this machine's host name counts.
    use_lines("options ndots:1");
    check("host name", &[("svc", Same(found(&["192.0.2.18"]))), ("only", Same(found(&["192.0.2.16"])))])
        .await;

    use_lines("search a..b one.corp");
    let why = "a domain that is no name is left out";
    let cases = [
        ("svc", Differs(found(&["192.0.2.11"]), Nothing, why)),
        ("both.test", own()),
        ("both.test.", own()),
        ("nosuch.test.", Same(Nothing)),
    ];
    check("a domain that is no name", &cases).await;

    // A server's failure for one domain does not end the search. A refusal or silence does.
    for kind in [Kind::A, Kind::Aaaa] {
        dns.fault("svc.fails.corp.", kind, Fault::Fails).fault("svc.refuses.corp.", kind, Fault::Refuses);
        dns.fault("svc.silent.corp.", kind, Fault::Silent).fault("only.fails.corp.", kind, Fault::Fails);
        dns.fault("other.fails.corp.", kind, Fault::Fails);
    }
    let why = "the C library tries the name as it is, although a name that comes first may exist";
    for (domain, svc) in [
        ("fails.corp", Same(found(&["192.0.2.11"]))),
        ("refuses.corp", Differs(Failed, Nothing, why)),
        ("silent.corp", Differs(Failed, Nothing, why)),
    ] {
        use_lines(&format!("search {domain} one.corp\noptions timeout:1 attempts:1"));
        check(domain, &[("svc", svc)]).await;
    }
    use_lines("search fails.corp");
    check("fails", &[("only", Same(found(&["192.0.2.16"]))), ("other", Same(Failed))]).await;
}

#[tokio::test]
async fn the_hosts_file() {
    let Some(files) = Namespace::enter("compared::the_hosts_file") else { return };
    let _dns = server(DNS);
    files.set_resolv_conf("nameserver 127.0.0.1\nsearch one.corp");
    files.set_hosts(
        &b"# K\xf6ln is not UTF-8\n\
          127.0.0.1 localhost\n\
          198.51.100.1\tfixed.test fixed alias.test\t Capital.Test # a comment\n\
          198.51.100.2 twice.test#no space\n\
          198.51.100.3 twice.test\n\
          2001:db8::51 twice.test\n\
          2001:db8::52 four.test\n\
          \x20\t198.51.100.5   spaced.test\n\
          198.51.100.6 my_service _dot.under_score\n\
          198.51.100.7 xn--bcher-kva.test\n\
          not-an-address wrong.test\n\
          198.51.100 wrong.test\n\
          198.51.100.8\n\
          198.51.100.9 b\xfccher.test after.test\n\
          198.51.100.10 crlf.test\r\n\
          198.51.100.11 svc\n\
          198.51.100.12 last.test"[..],
    );
    let (fixed, twice) = (|| found(&["198.51.100.1"]), ["198.51.100.2", "198.51.100.3", "2001:db8::51"]);
    check(
        "hosts",
        &[
            ("fixed.test", Same(fixed())),
            ("fixed", Same(fixed())),
            ("alias.test", Same(fixed())),
            ("capital.test", Same(fixed())),
            ("CAPITAL.TEST", Same(fixed())),
            ("twice.test", Same(found(&twice))),
            // The hosts file has the name, so that DNS is not asked for the other family.
            ("four.test", Same(found(&["2001:db8::52"]))),
            ("spaced.test", Same(found(&["198.51.100.5"]))),
            ("my_service", Same(found(&["198.51.100.6"]))),
            ("_dot.under_score", Same(found(&["198.51.100.6"]))),
            ("xn--bcher-kva.test", Same(found(&["198.51.100.7"]))),
            ("wrong.test", Same(Nothing)),
            ("after.test", Same(found(&["198.51.100.9"]))),
            ("crlf.test", Same(found(&["198.51.100.10"]))),
            // The hosts file comes before the search list.
            ("svc", Same(found(&["198.51.100.11"]))),
            ("svc.one.corp", Same(found(&["192.0.2.11"]))),
            ("last.test", Same(found(&["198.51.100.12"]))),
            (
                "fixed.test.",
                Differs(fixed(), Nothing, "a final dot does not make a name of the hosts file another name"),
            ),
        ],
    )
    .await;
}

/// hickory asked two servers at once and took the faster answer, and asked no other server after a failure.
#[tokio::test]
async fn name_servers_are_asked_in_order() {
    let Some(files) = Namespace::enter("compared::name_servers_are_asked_in_order") else { return };
    let (first, second) = (server(DNS), DnsServer::start_at(SocketAddr::from(([127, 0, 0, 2], 53))));
    files.set_hosts("");
    files.set_resolv_conf("nameserver 127.0.0.1\nnameserver 127.0.0.2\noptions timeout:2 attempts:1");
    let later = [
        ("fails.test.", Fault::Fails, "192.0.2.31"),
        ("refuses.test.", Fault::Refuses, "192.0.2.32"),
        ("silent.test.", Fault::Silent, "192.0.2.33"),
    ];
    for (name, fault, address) in later {
        second.address(name, address, 60);
        first.fault(name, Kind::A, fault).fault(name, Kind::Aaaa, fault);
    }
    // The first server knows the name, or knows that there is no such name.
    second.address("four.test.", "192.0.2.34", 60).address("nosuch.test.", "192.0.2.35", 60);
    for _ in 0..5 {
        let cases = [
            ("four.test", Same(found(&["192.0.2.4"]))),
            ("six.test", Same(found(&["2001:db8::6"]))),
            ("nosuch.test.", Same(Nothing)),
            ("empty.test.", Same(Nothing)),
        ];
        check("the first server answers", &cases).await;
    }
    assert_eq!(second.asked(), [], "the second server was not asked");
    let cases = later.map(|(name, _, address)| (name, Same(found(&[address]))));
    check("the first server does not answer", &cases).await;

    // Nothing listens at the first address.
    files.set_resolv_conf("nameserver 127.0.0.3\nnameserver 127.0.0.1\noptions timeout:2 attempts:1");
    check("no server at the first address", &[("four.test", Same(found(&["192.0.2.4"])))]).await;
    files.set_resolv_conf("nameserver nonsense\nnameserver 127.0.0.1");
    check("no address", &[("four.test", Same(found(&["192.0.2.4"])))]).await;
    files.set_resolv_conf("options ndots:1");
    let why = "without a name server, the C library asks 127.0.0.1, and the client reports an error";
    check("no name server", &[("four.test", Differs(Failed, found(&["192.0.2.4"]), why))]).await;
}
