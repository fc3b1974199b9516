//! Key-value stores: `fermyon:spin/key-value` unversioned and 2.0.0,
//! `spin:key-value` 3.0.0, `wasi:keyvalue` 0.2.0-draft2.

/// `fermyon:spin/key-value`, unversioned: stores are numbers.
pub mod unversioned {
    wasmtime::component::bindgen!({
        path: "wit/fermyon-spin",
        inline: "
            package catena:key-value;
            world imports { import fermyon:spin/key-value; }
        ",
        imports: { default: async | trappable },
    });

    pub use self::fermyon::spin::key_value::*;
}

/// `fermyon:spin/key-value` 2.0.0.
pub mod v2 {
    wasmtime::component::bindgen!({
        path: "wit/fermyon-spin-2.0.0",
        inline: "
            package catena:key-value;
            world imports { import fermyon:spin/key-value@2.0.0; }
        ",
        imports: { default: async | trappable },
    });

    pub use self::fermyon::spin::key_value::*;
}

/// `spin:key-value` 3.0.0: every function is asynchronous.
pub mod v3 {
    wasmtime::component::bindgen!({
        path: "wit/spin-key-value-3.0.0",
        inline: "
            package catena:key-value;
            world imports { import spin:key-value/key-value@3.0.0; }
        ",
        imports: { default: trappable },
    });

    pub use self::spin::key_value::key_value::*;
}

/// `wasi:keyvalue` 0.2.0-draft2.
pub mod wasi {
    wasmtime::component::bindgen!({
        path: "wit/wasi-keyvalue-0.2.0-draft2",
        world: "wasi:keyvalue/imports",
        imports: { default: async | trappable },
    });

    pub use self::wasi::keyvalue::{atomics, batch, store};
}
