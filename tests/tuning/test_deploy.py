"""The files that start a cluster: taken by the tools that read them, in accord with each other."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tomllib

import pytest
import setuptools

from tests.helpers import commands
from tests.helpers.commands import ROOT

DEPLOY = ROOT / "tuning" / "deploy"
PAGE = ROOT / "docs" / "cluster.md"

# Stands for srun, ray and hostname: srun runs a command as it gets it, once; ray makes a token, and
# notes how `ray symmetric-run` was started.
STAND_INS = {
    "srun": '#!/bin/sh\necho "$1" >"$NOTES/srun"\nshift\nexec "$@"\n',
    "hostname": "#!/bin/sh\necho '10.0.0.7 172.17.0.1'\n",
    "ray": f"""#!{sys.executable}
import json, os, pathlib, sys
if sys.argv[1] == "get-auth-token":
    print("the token")
else:
    noted = {{"argv": sys.argv[1:], "env": dict(os.environ)}}
    pathlib.Path(os.environ["NOTES"], "ray").write_text(json.dumps(noted))
    sys.exit(int(os.environ["STATUS"]))
""",
}


def tool(name: str) -> str:
    """A command of the dev extra, which lies beside the interpreter."""
    path = shutil.which(name, path=f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}")
    if path is None:
        pytest.skip(f"{name} is not installed (pip install -e '.[dev]')")
    return path


def read_yaml(name: str) -> dict:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed (pip install -e '.[dev]')")
    return yaml.safe_load((DEPLOY / name).read_text())


def ray_module(name: str):
    """A module of Ray, from the cluster extra."""
    return pytest.importorskip(f"ray.{name}", reason="Ray is not installed ('.[cluster]')")


@pytest.fixture
def slurm(tmp_path):
    """Runs slurm.sh on stand-ins: what srun and `ray symmetric-run` got, and the exit status."""
    for name, text in STAND_INS.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)

    def run(*flags: str, status: int = 0) -> tuple[str, dict, int]:
        environment = {
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "NOTES": str(tmp_path),
            "STATUS": str(status),
            "SLURM_JOB_NUM_NODES": "3",
            "SLURM_CPUS_PER_TASK": "8",
        }
        command = ["bash", DEPLOY / "slurm.sh", *flags]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        noted = json.loads((tmp_path / "ray").read_text())
        return (tmp_path / "srun").read_text().strip(), noted, done.returncode

    return run


def test_slurm_starts_ray_on_all_nodes_and_the_search_with_the_flags_as_given(slurm):
    flags = ["--classes=4", '--search_dir=it\'s "here"/$HOME/*', "--dataset="]
    srun, ray, status = slurm(*flags)
    assert status == 0
    assert srun == "--cpus-per-task=8"
    own, search = ray["argv"][: ray["argv"].index("--")], ray["argv"][ray["argv"].index("--") + 1 :]
    assert search == ["python", "-m", "tuning.main", "--cluster=auto", *flags]
    assert own == ["symmetric-run", "--address=10.0.0.7:6379", "--min-nodes=3", "--num-cpus=8"]
    assert ray["env"]["RAY_AUTH_MODE"] == "token"
    assert ray["env"]["RAY_AUTH_TOKEN"] == "the token"


def test_a_slurm_job_ends_with_the_status_of_the_search(slurm):
    assert slurm("--clases=4", status=2)[2] == 2


@pytest.mark.slow
def test_ray_takes_the_options_that_slurm_gives_it(slurm):
    symmetric_run = ray_module("scripts.symmetric_run")
    argv = slurm("--classes=4")[1]["argv"]
    own = argv[1 : argv.index("--")]
    start = symmetric_run.curate_and_validate_ray_start_args(own)
    assert start == ["--num-cpus=8"]
    assert ray_module("scripts.scripts").start.make_context("start", start).params["num_cpus"] == 8


def test_sbatch_sees_every_directive():
    lines = (DEPLOY / "slurm.sh").read_text().splitlines()
    first_command = next(n for n, line in enumerate(lines) if line and not line.startswith("#"))
    directives = [n for n, line in enumerate(lines) if line.startswith("#SBATCH")]
    assert directives
    assert max(directives) < first_command
    assert all(len(lines[n].split()) == 2 for n in directives)


@pytest.mark.parametrize(
    ("name", "check"),
    [
        ("slurm.sh", ["bash", "-n"]),
        ("slurm.sh", ["shellcheck", "--enable=quote-safe-variables"]),
        ("Dockerfile", ["hadolint"]),
    ],
)
def test_the_files_pass_the_checks_of_their_tools(name, check):
    command = [tool(check[0]), *check[1:], DEPLOY / name]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_ray_takes_the_cluster_file(tmp_path):
    util = ray_module("autoscaler._private.util")
    config = read_yaml("cluster.yaml")
    util.validate_config(util.prepare_config(config))
    assert config["file_mounts"] == {"~/.ray/auth_token": "~/.ray/auth_token"}
    (line,) = config["initialization_commands"]
    subprocess.run(["bash", "-c", f"{line}; {line}"], env={"HOME": str(tmp_path)}, check=True)
    assert (tmp_path / ".bashrc").read_text().count("RAY_AUTH_MODE=token") == 1


def test_the_options_of_ray_start_exist():
    start = ray_module("scripts.scripts").start
    known = {option for parameter in start.params for option in parameter.opts}
    for path in (*DEPLOY.iterdir(), PAGE):
        for line in re.findall(r"ray start ([^)`#\n]*)", path.read_text()):
            named = set(re.findall(r"(--[\w-]+)", line))
            assert named <= known, f"{path.name}: {named - known}"
    for group in (cluster_spec()["headGroupSpec"], *cluster_spec()["workerGroupSpecs"]):
        assert {f"--{name}" for name in group["rayStartParams"]} <= known


def cluster_spec() -> dict:
    """The cluster of the RayJob."""
    return read_yaml("rayjob.yaml")["spec"]["rayClusterSpec"]


@pytest.mark.parametrize("version", ["1.29", "newest"])
def test_kubernetes_would_take_the_pods(version):
    validate = pytest.importorskip(
        "kubernetes_validate", reason="kubernetes-validate is not installed (the dev extra has it)"
    )
    version = validate.latest_version() if version == "newest" else version
    for group in (cluster_spec()["headGroupSpec"], *cluster_spec()["workerGroupSpecs"]):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, **group["template"]}
        validate.validate(pod, version, strict=True)


def test_the_parts_of_the_rayjob_agree():
    job, cluster = read_yaml("rayjob.yaml"), cluster_spec()
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["headGroupSpec"]["rayStartParams"] == {"num-gpus": "0"}
    head = cluster["headGroupSpec"]["template"]["spec"]
    workers = [group["template"]["spec"] for group in cluster["workerGroupSpecs"]]
    for spec in workers:
        assert spec["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    image = re.search(r"-t (\S+) \.", dockerfile)[1]
    user = int(re.search(r"^USER (\d+)$", dockerfile, re.MULTILINE)[1])
    for spec in (head, *workers):
        assert spec["containers"][0]["image"] == image
        assert spec["securityContext"]["runAsUser"] == user
    (mount,) = head["containers"][0]["volumeMounts"]
    folders = re.findall(r"--\w+_dir=(\S+)", job["spec"]["entrypoint"])
    assert len(folders) == 2
    assert all(folder.startswith(f"{mount['mountPath']}/") for folder in folders)


def test_the_files_and_the_page_name_the_ray_that_the_extra_installs():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (ray,) = (one for one in project["optional-dependencies"]["cluster"] if one.startswith("ray["))
    minor = re.search(r">=(\d+\.\d+)", ray)[1]
    assert cluster_spec()["rayVersion"].startswith(f"{minor}.")
    assert f"Ray, {minor} " in PAGE.read_text()


def test_the_image_gets_what_the_install_needs(tmp_path):
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    for line in re.findall(r"^COPY (.+)$", dockerfile, re.MULTILINE):
        *sources, target = line.split()
        for source in sources:
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, tmp_path / target)
            else:
                shutil.copy(ROOT / source, tmp_path / target)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = project["tool"]["setuptools"]["packages"]["find"]["include"]
    for package in setuptools.find_packages(ROOT, include=wanted):
        assert (tmp_path / package.replace(".", "/") / "__init__.py").exists(), package
    for name in (project["project"]["readme"], *project["project"]["license-files"]):
        assert (tmp_path / name).exists(), name
    extras = re.search(r"^ARG EXTRAS=(\S+)$", dockerfile, re.MULTILINE)[1]
    assert set(extras.split(",")) <= project["project"]["optional-dependencies"].keys()


def test_the_flags_of_the_files_and_the_page_exist():
    known = set(re.findall(r"<name>(\w+)</name>", commands.run("tuning.main", "--helpxml").out))
    for path in (*DEPLOY.iterdir(), PAGE):
        text = re.sub(r"\s*\\?\n(?:# )?\s*(?=--)", " ", path.read_text())  # long commands
        named = set(re.findall(r"--(\w+_\w+)", text))  # Ray's, Slurm's have hyphens
        for line in re.findall(r"tuning\.main(.*)|slurm\.sh (--.*)", text):
            named |= set(re.findall(r"--(\w+)[= `]", " ".join(line)))
        assert named <= known, f"{path.name}: {sorted(named - known)}"
        assert "cluster" in named or path.name not in ("slurm.sh", "rayjob.yaml", "cluster.md")


def test_the_page_names_the_files_that_are_there():
    named = set(re.findall(r"tuning/deploy/([\w.]+)", PAGE.read_text()))
    assert named == {path.name for path in DEPLOY.iterdir()}
