//! A command: calls the component `record` once, and ends.

use guest_http::Call;

fn main() {
    if let Err(error) = Call::get("http://record.spin.internal/command") {
        eprintln!("record cannot be called: {error:?}");
        std::process::exit(1);
    }
}
