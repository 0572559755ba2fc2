//! A link to this machine with a round-trip time, for benches and examples on Linux.
//!
//! [`Link::enter`] runs the program again in a network namespace of its own. The namespace has a TUN device, `link0`,
//! with the address [`HERE`]. Each packet to [`THERE`] comes back half a round trip later, with its addresses
//! exchanged. So a server that listens on [`HERE`] is reached at [`THERE`], and both ends of a connection see a distant
//! peer. The TCP handshake crosses the link as all other packets do. The exchange of the addresses does not change the
//! checksums.
//!
//! A TUN device needs a system call that safe Rust does not offer. python3 makes this call: python3 opens the device as
//! standard input, and then becomes this program.

use std::env;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// Address at which servers listen in the namespace.
pub(crate) const HERE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

/// Address at which clients reach these servers over the link.
pub(crate) const THERE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

/// Programs and rights that a link needs.
pub(crate) const NEEDS: &str = "Linux, unshare, ip, python3, /dev/net/tun, and root or user namespaces";

/// The link of this process. Two threads forward its packets until the process ends.
pub(crate) struct Link {
    /// Time that each packet takes, in nanoseconds.
    one_way: Arc<AtomicU64>,
}

impl Link {
    /// Returns the link, if this process runs in the namespace. If not, runs this program with the same arguments in a
    /// new namespace, and then ends this process with the program's status.
    ///
    /// # Errors
    ///
    /// Returns the reason if no namespace with a TUN device can be made here.
    pub(crate) fn enter() -> Result<Self, String> {
        if env::var_os(INSIDE).is_some() {
            return Self::start().map_err(|error| format!("the link does not start: {error}"));
        }
        if !cfg!(target_os = "linux") {
            return Err("this system has no network namespaces, which Linux has".into());
        }
        // In a user namespace, a network namespace needs no root. Some systems do not allow user namespaces.
        let flags = ["-Urn", "-n"].into_iter().find(|flags| {
            let probe = unshare(flags).args(["ip", "link", "show", "link0"]).stdin(Stdio::null()).output();
            probe.is_ok_and(|output| output.status.success())
        });
        let Some(flags) = flags else {
            return Err("no network namespace with a TUN device can be made here".into());
        };
        let program = env::current_exe().map_err(|error| format!("this program is not found: {error}"))?;
        let inside = unshare(flags).arg(program).args(env::args_os().skip(1)).env(INSIDE, "1").status();
        match inside {
            Ok(status) => std::process::exit(status.code().unwrap_or(1)),
            Err(error) => Err(format!("this program does not start in a namespace: {error}")),
        }
    }

    fn start() -> io::Result<Self> {
        for command in
            [&format!("addr add {HERE}/24 dev link0"), "link set link0 up txqueuelen 10000", "link set lo up"]
        {
            let status = Command::new("ip").args(command.split(' ')).stdin(Stdio::null()).status()?;
            if !status.success() {
                return Err(io::Error::other(format!("ip {command}: {status}")));
            }
        }
        // BBR, the default of some systems, spreads the segments of a response over a part of the round trip. Reno
        // sends them at once, and every Linux has it. Where a container refuses the change, the default stays.
        let _ = std::fs::write("/proc/sys/net/ipv4/tcp_congestion_control", "reno");
        let tun = standard_input()?;
        let (sender, receiver) = mpsc::channel();
        let one_way = Arc::new(AtomicU64::new(0));
        let (delay, far_end) = (one_way.clone(), tun.try_clone()?);
        thread::Builder::new().name("link: take".into()).spawn(move || take(tun, &delay, &sender))?;
        thread::Builder::new().name("link: give".into()).spawn(move || give(far_end, &receiver))?;
        Ok(Self { one_way })
    }

    /// Sets the round-trip time of the packets that are sent from now on.
    pub(crate) fn set_round_trip(&self, round_trip: Duration) {
        let one_way = u64::try_from(round_trip.as_nanos() / 2).unwrap_or(u64::MAX);
        self.one_way.store(one_way, Ordering::Relaxed);
    }
}

/// Returns the device, which is this process's standard input.
#[cfg(unix)]
fn standard_input() -> io::Result<File> {
    use std::os::fd::AsFd;

    Ok(File::from(io::stdin().as_fd().try_clone_to_owned()?))
}

#[cfg(not(unix))]
fn standard_input() -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Returns a command that runs its further arguments as a program in a new network namespace, with the TUN device as
/// standard input.
fn unshare(flags: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args([flags, "python3", "-c", OPEN_TUN]);
    command
}

/// Takes packets from the device as this machine sends them.
fn take(mut tun: File, one_way: &AtomicU64, sender: &mpsc::Sender<(Instant, Vec<u8>)>) {
    let mut buffer = vec![0; 65536];
    while let Ok(length) = tun.read(&mut buffer) {
        let due = Instant::now() + Duration::from_nanos(one_way.load(Ordering::Relaxed));
        let mut packet = buffer[..length].to_vec();
        if turn_back(&mut packet) && sender.send((due, packet)).is_err() {
            return;
        }
    }
}

/// Exchanges the addresses of an IPv4 packet to [`THERE`]. Returns false for any other packet, which is lost.
fn turn_back(packet: &mut [u8]) -> bool {
    if packet.len() < 20 || packet[0] >> 4 != 4 || packet[16..20] != THERE.octets() {
        return false;
    }
    let (source, destination) = packet[12..20].split_at_mut(4);
    source.swap_with_slice(destination);
    true
}

/// Gives each packet to this machine when it is due. All packets take equally long, so that they stay in order.
fn give(mut tun: File, receiver: &mpsc::Receiver<(Instant, Vec<u8>)>) {
    for (due, packet) in receiver {
        // Linux lets a thread sleep 50 µs longer than asked. The thread spins for what is left of this time. Longer
        // spinning would use up the thread's share of a busy machine, and then its turn would come milliseconds too
        // late.
        let early = due.saturating_duration_since(Instant::now()).saturating_sub(SPIN);
        if !early.is_zero() {
            thread::sleep(early);
        }
        while Instant::now() < due {
            std::hint::spin_loop();
        }
        // A packet that the device refuses is lost, and TCP sends it again.
        let _ = tun.write(&packet);
    }
}

const SPIN: Duration = Duration::from_micros(50);
/// Name of the environment variable that tells a process that it runs in the namespace.
const INSIDE: &str = "HANDCLASP_LINK";
const OPEN_TUN: &str = "\
import fcntl, os, struct, sys
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
tun = os.open('/dev/net/tun', os.O_RDWR)
fcntl.ioctl(tun, TUNSETIFF, struct.pack('16sH22x', b'link0', IFF_TUN | IFF_NO_PI))
os.dup2(tun, 0)
os.execvp(sys.argv[1], sys.argv[1:])
";
