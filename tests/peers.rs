//! Requests to real servers: 1,000 requests on one connection to each server, plain and in TLS.
//!
//! The test starts each server on loopback with its own configuration. If a server is not installed, its test is
//! skipped and prints the reason.
#![cfg(feature = "rustls")]
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/order.rs"]
mod order;

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use handclasp::{Certificate, Client};

const REQUESTS: u64 = 1000;

#[tokio::test]
async fn nginx_answers_a_thousand_requests_on_one_connection() {
    let at = Place::new("nginx");
    let config = format!(
        "daemon off; pid pid; error_log stderr; worker_processes 1; events {{ worker_connections 64; }}\n\
         http {{ access_log off; client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f; uwsgi_temp_path u; \
         scgi_temp_path s; keepalive_requests 100000; ssl_certificate cert.pem; ssl_certificate_key key.pem;\n\
         server {{ listen 127.0.0.1:{}; location / {{ return 200 \"hello\\n\"; }} }}\n\
         server {{ listen 127.0.0.1:{} ssl; location / {{ return 200 \"hello\\n\"; }} }} }}\n",
        at.plain, at.tls
    );
    std::fs::write(at.dir.join("conf"), config).unwrap();
    let dir = at.dir.display().to_string();
    let server = at.start("nginx", &["-p", &dir, "-e", "stderr", "-c", "conf"]);
    at.check(server, "nginx").await;
}

#[tokio::test]
async fn apache_answers_a_thousand_requests_on_one_connection() {
    let at = Place::new("apache");
    let modules = Path::new("/usr/lib/apache2/modules");
    let load = |module: &str| format!("LoadModule {module}_module {}/mod_{module}.so\n", modules.display());
    let config = format!(
        "ServerRoot {dir}\nServerName localhost\n{}Listen 127.0.0.1:{}\nListen 127.0.0.1:{}\nPidFile {dir}/pid\n\
         ErrorLog {dir}/log\nDefaultRuntimeDir {dir}\nDocumentRoot {dir}/www\nKeepAlive On\nMaxKeepAliveRequests 0\n\
         TypesConfig /dev/null\n<Directory {dir}/www>\nRequire all granted\n</Directory>\n\
         <IfModule unixd_module>\nUser www-data\nGroup www-data\n</IfModule>\n\
         <VirtualHost 127.0.0.1:{}>\nSSLEngine on\nSSLCertificateFile {dir}/cert.pem\n\
         SSLCertificateKeyFile {dir}/key.pem\n</VirtualHost>\n",
        ["mpm_event", "authz_core", "mime", "socache_shmcb", "ssl"].map(load).concat(),
        at.plain,
        at.tls,
        at.tls,
        dir = at.dir.display()
    );
    std::fs::create_dir_all(at.dir.join("www")).unwrap();
    std::fs::write(at.dir.join("www/hello"), "hello\n").unwrap();
    std::fs::write(at.dir.join("conf"), config).unwrap();
    let conf = at.dir.join("conf").display().to_string();
    let server = at.start("apache2", &["-f", &conf, "-DFOREGROUND"]);
    at.check(server, "apache2").await;
}

#[tokio::test]
async fn node_answers_a_thousand_requests_on_one_connection() {
    let at = Place::new("node");
    let script = format!(
        "const fs = require('fs'), answer = (q, r) => r.end('hello\\n');\n\
         const [key, cert] = ['key.pem', 'cert.pem'].map(f => fs.readFileSync(__dirname + '/' + f));\n\
         const plain = require('http').createServer(answer).listen({}, '127.0.0.1');\n\
         const tls = require('https').createServer({{ key, cert }}, answer).listen({}, '127.0.0.1');\n\
         // The server keeps idle connections open without a limit, instead of for 5 s.\n\
         plain.keepAliveTimeout = tls.keepAliveTimeout = 0;\n",
        at.plain, at.tls
    );
    std::fs::write(at.dir.join("server.js"), script).unwrap();
    let path = at.dir.join("server.js").display().to_string();
    let server = at.start("node", &[&path]);
    at.check(server, "node").await;
}

#[tokio::test]
async fn python_answers_a_thousand_requests_on_one_connection() {
    let at = Place::new("python");
    let script = format!(
        "import http.server, os, ssl, threading\n\
         class Answer(http.server.BaseHTTPRequestHandler):\n\
         \x20   protocol_version = 'HTTP/1.1'\n\
         \x20   disable_nagle_algorithm = True\n\
         \x20   def do_GET(self):\n\
         \x20       self.send_response(200)\n\
         \x20       self.send_header('Content-Length', '6')\n\
         \x20       self.end_headers()\n\
         \x20       self.wfile.write(b'hello\\n')\n\
         \x20   def log_message(self, *args): pass\n\
         os.chdir(os.path.dirname(os.path.abspath(__file__)))\n\
         plain = http.server.ThreadingHTTPServer(('127.0.0.1', {}), Answer)\n\
         tls = http.server.ThreadingHTTPServer(('127.0.0.1', {}), Answer)\n\
         context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n\
         context.load_cert_chain('cert.pem', 'key.pem')\n\
         tls.socket = context.wrap_socket(tls.socket, server_side=True)\n\
         threading.Thread(target=tls.serve_forever, daemon=True).start()\n\
         plain.serve_forever()\n",
        at.plain, at.tls
    );
    std::fs::write(at.dir.join("server.py"), script).unwrap();
    let path = at.dir.join("server.py").display().to_string();
    let server = at.start("python3", &[&path]);
    at.check(server, "python3").await;
}

/// Directory, ports and certificate of one server.
struct Place {
    dir: PathBuf,
    plain: u16,
    tls: u16,
    ca: String,
}

/// Process of a server, which ends when this value is dropped. The process gets a signal to terminate first, so that
/// it also ends its workers.
struct Server(Child);

impl Drop for Server {
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
    fn new(name: &str) -> Self {
        let dir =
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("peers-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(dir.join("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(dir.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        let [plain, tls] = free_ports();
        Self { dir, plain, tls, ca: made.cert.pem() }
    }

    /// Starts the program and waits until it listens. Returns `None` and prints the reason if the program cannot be
    /// started.
    fn start(&self, program: &str, args: &[&str]) -> Option<Server> {
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = match command.spawn() {
            Ok(child) => Server(child),
            Err(error) => {
                println!("skipped: {program} is not installed ({error})");
                return None;
            }
        };
        let until = Instant::now() + Duration::from_secs(20);
        while Instant::now() < until {
            if [self.plain, self.tls].iter().all(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok()) {
                return Some(child);
            }
            if child.0.try_wait().unwrap().is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = child.0.kill();
        let said = child
            .0
            .stderr
            .take()
            .map(|err| BufReader::new(err).lines().map_while(Result::ok).collect::<Vec<_>>());
        println!("skipped: {program} does not start here: {}", said.unwrap_or_default().join(" / "));
        None
    }

    async fn check(&self, server: Option<Server>, name: &str) {
        let Some(_server) = server else { return };
        for (scheme, port) in [("http", self.plain), ("https", self.tls)] {
            order::check_all();
            let client = Client::builder()
                .add_root_certificate(Certificate::from_pem(self.ca.as_bytes()).unwrap())
                .resolve("localhost", SocketAddr::from(([127, 0, 0, 1], 0)))
                .build()
                .unwrap();
            let url: http::Uri = format!("{scheme}://localhost:{port}/hello").parse().unwrap();
            for _ in 0..REQUESTS {
                let response = client.get(&url).send().await.unwrap();
                assert_eq!(response.status(), 200);
                assert_eq!(response.text().await.unwrap(), "hello\n");
            }
            let total = client.pool().stats().total;
            println!("{name} by {scheme}: {total}");
            assert_eq!(
                (total.opened, total.requests, total.reused),
                (1, REQUESTS, REQUESTS - 1),
                "{name} by {scheme}"
            );
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Returns two free ports that the system does not give to outgoing connections (it gives ports from 32,768 or from
/// 49,152 on). If the ports were in that range, another test's connection could take one of them before the server
/// does. The connection that asks whether the server listens yet could take one too, because a connection from a port
/// to itself succeeds. Each process begins to search at a different port.
fn free_ports() -> [u16; 2] {
    static ASKED: AtomicU32 = AtomicU32::new(0);
    let mut ports = std::iter::repeat_with(|| {
        let asked = ASKED.fetch_add(1, Ordering::Relaxed);
        10_000 + (std::process::id().wrapping_mul(97).wrapping_add(asked) % 20_000) as u16
    });
    let mut next = || ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap();
    [next(), next()]
}
