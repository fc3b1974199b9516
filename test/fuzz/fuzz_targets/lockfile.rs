//! Any bytes as a lockfile: taken with everything in it sound, or refused with
//! at least one reason.

#![no_main]

use catena_fuzz::app::{
    HttpRoute, allowed_hosts, check_component_id, content, parse_lockfile, routes::Router,
    variables,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let app = match parse_lockfile(bytes) {
        Ok(app) => app,
        Err(refusal) => {
            assert!(!refusal.is_empty());
            assert!(
                refusal
                    .problems
                    .iter()
                    .all(|problem| !problem.text.contains('\n'))
            );
            return drop(refusal.to_string());
        }
    };
    let mut router = Router::new();
    for trigger in &app.triggers {
        assert!(
            trigger
                .component()
                .is_none_or(|id| app.component(id).is_some())
        );
    }
    for trigger in app.http_triggers() {
        if let HttpRoute::Path(route) = &trigger.route {
            router
                .insert(route, ())
                .expect("a route that was taken is a route");
        }
    }
    for component in &app.components {
        assert_eq!(check_component_id(&component.id), Ok(()));
        assert!(allowed_hosts::check(&component.allowed_hosts, &app.variables).is_empty());
        for file in &component.files {
            assert_eq!(content::guest_path(&file.path).as_ref(), Ok(&file.path));
        }
    }
    if let Ok(values) = variables::resolve(&app.variables, &Default::default()) {
        for component in &app.components {
            variables::component_config(component, &values).expect("templates were checked");
        }
    }
});
