//! What it calls, by the names and with the flattened parameters of then: texts and lists by address and length, an
//! option by a number before its value, and last the place for the result.

#[link(wasm_import_module = "spin-config")]
unsafe extern "C" {
    #[link_name = "get-config"]
    pub(crate) fn get_config(key: *const u8, key_len: usize, area: *mut u8);
}

#[link(wasm_import_module = "wasi-outbound-http")]
unsafe extern "C" {
    pub(crate) fn request(
        method: u32,
        uri: *const u8,
        uri_len: usize,
        headers: *const [usize; 4],
        headers_len: usize,
        params: *const [usize; 4],
        params_len: usize,
        has_body: u32,
        body: *const u8,
        body_len: usize,
        area: *mut u8,
    );
}

pub(crate) mod key_value {
    #[link(wasm_import_module = "key-value")]
    unsafe extern "C" {
        pub(crate) fn open(name: *const u8, name_len: usize, area: *mut u8);
        pub(crate) fn get(store: u32, key: *const u8, key_len: usize, area: *mut u8);
        pub(crate) fn set(
            store: u32,
            key: *const u8,
            key_len: usize,
            value: *const u8,
            value_len: usize,
            area: *mut u8,
        );
        pub(crate) fn delete(store: u32, key: *const u8, key_len: usize, area: *mut u8);
        pub(crate) fn exists(store: u32, key: *const u8, key_len: usize, area: *mut u8);
        #[link_name = "get-keys"]
        pub(crate) fn get_keys(store: u32, area: *mut u8);
        pub(crate) safe fn close(store: u32);
    }
}

pub(crate) mod sqlite {
    #[link(wasm_import_module = "sqlite")]
    unsafe extern "C" {
        pub(crate) fn open(name: *const u8, name_len: usize, area: *mut u8);
        pub(crate) fn execute(
            connection: u32,
            statement: *const u8,
            statement_len: usize,
            parameters: *const [u64; 2],
            parameters_len: usize,
            area: *mut u8,
        );
        pub(crate) safe fn close(connection: u32);
    }
}

pub(crate) mod redis {
    #[link(wasm_import_module = "outbound-redis")]
    unsafe extern "C" {
        pub(crate) fn get(
            address: *const u8,
            address_len: usize,
            key: *const u8,
            key_len: usize,
            area: *mut u8,
        );
        pub(crate) fn set(
            address: *const u8,
            address_len: usize,
            key: *const u8,
            key_len: usize,
            value: *const u8,
            value_len: usize,
            area: *mut u8,
        );
        pub(crate) fn incr(
            address: *const u8,
            address_len: usize,
            key: *const u8,
            key_len: usize,
            area: *mut u8,
        );
        pub(crate) fn execute(
            address: *const u8,
            address_len: usize,
            command: *const u8,
            command_len: usize,
            arguments: *const [u64; 2],
            arguments_len: usize,
            area: *mut u8,
        );
    }
}
