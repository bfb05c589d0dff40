//! The invoices service.
