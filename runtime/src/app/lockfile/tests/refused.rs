//! Every reason to refuse a lockfile, with its sentence.

use super::*;

/// The only reason against a document, and whether it is malformed.
fn only_reason(document: &Value) -> (String, bool) {
    let refusal = read(document).expect_err("must be refused");
    assert_eq!(refusal.problems.len(), 1, "{refusal}");
    (refusal.problems[0].text.clone(), refusal.is_malformed())
}

fn malformed(pointer: &str, value: Value, text: &str) {
    assert_eq!(
        only_reason(&with(pointer, value)),
        (text.to_owned(), true),
        "{pointer}"
    );
}

fn unmet(pointer: &str, value: Value, text: &str) {
    assert_eq!(
        only_reason(&with(pointer, value)),
        (text.to_owned(), false),
        "{pointer}"
    );
}

#[test]
fn twenty_mistakes_are_reported_together() {
    let document = json!({
        "spin_lock_version": 2,
        "must_understand": ["component_host_requirements", "teleportation", 7],
        "host_requirements": {"levitation": "required", "optional_thing": "optional"},
        "metadata": {"name": "twenty", "triggers": {"http": {"base": "/api"}}},
        "triggers": [
            {"id": "t1", "trigger_type": "smtp", "trigger_config": {"component": "a"}},
            {"id": "t1", "trigger_type": "redis", "trigger_config": {"component": "nobody"}},
            {"id": "t3", "trigger_type": "http",
             "trigger_config": {"component": "a", "route": "/.../x", "executor": {"type": "wagi", "entrypoint": "main"}}}
        ],
        "components": [
            {"id": "a", "source": {"digest": "sha256:short"},
             "metadata": {"allowed_outbound_hosts": ["*://db.example.com"]},
             "files": [{"path": "../../etc/passwd", "inline": ""}]},
            {"id": "A", "source": {"content_type": "application/wasm"},
             "dependencies": {"db:driver": {"source": {}, "inherit": "All"}},
             "host_requirements": {"time_travel": "required"}},
            {"id": 3, "source": {"inline": "***"}}
        ]
    });
    let refusal = read(&document).unwrap_err();
    assert!(refusal.is_malformed());
    assert_eq!(
        refusal.to_string(),
        r#"the application is refused for 21 reasons:
- spin_lock_version is 2, but catena reads versions 0 and 1; rebuild the application for one of them or use a newer host
- must_understand[2] must be a string, not this number
- must_understand lists "teleportation", which catena does not know; rebuild the application without it or use a host that supports it
- the application requires the host feature "levitation", which catena does not have; make it "optional" or use a host that has it
- metadata.triggers.http.base is "/api", but catena serves only the base "/"; put the prefix into the routes
- components[1] has the id "A", which components[0] has already (case aside); rename one of them
- components[0].source.digest is "sha256:short", but must be "sha256:" and 64 lower-case hexadecimal digits
- components[0].files[0].path is "../../etc/passwd": it holds ".."; name a path that stays below the guest's root
- component "a": the allowed outbound host "*://db.example.com" needs a port, because its scheme is "*"; add one, or ":*"
- component "A" requires the host feature "time_travel", which catena does not have; make it "optional" or use a host that has it
- components[1].source says nowhere where its bytes are; give it a "digest", "inline" bytes or a "source"
- components[1].dependencies["db:driver"].source says nowhere where its bytes are; give it a "digest", "inline" bytes or a "source"
- components[2].id must be a string, not this number
- components[2].source.inline is not base64; encode the bytes as base64 (RFC 4648)
- triggers[1] has the id "t1", which triggers[0] has already; rename one of them
- trigger "t1" is of type "smtp", which catena does not know; it serves http, redis, mqtt, cron, sqs and command, so correct the type or use a host that serves it
- trigger "t1" names the component "nobody", which the lockfile does not define; define it or correct the name
- trigger "t1" has no address, and neither has metadata.triggers.redis; name the server in one of them
- triggers[1].trigger_config.channel is missing, but is required
- trigger "t3" gives the wagi executor the entrypoint "main", but catena runs only "_start"; leave it out
- trigger "t3": the route "/.../x" has a wildcard that is not its last segment; only the end may be "/...""#
    );
}

#[test]
fn a_file_that_is_no_json_is_reported_by_line_and_column_alone() {
    let refusal = parse_lockfile(b"{\"spin_lock_version\": 1,\n oops}").unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "the application is refused: the lockfile is not valid JSON at line 2, column 2: key must \
         be a string"
    );
    assert!(refusal.is_malformed());
    let refusal = parse_lockfile(b"[]").unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "the application is refused: the lockfile must be an object, not a list"
    );
    let twice = parse_lockfile(b"{\"must_understand\": [\"x\"], \"must_understand\": []}");
    assert!(
        twice
            .unwrap_err()
            .to_string()
            .contains("\"must_understand\" stands twice")
    );
}

#[test]
fn an_empty_object_lacks_all_that_is_required() {
    assert_eq!(
        read(&json!({})).unwrap_err().to_string(),
        "the application is refused for 3 reasons:\n\
         - spin_lock_version is missing, but is required\n\
         - components is missing, but is required\n\
         - triggers is missing, but is required"
    );
}

/// SIP-017: "if it doesn't recognise a must-understand string, it must reject
/// the application".
#[test]
fn unknown_must_understand_is_refused() {
    unmet(
        "/must_understand",
        json!(["teleportation"]),
        "must_understand lists \"teleportation\", which catena does not know; rebuild the \
         application without it or use a host that supports it",
    );
    malformed(
        "/must_understand",
        json!("host_requirements"),
        "must_understand must be a list, not a string",
    );
}

/// A host reads the requirements even when nothing tells it that it must.
#[test]
fn unknown_requirements_are_refused_also_when_nothing_points_at_them() {
    for level in [
        json!("required"),
        json!("Optional"),
        json!({}),
        json!(null),
        json!(1),
    ] {
        let mut document = with("/host_requirements", json!({"levitation": level}));
        document["must_understand"] = json!([]);
        document["spin_lock_version"] = json!(0);
        let text = "the application requires the host feature \"levitation\", which catena does \
                    not have; make it \"optional\" or use a host that has it";
        assert_eq!(only_reason(&document), (text.to_owned(), false));
    }
    unmet(
        "/components/1/host_requirements",
        json!({"levitation": "required"}),
        "component \"b\" requires the host feature \"levitation\", which catena does not have; \
         make it \"optional\" or use a host that has it",
    );
}

#[test]
fn versions_above_1_are_refused() {
    unmet(
        "/spin_lock_version",
        json!(2),
        "spin_lock_version is 2, but catena reads versions 0 and 1; rebuild the application for \
         one of them or use a newer host",
    );
    for wrong in [json!(-1), json!(1.5), json!("1")] {
        assert!(only_reason(&with("/spin_lock_version", wrong)).1);
    }
}

#[test]
fn trigger_types_that_are_not_served_are_named() {
    unmet(
        "/triggers/0/trigger_type",
        json!("smtp"),
        "trigger \"a-http-trigger\" is of type \"smtp\", which catena does not know; it serves \
         http, redis, mqtt, cron, sqs and command, so correct the type or use a host that serves it",
    );
}

#[test]
fn bad_triggers_are_refused() {
    let config = "/triggers/0/trigger_config";
    malformed(
        "/triggers",
        json!([]),
        "triggers is empty, so nothing would ever run; add a trigger",
    );
    malformed(
        &format!("{config}/component"),
        json!("c"),
        "trigger \"a-http-trigger\" names the component \"c\", which the lockfile does not \
         define; define it or correct the name",
    );
    malformed(
        &format!("{config}/component"),
        json!(null),
        "trigger \"a-http-trigger\" has neither a component nor a static_response; give it one \
         of them",
    );
    malformed(
        &format!("{config}/static_response"),
        json!({}),
        "trigger \"a-http-trigger\" has both a component and a static_response; keep one of them",
    );
    malformed(
        &format!("{config}/route"),
        json!("/a//b"),
        "trigger \"a-http-trigger\": the route \"/a//b\" has an empty segment; remove one of the \
         two slashes",
    );
    malformed(
        &format!("{config}/route"),
        json!({"private": false}),
        "triggers[0].trigger_config.route.private is false; write true, or give the route as a \
         string",
    );
    malformed(
        &format!("{config}/route"),
        json!(true),
        "triggers[0].trigger_config.route must be a string or {\"private\": true}",
    );
    malformed(
        &format!("{config}/route"),
        json!(null),
        "triggers[0].trigger_config.route is missing, but is required",
    );
    unmet(
        &format!("{config}/executor"),
        json!({"type": "wagi", "argc": "x"}),
        "trigger \"a-http-trigger\" sets triggers[0].trigger_config.executor.argc, which catena \
         does not know; remove it or use a host that knows it",
    );
    unmet(
        &format!("{config}/executor"),
        json!({"type": "fpga"}),
        "trigger \"a-http-trigger\" asks for the executor \"fpga\", which catena does not know; \
         use the http executor",
    );
    unmet(
        &format!("{config}/timeout"),
        json!(3),
        "trigger \"a-http-trigger\" sets triggers[0].trigger_config.timeout, which catena does \
         not know; remove it or use a host that knows it",
    );
    unmet(
        "/triggers/0/trigger_dependencies",
        json!({"middleware": [{}]}),
        "trigger \"a-http-trigger\" puts \"middleware\" around its component, which is not \
         composed into it, and catena composes no middleware; push the application \
         with a tool that composes",
    );
    malformed(
        "/triggers/-",
        sound()["triggers"][0].clone(),
        "triggers[1] has the id \"a-http-trigger\", which triggers[0] has already; rename one of \
         them",
    );
    malformed(
        "/triggers/0",
        json!({"id": "c", "trigger_type": "command", "trigger_config": {}}),
        "trigger \"c\" names no component; name the one that is to run",
    );
}

#[test]
fn only_the_root_base_is_served() {
    let text = |at: &str| {
        format!(
            "{at}.base is \"/api\", but catena serves only the base \"/\"; put the prefix into \
             the routes"
        )
    };
    unmet(
        "/metadata/triggers",
        json!({"http": {"base": "/api"}}),
        &text("metadata.triggers.http"),
    );
    unmet(
        "/metadata/trigger",
        json!({"type": "http", "base": "/api"}),
        &text("metadata.trigger"),
    );
    taken(&with(
        "/metadata/trigger",
        json!({"type": "other", "base": "/api"}),
    ));
    taken(&with("/metadata/triggers", json!({"http": {"base": "/"}})));
}

#[test]
fn bad_static_responses_are_refused() {
    let response = |response: Value| {
        with(
            "/triggers/0/trigger_config",
            json!({"route": "/", "static_response": response}),
        )
    };
    for (value, text) in [
        (
            json!({"status_code": 99}),
            "trigger \"a-http-trigger\": the status_code 99 cannot end a response; use one from \
             200 to 999",
        ),
        (
            json!({"status_code": 65736}),
            "trigger \"a-http-trigger\": the status_code 65736 cannot end a response; use one \
             from 200 to 999",
        ),
        (
            json!({"headers": {"a b": "c"}}),
            "trigger \"a-http-trigger\": \"a b\" cannot be the name of a header; correct it",
        ),
        (
            json!({"headers": {"a": "b\nc"}}),
            "triggers[0].trigger_config.static_response.headers.a is \"b\\nc\", which cannot be \
             the value of a header; correct it",
        ),
        (
            json!({"headers": {"Content-Length": "3"}}),
            "triggers[0].trigger_config.static_response.headers.Content-Length is a header that \
             catena sets itself; remove it",
        ),
        (
            json!({"body": 3}),
            "triggers[0].trigger_config.static_response.body must be a string, not this number",
        ),
    ] {
        assert_eq!(only_reason(&response(value)), (text.to_owned(), true));
    }
}

#[test]
fn bad_component_ids_are_refused() {
    let duplicate = "components[1] has the id \"a\", which components[0] has already (case \
                     aside); rename one of them";
    malformed("/components/1/id", json!("a"), duplicate);
    malformed(
        "/components/1/id",
        json!(""),
        "components[1].id is \"\": it is empty; name the component",
    );
    for id in ["a/b", "a\0", "a.b", "a b", "ä", "a:80", "*"] {
        malformed(
            "/components/1/id",
            json!(id),
            &format!(
                "components[1].id is {id:?}: it may only hold letters, digits, \"-\" and \"_\"; \
                 rename the component"
            ),
        );
    }
    for id in ["b-2", "under_score", "Camel", "9"] {
        taken(&with("/components/1/id", json!(id)));
    }
    malformed(
        "/components/1/id",
        json!(null),
        "components[1].id is missing, but is required",
    );
    malformed(
        "/components/1",
        json!("b"),
        "components[1] must be an object, not a string",
    );
}

#[test]
fn bad_contents_are_refused() {
    let source = "/components/1/source";
    malformed(
        source,
        json!({"content_type": "application/wasm"}),
        "components[1].source says nowhere where its bytes are; give it a \"digest\", \
         \"inline\" bytes or a \"source\"",
    );
    malformed(
        source,
        json!({"inline": "A=A"}),
        "components[1].source.inline is not base64; encode the bytes as base64 (RFC 4648)",
    );
    malformed(
        source,
        json!({"source": ""}),
        "components[1].source.source is empty; name a file or leave it out",
    );
    malformed(
        source,
        json!({"digest": "md5:00"}),
        "components[1].source.digest is \"md5:00\", but must be \"sha256:\" and 64 lower-case \
         hexadecimal digits",
    );
    malformed(
        source,
        json!(null),
        "components[1].source is missing, but is required",
    );
}

#[test]
fn bad_file_paths_are_refused() {
    let file = |path: Value| json!([{"path": path, "inline": "AA=="}]);
    let files = "/components/1/files";
    malformed(
        files,
        file(json!("/a/../../b")),
        "components[1].files[0].path is \"/a/../../b\": it holds \"..\"; name a path that stays \
         below the guest's root",
    );
    malformed(
        files,
        file(json!("a\0b")),
        "components[1].files[0].path is \"a\\0b\": it holds a NUL character, which no file name \
         has",
    );
    malformed(
        files,
        file(json!("a\\b")),
        "components[1].files[0].path is \"a\\\\b\": it holds a backslash; separate directories \
         with \"/\"",
    );
    malformed(
        files,
        file(json!("/")),
        "components[1].files[0].path is \"/\", which names no file; name one",
    );
    malformed(
        files,
        json!([{"path": "a", "inline": "AA=="}, {"path": "/a", "inline": "AQ=="}]),
        "components[1].files[1].path is \"a\", where another file of the component is already; \
         keep one of them",
    );
    malformed(
        files,
        json!({}),
        "components[1].files must be a list, not an object",
    );
}

#[test]
fn bad_environments_and_variables_are_refused() {
    for env in [json!({"": "x"}), json!({"A=B": "x"}), json!({"A": "x\0"})] {
        let (text, _) = only_reason(&with("/components/1/env", env));
        assert!(text.contains("cannot be an environment variable"), "{text}");
    }
    malformed(
        "/components/1/env",
        json!({"A": 1}),
        "components[1].env.A must be a string, not this number",
    );
    malformed(
        "/variables",
        json!({"Who": {}}),
        "the variable \"Who\" may only hold lower-case letters, digits and \"_\"; rename it",
    );
    malformed(
        "/variables",
        json!({"who": "me"}),
        "variables.who must be an object, not a string",
    );
    malformed(
        "/components/1/config",
        json!({"Key": "x"}),
        "component \"b\": the config key \"Key\" may only hold lower-case letters, digits and \
         \"_\"; rename it",
    );
    malformed(
        "/components/1/config",
        json!({"key": "{{ who }}"}),
        "components[1].config.key: \"{{ who }}\" mentions the variable \"who\", which the \
         application does not declare; declare it",
    );
}

#[test]
fn bad_allowed_hosts_are_refused() {
    malformed(
        "/components/1/metadata",
        json!({"allowed_outbound_hosts": ["example.com"]}),
        "component \"b\": the allowed outbound host \"example.com\" has no scheme; write it as \
         \"scheme://host\" or \"scheme://host:port\"",
    );
    malformed(
        "/components/1/metadata",
        json!({"allowed_outbound_hosts": ["https://{{ host }}"]}),
        "component \"b\": \"https://{{ host }}\" mentions the variable \"host\", which the \
         application does not declare; declare it",
    );
    malformed(
        "/components/1/metadata",
        json!({"allowed_http_hosts": ["a/b"]}),
        "component \"b\": \"a/b\" in allowed_http_hosts is neither a host nor a host and a port; \
         correct it, or say it in allowed_outbound_hosts",
    );
}

#[test]
fn dependencies_that_cannot_be_read_are_refused() {
    let source = json!({"digest": DIGEST});
    malformed(
        "/components/1/dependencies",
        json!({"a/b": {"source": source}}),
        "components[1].dependencies[\"a/b\"] has the name \"a/b\", which names no import; write it as \"name\", \
         \"namespace:package\", \"namespace:package/interface\" or one of the latter with \"@1.2.3\"",
    );
    malformed(
        "/components/1/dependencies",
        json!({"a:b": {"source": {}}}),
        "components[1].dependencies[\"a:b\"].source says nowhere where its bytes are; give it a \"digest\", \
         \"inline\" bytes or a \"source\"",
    );
    malformed(
        "/components/1/dependencies",
        json!({"a:b": {"source": source, "inherit": "Everything"}}),
        "components[1].dependencies[\"a:b\"].inherit must be \"All\" or {\"Some\": [..]}; correct it",
    );
    unmet(
        "/components/1/dependencies",
        json!({"a:b": {"source": source, "inherit": {"Some": ["files", "colours"]}}}),
        "components[1].dependencies[\"a:b\"].inherit.Some lists \"colours\", which is nothing that a dependency \
         can inherit; it can inherit ai_models, allowed_outbound_hosts, environment, files, \
         key_value_stores, sqlite_databases, variables",
    );
    malformed(
        "/components/1/dependencies",
        (0..101)
            .map(|n| (format!("a:b{n}"), json!({"source": source})))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        "components[1].dependencies has 101 entries, and catena composes at most 100; compose some of them \
         beforehand",
    );
    unmet(
        "/components/1/trigger_dependencies",
        json!({"middleware": [{}]}),
        "component \"b\" has \"trigger_dependencies\", and catena composes no middleware; push \
         the application with a tool that composes",
    );
}
