//! Manifests with mistakes, and the sentences about them.

use super::*;

#[test]
fn all_mistakes_are_told_with_file_and_line() {
    let project = Project::new(
        r#"spin_manifest_version = 2
colour = "red"

[application]
nmae = "test"
trigger = { smtp = {} }

[variables]
both = { default = "x", required = true }
Bad-Name = { default = 3 }

[[trigger.http]]
route = "/a/.../b"
component = "nobody"
executor = { type = "fpga" }

[[trigger.fax]]
topic = "x"

[[trigger.http]]
route = "/a"
component = "a"
static_response = {}

[component.a]
source = "missing.wasm"
files = ["../x", "none.txt", { source = "static" }, 7]
allowed_outbound_hosts = ["example.com", "https://{{ nothing }}.com"]
dependencies = { "a:b/c" = "x.wasm" }
environment = { A = 1 }
build = { command = "cargo build" }

[component."b c"]
source = { url = "https://example.com/x.wasm", digest = "sha256:00" }

[component.c]
wasm = "x"
"#,
    );
    let mistakes = project.mistakes(Form::Rootfs);
    let expected = [
        (2, "the unknown key `colour`"),
        (4, "[application] lacks the key `name`"),
        (5, "[application] has the unknown key `nmae`"),
        (6, "no trigger of the type \"smtp\""),
        (9, "variable \"both\" is required and has a default"),
        (10, "\"Bad-Name\""),
        (10, "`default` has to be a string, and is an integer"),
        (13, "the route"),
        (14, "names the component \"nobody\""),
        (15, "no executor \"fpga\""),
        (17, "no trigger of the type \"fax\""),
        (20, "has a `component` and a `static_response`"),
        (
            26,
            "there is no file `missing.wasm`; build the component first: `cargo build`",
        ),
        (27, "`../x` leaves the manifest's folder"),
        (27, "`none.txt` cannot be read"),
        (27, "lacks the key `destination`"),
        (27, "holds an integer"),
        (28, "example.com"),
        (28, "nothing"),
        (
            29,
            "dependency \"a:b/c\" is to come from a registry, and catena fetches nothing",
        ),
        (30, "A has to be a string, and is an integer"),
        (33, "component \"b c\""),
        (34, "catena fetches nothing"),
        (36, "component \"c\" lacks the key `source`"),
        (37, "component \"c\" has the unknown key `wasm`"),
    ];
    for (line, text) in expected {
        let found = mistakes.iter().any(|mistake| {
            mistake.starts_with(&format!("spin.toml:{line}: ")) && mistake.contains(text)
        });
        assert!(
            found,
            "spin.toml:{line}: {text}\n---\n{}",
            mistakes.join("\n")
        );
    }
}

#[test]
fn what_is_no_manifest_of_version_2_is_refused() {
    let mistakes = |text: &str| Project::new(text).mistakes(Form::Rootfs).join("\n");
    assert!(
        mistakes("spin_manifest_version = 1")
            .starts_with("spin.toml:1: spin_manifest_version is 1")
    );
    assert!(mistakes("spin_manifest_version = \"1\"").contains("has to be the number 2"));
    assert!(mistakes("").contains("lacks `spin_manifest_version = 2`"));
    let both = mistakes("a = \nb = \"x\n");
    assert!(
        both.contains("spin.toml:1: this is not TOML")
            && both.contains("spin.toml:2: this is not TOML"),
        "{both}"
    );
}

#[test]
fn wasm_that_does_not_fit_its_trigger_is_refused() {
    let project = Project::new(&format!("{HEAD}{SIMPLE}"));
    fs::write(project.path("http.wasm"), command_module()).unwrap();
    let mistakes = project.mistakes(Form::Rootfs);
    assert!(
        mistakes[0].starts_with(
            "spin.toml:8: component \"a\": the trigger \"a-http-trigger\" needs an HTTP handler"
        ),
        "{mistakes:?}"
    );
    fs::write(project.path("http.wasm"), "hello").unwrap();
    assert!(project.mistakes(Form::Rootfs)[0].contains("is not WebAssembly"));
    fs::write(project.path("http.wasm"), b"\0asm\x01\0\0\0").unwrap();
    assert!(project.mistakes(Form::Rootfs)[0].contains("exports no `_start`"));
    let mut bytes = exporting("wasi:http/handler@0.3.0");
    // The export of an instance that there is not.
    let index = bytes.len() - 2;
    bytes[index] = 7;
    fs::write(project.path("http.wasm"), bytes).unwrap();
    assert!(project.mistakes(Form::Rootfs)[0].contains("is not valid WebAssembly"));
}
