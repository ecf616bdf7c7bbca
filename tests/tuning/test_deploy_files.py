"""The files that start a search on several machines: sound for the tools' own checks, and in accord
with each other and with what KerasTuner reads."""

import importlib.util
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tomllib

import pytest
import setuptools

from tests.helpers.commands import ROOT

DEPLOY = ROOT / "tuning" / "deploy"
SCRIPTS = ("hosts.sh", "slurm.sh")
VARIABLES = {"KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT"}


def tool(name: str) -> str:
    """A command of the dev extra, which lies beside the interpreter."""
    path = shutil.which(name, path=f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}")
    if path is None:
        pytest.skip(f"{name} is not installed (pip install -e '.[dev]')")
    return path


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_scripts_are_sound(script):
    assert os.access(DEPLOY / script, os.X_OK)
    for command in (["bash", "-n"], [tool("shellcheck"), "--enable=quote-safe-variables"]):
        done = subprocess.run([*command, DEPLOY / script], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_dockerfile_is_sound():
    done = subprocess.run([tool("hadolint"), DEPLOY / "Dockerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_image_gets_what_the_install_needs(tmp_path):
    for line in (DEPLOY / "Dockerfile").read_text().splitlines():
        words = line.split()
        if words[:1] != ["COPY"]:
            continue
        for source in words[1:-1]:
            assert (ROOT / source).exists(), source
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, tmp_path / words[-1])
            else:
                shutil.copy(ROOT / source, tmp_path / words[-1])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = project["tool"]["setuptools"]["packages"]["find"]["include"]
    for package in setuptools.find_packages(ROOT, include=wanted):
        assert (tmp_path / package.replace(".", "/") / "__init__.py").exists(), package
    for name in (project["project"]["readme"], *project["project"]["license-files"]):
        assert (tmp_path / name).exists(), name
    extras = re.search(r"^ARG EXTRAS=(\S+)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    assert set(extras[1].split(",")) <= project["project"]["optional-dependencies"].keys()


def documentation() -> str:
    """The page of searches on several machines."""
    return (ROOT / "docs" / "cluster.md").read_text()


@pytest.mark.parametrize("name", [*SCRIPTS, "kubernetes.yaml", "the documentation"])
def test_the_variables_are_those_that_kerastuner_reads(name):
    text = documentation() if name == "the documentation" else (DEPLOY / name).read_text()
    assert set(re.findall(r"KERASTUNER_\w+", text)) == VARIABLES
    spec = importlib.util.find_spec("keras_tuner")
    if spec is None:
        pytest.skip("keras_tuner is not installed")
    read = set()
    for path in pathlib.Path(spec.origin).parent.glob("src/distribute/*.py"):
        read |= set(re.findall(r"KERASTUNER_\w+", path.read_text()))
    assert read >= VARIABLES


def test_the_documentation_names_what_is_there():
    text = documentation()
    named = set(re.findall(r"tuning/deploy/([\w.]+)", text))
    held = {path.name for path in DEPLOY.iterdir()}
    assert named == held
    for name in held:
        for flag in re.findall(r"--(\w+_dir)\b", (DEPLOY / name).read_text()):
            assert f"--{flag}" in text, f"{name} speaks of --{flag}"
    for claim in re.findall(r"claimName: ([\w-]+)", (DEPLOY / "kubernetes.yaml").read_text()):
        if claim != "tuning-cache":
            assert claim in text
