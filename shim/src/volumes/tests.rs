use super::*;

fn mount(json: &str) -> Mount {
    Mount::read(&serde_json::from_str(json).unwrap()).unwrap()
}

/// A container with a ConfigMap, a folder that may be written, and what is nobody's volume.
fn mounts(node: &Path) -> Vec<Mount> {
    for name in ["config", "data", "dev"] {
        fs::create_dir(node.join(name)).unwrap();
    }
    fs::write(node.join("file"), "").unwrap();
    let bind = |source: &str, place: &str, options: &str| {
        let source = node.join(source);
        mount(&format!(
            r#"{{"destination":"{place}","type":"bind","source":"{}","options":["rbind",{options}]}}"#,
            source.display()
        ))
    };
    vec![
        mount(r#"{"destination":"/proc","type":"proc","source":"proc"}"#),
        mount(r#"{"destination":"/scratch","type":"tmpfs","source":"tmpfs"}"#),
        bind("dev", "/dev/shm", r#""rw""#),
        bind("config", "/data", r#""rw""#),
        bind("config", "/etc/config/", r#""rprivate","rw","ro""#),
        bind("file", "/etc/app.conf", r#""ro""#),
        bind("data", "/data", r#""rw""#),
        bind("data", "/mapped", r#""rw","ridmap""#),
    ]
}

/// What `setting` gives the components `a` and `b`, each as `place:mode=components`.
fn given(setting: &str) -> Result<Vec<String>, Vec<String>> {
    let node = tempfile::tempdir().unwrap();
    let env = [(NAME.to_owned(), setting.to_owned())];
    let components = ["a".to_owned(), "b".to_owned()];
    let grants = grants(&asked(&env), &mounts(node.path()), &components)?;
    let shown = grants.iter().map(|grant| {
        let mode = if grant.writable { "rw" } else { "ro" };
        let source = grant.path.file_name().unwrap().display();
        let components = grant.components.join("+");
        format!("{}<{source}:{mode}={components}", grant.place)
    });
    Ok(shown.collect())
}

#[test]
fn what_is_asked_for_is_given() {
    assert_eq!(given("none").unwrap(), [""; 0]);
    assert_eq!(
        given("all").unwrap(),
        ["/etc/config<config:ro=a+b", "/data<data:ro=a+b"]
    );
    assert_eq!(
        given("all:rw").unwrap(),
        ["/etc/config<config:ro=a+b", "/data<data:rw=a+b"]
    );
    assert_eq!(given("/dev/shm/:rw").unwrap(), ["/dev/shm<dev:rw=a+b"]);
    assert_eq!(
        given("/etc/config,/data,a=/data:rw").unwrap(),
        [
            "/etc/config<config:ro=a+b",
            "/data<data:ro=b",
            "/data<data:rw=a"
        ]
    );
    assert_eq!(given("b=all").unwrap().len(), 2);
}

#[test]
fn what_cannot_be_given_is_refused_by_name() {
    let problems =
        given("/none,/scratch,/etc/app.conf,/etc/config:rw,c=/data,/mapped").unwrap_err();
    let parts = [
        "nothing is mounted at /none; mount a volume there or correct the path (mounted are: \
         /scratch, /data, /etc/config, /etc/app.conf, /data, /mapped)",
        "/scratch is a file system of the container's own (tmpfs)",
        "/etc/app.conf is a single file",
        "/etc/config is to be written to (:rw), but is mounted read-only",
        "no component \"c\"; correct the name (there are: a, b)",
        "/mapped is mounted with users of its own",
    ];
    assert_eq!(problems.len(), parts.len(), "{problems:?}");
    for (problem, part) in problems.iter().zip(parts) {
        assert!(problem.contains(part), "{problem}");
    }
}
