//! `fermyon:spin/http` and `fermyon:spin/inbound-http`, which have no version.

wasmtime::component::bindgen!({
    path: "wit/fermyon-spin-http",
    world: "fermyon:spin/inbound",
    imports: { default: async | trappable },
    exports: { default: async },
});

pub use self::InboundPre as InboundHttpPre;
pub use self::fermyon::spin::{http, http_types};
