//! The data folder: two SQLite files, and a lock, since a SQLite outbox may have one relay only.

use std::{
    fmt,
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use migration::Schema;
use outbox::DatabaseUrl;

use crate::obstacle::Obstacle;

const ORDERS: &str = "orders.db";
const INVOICES: &str = "invoices.db";
const LOCK: &str = "tandem.lock";

/// What to do about databases that cannot be used.
const OR_ELSE: &str =
    "Choose another folder:  cargo run -- --data DIR\nOr delete the data and begin again:  cargo run -- --reset";

/// An opened data folder. No other process can open it while this exists.
#[derive(Debug)]
pub(crate) struct DataFolder {
    path: PathBuf,
    new: bool,
    _lock: File,
}

impl DataFolder {
    /// Opens the folder, creating it where it is missing, and with `reset` removes the databases in it.
    ///
    /// # Errors
    /// An [`Obstacle`]: the folder cannot be made or written to, or another process has it.
    pub(crate) fn open(path: &Path, reset: bool) -> Result<Self, Obstacle> {
        let cannot = |what: &str, error: io::Error| {
            Obstacle::new(
                format!("cannot {what} the data folder {}: {error}", path.display()),
                "Choose another:  cargo run -- --data DIR",
            )
        };
        fs::create_dir_all(path).map_err(|error| cannot("create", error))?;
        let path = path.canonicalize().map_err(|error| cannot("read", error))?;
        let lock = File::create(path.join(LOCK)).map_err(|error| cannot("write to", error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Obstacle::new(
                    format!("the data folder {} is in use by another tandem", path.display()),
                    "Stop it, or choose another folder:  cargo run -- --data DIR",
                ));
            }
            Err(TryLockError::Error(error)) => return Err(cannot("lock", error)),
        }
        if reset {
            for file in [ORDERS, INVOICES] {
                for suffix in ["", "-wal", "-shm"] {
                    remove(&path.join(format!("{file}{suffix}")))?;
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
        self.url(ORDERS)
    }

    pub(crate) fn invoices_url(&self) -> DatabaseUrl {
        self.url(INVOICES)
    }

    /// Creates the databases that are missing and brings both to the schema of this build.
    ///
    /// # Errors
    /// An [`Obstacle`]: a file is no database of ours, or a newer version has made it. Then neither was changed.
    pub(crate) async fn migrate(&self) -> Result<(), Obstacle> {
        let databases = [(ORDERS, Schema::Orders), (INVOICES, Schema::Invoices)];
        for (file, schema) in databases {
            if self.path.join(file).exists() {
                self.refuse_newer(file, schema).await?;
            }
        }
        for (file, schema) in databases {
            let db =
                outbox::connect(&self.url(file), "tandem").await.map_err(|error| self.cannot("open", file, error))?;
            let migrated = migration::up(&db, schema).await;
            migrated.and(db.close().await).map_err(|error| self.cannot("migrate", file, error))?;
        }
        Ok(())
    }

    /// A database that a newer version has migrated is not ours to work on: it may mean other things by its columns.
    async fn refuse_newer(&self, file: &str, schema: Schema) -> Result<(), Obstacle> {
        let db = outbox::connect(&self.url(file), "tandem").await.map_err(|error| self.cannot("open", file, error))?;
        let unknown = migration::unknown(&db, schema).await;
        let closed = db.close().await;
        let unknown = unknown.and_then(|unknown| closed.map(|()| unknown));
        let unknown = unknown.map_err(|error| self.cannot("read", file, error))?;
        if unknown.is_empty() {
            return Ok(());
        }
        Err(Obstacle::new(
            format!(
                "the database {} was made by a newer version: this one, {}, does not know its {}",
                self.path.join(file).display(),
                env!("CARGO_PKG_VERSION"),
                unknown.join(", "),
            ),
            format!("Start the newer one.\n{OR_ELSE}"),
        ))
    }

    fn url(&self, file: &str) -> DatabaseUrl {
        DatabaseUrl::sqlite(&self.path.join(file))
    }

    fn cannot(&self, what: &str, file: &str, error: impl fmt::Display) -> Obstacle {
        Obstacle::new(format!("cannot {what} the database {}: {error}", self.path.join(file).display()), OR_ELSE)
    }
}

fn remove(file: &Path) -> Result<(), Obstacle> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Obstacle::new(
            format!("cannot remove {}: {error}", file.display()),
            "Choose another folder:  cargo run -- --data DIR",
        )),
        _ => Ok(()),
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
