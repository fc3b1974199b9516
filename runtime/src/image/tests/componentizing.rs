//! Core modules made into components.

use super::*;

#[test]
fn a_command_module_becomes_a_command_component() {
    let module = command_module();
    let component = componentize(&module).unwrap();
    let interface = Interface::read(&component).unwrap();
    assert!(interface.component && interface.runs(), "{interface:?}");
    assert_eq!(componentize(&component).unwrap(), component);
}

#[test]
fn a_module_without_a_start_is_refused() {
    let error = componentize(b"\0asm\x01\0\0\0").unwrap_err().to_string();
    assert!(error.contains("no `_start`"), "{error}");
    assert!(
        componentize(b"hello")
            .unwrap_err()
            .to_string()
            .contains("is not WebAssembly")
    );
}
