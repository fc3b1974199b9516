//! Rust bindings of the WIT interfaces that guests import from catena and
//! export to it, beside those of WASI that wasmtime has itself.
//!
//! `wit/` holds one folder a package and version. A module here is one
//! interface in all its versions. The traits are implemented in
//! `runtime/src/host`; nothing here does anything. It is a crate of its own
//! since the bindings are large and change seldom.
#![expect(
    missing_docs,
    reason = "the bindings are generated; their WIT says what they are"
)]

pub mod config_store;
pub mod inbound;
pub mod key_value;
pub mod llm;
pub mod mqtt;
pub mod mysql;
pub mod otel;
pub mod postgres;
pub mod rdbms;
pub mod redis;
pub mod spin_http;
pub mod sqlite;
pub mod variables;
