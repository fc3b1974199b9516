//! `fermyon:spin/postgres` and `fermyon:spin/mysql`, unversioned and 2.0.0, which
//! share their types.

/// Without a version: every function takes the address.
pub mod v0 {
    wasmtime::component::bindgen!({
        inline: "package catena:rdbms-v0; world imports {
            import fermyon:spin/postgres;
            import fermyon:spin/mysql;
        }",
        path: "wit/fermyon-spin",
        imports: { default: async | trappable },
    });

    pub use self::fermyon::spin::{mysql, postgres, rdbms_types};
}

/// Version 2.0.0.
pub mod v2 {
    wasmtime::component::bindgen!({
        inline: "package catena:rdbms-v2; world imports {
            import fermyon:spin/postgres@2.0.0;
            import fermyon:spin/mysql@2.0.0;
        }",
        path: "wit/fermyon-spin-2.0.0",
        imports: { default: async | trappable },
    });

    pub use self::fermyon::spin::{mysql, postgres, rdbms_types};
}
