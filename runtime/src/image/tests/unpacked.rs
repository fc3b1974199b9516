//! Root file systems that are unpacked.

use std::os::unix::fs::symlink;

use super::*;

fn rootfs(digest: Digest) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("rootfs");
    fs::create_dir_all(root.join("components")).unwrap();
    fs::create_dir_all(root.join("assets/sub")).unwrap();
    fs::write(root.join("components/a b.wasm"), http_component()).unwrap();
    fs::write(root.join("assets/sub/x"), "x").unwrap();
    fs::write(dir.path().join("secret"), "secret").unwrap();
    let source = json!({ "source": "file:///components/a%20b.wasm", "digest": digest.to_string() });
    let lock = lockfile(source, json!([{ "source": "file:///assets", "path": "/" }]));
    fs::write(root.join("spin.json"), lock.to_string()).unwrap();
    dir
}

fn load(dir: &tempfile::TempDir) -> Result<Image, LoadError> {
    Image::from_rootfs(&dir.path().join("rootfs"), &["/".to_owned()]).map(|image| image.unwrap())
}

#[test]
fn an_unpacked_root_file_system_is_loaded() {
    let dir = rootfs(Digest::of(&http_component()));
    let image = load(&dir).unwrap();
    assert_eq!(image.wasm("a").unwrap(), http_component());
    let files = tempfile::tempdir().unwrap();
    image.materialize_files("a", files.path()).unwrap();
    assert_eq!(fs::read_to_string(files.path().join("sub/x")).unwrap(), "x");
    assert_eq!(
        Image::from_path(&dir.path().join("rootfs")).unwrap().app,
        image.app
    );
}

#[test]
fn a_file_is_verified_against_the_lockfile() {
    let dir = rootfs(Digest::of(b"other"));
    let image = load(&dir).unwrap();
    for error in [refused(image.wasm("a")), refused(image.wasm_digest("a"))] {
        assert!(
            error.contains("`/components/a b.wasm`: is corrupt"),
            "{error}"
        );
    }
}

#[test]
fn no_link_leads_out() {
    let dir = rootfs(Digest::of(&http_component()));
    let root = dir.path().join("rootfs");
    fs::remove_file(root.join("components/a b.wasm")).unwrap();
    symlink("../../secret", root.join("components/a b.wasm")).unwrap();
    let error = refused(load(&dir));
    assert!(
        error.contains("component \"a\": `/components/a b.wasm`: is not in the root file system"),
        "{error}"
    );
    fs::remove_file(root.join("components/a b.wasm")).unwrap();
    // An absolute link means the image's own root.
    symlink("/real.wasm", root.join("components/a b.wasm")).unwrap();
    fs::write(root.join("real.wasm"), http_component()).unwrap();
    assert_eq!(load(&dir).unwrap().wasm("a").unwrap(), http_component());
    symlink(dir.path(), root.join("assets/out")).unwrap();
    let files = tempfile::tempdir().unwrap();
    let error = refused(load(&dir).unwrap().materialize_files("a", files.path()));
    assert!(error.contains("`/assets/out`: is not in"), "{error}");
}

#[test]
fn a_pipe_does_not_block() {
    let dir = rootfs(Digest::of(&http_component()));
    let path = dir.path().join("rootfs/components/a b.wasm");
    fs::remove_file(&path).unwrap();
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(refused(load(&dir)).contains("is a device or a pipe"));
}

#[test]
fn a_linux_container_is_none_of_ours() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("sh"), "#!").unwrap();
    fs::write(dir.path().join("plugin"), command_module()).unwrap();
    let load = |args: &[&str]| {
        Image::from_rootfs(
            dir.path(),
            &args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>(),
        )
    };
    assert!(load(&["/sh"]).unwrap().is_none());
    assert!(load(&["/missing"]).unwrap().is_none());
    assert!(load(&[]).unwrap().is_none());
    assert!(load(&["/plugin"]).unwrap().is_some());
    assert!(refused(load(&["/missing.wasm"])).contains("`/missing.wasm`: is not in"));
}
