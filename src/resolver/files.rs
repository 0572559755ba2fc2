//! Detecting that a file has changed, without reading the file.
//!
//! This file knows neither DNS nor the format of any file.

use std::fs::{self, Metadata};
use std::path::PathBuf;

/// Files that are watched, and what the file system said about them when they were read.
#[derive(Debug)]
pub(super) struct Watched {
    files: Vec<(PathBuf, Stamp)>,
}

impl Watched {
    /// Returns the files with their current stamps. Call this function before reading the files, so that a change during
    /// the reading is seen later.
    pub(super) fn of(files: impl IntoIterator<Item = PathBuf>) -> Self {
        let files = files.into_iter().map(|path| {
            let stamp = Stamp::of(&path);
            (path, stamp)
        });
        Self { files: files.collect() }
    }

    /// Whether a file was changed, replaced, made or removed.
    pub(super) fn have_changed(&self) -> bool {
        self.files.iter().any(|(path, stamp)| Stamp::of(path) != *stamp)
    }
}

/// What the file system says about a file. `None` if there is no such file.
#[derive(Debug)]
struct Stamp(Option<Metadata>);

impl Stamp {
    fn of(path: &PathBuf) -> Self {
        Self(fs::metadata(path).ok())
    }
}

impl PartialEq for Stamp {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(one), Some(other)) => {
                one.len() == other.len()
                    && one.modified().ok() == other.modified().ok()
                    && identity(one) == identity(other)
            }
            (one, other) => one.is_none() && other.is_none(),
        }
    }
}

/// Returns numbers that change if another file takes the place of a file, or if the content or the times of the file are
/// set.
#[cfg(unix)]
fn identity(file: &Metadata) -> (u64, u64, i64, i64) {
    use std::os::unix::fs::MetadataExt;
    (file.dev(), file.ino(), file.ctime(), file.ctime_nsec())
}

#[cfg(not(unix))]
fn identity(_file: &Metadata) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_written_replaced_made_or_removed_has_changed() {
        let folder = std::env::temp_dir().join(format!("handclasp-watched-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let [one, two] = ["one", "two"].map(|name| folder.join(name));
        let changes: [(&str, &dyn Fn()); 5] = [
            ("made", &|| fs::write(&one, "a").unwrap()),
            ("written", &|| fs::write(&one, "ab").unwrap()),
            ("made too", &|| fs::write(&two, "ab").unwrap()),
            ("replaced", &|| fs::rename(&two, &one).unwrap()),
            ("removed", &|| fs::remove_file(&one).unwrap()),
        ];
        for (what, change) in changes {
            let watched = Watched::of([one.clone(), two.clone()]);
            assert!(!watched.have_changed(), "before it was {what}");
            change();
            assert!(watched.have_changed(), "{what}");
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
