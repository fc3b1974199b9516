//! Bytes from one body to another as they come, in one direction or in both at once.

use wasip2::http::types::FutureIncomingResponse;
use wasip2::io::poll::{Pollable, poll};
use wasip2::io::streams::StreamError;

use crate::{Reader, Writer};

/// One direction under way: it waits for bytes, then for room, in turn.
pub struct Relay {
    from: Reader,
    to: Option<Writer>,
    held: Vec<u8>,
}

impl Relay {
    /// Carries what `from` brings to `to`.
    pub fn new(from: Reader, to: Writer) -> Self {
        Self {
            from,
            to: Some(to),
            held: Vec::new(),
        }
    }

    fn waits_for(&self) -> Option<Pollable> {
        let to = self.to.as_ref()?;
        Some(if self.held.is_empty() {
            self.from.stream.subscribe()
        } else {
            to.stream.subscribe()
        })
    }

    /// Does what can be done without waiting.
    fn step(&mut self) -> Result<(), StreamError> {
        let Some(to) = &self.to else { return Ok(()) };
        if self.held.is_empty() {
            match self.from.stream.read(64 * 1024) {
                Ok(bytes) => self.held = bytes,
                Err(StreamError::Closed) => {
                    if let Some(to) = self.to.take() {
                        _ = to.finish(None);
                    }
                }
                Err(error) => return Err(error),
            }
        } else {
            let room = usize::try_from(to.stream.check_write()?).unwrap_or(usize::MAX);
            let rest = self.held.split_off(room.min(self.held.len()));
            let now = std::mem::replace(&mut self.held, rest);
            to.stream.write(&now)?;
        }
        Ok(())
    }
}

/// Carries `from` to `to` until its end. On an error `to` is dropped unfinished: its reader sees a body
/// that was cut, never one that looks whole.
pub fn relay(from: Reader, to: Writer) -> Result<(), StreamError> {
    let mut relay = Relay::new(from, to);
    while let Some(ready) = relay.waits_for() {
        ready.block();
        drop(ready);
        relay.step()?;
    }
    Ok(())
}

/// Carries `up` while waiting for the response, then both ways at once. `down` is told when the head
/// of the response is there, and makes the other direction out of it.
pub fn relay_both<E: From<StreamError>>(
    mut up: Relay,
    response: &FutureIncomingResponse,
    down: impl FnOnce() -> Result<Relay, E>,
) -> Result<(), E> {
    let mut make_down = Some(down);
    let mut down: Option<Relay> = None;
    let mut head = Some(response.subscribe());
    loop {
        let up_ready = up.waits_for();
        let down_ready = down.as_ref().and_then(Relay::waits_for);
        let waiting: Vec<&Pollable> = up_ready.iter().chain(&down_ready).chain(&head).collect();
        // When the callee has answered and ended, what is left of the upload no longer matters.
        if waiting.is_empty() || (down.is_some() && down_ready.is_none()) {
            return Ok(());
        }
        poll(&waiting);
        let now = |pollable: &Option<Pollable>| pollable.as_ref().is_some_and(Pollable::ready);
        let (up_now, down_now, head_now) = (now(&up_ready), now(&down_ready), now(&head));
        drop((up_ready, down_ready));
        if head_now {
            head = None;
            if let Some(make) = make_down.take() {
                down = Some(make()?);
            }
        }
        if up_now && up.step().is_err() {
            // The callee stopped reading: not an error while it still answers.
            up.to = None;
        }
        if down_now && let Some(down) = &mut down {
            down.step()?;
        }
    }
}
