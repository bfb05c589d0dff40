//! The GraphQL API: orders and invoices composed.
