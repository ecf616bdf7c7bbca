"""The manifest that runs a search in Kubernetes: taken by its own check, and sound in itself."""

import re

import pytest

from tests.helpers.commands import ROOT

DEPLOY = ROOT / "tuning" / "deploy"
VARIABLES = {"KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT"}


@pytest.fixture(scope="module")
def manifest() -> dict[tuple[str, str], dict]:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed (pip install -e '.[dev]')")
    documents = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))
    by_name = {(one["kind"], one["metadata"]["name"]): one for one in documents}
    assert len(by_name) == len(documents), "two of one name"
    return by_name


def spec(manifest: dict, job: str) -> dict:
    return manifest["Job", job]["spec"]["template"]["spec"]


def container(manifest: dict, job: str) -> dict:
    (only,) = spec(manifest, job)["containers"]
    return only


JOBS = ("tuning-chief", "tuning-workers")


@pytest.mark.parametrize("version", ["1.29", "newest"])
def test_kubernetes_would_take_the_manifest(manifest, version):
    validate = pytest.importorskip(
        "kubernetes_validate", reason="kubernetes-validate is not installed (the dev extra has it)"
    )
    version = validate.latest_version() if version == "newest" else version
    for document in manifest.values():
        validate.validate(document, version, strict=True)


@pytest.mark.parametrize("job", JOBS)
def test_a_variable_is_set_before_another_uses_it(manifest, job):
    seen = set()
    for variable in container(manifest, job)["env"]:
        used = set(re.findall(r"\$\((\w+)\)", variable.get("value", "")))
        assert used <= seen, f"{variable['name']} would hold the text itself"
        seen.add(variable["name"])
    assert seen >= VARIABLES


def test_workers_find_the_chief_and_nobody_else_does(manifest):
    chief, worker = (
        {one["name"]: one.get("value") for one in container(manifest, job)["env"]} for job in JOBS
    )
    assert chief["KERASTUNER_TUNER_ID"] == "chief"
    assert chief["KERASTUNER_ORACLE_IP"] == "0.0.0.0"
    assert worker["KERASTUNER_TUNER_ID"] == "worker-$(JOB_COMPLETION_INDEX)"
    service = manifest["Service", worker["KERASTUNER_ORACLE_IP"]]["spec"]
    policy = manifest["NetworkPolicy", "tuning-chief"]["spec"]
    labels = [manifest["Job", job]["spec"]["template"]["metadata"]["labels"] for job in JOBS]
    assert service["selector"] == labels[0]
    assert policy["podSelector"]["matchLabels"] == labels[0]
    assert policy["ingress"][0]["from"] == [{"podSelector": {"matchLabels": labels[1]}}]
    ports = {
        chief["KERASTUNER_ORACLE_PORT"],
        worker["KERASTUNER_ORACLE_PORT"],
        *(str(one["port"]) for one in service["ports"]),
        *(str(one["port"]) for one in policy["ingress"][0]["ports"]),
        *(str(one["containerPort"]) for one in container(manifest, "tuning-chief")["ports"]),
    }
    assert len(ports) == 1


def test_pods_come_back_but_never_beside_their_predecessor(manifest):
    for job in JOBS:
        assert manifest["Job", job]["spec"]["podReplacementPolicy"] == "Failed"
        # Kubernetes refuses podFailurePolicy and backoffLimitPerIndex with any other.
        assert spec(manifest, job)["restartPolicy"] == "Never"
    workers = manifest["Job", "tuning-workers"]["spec"]
    assert workers["completionMode"] == "Indexed"
    assert workers["completions"] == workers["parallelism"]


def test_all_pods_have_the_same_image_and_flags(manifest):
    chief, worker = (container(manifest, job) for job in JOBS)
    assert chief["image"] == worker["image"]
    assert chief["command"] == worker["command"]
    tag = re.search(r"-t (\S+) \.", (DEPLOY / "Dockerfile").read_text())[1]
    assert chief["image"] == tag
    user = re.search(r"^USER (\d+)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)[1]
    assert {spec(manifest, job)["securityContext"]["runAsUser"] for job in JOBS} == {int(user)}


def test_every_folder_of_the_flags_is_mounted_where_it_is_used(manifest):
    flags = dict(
        line.removeprefix("--").split("=", 1)
        for line in manifest["ConfigMap", "tuning-flags"]["data"]["search.flags"].splitlines()
    )
    chief, worker = (
        {one["mountPath"]: one for one in container(manifest, job)["volumeMounts"]} for job in JOBS
    )
    assert not chief[flags["search_dir"]].get("readOnly")
    assert worker[flags["data_dir"]]["readOnly"]
    assert not worker[flags["cache_dir"]].get("readOnly")
    assert flags["search_dir"] not in worker
    for job, mounts in zip(JOBS, (chief, worker), strict=True):
        (folder,) = (path for path, one in mounts.items() if one["name"] == "flags")
        assert f"--flagfile={folder}/search.flags" in container(manifest, job)["command"]
        volumes = {one["name"]: one for one in spec(manifest, job)["volumes"]}
        assert {one["name"] for one in mounts.values()} == volumes.keys()
        for volume in volumes.values():
            claim = volume.get("persistentVolumeClaim", {}).get("claimName", "tuning-data")
            assert claim == "tuning-data" or ("PersistentVolumeClaim", claim) in manifest
