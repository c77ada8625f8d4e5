"""A manifest is a RayJob that KubeRay accepts, that loses nothing when retried and that contains no secret."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from click.testing import CliRunner

import search_spaces
from tune_app.cli import cli
from tune_app.errors import InputError


def fields(required: dict[str, Any], **optional: Any) -> dict[str, Any]:
    return {"properties": {**required, **optional}, "required": [*required], "additionalProperties": False}


def items(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "minItems": 1, "items": schema}


def some(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": schema}


# of KubeRay's RayJob, ray.io/v1, the fields that we use, and no others
TEXT = {"type": "string", "minLength": 1}
COUNT = {"type": "integer", "minimum": 0}
TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
NAME = {"type": "string", "pattern": "^[a-z]([a-z0-9-]*[a-z0-9])?$", "maxLength": 47}
SECRET = fields({"name": TEXT, "key": TEXT}, optional={"type": "boolean"})
CONTAINER = fields(
    {
        "name": NAME,
        "image": TEXT,
        "env": some(fields({"name": TEXT}, value=TEXT, valueFrom=fields({"secretKeyRef": SECRET}))),
        "resources": fields({"requests": TEXTS, "limits": TEXTS}),
        "volumeMounts": some(fields({"name": TEXT, "mountPath": {"type": "string", "pattern": "^/"}})),
        "securityContext": fields(
            {"allowPrivilegeEscalation": {"const": False}, "capabilities": fields({"drop": {"const": ["ALL"]}})}
        ),
    },
    ports=items(fields({"name": NAME, "containerPort": COUNT})),
    envFrom=items(fields({"secretRef": fields({"name": TEXT, "optional": {"const": True}})})),
)
POD = fields(
    {
        "containers": items(CONTAINER),
        "volumes": some(
            fields(
                {"name": NAME},
                persistentVolumeClaim=fields({"claimName": NAME}),
                configMap=fields({"name": NAME}),
            )
        ),
        "automountServiceAccountToken": {"const": False},
        "terminationGracePeriodSeconds": COUNT,
        "securityContext": fields(
            {
                "runAsNonRoot": {"const": True},
                "runAsUser": COUNT,
                "fsGroup": COUNT,
                "seccompProfile": fields({"type": {"const": "RuntimeDefault"}}),
            }
        ),
    },
    tolerations=items(fields({"key": TEXT, "operator": TEXT, "effect": TEXT})),
)
GROUP = {"rayStartParams": TEXTS, "template": fields({"spec": POD})}
WORKERS = {"groupName": TEXT, "replicas": COUNT, "minReplicas": COUNT, "maxReplicas": COUNT, **GROUP}
RAY_JOB = fields(
    {
        "apiVersion": {"const": "ray.io/v1"},
        "kind": {"const": "RayJob"},
        "metadata": fields({"name": NAME}),
        "spec": fields(
            {
                "entrypoint": TEXT,
                "submissionMode": {"enum": ["K8sJobMode", "HTTPMode", "SidecarMode"]},
                "backoffLimit": COUNT,
                "shutdownAfterJobFinishes": {"const": True},
                "ttlSecondsAfterFinished": COUNT,
                "rayClusterSpec": fields(
                    {
                        "rayVersion": TEXT,
                        "authOptions": fields({"mode": {"const": "token"}}),
                        "headGroupSpec": fields(GROUP),
                        "workerGroupSpecs": items(fields(WORKERS)),
                    }
                ),
            }
        ),
    }
)


def manifest(*args: str) -> list[dict[str, Any]]:
    """Return the documents that `manifest ARGS` prints to stdout."""
    done = CliRunner().invoke(cli, ["manifest", *args], catch_exceptions=False)
    assert done.exit_code == 0
    return list(yaml.safe_load_all(done.stdout))


def containers(job: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the containers of the head and of the workers."""
    cluster = job["spec"]["rayClusterSpec"]
    head, worker = cluster["headGroupSpec"], cluster["workerGroupSpecs"][0]
    return head["template"]["spec"]["containers"][0], worker["template"]["spec"]["containers"][0]


@pytest.mark.parametrize("space", ["ncsn_space.yaml", "beta_vae_space.yaml", "branin_space.yaml"])
def test_the_job_has_the_fields_of_a_ray_job_and_no_others(space: str) -> None:
    *_, job = manifest(space)
    jsonschema.validate(job, RAY_JOB)
    job["spec"]["shutdownAfterJobFinish"] = True
    with pytest.raises(jsonschema.ValidationError, match="shutdownAfterJobFinish"):
        jsonschema.validate(job, RAY_JOB)


def test_what_is_mounted_is_in_the_same_output() -> None:
    space, claim, job = manifest("ncsn_space.yaml")
    assert space["data"]["space.yaml"] == (Path(search_spaces.__file__).parent / "ncsn_space.yaml").read_text()
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    spec = job["spec"]["rayClusterSpec"]
    head, worker = (g["template"]["spec"] for g in (spec["headGroupSpec"], spec["workerGroupSpecs"][0]))
    claimed = {"name": "experiments", "persistentVolumeClaim": {"claimName": claim["metadata"]["name"]}}
    assert head["volumes"] == [claimed, {"name": "space", "configMap": {"name": space["metadata"]["name"]}}]
    assert worker["volumes"] == [claimed]


def test_a_retry_resumes_with_the_same_options() -> None:
    sets = ("search.seed=3", 'search={trials: 5, sampler: "random"}')
    options = ["--name", "Night.1", "--profile", "laptop", "--wandb", "offline", "--out", "/nfs/runs"]
    space, _, job = manifest(
        "ncsn_space.yaml", *options, *(word for s in sets for word in ("--set", s)), "--out", "/nfs/runs"
    )
    script, words = command_of(space, job)
    assert words[:5] == ["python", "-m", "tune_app", "run", "/etc/tune_app/space.yaml"]
    given = list(zip(words[5::2], words[6::2], strict=True))
    assert given == [
        ("--resume", "Night.1"),
        ("--address", "auto"),
        ("--profile", "laptop"),
        ("--wandb", "offline"),
        *(("--set", s) for s in sets),
        ("--out", "/nfs/runs"),
    ]
    assert job["metadata"]["name"] == "tune-app-night-1"
    assert job["spec"]["backoffLimit"] > 0
    again = subprocess.run(["sh", "-c", script.replace("exec", r"printf '%s\n'")], capture_output=True, text=True)
    assert again.stdout.splitlines() == words


def test_the_cluster_and_not_this_machine_says_which_profile() -> None:
    space, _, job = manifest("ncsn_space.yaml")
    assert "--profile none" in command_of(space, job)[0]


def command_of(space: dict[str, Any], job: dict[str, Any]) -> tuple[str, list[str]]:
    """Return the script of the job's entrypoint, and the words of the command in it."""
    assert job["spec"]["entrypoint"] == "sh /etc/tune_app/run.sh"
    script = space["data"]["run.sh"]
    _, *words = shlex.split(script)
    return script, words


def test_checkpoints_at_an_address_need_no_folder_that_the_workers_share() -> None:
    storage = "s3://bucket/a?region=eu-west-1&scheme=https"
    space, claim, job = manifest("ncsn_space.yaml", "--set", f"storage={storage}")
    jsonschema.validate(job, RAY_JOB)
    assert f"storage={storage}" in command_of(space, job)[1], "a shell has left it whole"
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]
    worker = job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["template"]["spec"]
    assert worker["volumes"] == []
    keys = [{"secretRef": {"name": "storage", "optional": True}}]
    assert [container["envFrom"] for container in containers(job)] == [keys, keys]


@pytest.mark.parametrize(
    ("resources", "cpu", "gpu"),
    [
        ("{cpu: 2, gpu: 0.25}", "8", "1"),  # four trials share a GPU
        ("{cpu: 1.5, gpu: 0.4}", "3", "1"),  # two
        ("{cpu: 3, gpu: 1}", "3", "1"),
        ("{cpu: 8, gpu: 2}", "8", "2"),
        ("{cpu: 1, gpu: 0}", "4", None),
    ],
)
def test_a_worker_has_whole_gpus_and_the_cpus_of_the_trials_on_it(resources: str, cpu: str, gpu: str | None) -> None:
    options = ["--set", f"resources={resources}", "--workers", "3", "--image", "r.example/t:1"]
    *_, job = manifest("ncsn_space.yaml", *options)
    head, worker = containers(job)
    asked = worker["resources"]
    assert asked["requests"] == asked["limits"]
    assert (asked["limits"]["cpu"], asked["limits"].get("nvidia.com/gpu")) == (cpu, gpu)
    group = job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]
    assert {group[key] for key in ("replicas", "minReplicas", "maxReplicas")} == {3}
    assert head["image"] == worker["image"] == "r.example/t:1"
    assert "nvidia.com/gpu" not in head["resources"]["limits"]


def test_the_key_comes_from_a_secret_to_the_head_alone_where_no_trial_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "fedcba9876543210")
    *documents, job = manifest("ncsn_space.yaml")
    head, worker = containers(job)
    keys = [entry for entry in head["env"] if entry["name"] == "WANDB_API_KEY"]
    assert keys == [
        {
            "name": "WANDB_API_KEY",
            "valueFrom": {"secretKeyRef": {"name": "wandb", "key": "api-key", "optional": True}},
        }
    ]
    assert job["spec"]["rayClusterSpec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert "WANDB" not in yaml.safe_dump(worker)
    printed = yaml.safe_dump_all([*documents, job])
    assert not re.search("0123456789abcdef|fedcba9876543210|kind: Secret|RAY_AUTH_TOKEN", printed)


@pytest.mark.parametrize(
    "wrong",
    [["nowhere.yaml"], ["ncsn_space.yaml", "--set", "search.trails=3"], ["ncsn_space.yaml", "--address", "h:1"]],
)
def test_a_wrong_space_or_an_address_is_refused(wrong: list[str]) -> None:
    done = CliRunner().invoke(cli, ["manifest", *wrong])
    assert isinstance(done.exception, InputError)
    assert done.stdout == ""
