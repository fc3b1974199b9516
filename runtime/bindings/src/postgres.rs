//! `spin:postgres/postgres`, versions 3.0.0 and 4.2.0.

/// Version 3.0.0.
pub mod v3 {
    wasmtime::component::bindgen!({
        inline: "package catena:postgres-v3; world imports {
            import spin:postgres/postgres@3.0.0;
        }",
        path: "wit/spin-postgres-3.0.0",
        imports: { default: async | trappable },
    });

    pub use self::spin::postgres::postgres;
}

/// Version 4.2.0, of which 4.0.0 and 4.1.0 are parts.
///
/// In this WIT the asynchronous functions stand behind a feature that the
/// published one does not have: an engine without concurrency cannot link them.
pub mod v4 {
    wasmtime::component::bindgen!({
        inline: "package catena:postgres-v4; world imports {
            import spin:postgres/postgres@4.2.0;
        }",
        path: "wit/spin-postgres-4.2.0",
        imports: {
            "spin:postgres/postgres.[static]connection.open-async": trappable,
            "spin:postgres/postgres.[method]connection.query-async": trappable,
            "spin:postgres/postgres.[method]connection.execute-async": trappable,
            "spin:postgres/postgres.[method]connection-builder.build-async": trappable,
            default: async | trappable,
        },
    });

    pub use self::spin::postgres::postgres;
}
