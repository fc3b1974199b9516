//! `wasi:otel`, version 0.2.0-rc.2.

wasmtime::component::bindgen!({
    path: "wit/wasi-otel-0.2.0-rc.2",
    world: "wasi:otel/imports",
    imports: { default: trappable },
});

pub use self::wasi::clocks::wall_clock::Datetime;
pub use self::wasi::otel::{logs, metrics, tracing, types};
