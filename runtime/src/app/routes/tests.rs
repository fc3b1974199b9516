use super::*;

fn router(routes: &[&'static str]) -> Router<&'static str> {
    let mut router = Router::new();
    for route in routes {
        router.insert(route, *route).unwrap();
    }
    router
}

/// The route that serves a path, and the tail.
fn serve<'r>(router: &Router<&'r str>, path: &str) -> Option<(&'r str, String)> {
    router
        .lookup(path)
        .map(|found| (*found.value, found.path_info.to_owned()))
}

fn best<'r>(router: &Router<&'r str>, path: &str) -> Option<&'r str> {
    serve(router, path).map(|(route, _)| route)
}

fn header<'r, T>(found: &Match<'r, '_, T>, name: &str) -> &'r str {
    let (_, value) = found
        .route
        .headers()
        .iter()
        .find(|(key, _)| key == name)
        .unwrap();
    value.to_str().unwrap()
}

#[test]
fn an_exact_route_matches_its_path_and_slashes_after_it() {
    let router = router(&["/", "/foo", "/foo/bar/"]);
    assert_eq!(best(&router, "/"), Some("/"));
    assert_eq!(best(&router, "//"), Some("/"));
    assert_eq!(best(&router, "/foo"), Some("/foo"));
    assert_eq!(best(&router, "/foo/"), Some("/foo"));
    assert_eq!(best(&router, "/foo/bar"), Some("/foo/bar/"));
    for other in [
        "/fo",
        "/foob",
        "/foo/ba",
        "/foo//bar",
        "//foo",
        "",
        "*",
        "foo",
        "/Foo",
    ] {
        assert_eq!(best(&router, other), None, "{other:?}");
    }
}

#[test]
fn a_wildcard_takes_the_tail_with_its_slashes() {
    let router = router(&["/test/...", "/star/*"]);
    for (path, tail) in [
        ("/test", ""),
        ("/test/", "/"),
        ("/test/hello", "/hello"),
        ("/test/hello/", "/hello/"),
        ("/test//x", "//x"),
        ("/test/a/b%2Fc", "/a/b%2Fc"),
    ] {
        assert_eq!(
            serve(&router, path),
            Some(("/test/...", tail.to_owned())),
            "{path}"
        );
    }
    assert_eq!(serve(&router, "/star/a"), Some(("/star/*", "/a".into())));
    assert_eq!(best(&router, "/testing"), None);
    assert_eq!(best(&router, "/"), None);
}

#[test]
fn everything_goes_to_the_root_wildcard() {
    let router = router(&["/..."]);
    assert_eq!(serve(&router, "/"), Some(("/...", "/".into())));
    assert_eq!(serve(&router, "/1/2/3"), Some(("/...", "/1/2/3".into())));
    assert_eq!(best(&router, "*"), None);
}

#[test]
fn the_longest_prefix_wins_in_any_order() {
    let mut routes = ["/...", "/one/...", "/one/two/...", "/one/two/three/..."];
    for _ in 0..2 {
        let router = router(&routes);
        assert_eq!(
            best(&router, "/one/two/three/four"),
            Some("/one/two/three/...")
        );
        assert_eq!(best(&router, "/one/two/three"), Some("/one/two/three/..."));
        assert_eq!(best(&router, "/one/two/thre"), Some("/one/two/..."));
        assert_eq!(best(&router, "/one"), Some("/one/..."));
        assert_eq!(best(&router, "/onetwo"), Some("/..."));
        routes.reverse();
    }
}

#[test]
fn text_goes_before_names_and_names_before_wildcards() {
    let mut routes = [
        "/...", "/:a", "/:a/...", "/:a/b", "/a", "/a/...", "/a/:b", "/a/:b/c", "/x/:y/:z",
    ];
    for _ in 0..2 {
        let router = router(&routes);
        for (path, route) in [
            ("/", "/..."),
            ("/a", "/a"),
            ("/b", "/:a"),
            ("/b/b", "/:a/b"),
            ("/b/c", "/:a/..."),
            ("/a/b", "/a/:b"),
            ("/a/b/c", "/a/:b/c"),
            ("/a/b/d", "/a/..."),
            ("/x/1/2", "/x/:y/:z"),
            ("/x/1/2/3", "/:a/..."),
            ("/x//2", "/:a/..."),
        ] {
            assert_eq!(best(&router, path), Some(route), "{path}");
        }
        routes.reverse();
    }
}

#[test]
fn names_capture_one_segment_as_sent() {
    let router = router(&["/users/:user_id/posts/:Post/..."]);
    let found = router.lookup("/users/a%20b/posts/7/x/y").unwrap();
    let captures: Vec<_> = found
        .captures()
        .map(|c| (c.name, c.header.as_str(), c.value))
        .collect();
    assert_eq!(
        captures,
        [
            ("user_id", "spin-path-match-user-id", "a%20b"),
            ("Post", "spin-path-match-post", "7"),
        ]
    );
    assert_eq!(found.path_info, "/x/y");
    assert!(router.lookup("/users//posts/7").is_none());
}

#[test]
fn guests_are_told_of_the_route_as_spin_tells_them() {
    for (route, path, matched, raw, component, tail) in [
        (
            "/foo/...", "/foo/bar", "/foo/...", "/foo/...", "/foo", "/bar",
        ),
        (
            "/foo/:id/...",
            "/foo/42/bar",
            "/foo/:id/...",
            "/foo/:id/...",
            "/foo/:id",
            "/bar",
        ),
        ("/...", "/x", "/...", "/...", "", "/x"),
        ("/foo", "/foo/", "/foo", "/foo", "/foo", ""),
        ("foo/", "/foo", "/foo", "foo/", "foo/", ""),
        ("/", "/", "/", "/", "/", ""),
    ] {
        let router = router(&[route]);
        let found = router.lookup(path).unwrap();
        assert_eq!(header(&found, "spin-base-path"), "/");
        assert_eq!(header(&found, "spin-matched-route"), matched);
        assert_eq!(header(&found, "spin-raw-component-route"), raw);
        assert_eq!(header(&found, "spin-component-route"), component);
        assert_eq!(found.route.raw(), raw);
        assert_eq!(found.path_info, tail);
    }
    let everything = Route::everything();
    assert_eq!(
        everything.headers(),
        Route::parse("/...").unwrap().headers()
    );
    assert_eq!(everything.matches("/x"), Some("/x"));
}

#[test]
fn the_last_of_two_equal_routes_is_kept() {
    let mut router = Router::new();
    assert_eq!(router.insert("/foo", 1), Ok(None));
    assert_eq!(router.insert("/foo/", 2), Ok(Some(1)));
    assert_eq!(router.insert("/:a/x/...", 3), Ok(None));
    assert_eq!(router.insert("/:b/x/...", 4), Ok(Some(3)));
    assert_eq!(router.insert("/:b/x", 5), Ok(None));
    assert_eq!(router.lookup("/foo").map(|found| *found.value), Some(2));
    let found = router.lookup("/1/x/2").unwrap();
    assert_eq!(
        (*found.value, found.captures().next().unwrap().name),
        (4, "b")
    );
}

#[test]
fn bad_routes_are_refused_by_name() {
    for (route, text) in [
        (
            "/a b",
            "the route \"/a b\" holds a character that no request's path has; percent-encode it \
             or remove it",
        ),
        (
            "/a?b",
            "the route \"/a?b\" holds a character that no request's path has; percent-encode it \
             or remove it",
        ),
        (
            "/a//b",
            "the route \"/a//b\" has an empty segment; remove one of the two slashes",
        ),
        (
            "/.../a",
            "the route \"/.../a\" has a wildcard that is not its last segment; only the end may \
             be \"/...\"",
        ),
        (
            "/a...",
            "the route \"/a...\" has a wildcard that is not its last segment; only the end may \
             be \"/...\"",
        ),
        (
            "/:",
            "the route \"/:\" has a name that is not made of letters, digits, \"-\" and \"_\"; \
             write it as in \"/:user\"",
        ),
        (
            "/:file.json",
            "the route \"/:file.json\" has a name that is not made of letters, digits, \"-\" and \
             \"_\"; write it as in \"/:user\"",
        ),
        (
            "/:a_b/:A-b",
            "the route \"/:a_b/:A-b\" uses a name twice; rename one of them",
        ),
    ] {
        assert_eq!(check(route), Err(text.to_owned()));
    }
}

/// Compares the router with the rules written down plainly: of all routes that
/// match, the first in the order of their shapes.
#[test]
fn lookup_agrees_with_the_rules_on_random_routes() {
    let mut seed = 7_u64;
    let mut next = move |n: u64| {
        seed = seed
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (seed >> 33) % n
    };
    for _ in 0..2000 {
        let mut router = Router::new();
        let mut routes = Vec::new();
        for _ in 0..next(8) {
            let mut route = String::new();
            for i in 0..next(4) {
                match next(4) {
                    0 => route.push_str(&format!("/:n{i}")),
                    n => route.push_str(&format!("/{n}")),
                }
            }
            if next(3) == 0 {
                route.push_str("/...");
            }
            router.insert(&route, route.clone()).unwrap();
            routes.push(Route::parse(&route).unwrap());
        }
        let path: String = (0..=next(4)).map(|_| format!("/{}", next(4))).collect();
        let mut matching: Vec<&Route> = routes
            .iter()
            .filter(|route| route.matches(&path).is_some())
            .collect();
        // The order is stable, and of equal routes the last one was kept.
        matching.reverse();
        matching.sort_by(|a, b| a.shape().cmp(b.shape()));
        let expected = matching.first().map(|route| route.raw());
        assert_eq!(
            router.lookup(&path).map(|found| found.value.as_str()),
            expected,
            "{path}"
        );
    }
}
