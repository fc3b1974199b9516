#!/usr/bin/env python3
"""Lints, renders and validates deploy/: run by lint-deploy.sh, with the Python of target/deploy-tools.

Helm's own code renders the chart (its Go SDK, as a library); what comes out, and every other manifest, is validated
against the schemas of several versions of Kubernetes. deploy/kubernetes/catena.yaml is the chart rendered with its
defaults: `chart.py --write` writes it.
"""

import pathlib
import sys

import helm_python as helm
import kubernetes_validate
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy/chart/catena"
PLAIN = ROOT / "deploy/kubernetes/catena.yaml"
HEADER = "# Rendered from deploy/chart/catena by `test/scripts/chart.py --write`: change it there.\n"
# The oldest that knows all that the examples use, the newest, and one between.
VERSIONS = ["1.30", "1.33", "1.37"]

SOUND = {
    "the defaults": {},
    "everything": {
        "nameOverride": "wasm",
        "fullnameOverride": "wasm-nodes",
        "image": {"repository": "registry.test/catena-installer", "tag": "1", "pullPolicy": "Always"},
        "imagePullSecrets": [{"name": "pull"}],
        "runtimeClass": {
            "overhead": {"podFixed": {"memory": "32Mi"}},
            "nodeSelector": {"pool": "wasm"},
            "tolerations": [{"key": "wasm", "operator": "Exists"}],
        },
        "spinRuntimeClass": {"create": True},
        "installer": {
            "runtime": "k3s",
            "restart": False,
            "systemdCgroup": "true",
            "dropIn": "/usr/local/bin/containerd-shim-spin-v2",
        },
        "serviceAccount": {"name": "nodes", "annotations": {"a": "b"}},
        "tolerations": [{"operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "priorityClassName": "system-node-critical",
        "podAnnotations": {"a": "b"},
        "podLabels": {"c": "d"},
    },
    "no label": {"label": {"enabled": False}},
    "a service account that exists": {"serviceAccount": {"create": False, "name": "mine"}, "rbac": {"create": False}},
    "the class alone": {"installer": {"enabled": False}},
    "uninstalling": {"installer": {"action": "uninstall"}},
}
UNSOUND = [
    {"installer": {"action": "remove"}},
    {"installer": {"runtime": "docker"}},
    {"installer": {"binDir": "bin"}},
    {"installer": {"cacheDir": "/var/$(x)"}},
    {"runtimeClass": {"handler": "Not A Name"}},
    {"installr": {}},
]


def rendered(values):
    with helm.Chart.load(str(CHART)) as chart:
        chart.validate_schema(values)
        files = chart.render(values, name="catena", namespace="kube-system")
    return {name: text for name, text in sorted(files.items()) if name.endswith(".yaml") and text.strip()}


def check(what, documents, known=True):
    found = [document for document in documents if document]
    assert found or not known, f"{what}: nothing there"
    for document in found:
        for version in VERSIONS:
            kubernetes_validate.validate(document, version, strict=True)
    return found


def chart():
    report = helm.lint(str(CHART), strict=True)
    wrong = [message for message in report["messages"] if message["severity"] > 1]
    assert not wrong and not report["errors"], report
    for what, values in SOUND.items():
        found = []
        for name, text in rendered(values).items():
            found += check(f"{what}: {name}", yaml.safe_load_all(text), known=False)
        kinds = sorted(document["kind"] for document in found)
        assert "RuntimeClass" in kinds, kinds
        for document in found:
            if document["kind"] == "DaemonSet":
                daemon_set(values, document)
        print(f"chart, {what}: {' '.join(kinds)}")
    for values in UNSOUND:
        try:
            rendered(values)
        except helm.HelmError:
            continue
        raise AssertionError(f"the schema lets {values} pass")


def daemon_set(values, document):
    """The order of the work, and who may do what."""
    pod = document["spec"]["template"]["spec"]
    label = ["label"] if values.get("label", {}).get("enabled", True) else []
    action = values.get("installer", {}).get("action", "install")
    order = [container["name"] for container in pod["initContainers"]]
    assert order == (label + [action] if action == "uninstall" else [action] + label), order
    for container in pod["initContainers"] + pod["containers"]:
        mounts = {mount["name"] for mount in container.get("volumeMounts", [])}
        works = container["name"] == action
        assert mounts == ({"host"} if works else {"token"} if container["name"] == "label" else set()), mounts
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert works or container["securityContext"]["runAsNonRoot"] is True
    assert not any(pod.get(shared) for shared in ("hostPID", "hostNetwork", "hostIPC"))


def plain(write):
    text = HEADER + "".join(f"---\n{text.strip()}\n" for text in rendered({}).values())
    if write:
        PLAIN.write_text(text)
    assert PLAIN.read_text() == text, f"{PLAIN} is not what the chart renders: run test/scripts/chart.py --write"


def manifests():
    for path in sorted([*ROOT.glob("deploy/kubernetes/*.yaml"), *ROOT.glob("deploy/examples/*.yaml")]):
        documents = list(yaml.safe_load_all(path.read_text()))
        if path.name == "kustomization.yaml":
            # No schema comes with Kubernetes: every file that it names is there.
            for name in documents[0]["resources"]:
                assert (path.parent / name).is_file(), f"{path}: {name} is missing"
        elif path.name == "servicemonitor.yaml":
            # Prometheus' operator defines the kind: there is no schema to hold it against.
            assert documents[0]["kind"] == "ServiceMonitor"
        else:
            check(path, documents)
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    print(f"Helm {helm.helm_sdk_version()}")
    chart()
    plain("--write" in sys.argv)
    manifests()
