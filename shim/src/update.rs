//! Changes the limits of a container that runs: containerd sends the resources of an OCI
//! specification as JSON, and only what is in there changes.

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use containerd_shim::protos::protobuf::well_known_types::any::Any;
use libcgroups::common::{CgroupConfig, CgroupManager as _, ControllerOpt, create_cgroup_manager};
use oci_spec::runtime::LinuxResources;

use crate::cgroup::Cgroup;
use crate::error::Error;
use crate::helper;

/// The resources that an Update call asks for.
pub(crate) fn resources(any: Option<&Any>) -> Result<LinuxResources, Error> {
    let any = any.ok_or_else(|| {
        Error::InvalidArgument("the update names no resources to change".to_owned())
    })?;
    if !any.type_url.ends_with("LinuxResources") {
        return Err(Error::InvalidArgument(format!(
            "resources of the type {:?} cannot be read, only LinuxResources of the OCI specification",
            any.type_url
        )));
    }
    let resources = serde_json::from_slice(&any.value);
    let mut resources: LinuxResources = resources.map_err(|error| {
        Error::InvalidArgument(format!(
            "the resources of the update are malformed: {error}"
        ))
    })?;
    // Which devices a container may use was decided when it was made.
    resources.set_devices(None);
    Ok(resources)
}

/// Writes the limits to the cgroup of the container whose state is in `state`. Blocks.
pub(crate) fn apply(
    state: PathBuf,
    cgroup: &Cgroup,
    resources: &mut LinuxResources,
) -> anyhow::Result<()> {
    let container = helper::load(state)?;
    if container.systemd() {
        keep_quota(cgroup, resources)?;
    }
    let spec = container.spec().map_err(helper::describe)?;
    let manager = create_cgroup_manager(CgroupConfig {
        cgroup_path: spec.cgroup_path,
        systemd_cgroup: container.systemd(),
        container_name: container.id().to_owned(),
    })
    .map_err(helper::describe)
    .context("finding the container's cgroup")?;
    let options = ControllerOpt {
        resources,
        disable_oom_killer: false,
        oom_score_adj: None,
        freezer_state: None,
    };
    manager
        .apply(&options)
        .map_err(helper::describe)
        .context("changing the container's limits")
}

/// Adds the quota and the period that the container has. Where an update names the processor and not these, libcontainer
/// tells systemd that there is no quota.
fn keep_quota(cgroup: &Cgroup, resources: &mut LinuxResources) -> anyhow::Result<()> {
    let (Some(mut cpu), Some(folder)) = (resources.cpu().clone(), cgroup.folder("cpu")) else {
        return Ok(());
    };
    let path = folder.join("cpu.max");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let (quota, period) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    // "max" is no number, and no quota.
    cpu.set_quota(cpu.quota().or(quota.parse().ok()));
    cpu.set_period(cpu.period().or(period.parse().ok()));
    resources.set_cpu(Some(cpu));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_that_is_not_named_stays() {
        let folder = tempfile::tempdir().unwrap();
        let cgroup = Cgroup::V2(folder.path().into());
        let kept = |max: &str, json: &str| {
            fs::write(folder.path().join("cpu.max"), max).unwrap();
            let mut resources = serde_json::from_str(json).unwrap();
            keep_quota(&cgroup, &mut resources).unwrap();
            let cpu = resources.cpu().clone();
            cpu.map(|cpu| (cpu.quota(), cpu.period()))
        };
        let shares = r#"{"cpu":{"shares":512}}"#;
        assert_eq!(
            kept("150000 50000\n", shares),
            Some((Some(150_000), Some(50_000)))
        );
        assert_eq!(kept("max 100000\n", shares), Some((None, Some(100_000))));
        let quota = r#"{"cpu":{"quota":7,"period":9}}"#;
        assert_eq!(kept("150000 50000\n", quota), Some((Some(7), Some(9))));
        assert_eq!(kept("150000 50000\n", r#"{"pids":{"limit":1}}"#), None);
    }

    fn any(kind: &str, json: &str) -> Any {
        Any {
            type_url: format!("types.containerd.io/opencontainers/runtime-spec/1/{kind}"),
            value: json.into(),
            ..Default::default()
        }
    }

    #[test]
    fn only_resources_are_taken() {
        let read = any(
            "LinuxResources",
            r#"{"memory":{"limit":9},"devices":[{"allow":true}]}"#,
        );
        let read = resources(Some(&read)).unwrap();
        assert_eq!(read.memory().as_ref().unwrap().limit(), Some(9));
        assert!(read.devices().is_none() && read.cpu().is_none());
        for wrong in [any("LinuxResources", "{"), any("Spec", "{}")] {
            let error = resources(Some(&wrong)).unwrap_err();
            assert!(matches!(error, Error::InvalidArgument(_)), "{error}");
        }
        assert!(resources(None).is_err());
    }
}
