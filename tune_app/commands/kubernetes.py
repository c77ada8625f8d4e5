"""One sweep on Kubernetes: docker/rayjob.yaml with the sweep's values filled in."""

import re
import shlex
import sysconfig
from collections.abc import Mapping
from importlib.metadata import version
from math import ceil, floor
from pathlib import Path, PurePosixPath

import yaml
from pydantic import JsonValue

import tune_app
from tune_app.commands.run_command import run_command
from tune_app.config.profile import NO_PROFILE
from tune_app.config.schema import ResourcesConfig, SweepConfig
from tune_app.config.selection import Selection
from tune_app.config.yaml_dumper import dump_all_yaml
from tune_app.errors import InputError
from tune_app.experiment.model_code import copies

TEMPLATE = "rayjob.yaml"
SPACE = "/etc/tune_app/space.yaml"
LONGEST_NAME = 40  # KubeRay adds endings, and a Kubernetes name has at most 63 letters
TRIALS_OF_A_CPU_WORKER = 4
GIB_OF_A_TRIAL = 4
AUTO_SHARE = 0.25
"""Share of a GPU that is assumed for `resources.gpu: auto`, which is measured on the cluster."""
HEAD = """\
# kubectl apply -f this file; it needs the KubeRay operator 1.6 or newer.
# The claim needs a storage class with {access}. Deleting the RayJob keeps the claim, deleting this file does not.
# For Weights & Biases:  kubectl create secret generic wandb --from-file=api-key=/dev/stdin
"""
KEYS = """\
# Keys of the storage, if the nodes have no role:  kubectl create secret generic storage --from-env-file=FILE
"""


def rayjob(selection: Selection, *, image: str, workers: int) -> str:
    """Return the YAML of a RayJob that runs the selected sweep.

    `selection.out` is the experiments folder inside the pods. If no profile is requested, none is applied, because the
    cluster's GPUs may differ from this machine's. Raise InputError if the selection has an address.
    """
    if selection.address is not None:
        raise InputError("--address: the RayJob makes its own cluster", hint="`submit` uses a running one")
    profile = selection.profile or NO_PROFILE
    config = selection.load(profile)
    values = _values(config, selection, profile)
    values |= {"image": image, "workers": workers, "ray_version": version("ray")}
    documents = [_filled(document, values) for document in yaml.safe_load_all(_template().read_text())]
    keys = config.storage is not None
    return (HEAD.format(access=values["access"]) + KEYS * keys + dump_all_yaml(documents)).rstrip()


def _values(config: SweepConfig, selection: Selection, profile: str) -> dict[str, JsonValue]:
    """Return the value of each placeholder; None drops its entry."""
    folder = str(PurePosixPath("/") / selection.out)
    cache = f"{folder}/.cache"
    remote = config.storage is not None
    resources = _worker_resources(config.resources)
    models = [str(PurePosixPath(SPACE).parent / name) for name in _model_files(config)]
    command = run_command(SPACE, config.name, selection.with_profile(profile), models)
    claim: JsonValue = {"name": "experiments", "persistentVolumeClaim": {"claimName": "tune-app-experiments"}}
    toleration: JsonValue = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    return {
        "name": re.sub(r"[^a-z0-9]+", "-", f"tune-app-{config.name.lower()}")[:LONGEST_NAME].strip("-"),
        "files": {
            "run.sh": f"exec {shlex.join([*command, '--out', folder])}",
            "space.yaml": selection.path.read_text(),
            **_model_files(config),
        },
        "access": "ReadWriteOnce" if remote else "ReadWriteMany",
        "folder": folder,
        "cache": cache,
        "storage_keys": [{"secretRef": {"name": "storage", "optional": True}}] if remote else None,
        "worker_resources": resources,
        "worker_env": [] if remote else [{"name": "TUNE_APP_CACHE", "value": cache}],
        "worker_mounts": [] if remote else [{"name": "experiments", "mountPath": folder}],
        "worker_volumes": [] if remote else [claim],
        "tolerations": [toleration] if "nvidia.com/gpu" in resources else None,
    }


def _model_files(config: SweepConfig) -> dict[str, str]:
    """Return the files of the user's models by name. Raise InputError if Kubernetes does not accept a name."""
    files = copies(config.model)
    for name in files:
        if not re.fullmatch(r"[-._a-zA-Z0-9]+", name) or name in ("run.sh", "space.yaml"):
            raise InputError(f"--models {name}: Kubernetes does not accept this name of a file; rename it")
    return files


def _worker_resources(resources: ResourcesConfig) -> dict[str, JsonValue]:
    """Return the resources of a pod: for the trials that share one GPU, or for one that uses several, or for CPUs.

    They are requests and limits alike, so that Ray counts what the pod really has.
    """
    share = AUTO_SHARE if resources.gpu == "auto" else resources.gpu
    trials = TRIALS_OF_A_CPU_WORKER if share == 0 else max(1, floor(1 / share + 1e-9))
    wanted: dict[str, JsonValue] = {"cpu": str(ceil(resources.cpu * trials)), "memory": f"{GIB_OF_A_TRIAL * trials}Gi"}
    return {**wanted, "nvidia.com/gpu": str(ceil(share))} if share else wanted


def _template() -> Path:
    """Return the template: in the checkout, or where an installed package keeps its data files."""
    checkout = Path(str(tune_app.__file__)).parents[1] / "docker" / TEMPLATE
    return checkout if checkout.is_file() else Path(sysconfig.get_path("data")) / "share/tune_app" / TEMPLATE


def _filled(node: JsonValue, values: Mapping[str, JsonValue]) -> JsonValue:
    """Return the parsed template with each placeholder replaced by its value."""
    if isinstance(node, dict):
        filled = {key: _filled(value, values) for key, value in node.items()}
        return {key: value for key, value in filled.items() if value is not None}
    if isinstance(node, list):
        return [_filled(value, values) for value in node]
    return values[node[1:]] if isinstance(node, str) and node.startswith("$") else node
