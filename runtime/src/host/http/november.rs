//! Where `wasi:http/types@0.2.0-rc-2023-11-10` differs from the release.

use std::time::Duration;

use wasmtime::component::{Linker, Resource};
use wasmtime_wasi_http::p2::bindings::http::types::{self, RequestOptions};
use wasmtime_wasi_http::p2::body::HostFutureTrailers;
use wasmtime_wasi_http::{RequestOptions as Options, WasiHttpView};

use super::outgoing::TYPES;
use crate::host::State;

/// One of the time limits of a request.
type Limit = fn(&mut Options) -> &mut Option<Duration>;

const LIMITS: [(&str, Limit); 3] = [
    ("connect-timeout-ms", |options| &mut options.connect_timeout),
    ("first-byte-timeout-ms", |options| {
        &mut options.first_byte_timeout
    }),
    ("between-bytes-timeout-ms", |options| {
        &mut options.between_bytes_timeout
    }),
];

/// Puts the candidate's functions over those of the release.
pub(in crate::host) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut interface = linker.instance(TYPES)?;
    // In spite of their names they give the interface's durations: nanoseconds.
    for (name, limit) in LIMITS {
        interface.func_wrap(
            &format!("[method]request-options.{name}"),
            move |mut store, (options,): (Resource<RequestOptions>,)| {
                let limit = *limit(store.data_mut().http().table.get_mut(&options)?);
                let nanos = |limit: Duration| u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
                Ok((limit.map(nanos),))
            },
        )?;
        interface.func_wrap(
            &format!("[method]request-options.set-{name}"),
            move |mut store, (options, nanos): (Resource<RequestOptions>, Option<u64>)| {
                *limit(store.data_mut().http().table.get_mut(&options)?) =
                    nanos.map(Duration::from_nanos);
                Ok((Ok::<(), ()>(()),))
            },
        )?;
    }
    interface.func_wrap(
        "[method]future-trailers.get",
        |mut store, (trailers,): (Resource<HostFutureTrailers>,)| {
            let got = types::HostFutureTrailers::get(&mut store.data_mut().http(), trailers)?;
            // Who asks again is told that there are none.
            Ok((got.map(|once| once.unwrap_or(Ok(None))),))
        },
    )
}
