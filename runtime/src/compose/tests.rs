//! Compositions that no compiler of guests makes.

use std::fmt::Write as _;

use super::*;
use crate::app::Power;
use crate::image::Interface;

/// What both know of stores.
const STORES: &str = r#"
(import "spin:key-value/key-value@3.0.0" (instance $stores
    (export "store" (type (sub resource)))))
(alias export $stores "store" (type $store))"#;

fn parts(component: &str, dependency: &str, inherit: Inherit) -> Parts {
    let wasm = |text: &str| wat::parse_str(format!("(component {text})")).unwrap();
    Parts {
        wasm: wasm(component),
        dependencies: vec![Part {
            name: "a:b/c@1.0.0".parse().unwrap(),
            export: None,
            inherit,
            wasm: wasm(dependency),
        }],
    }
}

fn refusal(parts: &Parts) -> String {
    format!("{:#}", compose(parts).unwrap_err())
}

/// A component that hands a store to its dependency.
fn handing(inherit: Inherit) -> Parts {
    let component = format!(
        r#"{STORES}
        (import "a:b/c@1.0.0" (instance
            (alias outer 1 $store (type $handed))
            (export "f" (func (param "s" (borrow $handed))))))"#
    );
    let dependency = format!(
        r#"{STORES}
        (core module $code (func (export "f") (param i32)))
        (core instance $code (instantiate $code))
        (func $f (param "s" (borrow $store)) (canon lift (core func $code "f")))
        (instance $given (export "f" (func $f)))
        (export "a:b/c@1.0.0" (instance $given))"#
    );
    parts(&component, &dependency, inherit)
}

#[test]
fn what_is_handed_over_has_to_be_inherited() {
    let inheriting = BTreeSet::from([Power::KeyValueStores]);
    for inherit in [Inherit::All, Inherit::Some(inheriting)] {
        compose(&handing(inherit)).unwrap();
    }
    let told = refusal(&handing(Inherit::nothing()));
    assert!(told.contains("do not fit the component"), "{told}");
    assert!(told.contains("let \"a:b/c@1.0.0\" inherit"), "{told}");
}

#[test]
fn what_the_composer_does_not_expect_is_an_error() {
    let component = r#"(import "a:b/c@1.0.0" (instance))"#;
    let dependency = format!(
        r#"{STORES}
        (import "open" (func (result (own $store))))
        (instance $given)
        (export "a:b/c@1.0.0" (instance $given))"#
    );
    let told = refusal(&parts(component, &dependency, Inherit::All));
    assert_eq!(told, UNFIT);
}

#[test]
fn what_imports_too_much_together_is_not_composed() {
    let importing = |prefix: &str, count: usize| {
        let mut text = String::new();
        for number in 0..count {
            let _ = write!(text, "(import \"{prefix}{number}\" (instance))");
        }
        text
    };
    let of = |count| {
        let component = importing("p", count) + r#"(import "a:b/c@1.0.0" (instance))"#;
        let dependency =
            importing("d", count) + r#"(instance $given) (export "a:b/c@1.0.0" (instance $given))"#;
        parts(&component, &dependency, Inherit::All)
    };
    let composed = of(9);
    let composed = compose(&composed).unwrap();
    assert_eq!(Interface::read(&composed).unwrap().imports.len(), 18);
    let told = refusal(&of(600));
    assert!(told.contains("import 1201 things together"), "{told}");
}
