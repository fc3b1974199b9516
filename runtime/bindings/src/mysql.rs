//! `spin:mysql/mysql`, version 3.0.0, all of whose functions are asynchronous.

wasmtime::component::bindgen!({
    inline: "package catena:mysql-v3; world imports { import spin:mysql/mysql@3.0.0; }",
    path: "wit/spin-mysql-3.0.0",
    imports: { default: trappable },
});

pub use self::spin::mysql::mysql;
