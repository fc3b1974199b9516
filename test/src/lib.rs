//! The harness of catena's end-to-end tests: it packs apps, runs them under `catena run` or under a
//! containerd of its own, calls them as clients do, and looks for what they leave behind.
//!
//! Tests and benches use it; it knows catena only from outside, as its users do: the binary, its
//! output, its sockets. Only the bench binary links the runtime, to count its allocations.

pub mod backing;
pub mod broker;
pub mod catena;
pub mod client;
pub mod containerd;
pub mod cri;
pub mod kubernetes;
pub mod layout;
pub mod leftovers;
pub mod node;
pub mod output;
pub mod pack;
pub mod scripted;
pub mod upstream;
pub mod workspace;

pub use backing::Backing;
pub use catena::{Catena, Running};
pub use client::{Client, Response};
pub use containerd::Containerd;
pub use cri::Cri;
pub use node::Node;
pub use pack::{Form, Packed};
pub use scripted::Scripted;
pub use upstream::Upstream;
