//! The schema migrations of both databases, and their command line.
