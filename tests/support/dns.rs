//! A DNS server on loopback, over UDP and TCP at the same port, whose zone and faults the test scripts.
//!
//! The server runs on threads of its own, so that it answers while a runtime is parked or its clock is paused. The
//! server answers like a recursive name server: it follows aliases within its zone, and a negative answer has a SOA
//! record.

use std::collections::{HashMap, HashSet};
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// Type of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    A,
    Aaaa,
    /// Any other type, by number.
    Other(u16),
}

/// A fault of the server when it is asked for one name and type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The server answers SERVFAIL.
    Fails,
    /// The server answers REFUSED.
    Refuses,
    /// The server never answers.
    Silent,
    /// Over UDP, the server sends an empty answer that is marked as truncated. Over TCP, it sends the whole answer.
    Truncated,
}

/// One query that the server got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The name, in lower case and with its final dot.
    pub name: String,
    pub kind: Kind,
    pub is_tcp: bool,
}

#[derive(Clone, Debug)]
enum Data {
    Address(IpAddr),
    Alias(String),
}

#[derive(Default)]
struct Zone {
    /// Records of each name, with their times to live in seconds. A name without records exists, and has no address.
    names: HashMap<String, Vec<(Data, u32)>>,
    faults: HashMap<(String, Kind), Fault>,
    /// Questions whose answers are held back.
    held: HashSet<(String, Kind)>,
    /// Queries over UDP whose answers are held back.
    waiting: Vec<(Vec<u8>, SocketAddr)>,
    asked: Vec<Asked>,
}

/// A DNS server. Its threads end with the process.
pub struct DnsServer {
    udp: UdpSocket,
    zone: Arc<Mutex<Zone>>,
    /// Folder of the files that name this server.
    folder: PathBuf,
}

impl DnsServer {
    /// Starts a server whose zone is empty: no name exists.
    pub fn start() -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// Starts a server at this address.
    pub fn start_at(address: SocketAddr) -> Self {
        let (udp, tcp) = bind_both(address);
        let zone = Arc::<Mutex<Zone>>::default();
        let (socket, shared) = (udp.try_clone().unwrap(), Arc::clone(&zone));
        std::thread::spawn(move || serve_udp(&socket, &shared));
        let shared = Arc::clone(&zone);
        std::thread::spawn(move || {
            for stream in tcp.incoming().flatten() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || serve_tcp(stream, &shared));
            }
        });
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("handclasp-dns-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let server = Self { udp, zone, folder };
        server.configure("");
        server.set_hosts("");
        server
    }

    pub fn port(&self) -> u16 {
        self.udp.local_addr().unwrap().port()
    }

    /// Writes a `resolv.conf` that names this server and has these further lines.
    pub fn configure(&self, lines: &str) {
        let text = format!("nameserver 127.0.0.1\n{lines}\n");
        replace(&self.resolv_conf(), &text);
    }

    /// Writes the hosts file.
    pub fn set_hosts(&self, lines: &str) {
        replace(&self.hosts(), lines);
    }

    pub fn resolv_conf(&self) -> PathBuf {
        self.folder.join("resolv.conf")
    }

    pub fn hosts(&self) -> PathBuf {
        self.folder.join("hosts")
    }

    /// Adds an address record. `name` is absolute.
    pub fn address(&self, name: &str, address: &str, ttl: u32) -> &Self {
        self.add(name, Data::Address(address.parse().unwrap()), ttl)
    }

    /// Adds an alias (CNAME).
    pub fn alias(&self, name: &str, target: &str, ttl: u32) -> &Self {
        self.add(name, Data::Alias(target.to_owned()), ttl)
    }

    /// Makes `name` exist without records, or removes its records.
    pub fn nothing(&self, name: &str) -> &Self {
        self.lock().names.insert(name.to_owned(), Vec::new());
        self
    }

    /// Makes the server fail when it is asked for this name and type. `None` ends the fault.
    pub fn fault(&self, name: &str, kind: Kind, fault: impl Into<Option<Fault>>) -> &Self {
        let mut zone = self.lock();
        match fault.into() {
            Some(fault) => zone.faults.insert((name.to_owned(), kind), fault),
            None => zone.faults.remove(&(name.to_owned(), kind)),
        };
        drop(zone);
        self
    }

    /// Holds the answers to this question back until [`release`](Self::release).
    pub fn hold(&self, name: &str, kind: Kind) -> &Self {
        self.lock().held.insert((name.to_owned(), kind));
        self
    }

    /// Sends the answers that were held back, and holds no answer to this question back any more.
    pub fn release(&self, name: &str, kind: Kind) {
        let mut zone = self.lock();
        zone.held.remove(&(name.to_owned(), kind));
        let waiting = std::mem::take(&mut zone.waiting);
        drop(zone);
        for (query, peer) in waiting {
            answer_udp(&self.udp, &self.zone, query, peer, false);
        }
    }

    /// Returns all queries so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.lock().asked.clone()
    }

    /// Returns the number of queries for this name and type.
    pub fn count(&self, name: &str, kind: Kind) -> usize {
        self.lock().asked.iter().filter(|asked| asked.name == name && asked.kind == kind).count()
    }

    fn add(&self, name: &str, data: Data, ttl: u32) -> &Self {
        assert!(name.ends_with('.'), "{name} is absolute");
        self.lock().names.entry(name.to_owned()).or_default().push((data, ttl));
        self
    }

    fn lock(&self) -> MutexGuard<'_, Zone> {
        self.zone.lock().unwrap()
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

/// Replaces a file at once, so that no reader sees a half of the file.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(&new, path).unwrap();
}

/// Returns a UDP socket and a TCP listener at one port, which is any port if the address has port 0.
fn bind_both(address: SocketAddr) -> (UdpSocket, TcpListener) {
    loop {
        let udp = UdpSocket::bind(address).unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()) {
            return (udp, tcp);
        }
    }
}

fn serve_udp(socket: &UdpSocket, zone: &Mutex<Zone>) {
    let mut query = [0; 4096];
    while let Ok((len, peer)) = socket.recv_from(&mut query) {
        answer_udp(socket, zone, query[..len].to_vec(), peer, true);
    }
}

fn answer_udp(socket: &UdpSocket, zone: &Mutex<Zone>, query: Vec<u8>, peer: SocketAddr, is_new: bool) {
    let mut locked = zone.lock().unwrap();
    let question = Question::read(&query);
    let key = (question.name.clone(), question.kind);
    if is_new {
        locked.asked.push(Asked { name: question.name.clone(), kind: question.kind, is_tcp: false });
    }
    if locked.held.contains(&key) {
        locked.waiting.push((query, peer));
        return;
    }
    let reply = locked.reply(&query, &question, false);
    drop(locked);
    if let Some(reply) = reply {
        drop(socket.send_to(&reply, peer));
    }
}

fn serve_tcp(mut stream: TcpStream, zone: &Mutex<Zone>) -> Option<()> {
    loop {
        let mut len = [0; 2];
        stream.read_exact(&mut len).ok()?;
        let mut query = vec![0; u16::from_be_bytes(len).into()];
        stream.read_exact(&mut query).ok()?;
        let question = Question::read(&query);
        let mut locked = zone.lock().unwrap();
        locked.asked.push(Asked { name: question.name.clone(), kind: question.kind, is_tcp: true });
        let reply = locked.reply(&query, &question, true);
        drop(locked);
        if let Some(reply) = reply {
            send_tcp(&mut stream, &reply).ok()?;
        }
    }
}

fn send_tcp(stream: &mut TcpStream, reply: &[u8]) -> io::Result<()> {
    let mut framed = u16::try_from(reply.len()).unwrap().to_be_bytes().to_vec();
    framed.extend(reply);
    stream.write_all(&framed)
}

/// The question of a query.
struct Question {
    name: String,
    kind: Kind,
    /// Position after the question.
    end: usize,
}

impl Question {
    fn read(query: &[u8]) -> Self {
        let (mut at, mut name) = (12, String::new());
        while query[at] != 0 {
            let len = usize::from(query[at]);
            name.push_str(&String::from_utf8_lossy(&query[at + 1..at + 1 + len]).to_ascii_lowercase());
            name.push('.');
            at += len + 1;
        }
        let kind = match u16::from_be_bytes([query[at + 1], query[at + 2]]) {
            1 => Kind::A,
            28 => Kind::Aaaa,
            other => Kind::Other(other),
        };
        Self { name, kind, end: at + 5 }
    }
}

impl Zone {
    /// Returns the reply to a query, or `None` if the server does not answer.
    fn reply(&self, query: &[u8], question: &Question, is_tcp: bool) -> Option<Vec<u8>> {
        const SERVFAIL: u8 = 2;
        const NXDOMAIN: u8 = 3;
        const REFUSED: u8 = 5;
        let fault = self.faults.get(&(question.name.clone(), question.kind)).copied();
        let mut out = query[..question.end].to_vec();
        out[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0]);
        match fault {
            Some(Fault::Silent) => return None,
            Some(Fault::Fails) => {
                out[3] |= SERVFAIL;
                return Some(out);
            }
            Some(Fault::Refuses) => {
                out[3] |= REFUSED;
                return Some(out);
            }
            Some(Fault::Truncated) if !is_tcp => {
                out[2] |= 2;
                return Some(out);
            }
            Some(Fault::Truncated) | None => {}
        }
        let (mut name, mut answers) = (question.name.clone(), 0);
        // Aliases are followed, but not for ever.
        for _ in 0..20 {
            let Some(records) = self.names.get(&name) else {
                out[3] |= NXDOMAIN;
                break;
            };
            let mut alias = None;
            for (data, ttl) in records {
                let (kind, bytes) = match (data, question.kind) {
                    (Data::Address(IpAddr::V4(address)), Kind::A) => (1, address.octets().to_vec()),
                    (Data::Address(IpAddr::V6(address)), Kind::Aaaa) => (28, address.octets().to_vec()),
                    (Data::Alias(target), _) => {
                        alias = Some(target.clone());
                        (5, wire(target))
                    }
                    _ => continue,
                };
                push_record(&mut out, &name, kind, *ttl, &bytes);
                answers += 1;
            }
            match alias {
                Some(target) => name = target,
                None => break,
            }
        }
        out[7] = answers;
        let has_address = self.names.get(&name).is_some_and(|records| {
            records.iter().any(|(data, _)| match data {
                Data::Address(IpAddr::V4(_)) => question.kind == Kind::A,
                Data::Address(IpAddr::V6(_)) => question.kind == Kind::Aaaa,
                Data::Alias(_) => false,
            })
        });
        if !has_address {
            // The minimum of the SOA record is the time for which the negative answer is valid.
            let mut soa = vec![0, 0];
            soa.extend(
                [1, 3600, 600, 86_400, NEGATIVE_TTL].iter().flat_map(|field: &u32| field.to_be_bytes()),
            );
            push_record(&mut out, ".", 6, NEGATIVE_TTL, &soa);
            out[9] = 1;
        }
        Some(out)
    }
}

/// Time in seconds for which a negative answer of the server is valid.
pub const NEGATIVE_TTL: u32 = 8;

fn push_record(out: &mut Vec<u8>, name: &str, kind: u16, ttl: u32, data: &[u8]) {
    out.extend(wire(name));
    out.extend(kind.to_be_bytes());
    out.extend([0, 1]);
    out.extend(ttl.to_be_bytes());
    out.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
    out.extend(data);
}

/// Returns a name as it is sent.
fn wire(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        out.push(u8::try_from(label.len()).unwrap());
        out.extend(label.as_bytes());
    }
    out.push(0);
    out
}
