//! Requests through real proxies: squid, tinyproxy, dante and microsocks. Each proxy carries 1,000 http requests and
//! 1,000 https requests.
//!
//! Each test starts its proxy on loopback with a configuration of the test. If the proxy is not installed, the test is
//! skipped and prints the reason.
#![cfg(all(unix, feature = "proxy", feature = "rustls"))]
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

#[path = "support/mod.rs"]
mod support;

use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use handclasp::{Certificate, Client, ErrorKind, Phase, Proxy, Written};
use support::{Server, within};

const REQUESTS: u64 = 1_000;

#[tokio::test]
async fn squid_carries_a_thousand_requests() {
    let at = Place::new("squid");
    // The password is `pass`.
    std::fs::write(at.dir.join("users"), "user:$apr1$abcdefgh$rK/lObuciIG5ziaV8BdHR/\n").unwrap();
    let config = format!(
        "http_port 127.0.0.1:{}\nauth_param basic program /usr/lib/squid/basic_ncsa_auth {dir}/users\n\
         auth_param basic realm peers\nauth_param basic children 1\nacl known proxy_auth REQUIRED\n\
         http_access allow known\nhttp_access deny all\ncache deny all\ncache_mem 8 MB\naccess_log none\n\
         cache_log /dev/null\ncache_store_log none\npid_filename none\nnetdb_filename none\n\
         visible_hostname peers.test\nshutdown_lifetime 1 second\nmax_filedescriptors 1024\npinger_enable off\n",
        at.port,
        dir = at.dir.display()
    );
    std::fs::write(at.dir.join("conf"), config).unwrap();
    let conf = at.dir.join("conf").display().to_string();
    // The shared memory of squid has the name of the service.
    let service = format!("handclasp{}", std::process::id());
    let proxy = at.start("squid", &["-N", "-n", &service, "-f", &conf]);
    at.check(&proxy, "http", true, Some(407)).await;
    at.check_tunnels(&proxy).await;
}

#[tokio::test]
async fn tinyproxy_carries_a_thousand_requests() {
    let at = Place::new("tinyproxy");
    let config = format!(
        "Port {}\nListen 127.0.0.1\nTimeout 60\nMaxClients 50\nBasicAuth user pass\nLogLevel Critical\n",
        at.port
    );
    std::fs::write(at.dir.join("conf"), config).unwrap();
    let conf = at.dir.join("conf").display().to_string();
    let proxy = at.start("tinyproxy", &["-d", "-c", &conf]);
    // tinyproxy closes each connection after one forwarded request, and answers 401 or 407 to wrong credentials.
    at.check(&proxy, "http", false, Some(401)).await;
    at.check_tunnels(&proxy).await;
}

#[tokio::test]
async fn dante_carries_a_thousand_requests() {
    let at = Place::new("dante");
    let config = format!(
        "logoutput: stderr\ninternal: 127.0.0.1 port = {}\nexternal: lo\nclientmethod: none\nsocksmethod: none\n\
         user.privileged: nobody\nuser.unprivileged: nobody\nclient pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 }}\n\
         socks pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 }}\nsocks pass {{ from: 0.0.0.0/0 to: ::/0 }}\n",
        at.port
    );
    std::fs::write(at.dir.join("conf"), config).unwrap();
    let paths = ["conf", "pid"].map(|name| at.dir.join(name).display().to_string());
    let proxy = at.start("danted", &["-f", &paths[0], "-p", &paths[1]]);
    at.check(&proxy, "socks5h", true, None).await;
    // dante 1.4.2 does not know SOCKS4a: it connects to the address 0.0.0.1 that stands for a name.
    for scheme in ["socks5", "socks4"] {
        at.check_names(&proxy, scheme, "").await;
    }
    // Credentials that the proxy does not ask for are not sent.
    at.check_names(&proxy, "socks5", "user:pass@").await;
}

#[tokio::test]
async fn microsocks_carries_a_thousand_requests() {
    let at = Place::new("microsocks");
    let port = at.port.to_string();
    let proxy = at.start("microsocks", &["-i", "127.0.0.1", "-p", &port, "-u", "user", "-P", "pass"]);
    at.check(&proxy, "socks5h", true, Some(0)).await;
    at.check_names(&proxy, "socks5", "user:pass@").await;
}

/// Directory and port of one proxy.
struct Place {
    name: &'static str,
    dir: PathBuf,
    port: u16,
}

/// Process of a proxy, which ends when this value is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let asked = Command::new("kill").arg(self.0.id().to_string()).status();
        let until = Instant::now() + Duration::from_secs(5);
        while asked.is_ok() && Instant::now() < until && matches!(self.0.try_wait(), Ok(None)) {
            std::thread::yield_now();
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Place {
    fn new(name: &'static str) -> Self {
        let folder = format!("proxy-peers-{name}-{}", std::process::id());
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(folder);
        std::fs::create_dir_all(&dir).unwrap();
        Self { name, dir, port: free_port() }
    }

    /// Starts the program and waits until it listens. Returns `None` and prints the reason if the program cannot be
    /// started.
    fn start(&self, program: &str, args: &[&str]) -> Option<Running> {
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = match command.spawn() {
            Ok(child) => Running(child),
            Err(error) => {
                println!("skipped: {program} is not installed ({error})");
                return None;
            }
        };
        let until = Instant::now() + Duration::from_secs(20);
        while Instant::now() < until && child.0.try_wait().unwrap().is_none() {
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return Some(child);
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
        // dante changes its user, which only root may do.
        let is_root = std::fs::metadata("/proc/self").is_ok_and(|this| this.uid() == 0);
        assert!(program == "danted" && !is_root, "{program} is installed, but does not start");
        println!("skipped: {program} does not start without root");
        None
    }

    /// Sends the requests. `keeps` tells whether the proxy keeps a connection open after a forwarded request. `refusal`
    /// is the status of a forwarded request with wrong credentials, or `None` if the proxy takes no credentials.
    async fn check(&self, proxy: &Option<Running>, scheme: &str, keeps: bool, refusal: Option<u16>) {
        if proxy.is_none() {
            return;
        }
        let plain = Server::echo();
        let secured = Server::start_tls(|peer| {
            while let Some(request) = peer.request()? {
                peer.respond(&request.target)?;
            }
            Ok(())
        });
        let root = Certificate::from_pem(secured.authority()).unwrap();
        let client = |login: &str| {
            let proxy = Proxy::all(format!("{scheme}://{login}127.0.0.1:{}", self.port)).unwrap();
            Client::builder().add_root_certificate(root.clone()).proxy(proxy).build().unwrap()
        };
        let login = if refusal.is_some() { "user:pass@" } else { "" };
        for server in [&plain, &secured] {
            let client = client(login);
            for nth in 0..REQUESTS {
                let path = format!("/{nth}");
                let response = within(20, client.get(server.url(&path)).send()).await.unwrap();
                assert_eq!(response.text().await.unwrap(), path, "{}", self.name);
            }
            let stats = client.pool().stats();
            println!("{}: {stats}", self.name);
            assert_eq!(server.seen().len() as u64, REQUESTS, "{}", self.name);
            if keeps || server.url("").starts_with("https") {
                assert_eq!((stats.total.opened, stats.total.reused), (1, REQUESTS - 1), "{}", self.name);
                assert_eq!((stats.total.requests, server.connections()), (REQUESTS, 1), "{}", self.name);
            } else {
                // A request on a connection that the proxy is about to close is sent again.
                assert!(stats.total.requests >= REQUESTS, "{}: {stats}", self.name);
            }
        }
        for head in plain.seen().into_iter().chain(secured.seen()).map(|seen| seen.request.head) {
            let head = head.to_lowercase();
            assert!(!head.contains("proxy-authorization") && !head.contains("dxnlcjpwyxnz"), "A-60 {head}");
        }
        if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
            let server = Server::start_at(Ipv6Addr::LOCALHOST.into(), |peer| {
                while let Some(request) = peer.request()? {
                    peer.respond(&request.target)?;
                }
                Ok(())
            });
            let response = within(20, client(login).get(server.url("/v6")).send()).await.unwrap();
            assert_eq!(response.text().await.unwrap(), "/v6", "{}", self.name);
        }
        let error = within(20, client(login).get(format!("https://{}/", closed())).send()).await.unwrap_err();
        println!("{}: {}", self.name, error.chain());
        assert_eq!((error.kind(), error.phase()), (ErrorKind::Proxy, Some(Phase::Proxy)), "{}", self.name);
        let Some(refusal) = refusal else { return };
        for login in ["", "user:wrong@"] {
            let client = client(login);
            let error = within(20, client.get(secured.url("/no")).send()).await.unwrap_err();
            println!("{}: {}", self.name, error.chain());
            assert_eq!(
                (error.kind(), error.phase()),
                (ErrorKind::Proxy, Some(Phase::Proxy)),
                "{}",
                self.name
            );
            assert_eq!(error.request_written(), Written::Nothing);
            match within(20, client.get(plain.url("/no")).send()).await {
                Ok(response) => {
                    assert!([refusal, 407].contains(&response.status().as_u16()), "{}", self.name)
                }
                Err(error) => assert_eq!((error.kind(), refusal), (ErrorKind::Proxy, 0), "{}", self.name),
            }
        }
    }
}

impl Place {
    /// Sends requests to http URLs through tunnels of an HTTP proxy.
    async fn check_tunnels(&self, proxy: &Option<Running>) {
        if proxy.is_none() {
            return;
        }
        let (one, other) = (Server::echo(), Server::echo());
        let proxy = Proxy::all(format!("http://user:pass@127.0.0.1:{}", self.port)).unwrap().tunnel(true);
        let client = Client::builder().proxy(proxy).build().unwrap();
        for nth in 0..100 {
            for server in [&one, &other] {
                let path = format!("/{nth}");
                let response = within(20, client.get(server.url(&path)).send()).await.unwrap();
                assert_eq!(response.text().await.unwrap(), path, "{}", self.name);
            }
        }
        assert_eq!((one.connections(), other.connections()), (1, 1), "{}", self.name);
        assert_eq!(client.pool().stats().total.opened, 2, "{}: a tunnel serves its origin only", self.name);
    }

    /// Sends requests to a name that the client looks up. The server does not listen on the first
    /// address of the name, so that the proxy cannot open a connection to this address.
    async fn check_names(&self, proxy: &Option<Running>, scheme: &str, login: &str) {
        if proxy.is_none() {
            return;
        }
        let server = Server::echo();
        let port = server.address().port();
        let proxy = Proxy::all(format!("{scheme}://{login}127.0.0.1:{}", self.port)).unwrap();
        let addresses = [([127, 0, 0, 2], 0).into(), ([127, 0, 0, 1], 0).into()];
        let client = Client::builder().proxy(proxy).resolve_to_addrs("two.test", &addresses).build().unwrap();
        for nth in 0..100 {
            let url = format!("http://two.test:{port}/{nth}");
            let response = within(20, client.get(url).send()).await;
            let response =
                response.unwrap_or_else(|error| panic!("{} {scheme}: {}", self.name, error.chain()));
            assert_eq!(response.text().await.unwrap(), format!("/{nth}"), "{} {scheme}", self.name);
        }
        let total = client.pool().stats().total;
        assert_eq!((total.opened, total.reused), (1, 99), "{} {scheme}", self.name);
    }
}

/// Returns an address on which nothing listens.
fn closed() -> std::net::SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Returns a free port that the system does not give to outgoing connections: see `free_ports` in `peers.rs`.
fn free_port() -> u16 {
    static ASKED: AtomicU32 = AtomicU32::new(0);
    let mut ports = std::iter::repeat_with(|| {
        let asked = ASKED.fetch_add(1, Ordering::Relaxed);
        10_000 + (std::process::id().wrapping_mul(89).wrapping_add(asked) % 20_000) as u16
    });
    ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}
