//! Runs a whole WebAssembly application: every trigger of one image, on one
//! wasmtime engine and one HTTP engine, with calls between its components
//! dispatched in memory.
//!
//! The layers, lowest first; a module uses only those above it in this list
//! (`test/tests/layers.rs` keeps this true):
//!
//! ```text
//! app         what an image declares: lockfile, permissions, routes; no I/O
//! image       manifests and layers -> app, components, files
//! compose     a component and its dependencies -> one component
//! pack        a manifest in spin.toml's format -> an image
//! engine      wasmtime: configuration, compilation, cache, epochs
//! config      what the container's environment asks for
//! life        one instance at work: its end, its errands, its driver
//! body        bodies that catena writes, guards around those of guests
//! call        the seam: an event, and who delivers it
//! outbound    where guests' requests go: in memory, or to a real host
//! service     what guests' stores, databases and values stand on
//! host        what guests import
//! guest       a component linked and ready
//! compile     wasm -> code, kept in the node's cache
//! executor    one event through one guest
//! route       which component a path belongs to, and the headers that say so
//! dispatch    event -> guest
//! trigger     what brings events that are no requests
//! http        the listener
//! server      everything together: load, bind, serve, drain
//! ```
//!
//! It knows nothing of containerd and never reads the process's environment.

pub mod app;
mod body;
mod call;
pub mod compile;
pub mod compose;
pub mod config;
mod dispatch;
pub mod engine;
mod executor;
mod guest;
mod host;
mod http;
pub mod image;
mod life;
mod outbound;
pub mod pack;
mod route;
pub mod server;
pub mod service;
mod trigger;
