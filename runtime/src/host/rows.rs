//! Rows of a result as a stream that the guest reads.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::{mpsc, oneshot};
use wasmtime::StoreContextMut;
use wasmtime::component::{
    Accessor, Destination, FutureReader, Lift, Lower, StreamProducer, StreamReader, StreamResult,
};

use super::Viewed;
use crate::service::dial::Streamed;

/// Hands on what a task sends.
struct Rows<R>(mpsc::Receiver<R>);

impl<R: Lower + Send + Sync + 'static, D> StreamProducer<D> for Rows<R> {
    type Item = R;
    type Buffer = Option<R>;

    fn poll_produce<'a>(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut store: StoreContextMut<'a, D>,
        mut to: Destination<'a, R, Option<R>>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        if to.remaining(&mut store) == Some(0) {
            return Poll::Ready(Ok(StreamResult::Completed));
        }
        match self.get_mut().0.poll_recv(cx) {
            Poll::Ready(Some(row)) => {
                to.set_buffer(Some(row));
                Poll::Ready(Ok(StreamResult::Completed))
            }
            Poll::Ready(None) => Poll::Ready(Ok(StreamResult::Dropped)),
            Poll::Pending if finish => Poll::Ready(Ok(StreamResult::Cancelled)),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// The stream of the rows, and the future that says whether it was all of them.
type Given<R, E> = (StreamReader<R>, FutureReader<Result<(), E>>);

/// Gives a guest rows while they come.
pub(super) fn streamed<R, E, T>(
    store: &Accessor<T, Viewed>,
    rows: Streamed<R, E>,
    broken: fn(String) -> E,
) -> wasmtime::Result<Given<R, E>>
where
    R: Lower + Lift + Send + Sync + 'static,
    E: Lower + Lift + Send + Sync + 'static,
    T: Send + 'static,
{
    let end = ended(rows.end, broken);
    store.with(|mut store| {
        let stream = StreamReader::new(&mut store, Rows(rows.rows))?;
        let end = FutureReader::new(&mut store, end)?;
        Ok((stream, end))
    })
}

async fn ended<E>(
    end: oneshot::Receiver<Result<(), E>>,
    broken: fn(String) -> E,
) -> wasmtime::Result<Result<(), E>> {
    let lost = || Err(broken("the query was given up".to_owned()));
    Ok(end.await.unwrap_or_else(|_| lost()))
}
