//! `fermyon:spin/config`, `fermyon:spin/variables` and `spin:variables`.

/// `fermyon:spin/config`, without a version.
pub mod unversioned {
    wasmtime::component::bindgen!({
        path: "wit/fermyon-spin",
        world: "fermyon:spin/config-imports",
        imports: { default: async | trappable },
    });

    pub use self::fermyon::spin::config;
}

/// `fermyon:spin/variables`, version 2.0.0.
pub mod v2 {
    wasmtime::component::bindgen!({
        path: "wit/fermyon-spin-2.0.0",
        world: "fermyon:spin/variables-imports",
        imports: { default: async | trappable },
    });

    pub use self::fermyon::spin::variables;
}

/// `spin:variables/variables`, version 3.0.0.
pub mod v3 {
    wasmtime::component::bindgen!({
        path: "wit/spin-variables-3.0.0",
        world: "spin:variables/imports",
        imports: { default: async | trappable },
    });

    pub use self::spin::variables::variables;
}
