use super::*;

use std::collections::BTreeMap;

use crate::app::Variable;

fn owned(entries: &[&str]) -> Vec<String> {
    entries.iter().map(|entry| (*entry).to_owned()).collect()
}

fn values(values: &[(&str, &str)]) -> Values {
    let variable = |value: &str| Variable {
        default: Some(value.to_owned()),
        ..Default::default()
    };
    let declared: Variables = values
        .iter()
        .map(|(name, value)| ((*name).to_owned(), variable(value)))
        .collect();
    variables::resolve(&declared, &BTreeMap::new()).unwrap()
}

fn allowed(entries: &[&str]) -> AllowedHosts {
    AllowedHosts::parse(&owned(entries), &Values::default()).unwrap()
}

fn problem(entry: &str) -> String {
    let problems = AllowedHosts::parse(&owned(&[entry]), &Values::default()).unwrap_err();
    let reason = problems[0].strip_prefix(&format!("the allowed outbound host {entry:?} "));
    reason.unwrap_or(&problems[0]).to_owned()
}

#[test]
fn a_name_is_allowed_with_its_scheme_and_port_only() {
    for entry in [
        "http://example.com",
        "http://example.com:80",
        " HTTP://Example.COM./ ",
    ] {
        let allowed = allowed(&[entry]);
        assert!(allowed.allows("http", "example.com", 80), "{entry}");
        assert!(allowed.allows("HTTP", "EXAMPLE.com.", 80), "{entry}");
        assert!(!allowed.allows("https", "example.com", 80), "{entry}");
        assert!(!allowed.allows("http", "example.com", 443), "{entry}");
        assert!(!allowed.allows("http", "a.example.com", 80), "{entry}");
        assert!(!allowed.allows("http", "example.co", 80), "{entry}");
        assert!(!allowed.allows_self(), "{entry}");
    }
    assert!(!AllowedHosts::default().allows("http", "example.com", 80));
}

#[test]
fn usual_ports_need_not_be_written() {
    for (scheme, port) in [
        ("http", 80),
        ("https", 443),
        ("postgres", 5432),
        ("mysql", 3306),
        ("redis", 6379),
        ("mqtt", 1883),
    ] {
        let allowed = allowed(&[&format!("{scheme}://h")]);
        assert!(allowed.allows(scheme, "h", port), "{scheme}");
        assert!(!allowed.allows(scheme, "h", port + 1), "{scheme}");
    }
}

#[test]
fn wildcards() {
    let all = allowed(&["*://*:*"]);
    assert!(all.allows("smtp", "example.com", 25));
    assert!(all.allows("http", "[2001:db8::1]", 1));
    let below = allowed(&["http://*.example.com"]);
    assert!(below.allows("http", "a.example.com", 80));
    assert!(below.allows("http", "a.B.Example.com", 80));
    assert!(!below.allows("http", "example.com", 80));
    assert!(!below.allows("http", ".example.com", 80));
    assert!(!below.allows("http", "myexample.com", 80));
    let host = allowed(&["https://*"]);
    assert!(host.allows("https", "x", 443));
    assert!(!host.allows("https", "x", 80));
    let scheme = allowed(&["*://example.com:7777"]);
    assert!(scheme.allows("anything", "example.com", 7777));
}

#[test]
fn port_ranges_leave_out_their_end() {
    let allowed = allowed(&["http://h:4444..5555", "http://top:65000..65536"]);
    assert!(!allowed.allows("http", "h", 4443));
    assert!(allowed.allows("http", "h", 4444));
    assert!(allowed.allows("http", "h", 5554));
    assert!(!allowed.allows("http", "h", 5555));
    assert!(allowed.allows("http", "top", 65535));
}

#[test]
fn addresses_and_blocks() {
    let one = allowed(&[
        "http://192.168.1.1",
        "http://[::1]:8001",
        "http://[2001:DB8::2]",
    ]);
    assert!(one.allows("http", "192.168.1.1", 80));
    assert!(one.allows("http", "[::ffff:192.168.1.1]", 80));
    assert!(one.allows("http", "[::1]", 8001));
    assert!(one.allows("http", "0:0:0:0:0:0:0:1", 8001));
    assert!(one.allows("http", "[2001:db8:0::2]", 80));
    assert!(!one.allows("http", "192.168.1.2", 80));
    let blocks = allowed(&[
        "*://127.0.0.1/24:63551",
        "http://10.0.0.0/8",
        "*://ff00::/8:80",
        "http://[fe80::]/10:81",
    ]);
    assert!(blocks.allows("tcp", "127.0.0.200", 63551));
    assert!(!blocks.allows("tcp", "127.0.1.1", 63551));
    assert!(blocks.allows("http", "10.200.0.1", 80));
    assert!(!blocks.allows("http", "11.0.0.1", 80));
    assert!(blocks.allows("x", "[ff02::1]", 80));
    assert!(blocks.allows("http", "[fe80::1]", 81));
    assert!(!blocks.allows("http", "10.example.com", 80));
    assert!(!allowed(&["http://*.0.0.1"]).allows("http", "127.0.0.1", 80));
}

#[test]
fn self_is_allowed_by_self_and_by_every_host() {
    for entry in [
        "http://self",
        "https://self.alt",
        "*://self:*",
        "*://*:*",
        "http://*:80",
    ] {
        assert!(allowed(&[entry]).allows_self(), "{entry}");
    }
    for entry in ["redis://*:*", "redis://self", "http://*.self", "http://x"] {
        assert!(!allowed(&[entry]).allows_self(), "{entry}");
    }
    assert!(!allowed(&["http://self"]).allows("http", "self", 80));
}

/// SIP-017, Permissions: "The developer must enable chaining to a component by
/// adding `http://<component-name>.spin.internal`, or `http://*.spin.internal`
/// to allow any destination component".
#[test]
fn chaining_is_allowed_by_literal_entries() {
    for entry in [
        "http://accounts.spin.internal",
        "http://accounts.spin.internal/",
        "http://accounts.spin.internal:80",
        "HTTP://Accounts.Spin.Internal",
    ] {
        let allowed = allowed(&[entry]);
        assert!(allowed.allows_chain("accounts"), "{entry}");
        assert!(allowed.allows_chain("ACCOUNTS"), "{entry}");
        assert!(!allowed.allows_chain("ledger"), "{entry}");
        assert!(
            !allowed.allows("http", "accounts.spin.internal", 80),
            "{entry}"
        );
    }
    let all = allowed(&["http://accounts.spin.internal", "http://*.spin.internal"]);
    assert!(all.allows_chain("accounts") && all.allows_chain("ledger"));
    let two = allowed(&["http://a.spin.internal", "http://b_2.spin.internal"]);
    assert!(two.allows_chain("a") && two.allows_chain("b_2") && !two.allows_chain("c"));
}

/// SIP-017, Permissions: "`self` permission does not grant permission to make
/// chained requests; nor does the wildcard permission".
#[test]
fn chaining_is_not_allowed_by_self_or_wildcards() {
    let entries = [
        "http://self",
        "*://self:*",
        "*://*:*",
        "http://*",
        "http://*:80",
        "http://*.internal",
        "*://*.internal:*",
        "*://accounts.spin.internal:*",
        "*://accounts.spin.internal:80",
        "*://*.spin.internal:*",
        "https://accounts.spin.internal",
        "http://accounts.spin.internal:8080",
        "http://accounts.spin.internal:*",
        "http://accounts.spin.internal:80..90",
        "http://accounts.spin.internal.example.com",
        "http://x.accounts.spin.internal",
        "http://*.accounts.spin.internal",
        "http://spin.internal",
    ];
    for entry in entries {
        let allowed = allowed(&[entry]);
        assert!(!allowed.allows_chain("accounts"), "{entry}");
        assert!(!allowed.allows_chain("*"), "{entry}");
    }
    assert!(!allowed(&entries).allows_chain("accounts"));
}

/// SIP-017: "A templated host, with the variable set to a spin.internal
/// subdomain, will not, by itself, allow service chaining".
#[test]
fn chaining_is_not_allowed_by_a_template() {
    let values = values(&[
        ("host", "accounts.spin.internal"),
        ("url", "http://accounts.spin.internal"),
        ("star", "*"),
        ("nothing", ""),
    ]);
    for entry in [
        "http://{{ host }}",
        "{{ url }}",
        "http://{{star}}.spin.internal",
        "http://accounts.spin.internal{{ nothing }}",
    ] {
        let allowed = AllowedHosts::parse(&owned(&[entry]), &values).unwrap();
        assert!(!allowed.allows_chain("accounts"), "{entry}");
        assert!(
            !allowed.allows("http", "accounts.spin.internal", 80),
            "{entry}"
        );
    }
}

#[test]
fn names_under_spin_internal_are_never_real_hosts() {
    let allowed = allowed(&["*://*:*", "*://*.internal:*", "http://*.spin.internal"]);
    for host in [
        "accounts.spin.internal",
        "ACCOUNTS.SPIN.INTERNAL",
        "accounts.spin.internal.",
        "x.accounts.spin.internal",
        "spin.internal",
    ] {
        assert!(!allowed.allows("http", host, 80), "{host}");
        assert!(!allowed.allows("https", host, 8443), "{host}");
    }
    assert!(allowed.allows("http", "spin.internal.example.com", 80));
    assert!(allowed.allows("http", "myspin.internal", 80));
}

#[test]
fn templates_are_resolved() {
    let values = values(&[("host", "db.example.com"), ("port", "1..3"), ("bad", "x y")]);
    let entries = owned(&["postgres://{{ host }}:{{port}}"]);
    let allowed = AllowedHosts::parse(&entries, &values).unwrap();
    assert!(allowed.allows("postgres", "db.example.com", 2));
    assert_eq!(
        AllowedHosts::parse(&owned(&["http://{{ bad }}", "http://{{ none }}"]), &values),
        Err(owned(&[
            "the allowed outbound host \"http://x y\" has a host that is neither a name nor an IP \
             address; correct it (from \"http://{{ bad }}\")",
            "\"http://{{ none }}\" mentions the variable \"none\", which the application does not \
             declare; declare it",
        ]))
    );
}

#[test]
fn only_literal_entries_are_checked_before_variables_have_values() {
    let declared = Variables::from([("port".to_owned(), Variable::default())]);
    assert!(check(&owned(&["x://{{ port }}", "http://ok"]), &declared).is_empty());
    assert_eq!(
        check(
            &owned(&["x://{{ prot }}", "http//oops", "http://{{"]),
            &declared
        )
        .len(),
        3
    );
}

/// SIP-017: "Spin will infer that an application requires service chaining if
/// any component includes a spin.internal subdomain (or subdomain wildcard)".
#[test]
fn chaining_is_required_by_literal_hosts_only() {
    for entry in [
        "http://a.spin.internal",
        "http://*.spin.internal",
        "https://a.spin.internal:1",
    ] {
        assert!(chaining_required(&owned(&["http://x", entry])), "{entry}");
    }
    for entry in [
        "*://*:*",
        "http://*.internal",
        "http://self",
        "http://{{ a }}.spin.internal",
    ] {
        assert!(!chaining_required(&owned(&[entry])), "{entry}");
    }
    assert!(!chaining_required(&[]));
}

#[test]
fn idle_entries_are_told_of() {
    let entries = owned(&[
        "https://a.spin.internal",
        "http://a.spin.internal",
        "http://x",
    ]);
    assert_eq!(
        idle_chaining_entries(&entries),
        [
            "\"https://a.spin.internal\" in allowed_outbound_hosts permits nothing; a component is \
          called as \"http://<component>.spin.internal\""
        ]
    );
    assert_eq!(chaining_targets(&entries), ["a"]);
}

#[test]
fn each_mistake_has_its_sentence() {
    assert_eq!(
        check(&owned(&["example.com"]), &Variables::new()),
        [
            "the allowed outbound host \"example.com\" has no scheme; write it as \
          \"scheme://host\" or \"scheme://host:port\""
        ]
    );
    for (entry, reason) in [
        (
            "",
            "has no scheme; write it as \"scheme://host\" or \"scheme://host:port\"",
        ),
        (
            "*",
            "has no scheme; write \"*://*:*\" if every host is meant to be allowed",
        ),
        (
            "insecure:allow-all",
            "has no scheme; write \"*://*:*\" if every host is meant to be allowed",
        ),
        (
            "*://x",
            "needs a port, because its scheme is \"*\"; add one, or \":*\"",
        ),
        (
            "ftp://x",
            "needs a port, because its scheme has no usual one; add one, or \":*\"",
        ),
        (
            "h2c://x:1",
            "has a scheme that is neither letters nor \"*\"; correct it",
        ),
        (
            "://x:1",
            "has a scheme that is neither letters nor \"*\"; correct it",
        ),
        ("http://", "has no host; name one"),
        ("http://:80", "has no host; name one"),
        ("http://x/a", "has a path; remove it"),
        ("http://x:1/a/b", "has a path; remove it"),
        ("http://*.x/a", "has a path; remove it"),
        (
            "http://u@x",
            "is more than a scheme, a host and a port; remove what is not",
        ),
        (
            "http://a.*.x",
            "has a \"*\" inside its host; only the whole host or its first label may be one",
        ),
        (
            "http://*x",
            "has a \"*\" inside its host; only the whole host or its first label may be one",
        ),
        (
            "http://a..b",
            "has a host that is neither a name nor an IP address; correct it",
        ),
        (
            "http://{a,b}",
            "has a host that is neither a name nor an IP address; correct it",
        ),
        (
            "http://::1",
            "has a host that is neither a name nor an IP address; correct it",
        ),
        (
            "http://fe80::1:80",
            "has an IPv6 address without brackets; write it as \"[::1]\"",
        ),
        (
            "http://exämple.com",
            "has letters outside ASCII in its host; write it as requests do, with \"xn--\"",
        ),
        (
            "http://10.0.0.0/33",
            "has a block of addresses of no such size; write it as \"10.0.0.0/8\"",
        ),
        (
            "http://x:0",
            "has a port that is neither a number from 1 to 65535, nor a range, nor \"*\"; \
             correct it",
        ),
        (
            "http://x:+1",
            "has a port that is neither a number from 1 to 65535, nor a range, nor \"*\"; \
             correct it",
        ),
        (
            "http://x:9..9",
            "has a range of ports with nothing in it; write it as \"8000..8010\", which ends with \
             8009",
        ),
    ] {
        assert_eq!(problem(entry), reason, "{entry}");
    }
}

#[test]
fn old_entries_are_translated() {
    assert_eq!(
        translate_legacy("example.com").unwrap(),
        ["http://example.com", "https://example.com"]
    );
    assert_eq!(
        translate_legacy("https://localhost:8081/").unwrap(),
        ["http://localhost:8081", "https://localhost:8081"]
    );
    assert_eq!(translate_legacy("self").unwrap(), ["http://self"]);
    let all = translate_legacy("insecure:allow-all").unwrap();
    let all = AllowedHosts::parse(&all, &Values::default()).unwrap();
    assert!(all.allows("https", "x", 1) && all.allows_self() && !all.allows("redis", "x", 1));
    assert!(!all.allows_chain("a"));
    for bad in ["example.com/path", "*.example.com", "redis://x", ""] {
        assert!(translate_legacy(bad).is_err(), "{bad}");
    }
    assert_eq!(
        translate_legacy("a/b").unwrap_err(),
        "\"a/b\" in allowed_http_hosts is neither a host nor a host and a port; correct it, or \
         say it in allowed_outbound_hosts"
    );
}
