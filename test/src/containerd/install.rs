//! Which containerd is tested, and the configuration that its version reads.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::pack;

/// The sandbox of pods; a test's daemon has it before the first pod.
pub(crate) const PAUSE_IMAGE: &str = "localhost/pause:1";
/// Where Debian keeps the programs that make networks.
const CNI_PROGRAMS: &str = "/usr/lib/cni";

/// The daemon and its `ctr`: the machine's, or those in the folder that `CONTAINERD_BIN` names.
#[derive(Clone, Debug)]
pub struct Installation {
    folder: Option<PathBuf>,
    version: (u32, u32, u32),
}

/// The plugins that know the runtimes, in containerd 1.x and 2.x.
const RUNTIMES_OF_1: &str = "io.containerd.grpc.v1.cri";
const RUNTIMES_OF_2: &str = "io.containerd.cri.v1.runtime";

/// What a configuration names.
pub(super) struct Places<'a> {
    pub(super) root: &'a Path,
    pub(super) state: &'a Path,
    pub(super) address: &'a Path,
    pub(super) opt: &'a Path,
    /// Where pods are to be made.
    pub(super) pods: Option<Pods<'a>>,
}

/// What pods run under: a handler's name, and the type of its shim.
pub type Runtime = (&'static str, &'static str);

/// What a daemon needs to make pods.
pub(super) struct Pods<'a> {
    /// The folder of the network's description.
    pub(super) cni: &'a Path,
    /// The first is that of pods that ask for none.
    pub(super) runtimes: &'a [Runtime],
    /// The file with the shim's options.
    pub(super) options: Option<PathBuf>,
}

impl Installation {
    /// Finds it and asks for its version.
    pub fn find() -> Result<Self> {
        let mut found = Self {
            folder: std::env::var_os("CONTAINERD_BIN").map(PathBuf::from),
            version: (0, 0, 0),
        };
        let said = pack::run(found.command("containerd").arg("--version"))
            .context("containerd: is it installed (`make setup`)?")?
            .stdout;
        found.version =
            parse(&said).with_context(|| format!("no version in what containerd says: {said}"))?;
        Ok(found)
    }

    /// One of its programs.
    pub fn command(&self, name: &str) -> Command {
        match &self.folder {
            Some(folder) => Command::new(folder.join(name)),
            None => Command::new(name),
        }
    }

    /// Its version.
    pub fn version(&self) -> (u32, u32, u32) {
        self.version
    }

    /// What `ctr` says of an error besides its sentence: its code. From version 2 on it says the sentence alone.
    pub fn code<'a>(&self, code: &'a str) -> &'a str {
        if self.version < (2, 0, 0) { code } else { "" }
    }

    /// Whether it unpacks images whose layers are no tar.
    pub fn unpacks_custom_layers(&self) -> bool {
        match self.version {
            (1, ..=5, _) => false,
            (1, 6, patch) => patch >= 25,
            (1, 7, patch) => patch >= 7,
            _ => true,
        }
    }

    pub(super) fn configuration(&self, places: &Places<'_>) -> String {
        let second = self.version.0 >= 2;
        let pods = match &places.pods {
            None if second => {
                "disabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.cri.v1.images\", \
                 \"io.containerd.cri.v1.runtime\"]\n"
                    .to_owned()
            }
            None => "disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n".to_owned(),
            Some(_) => String::new(),
        };
        let general = format!(
            r#"version = {version}
root = "{root}"
state = "{state}"
{pods}[grpc]
  address = "{address}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{opt}"
"#,
            version = if second { 3 } else { 2 },
            root = places.root.display(),
            state = places.state.display(),
            address = places.address.display(),
            opt = places.opt.display(),
        );
        // It would listen at a fixed place, once per machine.
        let no_nri = "[plugins.\"io.containerd.nri.v1.nri\"]\n  disable = true\n";
        let pods = match &places.pods {
            None => String::new(),
            Some(pods) if second => second_pods(pods) + &options(RUNTIMES_OF_2, pods),
            Some(pods) => first_pods(pods) + &options(RUNTIMES_OF_1, pods),
        };
        if self.version >= (1, 7, 0) {
            general + no_nri + &pods
        } else {
            general + &pods
        }
    }
}

impl Pods<'_> {
    /// The runtimes in the section of this plugin.
    fn section(&self, plugin: &str) -> String {
        let mut text = format!("  [plugins.\"{plugin}\".containerd]\n");
        if let Some((default, _)) = self.runtimes.first() {
            text += &format!("    default_runtime_name = \"{default}\"\n");
        }
        for (name, kind) in self.runtimes {
            text += &format!("  [plugins.\"{plugin}\".containerd.runtimes.{name}]\n");
            text += &format!("    runtime_type = \"{kind}\"\n");
        }
        text
    }
}

/// "containerd github.com/containerd/containerd 1.6.20~ds1 ..." or ".../containerd/v2 2.1.9+unknown".
fn parse(said: &str) -> Option<(u32, u32, u32)> {
    let word = said.split_whitespace().nth(2)?.trim_start_matches('v');
    let mut numbers = word.split(['.', '~', '+', '-']).map(str::parse);
    Some((
        numbers.next()?.ok()?,
        numbers.next()?.ok()?,
        numbers.next()?.ok()?,
    ))
}

/// `restrict_oom_score_adj`: where root may not lower a process's score, no sandbox could be made without it.
fn first_pods(pods: &Pods<'_>) -> String {
    format!(
        r#"[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI_PROGRAMS}"
    conf_dir = "{cni}"
{runtimes}"#,
        cni = pods.cni.display(),
        runtimes = pods.section("io.containerd.grpc.v1.cri"),
    )
}

/// The shim's options; not every containerd passes on what is not in a file.
fn options(runtimes: &str, pods: &Pods<'_>) -> String {
    let Some(path) = &pods.options else {
        return String::new();
    };
    format!(
        "  [plugins.\"{runtimes}\".containerd.runtimes.catena.options]\n    ConfigPath = \"{}\"\n",
        path.display()
    )
}

fn second_pods(pods: &Pods<'_>) -> String {
    format!(
        r#"[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "{PAUSE_IMAGE}"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["{CNI_PROGRAMS}"]
    conf_dir = "{cni}"
{runtimes}"#,
        cni = pods.cni.display(),
        runtimes = pods.section("io.containerd.cri.v1.runtime"),
    )
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn versions_of_debians_packages() {
        let said = |version: &str| format!("containerd github.com/containerd/containerd {version}");
        assert_eq!(parse(&said("1.6.20~ds1 1.6.20~ds1-1")), Some((1, 6, 20)));
        assert_eq!(parse(&said("2.1.9+unknown ")), Some((2, 1, 9)));
        assert_eq!(parse("containerd"), None);
    }
}
