//! What no component should do, and a host must stand.

use std::time::Duration;

use guest_http::{Call, fields, respond, respond_text};
use wasip2::clocks::monotonic_clock::subscribe_duration;
use wasip2::http::types::{Fields, IncomingRequest, Method, ResponseOutparam};

use crate::query::Query;

pub(crate) fn trap() {
    #[cfg(target_arch = "wasm32")]
    core::arch::wasm32::unreachable();
}

/// Traps when `bytes` of the body are out.
pub(crate) fn trap_after(out: ResponseOutparam, query: &Query) {
    let writer = respond(out, 200, fields(&[("content-type", "text/plain")]));
    let bytes = usize::try_from(query.number("bytes", 5)).unwrap_or(5);
    _ = writer.write(&vec![b'x'; bytes]);
    // Gives the bytes time to reach the reader: what is tested is the end, not the race.
    std::thread::sleep(Duration::from_millis(query.number("ms", 100)));
    trap();
}

/// Never gives the thread back.
pub(crate) fn spin() {
    let mut turns = 0u64;
    loop {
        turns = std::hint::black_box(turns.wrapping_add(1));
    }
}

/// Takes memory, mebibyte by mebibyte, until it is refused or `mib` is reached; says how much it got.
pub(crate) fn allocate(out: ResponseOutparam, query: &Query) {
    let mut held: Vec<Vec<u8>> = Vec::new();
    for _ in 0..query.number("mib", u64::MAX) {
        let mut block = Vec::new();
        if block.try_reserve_exact(1 << 20).is_err() {
            break;
        }
        block.resize(1 << 20, 1);
        held.push(block);
    }
    let got = held.len();
    // Room for the answer.
    drop(held);
    respond_text(out, 200, "text/plain", &got.to_string());
}

/// Answers with half a body and leaves it so.
pub(crate) fn unfinished(out: ResponseOutparam) {
    let writer = respond(out, 200, fields(&[("content-type", "text/plain")]));
    _ = writer.write(b"half of ");
    drop(writer);
}

/// Answers, and keeps a handle for ever: its own headers, the request's body, or a timer.
pub(crate) fn leak(request: &IncomingRequest, out: ResponseOutparam, query: &Query) {
    match query.get("what").expect("what to leak") {
        "headers" => std::mem::forget(Fields::new()),
        "body" => std::mem::forget(request.consume()),
        "timer" => std::mem::forget(subscribe_duration(1)),
        other => panic!("{other} cannot be leaked"),
    }
    respond_text(out, 200, "text/plain", "leaked\n");
}

/// Calls `url`, and answers and returns without waiting for anything.
pub(crate) fn send_off(out: ResponseOutparam, query: &Query) {
    let url = query.get("url").expect("a url");
    let call = Call::start(Method::Get, url, Fields::new());
    respond_text(out, 200, "text/plain", "sent off\n");
    drop(call);
}
