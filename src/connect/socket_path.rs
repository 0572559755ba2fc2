//! The path of a unix socket.
//!
//! This file does no I/O. Invariants: the path was given by the caller of this crate, and never comes from a URL or a
//! response. Two paths are equal only if their bytes are equal. Without unix sockets, no value of [`SocketPath`]
//! exists.

use std::fmt;

#[cfg(unix)]
pub(crate) use self::path::SocketPath;

/// Path of a unix socket. No value of this type exists, because the platform has no unix sockets.
#[cfg(not(unix))]
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum SocketPath {}

#[cfg(not(unix))]
impl fmt::Display for SocketPath {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

impl fmt::Debug for SocketPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(unix)]
mod path {
    use std::ffi::OsStr;
    use std::fmt;
    #[cfg(any(target_os = "android", target_os = "linux"))]
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::net::SocketAddr;
    use std::path::Path;

    use crate::error::Error;

    /// Path of a unix socket, in a form that the system accepts. On Linux, a path that begins with a NUL is a name in
    /// the abstract namespace.
    #[derive(Clone, PartialEq, Eq, Hash)]
    pub(crate) struct SocketPath(Box<OsStr>);

    impl SocketPath {
        /// Checks a path that the caller has given.
        ///
        /// # Errors
        ///
        /// If no unix socket can have the path.
        pub(crate) fn new(path: &Path) -> Result<Self, Error> {
            let path = path.as_os_str();
            if path.is_empty() {
                return Err(Error::request(
                    "the path of the unix socket is empty: give the path on which the server listens",
                ));
            }
            let own = Self(path.into());
            let bytes = path.as_bytes();
            if !own.is_abstract() && bytes.contains(&0) {
                return Err(Error::request(format!(
                    "the path of the unix socket {own} has a NUL, which only the names of the abstract namespace of Linux may have"
                )));
            }
            if own.is_too_long() {
                return Err(Error::request(format!(
                    "the path of the unix socket {own} has {} bytes, which is longer than the system allows (107 on Linux, 103 on macOS): give a shorter path, such as a symbolic link",
                    bytes.len()
                )));
            }
            Ok(own)
        }

        pub(crate) fn as_path(&self) -> &Path {
            Path::new(&self.0)
        }

        /// Whether the path is a name in the abstract namespace of Linux, which has no file.
        pub(crate) fn is_abstract(&self) -> bool {
            cfg!(any(target_os = "android", target_os = "linux")) && self.0.as_bytes().first() == Some(&0)
        }

        /// Whether the path is too long for the system. The path is valid in all other respects.
        fn is_too_long(&self) -> bool {
            #[cfg(any(target_os = "android", target_os = "linux"))]
            if let Some((0, name)) = self.0.as_bytes().split_first() {
                return SocketAddr::from_abstract_name(name).is_err();
            }
            SocketAddr::from_pathname(self.as_path()).is_err()
        }
    }

    /// Writes the path. Control characters are escaped, and a name in the abstract namespace begins with `@`, as in
    /// `ss`.
    impl fmt::Display for SocketPath {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let text = self.0.to_string_lossy();
            match text.strip_prefix('\0').filter(|_| self.is_abstract()) {
                Some(name) => write!(f, "@{}", name.escape_debug()),
                None => write!(f, "{}", text.escape_debug()),
            }
        }
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::path::Path;

    use super::*;

    fn refusal(path: &str) -> String {
        SocketPath::new(Path::new(path)).unwrap_err().to_string()
    }

    #[test]
    fn a_path_that_no_socket_can_have_says_why() {
        assert_eq!(
            refusal(""),
            "the path of the unix socket is empty: give the path on which the server listens"
        );
        let nul = refusal("/run/a\0b");
        assert!(nul.starts_with("the path of the unix socket /run/a\\0b has a NUL"), "{nul}");
        let long = refusal(&"x".repeat(200));
        assert!(long.contains("has 200 bytes") && long.contains("give a shorter path"), "{long}");
        assert!(SocketPath::new(Path::new(&"x".repeat(100))).is_ok());
    }

    #[test]
    fn the_text_of_a_path_has_no_control_characters() {
        for (path, text) in [("/run/docker.sock", "/run/docker.sock"), ("/a\nb", "/a\\nb"), ("a b", "a b")] {
            let path = SocketPath::new(Path::new(path)).unwrap();
            assert_eq!((path.to_string(), format!("{path:?}")), (text.into(), text.into()));
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_name_in_the_abstract_namespace_is_written_with_an_at_sign() {
        let path = SocketPath::new(Path::new("\0name\0rest")).unwrap();
        assert_eq!((path.is_abstract(), path.to_string()), (true, "@name\\0rest".into()));
        assert!(refusal(&format!("\0{}", "x".repeat(108))).contains("has 109 bytes"));
        assert!(SocketPath::new(Path::new(&format!("\0{}", "x".repeat(107)))).is_ok());
    }

    /// The system reads `a/./b` and `a/b` alike, but may read `a/` and `a` differently.
    #[test]
    fn paths_are_equal_only_if_their_bytes_are() {
        let of = |path: &str| SocketPath::new(Path::new(path)).unwrap();
        assert!(of("/a/b") == of("/a/b"), "rule 01");
        for other in ["/a//b", "/a/./b", "/a/b/", "/a/B"] {
            assert!(of("/a/b") != of(other), "rule 01: {other}");
        }
    }
}
