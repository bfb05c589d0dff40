//! Everything in one process: SQLite and the in-process bus.
