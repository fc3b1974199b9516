//! What guests export to triggers. One world is enough for all versions whose
//! types are the same: wasmtime compares types by their structure, and functions
//! of worlds by their names.

/// `fermyon:spin/inbound-redis`, without a version.
pub mod fermyon_redis {
    wasmtime::component::bindgen!({
        path: "wit/fermyon-spin-inbound-redis",
        world: "fermyon:spin/trigger",
        exports: { default: async },
    });
}

/// `spin:redis/inbound-redis`, version 3.0.0.
pub mod redis {
    wasmtime::component::bindgen!({
        path: "wit/spin-inbound-redis-3.0.0",
        world: "spin:redis/trigger",
        exports: { default: async },
    });
}

/// `spin:mqtt-trigger`, without a version and 3.0.0.
pub mod mqtt {
    wasmtime::component::bindgen!({
        path: "wit/spin-mqtt-trigger-3.0.0",
        world: "spin:mqtt-trigger/trigger",
        exports: { default: async },
    });
}

/// `fermyon:spin-cron`, version 2.0.0, and `spin:cron`, version 3.0.0.
pub mod cron {
    wasmtime::component::bindgen!({
        path: "wit/spin-cron-3.0.0",
        world: "spin:cron/trigger",
        exports: { default: async },
    });
}

/// `fermyon:spin-sqs`, version 2.0.0, and `spin:sqs`, version 3.0.0.
pub mod sqs {
    wasmtime::component::bindgen!({
        path: "wit/spin-sqs-3.0.0",
        world: "spin:sqs/trigger",
        exports: { default: async },
    });
}
