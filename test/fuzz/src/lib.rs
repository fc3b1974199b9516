//! What is fuzzed: the part of `catena-runtime` that reads hostile bytes,
//! compiled alone, so that a fuzz build does not have to build an engine.

#[path = "../../../runtime/src"]
mod runtime {
    pub mod app;
}

pub use runtime::app;
