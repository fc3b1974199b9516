//! The ways of running a guest for an event.

pub(crate) mod command;
pub(crate) mod http;
mod streaming;
