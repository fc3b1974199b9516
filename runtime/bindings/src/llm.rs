//! `fermyon:spin/llm`.

/// Without a version.
pub mod unversioned {
    wasmtime::component::bindgen!({
        path: "wit/fermyon-spin",
        world: "fermyon:spin/llm-imports",
        imports: { default: async | trappable },
    });

    pub use self::fermyon::spin::llm;
}

/// Version 2.0.0.
pub mod v2 {
    wasmtime::component::bindgen!({
        path: "wit/fermyon-spin-2.0.0",
        world: "fermyon:spin/llm-imports",
        imports: { default: async | trappable },
    });

    pub use self::fermyon::spin::llm;
}
