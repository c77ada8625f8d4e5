"""One sweep on Kubernetes as YAML: its file, a folder for experiments, and a KubeRay RayJob that may be retried."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from importlib.metadata import version
from math import ceil, floor
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from tune_app.config.schema import ResourcesConfig, SweepConfig

SPACE, SCRIPT = "/etc/tune_app/space.yaml", "/etc/tune_app/run.sh"
CLAIM = "tune-app-experiments"
LONGEST_NAME = 40  # KubeRay adds its own endings, and a Kubernetes name has at most 63 letters
TRIALS_OF_A_CPU_WORKER = 4
GIB_OF_A_TRIAL = 4
HEAD = """\
# kubectl apply -f this; needs the KubeRay operator 1.6 or newer.
# The claim needs a storage class that offers {access}. Deleting the RayJob keeps it, deleting this file does not.
# Weights & Biases, if wanted:  kubectl create secret generic wandb --from-file=api-key=/dev/stdin
"""
KEYS = """\
# Keys of the storage, where the nodes have no role:  kubectl create secret generic storage --from-env-file=FILE
"""


def entrypoint(name: str, options: Mapping[str, Any]) -> list[str]:
    """The command of a driver that starts the experiment `name`, or carries it on: so a retry loses nothing."""
    given = [(f"--{key}", options.get(key)) for key in ("profile", "data", "trials", "seed", "wandb")]
    given += [("--set", item) for item in options.get("sets", ())]
    words = [str(word) for option, value in given if value is not None for word in (option, value)]
    return ["python", "-m", "tune_app", "run", SPACE, "--resume", name, *words, "--address", "auto"]


def render(config: SweepConfig, space: str, command: list[str], *, out: Path, image: str, workers: int) -> str:
    """The documents. `space`: the text of the file that `command` runs; `out`: the pods' folder of experiments."""
    name = re.sub(r"[^a-z0-9]+", "-", f"tune-app-{config.name.lower()}")[:LONGEST_NAME].strip("-")
    folder = str(PurePosixPath("/") / out)
    keys = config.storage is not None
    access, of_workers = ("ReadWriteOnce", None) if keys else ("ReadWriteMany", folder)
    documents: list[dict[str, Any]] = [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name},
            # a script, as `ray job submit` joins words by rules that are not a shell's: `&` would end the command
            "data": {"run.sh": f"exec {shlex.join([*command, '--out', folder])}", "space.yaml": space},
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": CLAIM},
            "spec": {"accessModes": [access], "resources": {"requests": {"storage": "100Gi"}}},
        },
        {
            "apiVersion": "ray.io/v1",
            "kind": "RayJob",
            "metadata": {"name": name},
            "spec": {
                "entrypoint": f"sh {SCRIPT}",
                "submissionMode": "K8sJobMode",
                "backoffLimit": 3,  # each retry is a new cluster, whose driver carries on
                "shutdownAfterJobFinishes": True,
                "ttlSecondsAfterFinished": 300,
                "rayClusterSpec": {
                    "rayVersion": version("ray"),
                    "authOptions": {"mode": "token"},
                    "headGroupSpec": {
                        "rayStartParams": {"num-cpus": "0"},  # no trial beside the driver and its key
                        "template": _pod("ray-head", _head(image), keys=keys, folder=folder, space=name),
                    },
                    "workerGroupSpecs": [
                        {
                            "groupName": "trials",
                            "replicas": workers,
                            "minReplicas": workers,
                            "maxReplicas": workers,
                            "rayStartParams": {},
                            "template": _pod(
                                "ray-worker", _worker(image, config.resources), keys=keys, folder=of_workers
                            ),
                        }
                    ],
                },
            },
        },
    ]
    return (
        HEAD.format(access=access)
        + KEYS * keys
        + yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True).rstrip()
    )


def _head(image: str) -> dict[str, Any]:
    key = {"secretKeyRef": {"name": "wandb", "key": "api-key", "optional": True}}
    return {
        "image": image,
        "env": [
            {"name": "WANDB_API_KEY", "valueFrom": key},
            {"name": "RAY_JOB_STOP_WAIT_TIME_S", "value": "40"},  # trials write a checkpoint first
        ],
        "ports": [{"name": n, "containerPort": p} for n, p in (("gcs-server", 6379), ("dashboard", 8265))],
        "resources": _whole(cpu=2, gib=8),
    }


def _worker(image: str, resources: ResourcesConfig) -> dict[str, Any]:
    """A pod for the trials that share one GPU, or for one that takes several; without GPUs, for a few."""
    share = resources.gpu if isinstance(resources.gpu, (int, float)) else 0.25  # `auto` is found out on the GPU
    trials = TRIALS_OF_A_CPU_WORKER if share == 0 else max(1, floor(1 / share + 1e-9))
    wanted = _whole(cpu=ceil(resources.cpu * trials), gib=GIB_OF_A_TRIAL * trials, gpu=ceil(share))
    return {"image": image, "env": [], "resources": wanted}


def _whole(*, cpu: int, gib: int, gpu: int = 0) -> dict[str, Any]:
    """Requests and limits alike, so that Ray counts what the pod really has."""
    wanted: dict[str, Any] = {"cpu": str(cpu), "memory": f"{gib}Gi"}
    if gpu:
        wanted["nvidia.com/gpu"] = str(gpu)
    return {"requests": wanted, "limits": dict(wanted)}


def _pod(
    name: str, container: dict[str, Any], *, keys: bool, folder: str | None, space: str | None = None
) -> dict[str, Any]:
    """A pod template: with the `keys` of a storage, the experiments at `folder`, and the ConfigMap `space`."""
    volumes: list[dict[str, Any]] = []
    mounts = []
    if folder is not None:
        volumes.append({"name": "experiments", "persistentVolumeClaim": {"claimName": CLAIM}})
        mounts.append({"name": "experiments", "mountPath": folder})
        cache = {"name": "TUNE_APP_CACHE", "value": f"{folder}/.cache"}  # one download for all
        container = {**container, "env": [*container["env"], cache]}
    if space is not None:
        volumes.append({"name": "space", "configMap": {"name": space}})
        mounts.append({"name": "space", "mountPath": str(PurePosixPath(SPACE).parent)})
    if keys:
        container = {**container, "envFrom": [{"secretRef": {"name": "storage", "optional": True}}]}
    container = {
        "name": name,
        **container,
        "volumeMounts": mounts,
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    spec: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 60,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "fsGroup": 100,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": volumes,
    }
    if "nvidia.com/gpu" in container["resources"]["limits"]:
        spec["tolerations"] = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    return {"spec": spec}


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as they stand, and nothing by reference."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 (PyYAML's signature)
        return True


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)
