//! Any lines as routes, the last one as a path: a match is one that the route
//! allows, and a wildcard at the root leaves no path out.

#![no_main]

use catena_fuzz::app::routes::Router;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let mut lines: Vec<&str> = text.lines().collect();
    let path = lines.pop().unwrap_or_default();
    let mut router = Router::new();
    let mut everything = false;
    for route in lines {
        if router.insert(route, route).is_ok() {
            everything |= matches!(route, "/..." | "/*");
        }
    }
    let Some(found) = router.lookup(path) else {
        return assert!(!everything || !path.starts_with('/'));
    };
    assert!(path.ends_with(found.path_info));
    assert!(found.path_info.is_empty() || found.path_info.starts_with('/'));
    assert_eq!(found.route.raw(), *found.value);
    let names = found
        .value
        .split('/')
        .filter(|part| part.starts_with(':'))
        .count();
    assert_eq!(found.captures().count(), names);
    for capture in found.captures() {
        assert!(!capture.value.is_empty() && !capture.value.contains('/'));
    }
});
