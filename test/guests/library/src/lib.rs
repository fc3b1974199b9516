//! A dependency that needs nothing of what its component may use: it computes, has a resource of its own, and
//! makes one of the host's.

use std::cell::Cell;

use wasip2::clocks::monotonic_clock::subscribe_duration;
use wasip2::io::poll::Pollable;

mod bindings {
    #![allow(missing_docs, reason = "made by a macro")]
    wit_bindgen::generate!({
        path: "wit",
        world: "test:library/library",
        with: { "wasi:io/poll@0.2.12": wasip2::io::poll },
        generate_all,
    });
}

use bindings::exports::test::library::{sums, tallies, waits};

struct Library;

bindings::export!(Library with_types_in bindings);

impl bindings::Guest for Library {
    fn shout(text: String) -> String {
        text.to_uppercase() + "!"
    }
}

impl sums::Guest for Library {
    fn add(a: i32, b: i32) -> i32 {
        a.wrapping_add(b)
    }
}

struct Counted(Cell<u32>);

impl tallies::GuestTally for Counted {
    fn new(start: u32) -> Self {
        Self(Cell::new(start))
    }

    fn add(&self, number: u32) {
        self.0.set(self.0.get().wrapping_add(number));
    }

    fn total(&self) -> u32 {
        self.0.get()
    }
}

impl tallies::Guest for Library {
    type Tally = Counted;

    fn larger(a: tallies::Tally, b: tallies::Tally) -> tallies::Tally {
        let total = |tally: &tallies::Tally| tally.get::<Counted>().0.get();
        if total(&a) >= total(&b) { a } else { b }
    }
}

impl waits::Guest for Library {
    fn after(milliseconds: u64) -> Pollable {
        subscribe_duration(milliseconds.saturating_mul(1_000_000))
    }
}
