use serde_json::{Value, json};

use super::*;
use crate::app::{CommandTrigger, Content, FileMount, HttpExecutor, HttpTarget, HttpTrigger};

mod hostile;
mod refused;

const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A small application that is taken.
fn sound() -> Value {
    json!({
        "spin_lock_version": 1,
        "must_understand": ["component_host_requirements"],
        "metadata": {"name": "chain-of-command", "version": "6.11.2", "triggers": {}},
        "triggers": [{
            "id": "a-http-trigger",
            "trigger_type": "http",
            "trigger_config": {"component": "a", "route": "/lights", "executor": {"type": "http"}}
        }],
        "components": [
            {
                "id": "a",
                "metadata": {"allowed_outbound_hosts": ["http://b.spin.internal"]},
                "source": {"content_type": "application/wasm", "digest": DIGEST},
                "env": {"env1": "first"},
                "host_requirements": {"local_service_chaining": "required"}
            },
            {"id": "b", "source": {"content_type": "application/wasm", "inline": "AGFzbQ=="}}
        ]
    })
}

/// The small application with one value replaced or added.
fn with(pointer: &str, value: Value) -> Value {
    let mut document = sound();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    match document.pointer_mut(parent).unwrap() {
        Value::Object(fields) => drop(fields.insert(key.to_owned(), value)),
        Value::Array(items) => match key.parse::<usize>() {
            Ok(index) => items[index] = value,
            Err(_) => items.push(value),
        },
        other => panic!("{other} has no {key}"),
    }
    document
}

fn read(document: &Value) -> Result<App, Refusal> {
    parse_lockfile(document.to_string().as_bytes())
}

fn taken(document: &Value) -> App {
    read(document).unwrap_or_else(|refusal| panic!("{refusal}"))
}

#[test]
fn the_example_of_the_format_is_read() {
    let app = taken(&sound());
    assert_eq!(app.name, "chain-of-command");
    assert_eq!(app.version.as_deref(), Some("6.11.2"));
    assert_eq!(app.lock_version, 1);
    assert_eq!(app.requirements, ["local_service_chaining"]);
    assert_eq!(app.warnings, [""; 0]);
    assert_eq!(
        app.triggers,
        [Trigger::Http(HttpTrigger {
            id: "a-http-trigger".into(),
            target: HttpTarget::Component("a".into()),
            route: HttpRoute::Path("/lights".into()),
            executor: HttpExecutor::Http,
        })]
    );
    let a = app.component("a").unwrap();
    assert_eq!(a.allowed_hosts, ["http://b.spin.internal"]);
    assert_eq!(a.env, [("env1".to_owned(), "first".to_owned())]);
    assert_eq!(a.source.digest.as_deref(), Some(DIGEST));
    assert_eq!(a.source.content_type.as_deref(), Some("application/wasm"));
    assert_eq!(
        app.component("b").unwrap().source.inline.as_deref(),
        Some(b"\0asm".as_slice())
    );
    assert_eq!(app.component("c"), None);
}

#[test]
fn version_0_is_read_and_unknown_fields_at_the_top_are_passed_over() {
    let app = taken(&json!({
        "spin_lock_version": 0,
        "from_the_future": {"ignored": true},
        "metadata": {"trigger": {"type": "http", "base": "/"}},
        "triggers": [{"id": "t", "trigger_type": "command", "trigger_config": {"component": "a"}}],
        "components": [{"id": "a", "source": {"source": "file:///a.wasm"}}]
    }));
    assert_eq!((app.lock_version, app.name.as_str()), (0, "unnamed"));
    let command = CommandTrigger {
        id: "t".into(),
        component: "a".into(),
    };
    assert_eq!(app.command_triggers().collect::<Vec<_>>(), [&command]);
    assert_eq!(app.http_triggers().count(), 0);
}

#[test]
fn every_field_of_a_component_is_read() {
    let app = taken(
        &with(
            "/components/1",
            json!({
                "id": "b",
                "metadata": {
                    "description": "the second",
                    "allowed_outbound_hosts": ["https://{{ host }}"],
                    "allowed_http_hosts": ["example.com:8080", "self"],
                    "key_value_stores": ["default"],
                    "databases": ["default", "other"],
                    "ai_models": ["llama"],
                    "build": {"command": "make"}
                },
                "source": {"digest": DIGEST, "inline": "AA", "source": "file:///b.wasm"},
                "env": {},
                "files": [
                    {"path": "/assets/a.png", "digest": DIGEST},
                    {"path": "assets/a.png", "digest": DIGEST},
                    {"path": "/", "source": "file:///assets"}
                ],
                "config": {"greeting": "hello {{ host }}"},
                "dependencies": {},
                "host_requirements": {"teleportation": "optional"}
            }),
        )
        .pipe(|mut document| {
            document["variables"] =
                json!({"host": {"description": "whom", "default": "x", "secret": true}});
            document
        }),
    );
    let b = app.component("b").unwrap();
    assert_eq!(b.description.as_deref(), Some("the second"));
    let hosts = [
        "https://{{ host }}",
        "http://example.com:8080",
        "https://example.com:8080",
        "http://self",
    ];
    assert_eq!(b.allowed_hosts, hosts);
    assert_eq!(b.key_value_stores, ["default"]);
    assert_eq!(b.databases, ["default", "other"]);
    assert_eq!(b.ai_models, ["llama"]);
    let blob = Content {
        digest: Some(DIGEST.into()),
        ..Content::default()
    };
    let directory = Content {
        source: Some("file:///assets".into()),
        ..Content::default()
    };
    assert_eq!(
        b.files,
        [
            FileMount {
                content: blob,
                path: "assets/a.png".into()
            },
            FileMount {
                content: directory,
                path: String::new()
            }
        ]
    );
    assert_eq!(b.config["greeting"], "hello {{ host }}");
    assert_eq!(app.variables["host"].description.as_deref(), Some("whom"));
    assert!(app.variables["host"].secret);
    let values = variables::resolve(&app.variables, &Default::default()).unwrap();
    assert_eq!(
        variables::component_config(b, &values).unwrap()["greeting"],
        "hello x"
    );
}

#[test]
fn http_triggers_are_private_or_routed_and_may_answer_themselves() {
    let app = taken(&with(
        "/triggers",
        json!([
            {"id": "1", "trigger_type": "http", "trigger_config": {
                "component": "b", "route": {"private": true}, "executor": null}},
            {"id": "2", "trigger_type": "http", "trigger_config": {
                "route": "/gone/...", "executor": {"type": "spin"},
                "static_response": {
                    "status_code": 410, "headers": {"X-Why": "moved"}, "body": "gone"}}},
            {"id": "3", "trigger_type": "http", "trigger_config": {
                "route": "/", "static_response": {}}}
        ]),
    ));
    assert_eq!(app.triggers[0].component(), Some("b"));
    let triggers: Vec<_> = app.http_triggers().collect();
    assert_eq!(triggers[0].route, HttpRoute::Private);
    let HttpTarget::Static(gone) = &triggers[1].target else {
        panic!("{:?}", triggers[1])
    };
    assert_eq!(
        (gone.status.as_u16(), gone.body.as_slice()),
        (410, b"gone".as_slice())
    );
    assert_eq!(gone.headers["x-why"], "moved");
    let HttpTarget::Static(empty) = &triggers[2].target else {
        panic!("{:?}", triggers[2])
    };
    assert_eq!(
        (empty.status.as_u16(), empty.body.len(), empty.headers.len()),
        (200, 0, 0)
    );
    assert_eq!(
        (app.triggers[2].id(), app.triggers[2].component()),
        ("3", None)
    );
}

/// SIP-017: "if it doesn't recognise a must-understand string, it must reject
/// the application"; those that it does recognise it does not.
#[test]
fn known_requirements_are_met_at_both_levels() {
    let mut document = with("/must_understand/-", json!("host_requirements"));
    document["host_requirements"] =
        json!({"middleware": "required", "levitation": "optional", "local_service_chaining": {}});
    assert_eq!(
        taken(&document).requirements,
        ["local_service_chaining", "middleware"]
    );
}

#[test]
fn what_is_odd_is_taken_with_a_warning() {
    let http = |id: &str, route: Value| {
        json!({"id": id, "trigger_type": "http",
               "trigger_config": {"component": "a", "route": route}})
    };
    let mut document = with(
        "/triggers",
        json!([
            http("1", json!("/x/:a")),
            http("2", json!("/x/:b/")),
            http("3", json!("/.well-known/spin/...")),
            {"id": "4", "trigger_type": "http", "trigger_config": {
                "route": {"private": true}, "static_response": {}}}
        ]),
    );
    document["components"][0]["metadata"]["allowed_outbound_hosts"] = json!([
        "http://c.spin.internal",
        "https://b.spin.internal",
        "http://B.spin.internal"
    ]);
    assert_eq!(
        taken(&document).warnings,
        [
            "component \"a\": \"https://b.spin.internal\" in allowed_outbound_hosts permits \
             nothing; a component is called as \"http://<component>.spin.internal\"",
            "trigger \"4\" is a private static response, which nobody can ever ask for",
            "the triggers \"1\" and \"2\" serve the same route \"/x/:b/\"; the last one is used",
            "trigger \"3\": the route \"/.well-known/spin/...\" lies under /.well-known/spin/, \
             where catena answers some paths itself",
            "component \"a\" may call the component \"c\", which does not exist",
        ]
    );
}

/// Method form of a function call, for values built in one expression.
trait Pipe: Sized {
    fn pipe<T>(self, f: impl FnOnce(Self) -> T) -> T {
        f(self)
    }
}

impl Pipe for Value {}
