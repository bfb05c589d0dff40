//! The data folder: two SQLite files, and a lock, since a SQLite outbox may have one relay only.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use outbox::DatabaseUrl;

const ORDERS: &str = "orders.db";
const INVOICES: &str = "invoices.db";
const LOCK: &str = "tandem.lock";

/// An opened data folder. No other process can open it while this exists.
#[derive(Debug)]
pub(crate) struct DataFolder {
    path: PathBuf,
    new: bool,
    _lock: File,
}

impl DataFolder {
    /// Opens the folder, creating it where it is missing, and with `reset` removes the databases in it.
    pub(crate) fn open(path: &Path, reset: bool) -> Result<Self> {
        fs::create_dir_all(path)
            .with_context(|| format!("cannot create the data folder {}; choose another with --data", path.display()))?;
        let path = path.canonicalize().with_context(|| format!("cannot read the data folder {}", path.display()))?;
        let lock = File::create(path.join(LOCK)).with_context(|| {
            format!("cannot write to the data folder {}; choose another with --data", path.display())
        })?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!(
                "the data folder {} is in use by another tandem; stop it, or choose another folder with --data",
                path.display()
            ),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock the data folder {}", path.display()));
            }
        }
        if reset {
            for file in [ORDERS, INVOICES] {
                for suffix in ["", "-wal", "-shm"] {
                    let file = path.join(format!("{file}{suffix}"));
                    if file.exists() {
                        fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))?;
                    }
                }
            }
        }
        let new = !path.join(ORDERS).exists() && !path.join(INVOICES).exists();
        Ok(Self { path, new, _lock: lock })
    }

    /// Whether there was no database when it was opened.
    pub(crate) fn is_new(&self) -> bool {
        self.new
    }

    pub(crate) fn orders_url(&self) -> DatabaseUrl {
        DatabaseUrl::sqlite(&self.path.join(ORDERS))
    }

    pub(crate) fn invoices_url(&self) -> DatabaseUrl {
        DatabaseUrl::sqlite(&self.path.join(INVOICES))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_user_and_reset_removes_only_the_databases() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        let first = DataFolder::open(&path, false).unwrap();
        assert!(first.is_new());
        let error = DataFolder::open(&path, false).unwrap_err().to_string();
        assert!(error.contains("in use by another tandem"), "{error}");
        drop(first);

        for file in ["orders.db", "orders.db-wal", "invoices.db", "notes.txt"] {
            fs::write(path.join(file), "x").unwrap();
        }
        assert!(!DataFolder::open(&path, false).unwrap().is_new());
        assert!(DataFolder::open(&path, true).unwrap().is_new());
        assert!(path.join("notes.txt").exists() && !path.join("orders.db-wal").exists());
    }

    #[test]
    fn a_folder_that_cannot_be_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = DataFolder::open(&file.path().join("data"), false).unwrap_err().to_string();
        assert!(error.contains("--data"), "{error}");
    }
}
