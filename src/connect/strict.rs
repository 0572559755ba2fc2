//! Socket options that end a dial if the system refuses them. The interface and the mark decide which network the bytes
//! take. The name of the congestion control can be checked by the system only.
//!
//! This file knows no addresses. Invariant: no socket connects without an option of this file that the caller has set.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use socket2::Socket;

#[cfg(any(target_os = "android", target_os = "freebsd", target_os = "fuchsia", target_os = "linux"))]
use crate::error::Error;

/// Socket options of one client that end a dial if the system refuses them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Strict {
    /// Name of the interface through which packets leave and come.
    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    pub(crate) interface: Option<Name>,
    /// Mark of the packets, by which the system chooses a route.
    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    pub(crate) mark: Option<u32>,
    /// Name of the algorithm of congestion control.
    #[cfg(any(target_os = "freebsd", target_os = "linux"))]
    pub(crate) congestion: Option<Name>,
}

impl Strict {
    /// Whether an option decides which network the bytes take.
    pub(crate) fn chooses_network(&self) -> bool {
        #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
        return self.interface.is_some() || self.mark.is_some();
        #[cfg(not(any(target_os = "android", target_os = "fuchsia", target_os = "linux")))]
        false
    }

    /// Sets the options of a socket that is not connected.
    ///
    /// # Errors
    ///
    /// An error that wraps an [`Untaken`] if the system refuses an option.
    pub(super) fn set(&self, socket: &Socket) -> io::Result<()> {
        self.choose_network(socket)?;
        #[cfg(any(target_os = "freebsd", target_os = "linux"))]
        if let Some(name) = self.congestion
            && let Err(error) = socket.set_tcp_congestion(name.as_str().as_bytes())
        {
            return Err(no_congestion_control(name, error));
        }
        Ok(())
    }

    /// Sets the options that decide which network the bytes take.
    ///
    /// # Errors
    ///
    /// See [`set`](Self::set).
    #[cfg_attr(
        not(any(target_os = "android", target_os = "fuchsia", target_os = "linux")),
        allow(clippy::unnecessary_wraps, clippy::unused_self, reason = "the system has no such options")
    )]
    pub(super) fn choose_network(&self, _socket: &Socket) -> io::Result<()> {
        #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
        {
            if let Some(name) = self.interface
                && let Err(error) = _socket.bind_device(Some(name.as_str().as_bytes()))
            {
                return Err(no_interface(name, error));
            }
            if let Some(mark) = self.mark
                && let Err(error) = _socket.set_mark(mark)
            {
                return Err(no_mark(error));
            }
        }
        Ok(())
    }
}

/// Name of an interface or of an algorithm of congestion control. Both are limited to 15 bytes.
#[cfg(any(target_os = "android", target_os = "freebsd", target_os = "fuchsia", target_os = "linux"))]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Name {
    bytes: [u8; MOST_BYTES],
    length: u8,
}

/// Largest number of bytes of a name, without the NUL at its end.
#[cfg(any(target_os = "android", target_os = "freebsd", target_os = "fuchsia", target_os = "linux"))]
const MOST_BYTES: usize = 15;

#[cfg(any(target_os = "android", target_os = "freebsd", target_os = "fuchsia", target_os = "linux"))]
impl Name {
    /// Checks a name of the caller. `setting` is the name of the method that the caller called.
    ///
    /// # Errors
    ///
    /// If the name is empty or too long, or has a NUL.
    pub(crate) fn new(text: &str, setting: &str) -> Result<Self, Error> {
        let why = match text.len() {
            0 => "is empty",
            1..=MOST_BYTES if text.contains('\0') => "has a NUL",
            1..=MOST_BYTES => {
                let mut bytes = [0; MOST_BYTES];
                bytes[..text.len()].copy_from_slice(text.as_bytes());
                return Ok(Self { bytes, length: text.len() as u8 });
            }
            _ => "is longer than 15 bytes, the limit of the system",
        };
        Err(Error::request(format!(
            "the name {text:?} ({setting}) {why}: give the name that the system lists"
        )))
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.length)]).unwrap_or_default()
    }
}

#[cfg(any(target_os = "android", target_os = "freebsd", target_os = "fuchsia", target_os = "linux"))]
impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// The failure of an option that the system refused: a message that says what to do, and the system's error.
#[derive(Debug)]
pub(crate) struct Untaken {
    message: String,
    source: io::Error,
}

impl Untaken {
    /// Returns the failure of an option, if `error` wraps one.
    pub(super) fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }

    /// Returns the error of the system.
    pub(super) fn system_error(&self) -> Option<io::Error> {
        self.source.raw_os_error().map(io::Error::from_raw_os_error)
    }

    #[cfg(any(target_os = "android", target_os = "freebsd", target_os = "fuchsia", target_os = "linux"))]
    fn into_io(message: String, source: io::Error) -> io::Error {
        io::Error::new(source.kind(), Self { message, source })
    }
}

impl fmt::Display for Untaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Untaken {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.source)
    }
}

#[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
#[cold]
fn no_interface(name: Name, error: io::Error) -> io::Error {
    /// The code ENODEV, for which std has no kind.
    const NO_SUCH_DEVICE: i32 = 19;
    let message = if error.raw_os_error() == Some(NO_SUCH_DEVICE) {
        format!("there is no interface {name:?} (interface): give the name that `ip link` lists")
    } else if error.kind() == io::ErrorKind::PermissionDenied {
        format!(
            "this process may not bind sockets to the interface {name:?} (interface): give the process CAP_NET_RAW, or set local_address instead"
        )
    } else {
        format!("the system did not bind the socket to the interface {name:?} (interface)")
    };
    Untaken::into_io(message, error)
}

#[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
#[cold]
fn no_mark(error: io::Error) -> io::Error {
    let message = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "this process may not mark sockets (tcp_mark): give the process CAP_NET_ADMIN"
        }
        _ => "the system did not mark the socket (tcp_mark)",
    };
    Untaken::into_io(message.to_owned(), error)
}

#[cfg(any(target_os = "freebsd", target_os = "linux"))]
#[cold]
fn no_congestion_control(name: Name, error: io::Error) -> io::Error {
    let message = match error.kind() {
        io::ErrorKind::NotFound => format!(
            "the system has no congestion control {name:?} (tcp_congestion): load its module, or use an algorithm that the system lists"
        ),
        io::ErrorKind::PermissionDenied => format!(
            "this process may not use the congestion control {name:?} (tcp_congestion): use an algorithm that net.ipv4.tcp_allowed_congestion_control lists, or give the process CAP_NET_ADMIN"
        ),
        _ => format!("the system refused the congestion control {name:?} (tcp_congestion)"),
    };
    Untaken::into_io(message, error)
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use socket2::{Domain, Type};

    use super::*;

    fn socket() -> Socket {
        Socket::new(Domain::IPV4, Type::STREAM, None).unwrap()
    }

    #[test]
    fn a_name_that_no_system_has_says_why() {
        for (name, why) in [
            ("", "the name \"\" (interface) is empty: give the name that the system lists"),
            ("a\0b", "the name \"a\\0b\" (interface) has a NUL: give the name that the system lists"),
            (
                "a234567890123456",
                "the name \"a234567890123456\" (interface) is longer than 15 bytes, the limit of the system: give the name that the system lists",
            ),
        ] {
            assert_eq!(Name::new(name, "interface").unwrap_err().to_string(), why);
        }
        for name in ["lo", "a23456789012345"] {
            assert_eq!(format!("{:?}", Name::new(name, "interface").unwrap()), format!("{name:?}"));
        }
    }

    /// The system refuses the option of each case, whether or not this process has the right to set the option.
    #[test]
    fn what_the_system_does_not_take_is_an_error() {
        let name = |text| Some(Name::new(text, "test").unwrap());
        for (strict, is_network, text) in [
            (
                Strict { interface: name("no-such-nic"), ..Strict::default() },
                true,
                "there is no interface \"no-such-nic\" (interface): give the name that `ip link` lists",
            ),
            (
                Strict { congestion: name("no-such-cc"), ..Strict::default() },
                false,
                "the system has no congestion control \"no-such-cc\" (tcp_congestion): load its module, or use an algorithm that the system lists",
            ),
        ] {
            let error = strict.set(&socket()).unwrap_err();
            // Without the right, the system reports the missing right before it looks the name up.
            let is_right =
                error.kind() == io::ErrorKind::PermissionDenied || error.to_string().starts_with(text);
            assert!(is_right && Untaken::of(&error).is_some(), "{error}");
            assert_eq!(strict.chooses_network(), is_network);
            assert_eq!(strict.choose_network(&socket()).is_err(), is_network);
        }
        assert!(Strict::default().set(&socket()).is_ok() && !Strict::default().chooses_network());
        assert!(Untaken::of(&io::Error::other("another error")).is_none());
    }

    #[test]
    fn what_the_system_takes_is_set() {
        let (taken, lo) = (socket(), Name::new("lo", "interface").unwrap());
        match (Strict { interface: Some(lo), ..Strict::default() }).set(&taken) {
            Ok(()) => assert_eq!(taken.device().unwrap().as_deref(), Some(&b"lo"[..])),
            Err(error) => eprintln!("skipped: the interface needs a right: {error}"),
        }
        match (Strict { mark: Some(7), ..Strict::default() }).set(&taken) {
            Ok(()) => assert_eq!(taken.mark().unwrap(), 7),
            Err(error) => {
                assert!(
                    error.to_string().starts_with("this process may not mark sockets (tcp_mark)"),
                    "{error}"
                );
                eprintln!("skipped: the mark needs a right: {error}");
            }
        }
        let reno = Name::new("reno", "tcp_congestion").unwrap();
        match (Strict { congestion: Some(reno), ..Strict::default() }).set(&taken) {
            Ok(()) => assert!(taken.tcp_congestion().unwrap().starts_with(b"reno")),
            Err(error) => eprintln!("skipped: reno is not allowed here: {error}"),
        }
    }
}
