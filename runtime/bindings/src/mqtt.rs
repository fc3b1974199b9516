//! `fermyon:spin/mqtt` 2.0.0 and `spin:mqtt/mqtt` 3.0.0.

/// Version 2.0.0.
pub mod v2 {
    wasmtime::component::bindgen!({
        inline: "package catena:mqtt-v2; world imports { import fermyon:spin/mqtt@2.0.0; }",
        path: "wit/fermyon-spin-2.0.0",
        imports: { default: async | trappable },
    });

    pub use self::fermyon::spin::mqtt;
}

/// Version 3.0.0, all of whose functions are asynchronous.
pub mod v3 {
    wasmtime::component::bindgen!({
        inline: "package catena:mqtt-v3; world imports { import spin:mqtt/mqtt@3.0.0; }",
        path: "wit/spin-mqtt-3.0.0",
        imports: { default: trappable },
    });

    pub use self::spin::mqtt::mqtt;
}
