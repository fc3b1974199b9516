//! The OCI specification that containerd wrote into the bundle: what catena reads from it, and
//! what it adds for a worker, whose root file system may hold nothing at all.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use oci_spec::runtime::{
    Capabilities, Capability, LinuxNamespace, LinuxNamespaceType, Mount, MountBuilder, Process,
    Spec,
};

use crate::cgroup::is_version_2;
use crate::error::Error;
use crate::volumes;

const SANDBOX_ID: &str = "io.kubernetes.cri.sandbox-id";
const CONTAINER_TYPE: &str = "io.kubernetes.cri.container-type";
const GROUP: &str = "io.containerd.runc.v2.group";

/// Where programs are looked for when nobody says where.
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a bundle says about its container.
#[derive(Debug)]
pub(crate) struct BundleSpec {
    spec: Spec,
}

impl BundleSpec {
    /// Reads `<bundle>/config.json`.
    pub(crate) fn load(bundle: &Path) -> anyhow::Result<BundleSpec> {
        let path = bundle.join("config.json");
        let spec = Spec::load(&path).with_context(|| format!("reading {}", path.display()))?;
        Ok(BundleSpec { spec })
    }

    /// Whether this is the sandbox of a pod, which is always a Linux container.
    pub(crate) fn is_sandbox(&self) -> bool {
        self.annotation(CONTAINER_TYPE) == Some("sandbox")
    }

    /// The program and its arguments.
    pub(crate) fn args(&self) -> &[String] {
        let process = self.spec.process().as_ref();
        process
            .and_then(|process| process.args().as_deref())
            .unwrap_or_default()
    }

    /// The environment, as pairs in their order.
    pub(crate) fn env(&self) -> Vec<(String, String)> {
        let process = self.spec.process().as_ref();
        let lines = process
            .and_then(|process| process.env().as_deref())
            .unwrap_or_default();
        pairs(lines)
    }

    /// What is mounted into the container, in its order.
    pub(crate) fn mounts(&self) -> Vec<volumes::Mount> {
        let mounts = self.spec.mounts().as_deref().unwrap_or_default();
        mounts.iter().filter_map(volumes::Mount::read).collect()
    }

    /// The user that the process runs as.
    pub(crate) fn uid(&self) -> u32 {
        self.spec
            .process()
            .as_ref()
            .map_or(0, |process| process.user().uid())
    }

    /// Whether the container has a PID namespace of its own, so that the kernel ends all its
    /// processes with the first one.
    pub(crate) fn has_own_pid_namespace(&self) -> bool {
        self.namespaces().iter().any(|namespace| {
            namespace.typ() == LinuxNamespaceType::Pid && namespace.path().is_none()
        })
    }

    /// Whether hooks run after the start or after the end.
    pub(crate) fn has_late_hooks(&self) -> bool {
        self.spec.hooks().as_ref().is_some_and(|hooks| {
            let some =
                |hooks: &Option<Vec<_>>| hooks.as_ref().is_some_and(|hooks| !hooks.is_empty());
            some(hooks.poststart()) || some(hooks.poststop())
        })
    }

    /// Whether libcontainer cannot take the specification of a Linux container as it is.
    pub(crate) fn needs_mending(&self) -> bool {
        self.needs_no_cgroup_mount() || self.has_no_path()
    }

    /// Whether the environment has no `PATH`: runc then looks in the usual folders, libcontainer
    /// gives up.
    fn has_no_path(&self) -> bool {
        !self.env().iter().any(|(name, _)| name == "PATH")
    }

    /// Whether libcontainer cannot mount the cgroup file system: with version 1 it looks for its
    /// own process in the host's `/proc`, by a number that counts in another PID namespace.
    fn needs_no_cgroup_mount(&self) -> bool {
        let joins = self.namespaces().iter().any(|namespace| {
            namespace.typ() == LinuxNamespaceType::Pid && namespace.path().is_some()
        });
        joins && !is_version_2()
    }

    /// Whether its cgroup is named as systemd's: `slice:prefix:name`, as containerd does where a pod's cgroup is a slice.
    pub(crate) fn is_in_slice(&self) -> bool {
        let linux = self.spec.linux().as_ref();
        let path = linux.and_then(|linux| linux.cgroups_path().as_ref()?.to_str());
        let mut parts = path.unwrap_or_default().split(':');
        let slice = parts.next().unwrap_or_default();
        (slice.is_empty() || slice.ends_with(".slice")) && parts.count() == 2
    }

    /// How many processors the container may use, where it is limited to a share of their time.
    pub(crate) fn processors(&self) -> Option<usize> {
        let resources = self.spec.linux().as_ref()?.resources().as_ref()?;
        let cpu = resources.cpu().as_ref()?;
        let quota = u64::try_from(cpu.quota()?)
            .ok()
            .filter(|quota| *quota > 0)?;
        let period = cpu.period().unwrap_or(100_000).max(1);
        usize::try_from(quota.div_ceil(period)).ok()
    }

    /// Writes the specification of a Linux container to `folder/config.json`, as libcontainer can
    /// take it.
    pub(crate) fn write_mended(&self, rootfs: &Path, folder: &Path) -> anyhow::Result<()> {
        let mut mounts = self.spec.mounts().clone().unwrap_or_default();
        if self.needs_no_cgroup_mount() {
            mounts.retain(|mount| mount.typ().as_deref() != Some("cgroup"));
        }
        let mut spec = self.spec.clone();
        if self.has_no_path()
            && let Some(process) = spec.process_mut()
        {
            let mut env = process.env().clone().unwrap_or_default();
            env.push(DEFAULT_PATH.to_owned());
            process.set_env(Some(env));
        }
        write(spec, rootfs, mounts, folder)
    }

    /// Writes the specification of a worker to `folder/config.json`: without the kernel's file
    /// systems that it does not look at, and with the host's name resolution where the container
    /// has none.
    pub(crate) fn write_for_worker(&self, rootfs: &Path, folder: &Path) -> anyhow::Result<()> {
        let mut mounts = self.spec.mounts().clone().unwrap_or_default();
        mounts
            .retain(|mount| !matches!(mount.typ().as_deref(), Some("cgroup" | "sysfs" | "mqueue")));
        for name in ["/etc/resolv.conf", "/etc/hosts"] {
            let taken = mounts
                .iter()
                .any(|mount| mount.destination() == Path::new(name));
            let inside = rootfs.join(name.trim_start_matches('/'));
            if taken || fs::symlink_metadata(&inside).is_ok() {
                continue;
            }
            let Ok(source) = fs::canonicalize(name) else {
                continue;
            };
            let options = ["rbind", "ro", "nosuid", "nodev", "noexec"].map(str::to_owned);
            let mount = MountBuilder::default()
                .destination(name)
                .source(source)
                .typ("bind")
                .options(options)
                .build()
                .context("describing a mount")?;
            mounts.push(mount);
        }
        let mut spec = self.spec.clone();
        if self.args().is_empty()
            && let Some(process) = spec.process_mut()
        {
            // An image of nothing but an application has no command, and a worker executes none;
            // libcontainer insists on one.
            process.set_args(Some(vec!["catena".to_owned()]));
        }
        if let Some(process) = spec.process_mut() {
            keep_for_worker(process);
        }
        write(spec, rootfs, mounts, folder)
    }

    /// The process that is to join the container, with what it takes from the container's own
    /// where its specification does not say, as runc has it. `worker` is for one that executes no
    /// program.
    pub(crate) fn joining_process(
        &self,
        mut process: Process,
        terminal: bool,
        worker: bool,
    ) -> Result<Process, Error> {
        let users = |namespace: &LinuxNamespace| namespace.typ() == LinuxNamespaceType::User;
        if self.namespaces().iter().any(users) {
            // libcontainer would not enter it, and the process would be the host's root.
            return Err(Error::Unimplemented(
                "nothing can be executed in a container that has a user namespace: this version \
                 of catena cannot enter it"
                    .to_owned(),
            ));
        }
        if process.args().as_ref().is_none_or(Vec::is_empty) {
            return Err(Error::InvalidArgument(
                "the specification of the process has no arguments".to_owned(),
            ));
        }
        process.set_terminal(Some(terminal));
        let own = self.spec.process().as_ref();
        if let Some(own) = own {
            if process.capabilities().is_none() {
                process.set_capabilities(own.capabilities().clone());
            }
            if process.apparmor_profile().is_none() {
                process.set_apparmor_profile(own.apparmor_profile().clone());
            }
            if process.rlimits().is_none() {
                process.set_rlimits(own.rlimits().clone());
            }
        }
        if worker {
            // It executes nothing, so this takes nothing from it, and lets its filter be put on.
            process.set_no_new_privileges(Some(true));
            keep_for_worker(&mut process);
            return Ok(process);
        }
        let mut env = process.env().clone().unwrap_or_default();
        if !env.iter().any(|line| line.starts_with("PATH=")) {
            env.push(DEFAULT_PATH.to_owned());
            process.set_env(Some(env));
        }
        let filtered = self.spec.linux().as_ref();
        let filtered = filtered.is_some_and(|linux| linux.seccomp().is_some());
        if filtered && process.no_new_privileges() != Some(true) {
            allow_filter(&mut process);
        }
        Ok(process)
    }

    fn namespaces(&self) -> &[LinuxNamespace] {
        let linux = self.spec.linux().as_ref();
        linux
            .and_then(|linux| linux.namespaces().as_deref())
            .unwrap_or_default()
    }

    fn annotation(&self, name: &str) -> Option<&str> {
        self.spec
            .annotations()
            .as_ref()?
            .get(name)
            .map(String::as_str)
    }
}

/// The lines of an environment as pairs.
pub(crate) fn pairs(lines: &[String]) -> Vec<(String, String)> {
    let pairs = lines.iter().filter_map(|line| line.split_once('='));
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// Takes the capabilities that an execve would take. A program that another user than root executes
/// loses all but the ambient ones; a worker executes nothing, so it has to be given no more.
fn keep_for_worker(process: &mut Process) {
    if process.user().uid() == 0 {
        return;
    }
    if let Some(mut capabilities) = process.capabilities().clone() {
        let kept = Some(capabilities.ambient().clone().unwrap_or_default());
        capabilities.set_effective(kept.clone());
        capabilities.set_permitted(kept.clone());
        capabilities.set_inheritable(kept);
        process.set_capabilities(Some(capabilities));
    }
}

/// Lets the process put a seccomp filter on itself, which takes CAP_SYS_ADMIN where new privileges
/// are possible. The capability is in no set that outlasts the execve that follows at once: neither
/// inheritable nor ambient, and bounded as before.
fn allow_filter(process: &mut Process) {
    let Some(mut capabilities) = process.capabilities().clone() else {
        return;
    };
    let with_admin = |set: &Option<Capabilities>| {
        let mut set = set.clone().unwrap_or_default();
        set.insert(Capability::SysAdmin);
        Some(set)
    };
    capabilities.set_effective(with_admin(capabilities.effective()));
    capabilities.set_permitted(with_admin(capabilities.permitted()));
    process.set_capabilities(Some(capabilities));
}

/// Writes `folder/config.json`, with the root file system by its absolute path: what is relative
/// counts from the bundle.
fn write(mut spec: Spec, rootfs: &Path, mounts: Vec<Mount>, folder: &Path) -> anyhow::Result<()> {
    if let Some(root) = spec.root_mut()
        && root.path().is_relative()
    {
        root.set_path(rootfs.to_owned());
    }
    spec.set_mounts(Some(mounts));
    let path = folder.join("config.json");
    spec.save(&path)
        .with_context(|| format!("writing {}", path.display()))
}

/// The pod that a bundle's container belongs to: all its containers share one shim.
pub(crate) fn group(bundle: &Path, id: &str) -> anyhow::Result<String> {
    #[derive(serde::Deserialize)]
    struct Annotated {
        #[serde(default)]
        annotations: Option<HashMap<String, String>>,
    }
    let path: PathBuf = bundle.join("config.json");
    let text = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    let spec: Annotated =
        serde_json::from_slice(&text).with_context(|| format!("reading {}", path.display()))?;
    let mut annotations = spec.annotations.unwrap_or_default();
    let group = annotations
        .remove(SANDBOX_ID)
        .or_else(|| annotations.remove(GROUP));
    Ok(group.unwrap_or_else(|| id.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle(json: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("config.json"), json).unwrap();
        folder
    }

    const SPEC: &str = r#"{
        "ociVersion": "1.0.2",
        "process": {"user": {"uid": 7, "gid": 7}, "args": ["/x.wasm"], "cwd": "/", "env": ["A=b=c", "D"],
            "capabilities": {"effective": ["CAP_CHOWN"], "permitted": ["CAP_CHOWN"], "bounding": ["CAP_CHOWN"]}},
        "root": {"path": "rootfs"},
        "mounts": [
            {"destination": "/etc/hosts", "source": "/mine", "type": "bind"},
            {"destination": "/sys/fs/cgroup", "source": "cgroup", "type": "cgroup"}
        ],
        "linux": {
            "namespaces": [{"type": "pid"}],
            "resources": {"cpu": {"quota": 150000, "period": 100000}}
        },
        "annotations": {"io.kubernetes.cri.container-type": "container"}
    }"#;

    #[test]
    fn containers_of_a_pod_share_a_group() {
        let group_of = |annotations: &str| {
            let bundle = bundle(&format!(r#"{{"ociVersion":"1.0.2"{annotations}}}"#));
            group(bundle.path(), "c1").unwrap()
        };
        assert_eq!(group_of(""), "c1");
        let runc = r#""io.containerd.runc.v2.group":"g""#;
        assert_eq!(group_of(&format!(r#","annotations":{{{runc}}}"#)), "g");
        let cri = r#""io.kubernetes.cri.sandbox-id":"pod""#;
        assert_eq!(
            group_of(&format!(r#","annotations":{{{runc},{cri}}}"#)),
            "pod"
        );
    }

    #[test]
    fn reads_what_the_container_is_to_be() {
        let bundle = bundle(SPEC);
        let spec = BundleSpec::load(bundle.path()).unwrap();
        assert_eq!(spec.env(), [("A".to_owned(), "b=c".to_owned())]);
        assert_eq!(spec.args(), ["/x.wasm"]);
        assert_eq!(spec.uid(), 7);
        assert_eq!(spec.processors(), Some(2));
        assert!(spec.has_own_pid_namespace() && !spec.is_sandbox() && !spec.has_late_hooks());
    }

    #[test]
    fn a_cgroup_of_systemds_is_known_by_its_form() {
        let in_slice = |path: &str| {
            let linux = format!(r#""linux":{{"cgroupsPath":"{path}"}}"#);
            let bundle = bundle(&format!(r#"{{"ociVersion":"1.0.2",{linux}}}"#));
            BundleSpec::load(bundle.path()).unwrap().is_in_slice()
        };
        assert!(in_slice("kubepods-pod1.slice:cri-containerd:c1") && in_slice(":catena:c1"));
        for other in ["/kubepods/pod1/c1", "/a:b:c", "c1", ""] {
            assert!(!in_slice(other), "{other}");
        }
    }

    #[test]
    fn a_worker_of_an_image_without_a_command_has_one() {
        let process = r#""process":{"user":{"uid":0,"gid":0},"cwd":"/"}"#;
        let bundle = bundle(&format!(r#"{{"ociVersion":"1.0.2",{process}}}"#));
        let spec = BundleSpec::load(bundle.path()).unwrap();
        let folder = bundle.path().join("catena");
        fs::create_dir(&folder).unwrap();
        spec.write_for_worker(bundle.path(), &folder).unwrap();
        let written = Spec::load(folder.join("config.json")).unwrap();
        let process = written.process().as_ref().unwrap();
        assert_eq!(process.args().as_ref().unwrap().len(), 1);
    }

    #[test]
    fn a_worker_gets_the_hosts_name_resolution_where_it_has_none() {
        let bundle = bundle(SPEC);
        let rootfs = bundle.path().join("rootfs");
        let folder = bundle.path().join("catena");
        fs::create_dir_all(&folder).unwrap();
        BundleSpec::load(bundle.path())
            .unwrap()
            .write_for_worker(&rootfs, &folder)
            .unwrap();
        let written = Spec::load(folder.join("config.json")).unwrap();
        assert_eq!(written.root().as_ref().unwrap().path(), &rootfs);
        let mounts = written.mounts().as_ref().unwrap();
        let source = |name: &str| {
            let mount = mounts
                .iter()
                .find(|mount| mount.destination() == Path::new(name));
            mount.and_then(|mount| mount.source().clone())
        };
        assert_eq!(source("/etc/hosts"), Some("/mine".into()));
        assert_eq!(source("/sys/fs/cgroup"), None);
        let process = written.process().as_ref().unwrap();
        assert_eq!(process.args().as_deref(), Some(&["/x.wasm".to_owned()][..]));
        let capabilities = process.capabilities().as_ref().unwrap();
        assert_eq!(capabilities.effective(), &Some(Capabilities::new()));
        assert_eq!(capabilities.bounding().as_ref().unwrap().len(), 1);
        assert_eq!(
            source("/etc/resolv.conf"),
            fs::canonicalize("/etc/resolv.conf").ok()
        );
    }

    #[test]
    fn a_joining_process_takes_from_the_container_what_it_does_not_say() {
        let bundle = bundle(SPEC);
        let spec = BundleSpec::load(bundle.path()).unwrap();
        let process = |json: &str| serde_json::from_str::<Process>(json).unwrap();
        let shell = r#"{"user":{"uid":0,"gid":0},"args":["sh"],"cwd":"/"}"#;
        let joining = spec.joining_process(process(shell), true, false).unwrap();
        let capabilities = joining.capabilities().as_ref().unwrap();
        assert_eq!(capabilities.effective().as_ref().unwrap().len(), 1);
        assert_eq!(joining.env().as_ref().unwrap(), &[DEFAULT_PATH]);
        assert_eq!(joining.terminal(), Some(true));
        let worker = spec.joining_process(process(shell), false, true).unwrap();
        assert_eq!(worker.no_new_privileges(), Some(true));
        let nothing = r#"{"user":{"uid":0,"gid":0},"args":[],"cwd":"/"}"#;
        let refused = spec.joining_process(process(nothing), false, false);
        assert!(matches!(refused, Err(Error::InvalidArgument(_))));
    }

    #[test]
    fn nobody_joins_a_user_namespace() {
        let bundle = bundle(&SPEC.replace(r#"{"type": "pid"}"#, r#"{"type": "user"}"#));
        let spec = BundleSpec::load(bundle.path()).unwrap();
        let shell = r#"{"user":{"uid":0,"gid":0},"args":["sh"],"cwd":"/"}"#;
        let joining = spec.joining_process(serde_json::from_str(shell).unwrap(), false, false);
        assert!(matches!(joining, Err(Error::Unimplemented(_))));
    }

    #[test]
    fn only_who_puts_on_a_filter_may_do_so() {
        let filtered = SPEC.replace(
            r#""namespaces""#,
            r#""seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}, "namespaces""#,
        );
        let bundle = bundle(&filtered);
        let spec = BundleSpec::load(bundle.path()).unwrap();
        let join = |rest: &str| {
            let json = format!(r#"{{"user":{{"uid":0,"gid":0}},"args":["sh"],"cwd":"/"{rest}}}"#);
            let process = serde_json::from_str(&json).unwrap();
            let joining = spec.joining_process(process, false, false).unwrap();
            joining.capabilities().clone().unwrap()
        };
        let admin = |set: &Option<Capabilities>| {
            set.as_ref()
                .is_some_and(|set| set.contains(&Capability::SysAdmin))
        };
        let with = join("");
        assert!(admin(with.effective()) && admin(with.permitted()));
        assert!(!admin(with.bounding()) && !admin(with.inheritable()) && !admin(with.ambient()));
        let without = join(r#","noNewPrivileges":true"#);
        assert!(!admin(without.effective()) && !admin(without.permitted()));
    }
}
