//! `fermyon:spin/redis`, unversioned and 2.0.0, and `spin:redis/redis` 3.0.0.

/// Without a version: every function takes the address.
pub mod v0 {
    wasmtime::component::bindgen!({
        inline: "package catena:redis-v0; world imports { import fermyon:spin/redis; }",
        path: "wit/fermyon-spin",
        imports: { default: async | trappable },
    });

    pub use self::fermyon::spin::{redis, redis_types};
}

/// Version 2.0.0.
pub mod v2 {
    wasmtime::component::bindgen!({
        inline: "package catena:redis-v2; world imports { import fermyon:spin/redis@2.0.0; }",
        path: "wit/fermyon-spin-2.0.0",
        imports: { default: async | trappable },
    });

    pub use self::fermyon::spin::redis;
}

/// Version 3.0.0, all of whose functions are asynchronous.
pub mod v3 {
    wasmtime::component::bindgen!({
        inline: "package catena:redis-v3; world imports { import spin:redis/redis@3.0.0; }",
        path: "wit/spin-redis-3.0.0",
        imports: { default: trappable },
    });

    pub use self::spin::redis::redis;
}
