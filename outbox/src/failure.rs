//! What a database error means for the caller: wait, try again at once, or a fault, and whose.

use messaging::HandleError;
use sea_orm::{DbErr, RuntimeErr, SqlxError};

/// The kinds of a database error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DbFailure {
    /// The database is away, full or read-only: the same statement may work later.
    Unavailable,
    /// Another transaction was in the way: the same transaction works when it is run again.
    Contended,
    /// The database is not the one that this build was made for: a table or a permission is missing. No data is at
    /// fault; the same statement works once somebody has migrated it.
    Mismatch,
    /// The statement is at fault, or the data. Trying again ends the same.
    Fault,
}

impl DbFailure {
    /// The kind of `error`.
    pub fn of(error: &DbErr) -> Self {
        match error {
            DbErr::ConnectionAcquire(_) | DbErr::Conn(_) => Self::Unavailable,
            DbErr::Exec(RuntimeErr::SqlxError(error)) | DbErr::Query(RuntimeErr::SqlxError(error)) => {
                Self::of_driver(error)
            }
            _ => Self::Fault,
        }
    }

    fn of_driver(error: &SqlxError) -> Self {
        match error {
            SqlxError::Io(_)
            | SqlxError::Tls(_)
            | SqlxError::Protocol(_)
            | SqlxError::PoolTimedOut
            | SqlxError::PoolClosed
            | SqlxError::WorkerCrashed
            | SqlxError::BeginFailed => Self::Unavailable,
            SqlxError::ColumnNotFound(_) | SqlxError::TypeNotFound { .. } => Self::Mismatch,
            SqlxError::Database(error) => error.code().map_or(Self::Fault, |code| Self::of_code(&code)),
            _ => Self::Fault,
        }
    }

    /// PostgreSQL's SQLSTATE has five characters (appendix A of its manual), SQLite's result code is a number.
    fn of_code(code: &str) -> Self {
        if code.len() == 5 {
            return match code {
                "40001" | "40P01" | "55P03" => Self::Contended,
                // A standby that was promoted or demoted under us; a transaction that stood still for too long, on a
                // machine that did, so that the server has ended the session.
                "25006" | "25P03" | "25P04" => Self::Unavailable,
                // Connection exceptions, insufficient resources, operator intervention, system errors.
                _ if ["08", "53", "57", "58"].contains(&&code[..2]) => Self::Unavailable,
                // Plans of before a migration, authorization, names of databases and schemas, names and types.
                _ if ["0A", "28", "3D", "3F", "42"].contains(&&code[..2]) => Self::Mismatch,
                _ => Self::Fault,
            };
        }
        // The primary code is in the low byte; the rest tells which kind of it.
        match code.parse::<u32>().map(|code| code & 0xff) {
            // BUSY, LOCKED, READONLY, IOERR, FULL, CANTOPEN
            Ok(5 | 6 | 8 | 10 | 13 | 14) => Self::Unavailable,
            // ERROR, which is a name that is not known; SCHEMA, AUTH
            Ok(1 | 17 | 23) => Self::Mismatch,
            _ => Self::Fault,
        }
    }

    /// What a consumer does about it. A fault is searched for in the batch, and the one message that has it is set
    /// aside. A mismatch holds the batch like an outage does, or a forgotten migration would send every message to
    /// the dead letters.
    pub fn into_handle_error(error: &DbErr) -> HandleError {
        match Self::of(error) {
            Self::Contended => HandleError::Contended(error.to_string()),
            Self::Unavailable | Self::Mismatch => HandleError::Unavailable(error.to_string()),
            Self::Fault => HandleError::Fault(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_says_whether_to_wait_to_repeat_to_migrate_or_to_give_up() {
        for (code, expected) in [
            ("40001", DbFailure::Contended),
            ("40P01", DbFailure::Contended),
            ("57P01", DbFailure::Unavailable),
            ("53300", DbFailure::Unavailable),
            ("25006", DbFailure::Unavailable),
            ("25P03", DbFailure::Unavailable),
            ("25P04", DbFailure::Unavailable),
            ("23505", DbFailure::Fault),
            ("22003", DbFailure::Fault),
            ("42P01", DbFailure::Mismatch),
            ("0A000", DbFailure::Mismatch),
            ("1", DbFailure::Mismatch),
            ("5", DbFailure::Unavailable),
            ("517", DbFailure::Unavailable),
            ("13", DbFailure::Unavailable),
            ("2067", DbFailure::Fault),
        ] {
            assert_eq!(DbFailure::of_code(code), expected, "{code}");
        }
    }
}
