//! Real name servers, which the test starts on loopback with a zone of its own: knot has the zone, unbound and dnsmasq ask
//! knot.

use std::fmt::Write as _;
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use handclasp::{Family, HickoryResolver, Resolve};

use crate::namespace::Namespace;
use crate::support::within;
use crate::{Failed, Nothing, Outcome, by_the_system, found, look_up};

/// Number of addresses of the name whose answer does not fit into a UDP message.
const MANY: u8 = 120;

#[tokio::test]
async fn knot() {
    let Some(files) = Namespace::enter("servers::knot") else { return };
    let Some(_knot) = start_knot(&files, "127.0.0.1") else { return };
    check(&files, "knot").await;
}

#[tokio::test]
async fn unbound() {
    let Some(files) = Namespace::enter("servers::unbound") else { return };
    let Some(_knot) = start_knot(&files, "127.0.0.3") else { return };
    let folder = files.folder("unbound");
    let config = format!(
        "server:\n interface: 127.0.0.1\n do-daemonize: no\n use-syslog: no\n username: \"\"\n chroot: \"\"\n \
         directory: \"{dir}\"\n pidfile: \"{dir}/pid\"\n do-not-query-localhost: no\n module-config: \"iterator\"\n \
         num-threads: 1\n local-zone: \"test.\" transparent\n local-zone: \"silent.test.\" deny\n\
         remote-control:\n control-enable: no\n\
         stub-zone:\n name: \"test.\"\n stub-addr: 127.0.0.3\n",
        dir = folder.display()
    );
    fs::write(folder.join("conf"), config).unwrap();
    let args = ["-d", "-p", "-c", "conf"];
    let Some(_unbound) = start("unbound", &args, &folder, "127.0.0.1") else { return };
    check(&files, "unbound").await;

    files.set_resolv_conf("nameserver 127.0.0.1\noptions timeout:1 attempts:1");
    let resolver = HickoryResolver::new();
    assert_eq!(both(&resolver, "silent.test.").await, (Failed, Failed), "unbound does not answer");
}

#[tokio::test]
async fn dnsmasq() {
    let Some(files) = Namespace::enter("servers::dnsmasq") else { return };
    let Some(_knot) = start_knot(&files, "127.0.0.3") else { return };
    let folder = files.folder("dnsmasq");
    let args = [
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--no-resolv",
        "--no-hosts",
        "--listen-address=127.0.0.1",
        "--bind-interfaces",
        "--pid-file=",
        "--user=root",
        "--group=root",
        "--server=/test/127.0.0.3",
        "--address=/local.test/192.0.2.50",
    ];
    let Some(_dnsmasq) = start("dnsmasq", &args, &folder, "127.0.0.1") else { return };
    check(&files, "dnsmasq").await;

    // dnsmasq has an address of its own for a name and the names below it, and none of the other family.
    let resolver = HickoryResolver::new();
    let own = found(&["192.0.2.50"]);
    assert_eq!(both(&resolver, "a.local.test.").await, (own.clone(), own));
}

/// Checks the cases against the server at 127.0.0.1.
async fn check(files: &Namespace, server: &str) {
    files.set_hosts("");
    files.set_resolv_conf("nameserver 127.0.0.1\nsearch one.test two.test\noptions timeout:5 attempts:2");
    let resolver = HickoryResolver::new();
    let many: Vec<_> = (1..=MANY).map(|n| format!("192.0.2.{n}")).collect();
    for (name, expected) in [
        ("four.test.", found(&["192.0.2.4"])),
        ("six.test.", found(&["2001:db8::6"])),
        ("both.test.", found(&["192.0.2.4", "2001:db8::6"])),
        ("BOTH.test", found(&["192.0.2.4", "2001:db8::6"])),
        ("alias.test.", found(&["192.0.2.4", "2001:db8::6"])),
        ("lost.test.", Nothing),
        ("text.test.", Nothing),
        ("nosuch.test.", Nothing),
        ("brief.test.", found(&["192.0.2.1"])),
        ("any.wild.test.", found(&["192.0.2.2"])),
        ("a_b.test.", found(&["192.0.2.5"])),
        ("many.test.", Outcome::Found(many.iter().map(|address| address.parse().unwrap()).collect())),
        ("a.servfail.test.", Failed),
        // The first name of the search list that has either family wins.
        ("svc", found(&["192.0.2.11"])),
        ("other", found(&["2001:db8::12"])),
        ("nosuch.test", Nothing),
    ] {
        let (ours, system) = both(&resolver, name).await;
        assert_eq!(
            (&ours, &system),
            (&expected, &expected),
            "{server}: {name}: the resolver, and getaddrinfo"
        );
    }

    let answer = within(20, resolver.resolve("brief.test.", Family::V4)).await.unwrap();
    assert!(answer.valid_for.unwrap() <= Duration::from_secs(1), "{server}: {answer:?}");
    let nothing = within(20, resolver.resolve("nosuch.test.", Family::Both)).await.unwrap();
    assert!(nothing.valid_for.unwrap() <= Duration::from_secs(5), "{server}: {nothing:?}");
}

/// Returns the outcome of the resolver, and the outcome of `getaddrinfo`.
async fn both(resolver: &HickoryResolver, name: &str) -> (Outcome, Outcome) {
    (look_up(resolver, name).await, by_the_system(name).await)
}

/// Process of a server, which ends when this value is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts knot with the zone `test.`. knot answers SERVFAIL for the zone `servfail.test.`, because its file is missing.
fn start_knot(files: &Namespace, address: &str) -> Option<Running> {
    let folder = files.folder("knot");
    let dir = folder.display();
    let config = format!(
        "server:\n  rundir: \"{dir}\"\n  listen: {address}@53\ndatabase:\n  storage: \"{dir}\"\n\
         log:\n  - target: stderr\n    any: error\n\
         template:\n  - id: default\n    storage: \"{dir}\"\n    file: \"%s.zone\"\n\
         zone:\n  - domain: test.\n  - domain: servfail.test.\n"
    );
    fs::write(folder.join("conf"), config).unwrap();
    let mut zone = format!(
        "$ORIGIN test.\n$TTL 60\n\
        @ SOA ns hostmaster 1 3600 600 86400 5\n\
        @ NS ns\nns A {address}\n\
        four A 192.0.2.4\nsix AAAA 2001:db8::6\nboth A 192.0.2.4\nboth AAAA 2001:db8::6\n\
        alias CNAME alias2\nalias2 CNAME both\nlost CNAME gone\ntext TXT \"no address\"\n\
        brief 1 A 192.0.2.1\n*.wild A 192.0.2.2\na_b A 192.0.2.5\n\
        svc.one A 192.0.2.11\nsvc.two AAAA 2001:db8::12\nother.two AAAA 2001:db8::12\nservfail NS ns\n"
    );
    for n in 1..=MANY {
        writeln!(zone, "many A 192.0.2.{n}").unwrap();
    }
    fs::write(folder.join("test.zone"), zone).unwrap();
    start("knotd", &["-c", "conf"], &folder, address)
}

/// Starts the program and waits until it answers at `address`. Returns `None` and prints the reason if the program cannot
/// be started.
fn start(program: &str, args: &[&str], folder: &Path, address: &str) -> Option<Running> {
    let log = folder.join("log");
    // Debian has servers in a folder that is not in the path of every user.
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new(program);
    command.args(args).current_dir(folder).env("PATH", path).stdin(Stdio::null());
    command
        .stdout(fs::File::create(&log).unwrap())
        .stderr(fs::File::options().append(true).open(&log).unwrap());
    let mut running = match command.spawn() {
        Ok(child) => Running(child),
        Err(error) => {
            println!("skipped: {program} is not installed ({error})");
            return None;
        }
    };
    let until = Instant::now() + Duration::from_secs(20);
    let server: SocketAddr = format!("{address}:53").parse().unwrap();
    while Instant::now() < until && running.0.try_wait().unwrap().is_none() {
        if answers(server) {
            return Some(running);
        }
    }
    drop(running);
    println!(
        "skipped: {program} does not start here: {}",
        fs::read_to_string(log).unwrap().replace('\n', " / ")
    );
    None
}

/// Whether a name server answers a query within a moment.
fn answers(server: SocketAddr) -> bool {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    socket.connect(server).unwrap();
    // The SOA record of `test.`.
    let query = b"\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04test\x00\x00\x06\x00\x01";
    let sent = socket.send(query).is_ok();
    let answered = sent && socket.recv(&mut [0; 512]).is_ok();
    if !answered {
        // A port without a listener refuses at once.
        std::thread::park_timeout(Duration::from_millis(10));
    }
    answered
}
