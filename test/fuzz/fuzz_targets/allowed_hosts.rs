//! Any lines as allowed hosts, the last one as the host of a request: what is
//! taken never lets a component's name out, and chains only where it says so.

#![no_main]

use catena_fuzz::app::allowed_hosts::{AllowedHosts, chaining_required, check, translate_legacy};
use catena_fuzz::app::variables::{Values, Variables};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let mut entries: Vec<String> = text.lines().map(ToOwned::to_owned).collect();
    let host = entries.pop().unwrap_or_default();
    for entry in &entries {
        for translated in translate_legacy(entry).into_iter().flatten() {
            assert!(check(&[translated], &Variables::new()).is_empty());
        }
    }
    let problems = check(&entries, &Variables::new());
    let allowed = AllowedHosts::parse(&entries, &Values::default());
    assert_eq!(allowed.is_ok(), problems.is_empty());
    let Ok(allowed) = allowed else { return };
    for scheme in ["http", "https", "redis"] {
        for port in [1, 80, 443, 65535] {
            let answer = allowed.allows(scheme, &host, port);
            assert!(!(answer && host.to_ascii_lowercase().ends_with(".spin.internal")));
            assert!(!allowed.allows(scheme, "a.spin.internal", port));
            assert!(!allowed.allows(scheme, "A.Spin.Internal.", port));
        }
    }
    let chains = allowed.allows_chain("a") || allowed.allows_chain(&host);
    assert!(!chains || chaining_required(&entries));
    let literal = entries.iter().any(|entry| {
        let entry = entry.trim().to_ascii_lowercase();
        entry.starts_with("http://") && entry.contains(".spin.internal")
    });
    assert!(!chains || literal);
});
