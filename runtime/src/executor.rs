//! The ways of running a guest for an event.

pub(crate) mod command;
mod event;
pub(crate) mod http;
mod inbound;
pub(crate) mod message;
mod streaming;
pub(crate) mod tick;
mod wagi;
