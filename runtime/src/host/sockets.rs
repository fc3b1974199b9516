//! `wasi:sockets/ip-name-lookup`, in place of wasmtime's, which looks up every
//! name or none. The sockets themselves are wasmtime's, with the permissions
//! of [`crate::outbound::Sockets`].

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use wasmtime::component::{Accessor, Linker, Resource, ResourceType};
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddress};
use wasmtime_wasi::p2::{DynPollable, Network, Pollable, subscribe};
use wasmtime_wasi::p3::bindings::sockets::ip_name_lookup as p3;
use wasmtime_wasi::p3::bindings::sockets::types::IpAddress as IpAddressP3;

use super::{State, View, Viewed};
use crate::outbound::LookupError;

/// wasmtime's own name of the interface.
const LOOKUP: &str = "wasi:sockets/ip-name-lookup@0.2.12";

type Lookup = Pin<Box<dyn Future<Output = Result<Vec<IpAddr>, LookupError>> + Send>>;

/// A `resolve-address-stream`.
enum Addresses {
    Pending(Lookup),
    /// Those that the guest has not taken yet.
    Found(std::vec::IntoIter<IpAddr>),
    Failed(LookupError),
}

impl Addresses {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Addresses::Pending(lookup) = self {
            *self = match ready!(lookup.as_mut().poll(cx)) {
                Ok(found) => Addresses::Found(found.into_iter()),
                Err(error) => Addresses::Failed(error),
            };
        }
        Poll::Ready(())
    }

    fn next(&mut self) -> Result<Option<IpAddress>, ErrorCode> {
        match self {
            Addresses::Pending(_) => Err(ErrorCode::WouldBlock),
            Addresses::Found(left) => Ok(left.next().map(IpAddress::from)),
            Addresses::Failed(error) => Err((*error).into()),
        }
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Addresses {
    async fn ready(&mut self) {
        std::future::poll_fn(|cx| self.poll(cx)).await;
    }
}

impl From<LookupError> for ErrorCode {
    fn from(error: LookupError) -> Self {
        match error {
            LookupError::Invalid => ErrorCode::InvalidArgument,
            LookupError::Denied => ErrorCode::AccessDenied,
            LookupError::Unknown => ErrorCode::NameUnresolvable,
        }
    }
}

impl From<LookupError> for p3::ErrorCode {
    fn from(error: LookupError) -> Self {
        match error {
            LookupError::Invalid => p3::ErrorCode::InvalidArgument,
            LookupError::Denied => p3::ErrorCode::AccessDenied,
            LookupError::Unknown => p3::ErrorCode::NameUnresolvable,
        }
    }
}

/// Replaces the interface of 0.2.
pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut lookup = linker.instance(LOOKUP)?;
    lookup.resource(
        "resolve-address-stream",
        ResourceType::host::<Addresses>(),
        |mut store, rep| {
            let stream = Resource::<Addresses>::new_own(rep);
            store.data_mut().table.delete(stream)?;
            Ok(())
        },
    )?;
    lookup.func_wrap(
        "resolve-addresses",
        |mut store, (network, name): (Resource<Network>, String)| {
            let state = store.data_mut();
            state.table.get(&network)?;
            let sockets = Arc::clone(&state.granted.sockets);
            let lookup = Box::pin(async move { sockets.look_up(&name).await });
            let mut addresses = Addresses::Pending(lookup);
            // What needs nobody else is known at once.
            let _ = addresses.poll(&mut Context::from_waker(Waker::noop()));
            Ok((match addresses {
                Addresses::Failed(error) => Err(ErrorCode::from(error)),
                addresses => Ok(state.table.push(addresses)?),
            },))
        },
    )?;
    lookup.func_wrap(
        "[method]resolve-address-stream.resolve-next-address",
        |mut store, (stream,): (Resource<Addresses>,)| {
            let stream = store.data_mut().table.get_mut(&stream)?;
            let _ = stream.poll(&mut Context::from_waker(Waker::noop()));
            Ok((stream.next(),))
        },
    )?;
    lookup.func_wrap(
        "[method]resolve-address-stream.subscribe",
        |mut store,
         (stream,): (Resource<Addresses>,)|
         -> wasmtime::Result<(Resource<DynPollable>,)> {
            Ok((subscribe(&mut store.data_mut().table, stream)?,))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

/// Replaces the interface of 0.3.
pub(super) fn add_p3_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    p3::add_to_linker::<_, Viewed>(linker, State::view)?;
    linker.allow_shadowing(false);
    Ok(())
}

impl p3::Host for View<'_> {}

impl<U> p3::HostWithStore<U> for Viewed {
    async fn resolve_addresses(
        store: &Accessor<U, Self>,
        name: String,
    ) -> wasmtime::Result<Result<Vec<IpAddressP3>, p3::ErrorCode>> {
        let sockets = store.with(|mut view| Arc::clone(&view.get().granted.sockets));
        let found = sockets.look_up(&name).await;
        Ok(match found {
            Ok(found) => Ok(found.into_iter().map(IpAddressP3::from).collect()),
            Err(error) => Err(error.into()),
        })
    }
}
