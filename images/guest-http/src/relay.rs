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

    /// Does one thing that can be done without waiting; whether there was one.
    fn step(&mut self) -> Result<bool, StreamError> {
        let Some(to) = &self.to else {
            return Ok(false);
        };
        if self.held.is_empty() {
            match self.from.stream.read(64 * 1024) {
                Ok(bytes) => {
                    self.held = bytes;
                    return Ok(!self.held.is_empty());
                }
                Err(StreamError::Closed) => {
                    if let Some(to) = self.to.take() {
                        _ = to.finish(None);
                    }
                }
                Err(error) => return Err(error),
            }
        } else {
            let room = usize::try_from(to.stream.check_write()?).unwrap_or(usize::MAX);
            if room == 0 {
                return Ok(false);
            }
            let rest = self.held.split_off(room.min(self.held.len()));
            let now = std::mem::replace(&mut self.held, rest);
            to.stream.write(&now)?;
        }
        Ok(true)
    }
}

/// Carries `from` to `to` until its end. On an error `to` is dropped unfinished: its reader sees a body
/// that was cut, never one that looks whole.
pub fn relay(from: Reader, to: Writer) -> Result<(), StreamError> {
    let mut relay = Relay::new(from, to);
    while relay.to.is_some() {
        if !relay.step()?
            && let Some(ready) = relay.waits_for()
        {
            ready.block();
        }
    }
    Ok(())
}

/// Carries `up` while waiting for the response, then both ways at once. `down` is told when the head
/// of the response is there, and makes the other direction out of it.
///
/// It waits only when neither direction can go on: most of what a small request takes is there at once.
pub fn relay_both<E: From<StreamError>>(
    mut up: Relay,
    response: &FutureIncomingResponse,
    down: impl FnOnce() -> Result<Relay, E>,
) -> Result<(), E> {
    let head = response.subscribe();
    loop {
        let answered = if step_upload(&mut up) {
            head.ready()
        } else {
            let up_ready = up.waits_for();
            let waiting: Vec<&Pollable> = [&head].into_iter().chain(&up_ready).collect();
            poll(&waiting).contains(&0)
        };
        if answered {
            break;
        }
    }
    drop(head);
    let mut down = down()?;
    // When the callee has answered and ended, what is left of the upload no longer matters.
    while down.to.is_some() {
        let moved_up = step_upload(&mut up);
        if !down.step()? && !moved_up {
            let (up_ready, down_ready) = (up.waits_for(), down.waits_for());
            let waiting: Vec<&Pollable> = up_ready.iter().chain(&down_ready).collect();
            poll(&waiting);
        }
    }
    Ok(())
}

/// One step of the upload, whose reader may stop reading: not an error while it still answers.
fn step_upload(up: &mut Relay) -> bool {
    up.step().unwrap_or_else(|_| {
        up.to = None;
        false
    })
}
