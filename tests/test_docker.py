"""The container files agree with the lock, run as a user, require a token and contain no secret."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tune_app import __version__

ROOT = Path(__file__).parent.parent
DOCKER = ROOT / "docker"
DOCKERFILE = (DOCKER / "Dockerfile").read_text()
IMAGE = f"tune_app:{__version__}"


def pins(text: str) -> dict[str, str]:
    found = re.findall(r"^([\w.-]+)==([^\s;\\]+)", text, re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name).lower(): number for name, number in found}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((DOCKER / "compose.yaml").read_text()))


def test_the_image_is_built_from_an_exact_ray_and_runs_as_a_user() -> None:
    base = re.findall(r"^ARG BASE=(\S+)\nFROM \$\{BASE\}$", DOCKERFILE, re.MULTILINE)
    ray = pins((ROOT / "constraints.txt").read_text())["ray"]
    assert base == [f"docker.io/rayproject/ray:{ray}-py311-cpu"]
    assert re.findall(r"^USER (\S+)", DOCKERFILE, re.MULTILINE)[-1] == "1000:100"
    assert "\nHEALTHCHECK " in DOCKERFILE
    assert "pip install --no-cache-dir --require-hashes -r requirements.lock" in DOCKERFILE


def test_the_lock_pins_each_dependency_by_hash_to_the_version_that_is_tried() -> None:
    lock = (DOCKER / "requirements.lock").read_text()
    tried = pins((ROOT / "constraints.txt").read_text())
    locked = pins(lock)
    assert {name: tried[name] for name in locked.keys() & tried.keys()} == {
        name: locked[name] for name in locked.keys() & tried.keys()
    }
    project = (ROOT / "pyproject.toml").read_text().partition("dependencies = [")[2].partition("]\n")[0]
    wanted = {name.lower().replace("_", "-") for name in re.findall(r'^ {4}"([\w-]+)', project, re.MULTILINE)}
    assert len(wanted) > 10
    assert wanted <= locked.keys()
    assert not re.search(r"^\S+==\S+$", lock, re.MULTILINE), "a pin without a hash"
    assert "://" not in lock


def test_only_what_the_image_is_made_of_is_sent_to_the_builder() -> None:
    rules = (ROOT / ".dockerignore").read_text().split("\n")
    assert rules[1] == "*"
    sent = {rule[1:] for rule in rules if rule.startswith("!")}
    sources = {
        word for line in re.findall(r"^COPY --chown=\S+ (.*) \S+$", DOCKERFILE, re.MULTILINE) for word in line.split()
    }
    assert sent == sources
    assert all((ROOT / name).exists() for name in sent)
    data_files = re.findall(r'^"share/tune_app" = \["(.+)"\]$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert data_files
    assert set(data_files) <= sent, "the installation in the image would fail"


def test_the_cluster_runs_the_laptop_sweep_and_a_second_start_carries_on(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert services.keys() == {"head", "worker", "gpu-worker", "sweep"}
    assert {service["image"] for service in services.values()} == {IMAGE}
    assert all("experiments:/experiments" in service["volumes"] for service in services.values())
    script = services["sweep"]["command"][-1]
    assert "ncsn_space.yaml --profile laptop" in script
    assert "--resume ${NAME:-laptop} --out /experiments --address auto" in script


def test_only_this_machine_reaches_the_dashboard_and_only_with_a_token(compose: dict[str, Any]) -> None:
    published = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert published == ["127.0.0.1:8265:8265"]
    for service in compose["services"].values():
        assert service["environment"]["RAY_AUTH_MODE"] == "token"
        assert service["environment"]["RAY_AUTH_TOKEN_PATH"] == "/run/secrets/ray_token"
        assert service["secrets"] == ["ray_token"]
        assert service["cap_drop"] == ["ALL"]
    assert compose["secrets"] == {"ray_token": {"environment": "RAY_AUTH_TOKEN"}}


def test_the_key_reaches_the_driver_alone_where_no_trial_runs(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert [name for name, service in services.items() if "WANDB_API_KEY" in service["environment"]] == ["sweep"]
    assert services["sweep"]["environment"]["WANDB_API_KEY"] is None  # from where compose is called
    assert "env -u WANDB_API_KEY ray start --address=head:6379 --num-cpus=0" in services["sweep"]["command"][-1]


def test_gpus_are_asked_for_in_a_profile_alone(compose: dict[str, Any]) -> None:
    asking = {name: service for name, service in compose["services"].items() if "deploy" in service}
    assert [*asking] == ["gpu-worker"]
    assert asking["gpu-worker"]["profiles"] == ["gpu"]
    assert compose["services"]["sweep"]["depends_on"]["gpu-worker"]["required"] is False


def test_rays_launcher_takes_its_file() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = yaml.safe_load((DOCKER / "ray-cluster.yaml").read_text())
    validate_config(prepare_config(config))
    assert config["docker"]["image"] == IMAGE
    starts = [line for key in ("head", "worker") for line in config[f"{key}_start_ray_commands"] if "ray start" in line]
    assert len(starts) == 2
    assert all(line.startswith("RAY_AUTH_MODE=token ") for line in starts)
    assert "--dashboard-host=127.0.0.1" in starts[0]


@pytest.mark.parametrize("path", sorted(p for p in DOCKER.iterdir() if p.suffix != ".lock"), ids=lambda p: p.name)
def test_no_secret_is_written_down(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"(?i)(password|passwd|api_key|auth_token|secret)\s*[:=]\s*['\"]?[\w+/-]{8,}", text)
    assert not re.search(r"\b[0-9a-f]{32,}\b", text)
