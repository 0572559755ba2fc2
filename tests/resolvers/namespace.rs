//! A namespace for a test: the process of a test runs itself again as root of its own user, mount, network and host name
//! namespaces.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Name of the variable that tells a process that it runs in a namespace, and which folder has its files.
const INSIDE: &str = "HANDCLASP_IN_NAMESPACE";

/// Files of the namespace that stand for files of `/etc`.
const FILES: [&str; 3] = ["resolv.conf", "hosts", "nsswitch.conf"];

/// The namespace in which this process runs.
pub(crate) struct Namespace {
    folder: PathBuf,
}

impl Namespace {
    /// Returns the namespace if this process runs in one. If not, runs the test `test` again in a new namespace, or prints
    /// why this is not possible.
    pub(crate) fn enter(test: &str) -> Option<Self> {
        if let Some(folder) = std::env::var_os(INSIDE) {
            let inside = Self { folder: folder.into() };
            for file in FILES {
                let (etc, own) = (Path::new("/etc").join(file), inside.folder.join(file));
                // Without `nsswitch.conf`, the C library asks the same sources.
                if file != "nsswitch.conf" || etc.exists() {
                    assert_eq!(fs::read(etc).unwrap(), fs::read(own).unwrap(), "{file} is the namespace's");
                }
            }
            return Some(inside);
        }
        let name = format!("resolvers-{}-{}", test.replace(':', "-"), std::process::id());
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&folder).unwrap();
        for file in FILES {
            fs::write(folder.join(file), "# handclasp\nhosts: files dns\n").unwrap();
        }
        match flags(&folder) {
            Ok(flags) => {
                let inside = command(flags, &folder)
                    .arg(std::env::current_exe().unwrap())
                    .args(["--exact", test, "--nocapture"])
                    .env(INSIDE, &folder)
                    // These variables would change what `getaddrinfo` does.
                    .env_remove("LOCALDOMAIN")
                    .env_remove("RES_OPTIONS")
                    .env_remove("HOSTALIASES")
                    .status()
                    .unwrap();
                fs::remove_dir_all(&folder).unwrap();
                assert!(inside.success(), "{test} failed in the namespace");
            }
            Err(reason) => {
                fs::remove_dir_all(&folder).unwrap();
                println!("skipped {test}: no namespace can be made here ({reason})");
            }
        }
        None
    }

    /// Writes `/etc/resolv.conf`.
    pub(crate) fn set_resolv_conf(&self, text: &str) {
        fs::write(self.resolv_conf(), format!("{text}\n")).unwrap();
    }

    /// Writes `/etc/hosts`.
    pub(crate) fn set_hosts(&self, text: impl AsRef<[u8]>) {
        fs::write(self.hosts(), text).unwrap();
    }

    /// Path of the file that is mounted over `/etc/resolv.conf`.
    pub(crate) fn resolv_conf(&self) -> PathBuf {
        self.folder.join("resolv.conf")
    }

    pub(crate) fn hosts(&self) -> PathBuf {
        self.folder.join("hosts")
    }

    /// Folder for the files of a server.
    pub(crate) fn folder(&self, server: &str) -> PathBuf {
        let folder = self.folder.join(server);
        fs::create_dir_all(&folder).unwrap();
        folder
    }
}

/// Returns the flags with which a namespace can be made, or the reason why there is none.
fn flags(folder: &Path) -> Result<&'static str, String> {
    let mut reason = String::new();
    // In a user namespace, the other namespaces need no root. Some systems do not allow user namespaces.
    for flags in ["-Urmnu", "-mnu"] {
        match command(flags, folder).arg("true").stdin(Stdio::null()).output() {
            Ok(output) if output.status.success() => return Ok(flags),
            Ok(output) => reason = String::from_utf8_lossy(&output.stderr).trim().replace('\n', " / "),
            Err(error) => reason = format!("unshare: {error}"),
        }
    }
    Err(reason)
}

/// Returns a command that makes a namespace and then runs the program that is added as an argument.
fn command(flags: &str, folder: &Path) -> Command {
    let mut command = Command::new("unshare");
    let script = "ip link set lo up && hostname box.host.corp && \
                  for file in resolv.conf hosts nsswitch.conf; do \
                  { [ $file = nsswitch.conf ] && ! [ -e /etc/$file ]; } || \
                  mount --bind \"$0/$file\" /etc/$file || exit 1; done && exec \"$@\"";
    command.args([flags, "sh", "-c", script]).arg(folder);
    command
}
