//! A core module as Spin's first SDKs made it: what wit-bindgen 0.2 generated, by hand. It has no types of components,
//! and its functions have the names of then.
//!
//! `/call?URL` calls on, `/config?NAME` tells a variable, `/keep?TEXT` and `/sql?TEXT` go through a store and a
//! database, `/redis?ADDRESS` through Redis, `/nothing` answers with nothing, and everything else is told what arrived.
//! A message of Redis goes on to the component `record`; `fail ..` fails.

mod abi;
mod imports;

use abi::{At, left, text};
use imports::{get_config, key_value, redis, request, sqlite};

/// The result of an import, which gets the place for it last.
macro_rules! ask {
    ($function:path, $($argument:expr),+) => {
        // SAFETY: what is passed lives until the call ends, and the place has room for any result.
        abi::asked(|area| unsafe { $function($($argument,)+ area) })
    };
}

const GET: u32 = 0;
const POST: u32 = 1;

/// What is answered: 28 bytes, of which the first two are the status.
type Response = [usize; 7];

#[unsafe(export_name = "handle-http-request")]
extern "C" fn handle_http_request(
    method: u32,
    uri: *mut u8,
    uri_len: usize,
    headers: *const u8,
    headers_len: usize,
    _params: *const u8,
    params_len: usize,
    has_body: u32,
    body: *mut u8,
    body_len: usize,
) -> *const Response {
    let uri = text(uri, uri_len);
    let (path, argument) = uri.split_once('?').unwrap_or((&uri, ""));
    let answer = match path.rsplit('/').next().unwrap_or_default() {
        "call" => called(GET, argument, None),
        "config" => config(argument),
        "keep" => kept(argument),
        "sql" => selected(argument),
        "redis" => through_redis(argument),
        "nothing" => return left([204, 0, 0, 0, 0, 0, 0]),
        _ => {
            let mut told = format!("{method} {uri} params {params_len}\n");
            for header in (0..headers_len).map(|index| At(headers.wrapping_add(index * 16))) {
                told += &format!("{}: {}\n", header.text(0), header.text(8));
            }
            let body = match has_body {
                0 => "no body".to_owned(),
                _ => text(body, body_len),
            };
            told + &body
        }
    };
    println!("first: answered {path}");
    let (name, value) = ("x-first", "yes");
    let header = left([
        name.as_ptr() as usize,
        name.len(),
        value.as_ptr() as usize,
        value.len(),
    ]);
    let body = answer.into_bytes().leak();
    left([
        203,
        1,
        header as usize,
        1,
        1,
        body.as_ptr() as usize,
        body.len(),
    ])
}

#[unsafe(export_name = "handle-redis-message")]
extern "C" fn handle_redis_message(message: *mut u8, message_len: usize) -> *const [u8; 2] {
    let message = text(message, message_len);
    let told = called(POST, "http://record.spin.internal/first", Some(&message));
    println!("first: took {message}: {told}");
    left([u8::from(message.starts_with("fail")), 1])
}

fn called(method: u32, url: &str, body: Option<&str>) -> String {
    let (name, value) = ("x-sent", "yes");
    let header = [
        name.as_ptr() as usize,
        name.len(),
        value.as_ptr() as usize,
        value.len(),
    ];
    let sent = body.unwrap_or_default();
    let result = ask!(
        request,
        method,
        url.as_ptr(),
        url.len(),
        &raw const header,
        1,
        std::ptr::null(),
        0,
        u32::from(body.is_some()),
        sent.as_ptr(),
        sent.len()
    );
    if result.byte(0) == 1 {
        return format!("error {}", result.byte(4));
    }
    let headers = match result.byte(8) {
        0 => 0,
        _ => result.list(12, 16).count(),
    };
    let body = match result.byte(20) {
        0 => "no body".to_owned(),
        _ => result.text(24),
    };
    format!("{}, headers {}: {body}", result.short(4), headers > 0)
}

fn config(key: &str) -> String {
    let result = ask!(get_config, key.as_ptr(), key.len());
    match result.byte(0) {
        0 => result.text(4),
        _ => format!("error {}: {}", result.byte(4), result.text(8)),
    }
}

fn kept(value: &str) -> String {
    let (label, key) = ("default", "kept");
    let opened = ask!(key_value::open, label.as_ptr(), label.len());
    if opened.byte(0) == 1 {
        return format!("error {}", opened.byte(4));
    }
    let store = opened.word(4);
    let (key, key_len) = (key.as_ptr(), key.len());
    let set = ask!(
        key_value::set,
        store,
        key,
        key_len,
        value.as_ptr(),
        value.len()
    );
    let got = ask!(key_value::get, store, key, key_len);
    let exists = ask!(key_value::exists, store, key, key_len);
    let keys = ask!(key_value::get_keys, store);
    let found = format!(
        "{} {} {} {} {:?}",
        set.byte(0),
        got.byte(0),
        got.text(4),
        exists.byte(4),
        keys.list(4, 8).map(|key| key.text(0)).collect::<Vec<_>>(),
    );
    let deleted = ask!(key_value::delete, store, key, key_len).byte(0);
    let missing = ask!(key_value::get, store, key, key_len);
    key_value::close(store);
    let closed = ask!(key_value::get, store, key, key_len);
    format!(
        "{found} {deleted} error {} error {}",
        missing.byte(4),
        closed.byte(4)
    )
}

/// A value that a database or Redis takes: which kind, and in the second half what it is.
fn passed(kind: u64, text: &str) -> [u64; 2] {
    [
        kind,
        text.as_ptr() as u64 | (text.len() as u64) << u32::BITS,
    ]
}

fn selected(value: &str) -> String {
    let label = "default";
    let opened = ask!(sqlite::open, label.as_ptr(), label.len());
    if opened.byte(0) == 1 {
        return format!("error {}", opened.byte(4));
    }
    let connection = opened.word(4);
    let statement = "SELECT ?1 AS text, ?2 AS whole, ?3 AS real, ?4 AS none";
    let parameters = [passed(2, value), [0, 7], [1, 1.5f64.to_bits()], [4, 0]];
    let result = ask!(
        sqlite::execute,
        connection,
        statement.as_ptr(),
        statement.len(),
        parameters.as_ptr(),
        parameters.len()
    );
    sqlite::close(connection);
    if result.byte(0) == 1 {
        return format!("error {}: {}", result.byte(4), result.text(8));
    }
    let mut told: Vec<_> = result.list(4, 8).map(|column| column.text(0)).collect();
    for value in result.list(12, 8).flat_map(|row| row.list(0, 16)) {
        told.push(match value.byte(0) {
            0 => value.long(8).to_string(),
            1 => value.real(8).to_string(),
            2 => value.text(8),
            kind => format!("kind {kind}"),
        });
    }
    told.join(" ")
}

fn through_redis(address: &str) -> String {
    let (at, length) = (address.as_ptr(), address.len());
    let (key, value, counter, command) = ("first", "a value", "counter", "MGET");
    let set = ask!(
        redis::set,
        at,
        length,
        key.as_ptr(),
        key.len(),
        value.as_ptr(),
        value.len()
    );
    if set.byte(0) == 1 {
        return format!("error {}", set.byte(1));
    }
    let got = ask!(redis::get, at, length, key.as_ptr(), key.len());
    let counted = ask!(redis::incr, at, length, counter.as_ptr(), counter.len());
    let arguments = [passed(1, key), [0, 7]];
    let executed = ask!(
        redis::execute,
        at,
        length,
        command.as_ptr(),
        command.len(),
        arguments.as_ptr(),
        arguments.len()
    );
    let mut told = format!("{}, {}", got.text(4), counted.long(8));
    for result in executed.list(4, 16) {
        told += &match result.byte(0) {
            3 => format!(", binary {}", result.text(8)),
            kind => format!(", kind {kind}"),
        };
    }
    told
}
