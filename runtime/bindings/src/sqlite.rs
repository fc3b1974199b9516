//! SQLite databases: `fermyon:spin/sqlite` unversioned and 2.0.0, `spin:sqlite`
//! 3.0.0 and 3.1.0.

/// `fermyon:spin/sqlite`, unversioned: connections are numbers.
pub mod unversioned {
    wasmtime::component::bindgen!({
        path: "wit/fermyon-spin",
        inline: "
            package catena:sqlite;
            world imports { import fermyon:spin/sqlite; }
        ",
        imports: { default: async | trappable },
    });

    pub use self::fermyon::spin::sqlite::*;
}

/// `fermyon:spin/sqlite` 2.0.0.
pub mod v2 {
    wasmtime::component::bindgen!({
        path: "wit/fermyon-spin-2.0.0",
        inline: "
            package catena:sqlite;
            world imports { import fermyon:spin/sqlite@2.0.0; }
        ",
        imports: { default: async | trappable },
    });

    pub use self::fermyon::spin::sqlite::*;
}

/// `spin:sqlite` 3.0.0.
pub mod v3_0 {
    wasmtime::component::bindgen!({
        path: "wit/spin-sqlite-3.0.0",
        inline: "
            package catena:sqlite;
            world imports { import spin:sqlite/sqlite@3.0.0; }
        ",
        imports: { default: async | trappable },
    });

    pub use self::spin::sqlite::sqlite::*;
}

/// `spin:sqlite` 3.1.0: each function of 3.0.0 and an asynchronous one beside it.
pub mod v3_1 {
    wasmtime::component::bindgen!({
        path: "wit/spin-sqlite-3.1.0",
        inline: "
            package catena:sqlite;
            world imports { import spin:sqlite/sqlite@3.1.0; }
        ",
        imports: { default: async | trappable },
    });

    pub use self::spin::sqlite::sqlite::*;
}
