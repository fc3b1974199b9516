//! `wasi:config/store`, version 0.2.0-draft-2024-09-27.

wasmtime::component::bindgen!({
    path: "wit/wasi-config-0.2.0-draft-2024-09-27",
    world: "wasi:config/imports",
    imports: { default: async | trappable },
});

pub use self::wasi::config::store;
