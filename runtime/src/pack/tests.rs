//! Tests of packing, from a manifest on disk to an image read back.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::app::{HttpRoute, HttpTarget, Trigger};
use crate::image::testing::{command_module, exporting, http_component};
use crate::image::{Image, LoadError};

use super::*;

mod mistakes;

const HEAD: &str = "spin_manifest_version = 2\n[application]\nname = \"test\"\n";

/// A folder with wasm files and a manifest.
struct Project(tempfile::TempDir);

impl Project {
    fn new(manifest: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("spin.toml"), manifest).unwrap();
        fs::write(dir.path().join("http.wasm"), http_component()).unwrap();
        fs::write(dir.path().join("module.wasm"), command_module()).unwrap();
        fs::create_dir_all(dir.path().join("static/deep")).unwrap();
        fs::write(dir.path().join("static/small.txt"), "small").unwrap();
        fs::write(
            dir.path().join("static/deep/large.txt"),
            "large".repeat(100),
        )
        .unwrap();
        fs::write(dir.path().join("static/left-out.md"), "left out").unwrap();
        Project(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn pack(&self, form: Form) -> Result<Packed, PackError> {
        pack(&Options {
            manifest: self.path("spin.toml"),
            form,
            reference: Some("localhost/test:v1".to_owned()),
            output: self.path("out.tar"),
        })
    }

    fn load(&self) -> Result<Image, LoadError> {
        Image::from_path(&self.path("out.tar"))
    }

    /// The mistakes, without the folder's name.
    fn mistakes(&self, form: Form) -> Vec<String> {
        let error = self.pack(form).unwrap_err();
        assert!(matches!(error, PackError::Manifest(_)), "{error}");
        assert!(!self.path("out.tar").exists());
        let folder = format!("{}/", self.0.path().display());
        error
            .to_string()
            .lines()
            .map(|line| line.replace(&folder, ""))
            .collect()
    }

    fn entry(&self, name: &str) -> Value {
        let mut archive = tar::Archive::new(fs::File::open(self.path("out.tar")).unwrap());
        let entry = archive
            .entries()
            .unwrap()
            .map(Result::unwrap)
            .find(|entry| entry.path().unwrap() == Path::new(name));
        serde_json::from_reader(entry.unwrap()).unwrap()
    }

    fn blob(&self, descriptor: &Value) -> Value {
        self.entry(
            &descriptor["digest"]
                .as_str()
                .unwrap()
                .replace("sha256:", "blobs/sha256/"),
        )
    }
}

/// An application that uses what a manifest offers.
fn full() -> String {
    format!(
        r#"{HEAD}version = "1.2.3"
description = "All of it"
authors = ["A <a@example.com>"]

[variables]
greeting = {{ default = "hello" }}
token = {{ required = true, secret = true }}

[[trigger.http]]
route = "/api/:id"
component = "front"

[[trigger.http]]
route = {{ private = true }}
component = "back"
id = "private-back"

[[trigger.http]]
route = "/old"
static_response = {{ status_code = 302, headers = {{ location = "/api" }}, body = "moved" }}

[[trigger.command]]
component = "job"

[component.front]
source = "http.wasm"
description = "The front"
environment = {{ A = "1", B = "2" }}
files = ["static/**/*", {{ source = "static/small.txt", destination = "/etc/small" }}]
exclude_files = ["**/*.md"]
allowed_outbound_hosts = ["http://back.spin.internal", "https://{{{{ greeting }}}}.example.com"]
variables = {{ text = "{{{{ greeting }}}}!" }}
[component.front.build]
command = "make"
[component.front.tool.other]
anything = [1, 2]

[component.back]
source = "http.wasm"
allowed_outbound_hosts = ["*://*:*"]

[component.job]
source = "module.wasm"
"#
    )
}

fn files(image: &Image, component: &str) -> Vec<(String, usize)> {
    let dir = tempfile::tempdir().unwrap();
    image.materialize_files(component, dir.path()).unwrap();
    let app = image.app.component(component).unwrap();
    let mut files: Vec<_> = app
        .files
        .iter()
        .map(|file| {
            (
                file.path.clone(),
                fs::read(dir.path().join(&file.path)).unwrap().len(),
            )
        })
        .collect();
    files.sort();
    files
}

#[test]
fn each_form_that_carries_a_lockfile_comes_back_the_same() {
    let mut apps = Vec::new();
    for form in [Form::Rootfs, Form::Spin] {
        let project = Project::new(&full());
        let packed = project.pack(form).unwrap();
        assert_eq!(
            (
                packed.lock_version,
                packed.must_understand.len(),
                packed.components.len()
            ),
            (Some(1), 1, 3)
        );
        let image = project.load().unwrap();
        image.verify().unwrap();
        assert_eq!(image.wasm("front").unwrap(), http_component());
        let job = crate::image::Interface::read(&image.wasm("job").unwrap()).unwrap();
        assert!(job.component && job.runs());
        assert_eq!(
            image.wasm_digest("job").unwrap(),
            packed.components[2].digest
        );
        let expected = [
            ("etc/small", 5),
            ("static/deep/large.txt", 500),
            ("static/small.txt", 5),
        ];
        assert_eq!(
            files(&image, "front"),
            expected.map(|(path, size)| (path.to_owned(), size))
        );
        assert!(files(&image, "back").is_empty());

        let mut app = image.app;
        assert_eq!(app.requirements, ["local_service_chaining"]);
        assert_eq!(app.version.as_deref(), Some("1.2.3"));
        assert!(app.variables["token"].secret && app.variables["token"].default.is_none());
        let front = app.component("front").unwrap();
        assert_eq!(
            front.env,
            [
                ("A".to_owned(), "1".to_owned()),
                ("B".to_owned(), "2".to_owned())
            ]
        );
        assert_eq!(front.config["text"], "{{ greeting }}!");
        assert_eq!(front.allowed_hosts.len(), 2);
        let ids: Vec<_> = app.triggers.iter().map(Trigger::id).collect();
        assert_eq!(
            ids,
            [
                "front-http-trigger",
                "private-back",
                "http-0",
                "job-command-trigger"
            ]
        );
        let Trigger::Http(private) = &app.triggers[1] else {
            panic!()
        };
        assert_eq!(private.route, HttpRoute::Private);
        let Trigger::Http(fixed) = &app.triggers[2] else {
            panic!()
        };
        let HttpTarget::Static(fixed) = &fixed.target else {
            panic!()
        };
        assert_eq!(
            (fixed.status.as_u16(), fixed.body.as_slice()),
            (302, b"moved".as_slice())
        );
        // Where the bytes are is all that differs.
        for component in &mut app.components {
            component.source.source = None;
            component.source.inline = None;
            for file in &mut component.files {
                (file.content.source, file.content.inline) = (None, None);
            }
        }
        apps.push(app);
    }
    assert_eq!(apps[0], apps[1]);
}

#[test]
fn the_same_application_has_the_same_bytes() {
    for form in [Form::Rootfs, Form::Spin] {
        let [one, two] = [Project::new(&full()), Project::new(&full())];
        assert_eq!(
            one.pack(form).unwrap().digest,
            two.pack(form).unwrap().digest
        );
        assert_eq!(
            fs::read(one.path("out.tar")).unwrap(),
            fs::read(two.path("out.tar")).unwrap()
        );
    }
}

#[test]
fn the_root_file_system_form_is_what_old_hosts_unpack() {
    let project = Project::new(&full());
    let packed = project.pack(Form::Rootfs).unwrap();
    let target = &project.entry("index.json")["manifests"][0];
    assert_eq!(target["digest"], packed.digest.to_string());
    assert_eq!(
        target["annotations"]["io.containerd.image.name"],
        "localhost/test:v1"
    );
    assert_eq!(
        target["annotations"]["org.opencontainers.image.ref.name"],
        "v1"
    );
    let index = project.blob(target);
    let architectures: Vec<_> = index["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["platform"]["architecture"].clone())
        .collect();
    assert_eq!(architectures, ["amd64", "arm64"]);
    let layers: Vec<_> = [0, 1]
        .map(|one| project.blob(&index["manifests"][one])["layers"].clone())
        .into();
    assert_eq!(layers[0], layers[1]);
    for layer in layers[0].as_array().unwrap() {
        assert_eq!(
            layer["mediaType"],
            "application/vnd.oci.image.layer.v1.tar+gzip"
        );
    }
    let config = project.blob(&project.blob(&index["manifests"][0])["config"]);
    assert_eq!(config["config"]["Entrypoint"][0], "/spin.json");
    assert_eq!(
        config["rootfs"]["diff_ids"].as_array().unwrap().len(),
        layers[0].as_array().unwrap().len()
    );
}

#[test]
fn the_spin_form_inlines_what_is_small() {
    let project = Project::new(&full());
    project.pack(Form::Spin).unwrap();
    let manifest = project.blob(&project.entry("index.json")["manifests"][0]);
    assert_eq!(project.blob(&manifest["config"])["os"], "Wasip1");
    let layers = manifest["layers"].as_array().unwrap();
    let types: Vec<_> = layers
        .iter()
        .map(|layer| layer["mediaType"].as_str().unwrap())
        .collect();
    // The components of http.wasm are small, and so is one of the two files.
    assert_eq!(
        types,
        [
            "application/vnd.wasm.content.layer.v1+wasm",
            "application/vnd.wasm.content.layer.v1+data",
            "application/vnd.fermyon.spin.application.v1+config",
        ]
    );
    let lockfile = project.blob(layers.last().unwrap());
    assert_eq!(
        lockfile["metadata"]["triggers"].as_object().unwrap().len(),
        2
    );
    assert!(lockfile["components"][0]["source"]["inline"].is_string());
    assert!(lockfile["components"][2]["source"]["inline"].is_null());
}

fn chaining(hosts: &str) -> Value {
    let project = Project::new(&format!(
        "{HEAD}[variables]\nx = {{ default = \"spin.internal\" }}\n[[trigger.http]]\nroute = \"/...\"\ncomponent = \"a\"\n\
         [component.a]\nsource = \"http.wasm\"\nallowed_outbound_hosts = {hosts}\n"
    ));
    project.pack(Form::Spin).unwrap();
    let manifest = project.blob(&project.entry("index.json")["manifests"][0]);
    project.blob(manifest["layers"].as_array().unwrap().last().unwrap())
}

#[test]
fn chaining_is_required_for_a_literal_host_and_nothing_else() {
    for hosts in [
        r#"["http://a.spin.internal"]"#,
        r#"["https://example.com", "http://*.spin.internal"]"#,
    ] {
        let lockfile = chaining(hosts);
        assert_eq!(lockfile["spin_lock_version"], 1, "{hosts}");
        assert_eq!(
            lockfile["must_understand"],
            serde_json::json!(["component_host_requirements"])
        );
        let requirements = &lockfile["components"][0]["host_requirements"];
        assert_eq!(
            requirements,
            &serde_json::json!({ "local_service_chaining": "required" })
        );
    }
    for hosts in [
        "[]",
        r#"["*://*:*"]"#,
        r#"["http://a.{{ x }}"]"#,
        r#"["http://self", "https://*.example.com"]"#,
    ] {
        let lockfile = chaining(hosts);
        assert_eq!(lockfile["spin_lock_version"], 0, "{hosts}");
        assert!(
            lockfile["must_understand"].is_null()
                && lockfile["components"][0]["host_requirements"].is_null()
        );
    }
}

const SIMPLE: &str = "[[trigger.http]]\nroute = \"/...\"\ncomponent = \"a\"\n[component.a]\nsource = \"http.wasm\"\n";

#[test]
fn a_wasm_artifact_comes_back() {
    let project = Project::new(&format!("{HEAD}{SIMPLE}"));
    let packed = project.pack(Form::Wasm).unwrap();
    assert_eq!(packed.lock_version, None);
    let image = project.load().unwrap();
    assert_eq!(
        (image.app.name.as_str(), image.digest()),
        ("test", Some(packed.digest))
    );
    assert_eq!(image.wasm("main").unwrap(), http_component());
    let manifest = project.blob(&project.entry("index.json")["manifests"][0]);
    assert_eq!(
        manifest["config"]["mediaType"],
        "application/vnd.wasm.config.v0+json"
    );
    let config = project.blob(&manifest["config"]);
    assert_eq!(
        config["component"]["exports"][0],
        "wasi:http/incoming-handler@0.2.0"
    );
    assert_eq!(config["layerDigests"][0], manifest["layers"][0]["digest"]);

    let command =
        "[[trigger.command]]\ncomponent = \"a\"\n[component.a]\nsource = \"module.wasm\"\n";
    let project = Project::new(&format!("{HEAD}{command}"));
    project.pack(Form::Wasm).unwrap();
    assert!(matches!(
        project.load().unwrap().app.triggers.as_slice(),
        [Trigger::Command(_)]
    ));
}

#[test]
fn a_wasm_artifact_is_refused_for_all_that_it_would_lose() {
    let mistakes = Project::new(&full()).mistakes(Form::Wasm).join("\n");
    for part in [
        "3 components",
        "4 triggers",
        "has variables",
        "component \"front\" has files",
        "has an environment",
        "component \"back\" has allowed outbound hosts",
    ] {
        assert!(mistakes.contains(part), "{part}:\n{mistakes}");
    }
    let routed = format!("{HEAD}{}", SIMPLE.replace("/...", "/api"));
    let mistakes = Project::new(&routed).mistakes(Form::Wasm);
    assert!(
        mistakes[0]
            .starts_with("spin.toml:4: the trigger \"a-http-trigger\" has a route of its own"),
        "{mistakes:?}"
    );
}

#[test]
fn words_that_a_host_must_understand_go_into_the_lockfile() {
    let manifest =
        format!("{HEAD}[application.tool.catena]\nmust_understand = [\"teleportation\"]\n{SIMPLE}");
    for form in [Form::Rootfs, Form::Spin] {
        let project = Project::new(&manifest);
        let packed = project.pack(form).unwrap();
        assert_eq!(
            (packed.lock_version, packed.must_understand.as_slice()),
            (Some(1), ["teleportation".to_owned()].as_slice())
        );
        assert!(
            packed.warnings.iter().any(
                |warning| warning.contains("will not run") && warning.contains("teleportation")
            )
        );
        let error = project.load().unwrap_err();
        assert!(
            !error.is_malformed() && error.to_string().contains("\"teleportation\""),
            "{error}"
        );
    }
    let mistakes = Project::new(&manifest).mistakes(Form::Wasm);
    assert!(mistakes[0].contains("must understand"), "{mistakes:?}");
}

#[test]
fn a_name_or_an_output_that_cannot_be_is_refused() {
    let project = Project::new(&format!("{HEAD}{SIMPLE}"));
    let options = |reference: &str, output: &str| Options {
        manifest: project.path("spin.toml"),
        form: Form::Rootfs,
        reference: Some(reference.to_owned()),
        output: project.path(output),
    };
    assert!(matches!(
        pack(&options("", "out.tar")),
        Err(PackError::Reference(_))
    ));
    assert!(matches!(
        pack(&options("a b", "out.tar")),
        Err(PackError::Reference(_))
    ));
    let error = pack(&options("a", "none/out.tar")).unwrap_err().to_string();
    assert!(error.contains("none/out.tar"), "{error}");
    // What is there stays until the new archive is whole.
    fs::write(project.path("out.tar"), "old").unwrap();
    pack(&options("a", "out.tar")).unwrap();
    assert!(project.load().is_ok());
    assert_eq!(
        fs::read_dir(project.0.path())
            .unwrap()
            .filter(|entry| entry
                .as_ref()
                .unwrap()
                .file_name()
                .to_string_lossy()
                .starts_with(".catena"))
            .count(),
        0
    );
}
