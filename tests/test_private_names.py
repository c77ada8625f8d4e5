"""Private names of ray, optuna and wandb that we use. An upgrade that removes one fails here first."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path

import pytest

import search_spaces
import trainables
import tune_app

PRIVATE = [
    "ray._private.worker._worker_logs_enabled",
    "ray._private.worker._global_node",
    "ray.tune.execution.class_cache.ENV_VARS_TO_PROPAGATE",
    "ray._private.utils.get_dashboard_dependency_error",
    "ray._private.node.Node.start_api_server",
    "ray._private.node.Node.start_monitor",
    "ray._private.node.Node.start_log_monitor",
    "ray.air.execution._internal.RayActorManager._actor_task_failed",
    "ray.train._internal.storage.StorageContext",
    "ray.dashboard.modules.job.sdk.JobSubmissionClient",
    "optuna.study.Study._get_trials",
    "wandb.apis.public.sweeps._get_sweep_state",
    "wandb.apis.public.sweeps._set_sweep_state",
    "wandb.apis.public.sweeps._upsert_sweep",
    "wandb.sdk.lib.wbauth.authenticate_session",
]
"""Names that a class or module has without an instance."""
OF_INSTANCES = {
    "_storage": "optuna.study.Study",
    "_study_id": "optuna.study.Study",
    "_trial_id": "optuna.trial.Trial",
    "_server_ray_version": "ray.job_submission.JobSubmissionClient",
    "_node_ip_address": "an argument of ray.init",
    "_temp_dir": "an argument of ray.init",
}
"""Names that only an instance has, or that are arguments. The driver's and the cluster's tests use each of them."""
SETTINGS = ("x_disable_machine_info", "x_disable_meta", "x_disable_stats", "x_save_requirements")
"""Undocumented settings of wandb."""
LIBRARIES = ("ray", "optuna", "wandb")


def resolve(name: str) -> object:
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found: object = import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for part in parts[end:]:
            found = getattr(found, part)
        return found
    raise ModuleNotFoundError(name)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Ray's own
@pytest.mark.parametrize("name", PRIVATE)
def test_every_private_name_that_we_use_exists(name: str) -> None:
    resolve(name)


@pytest.mark.parametrize("name", SETTINGS)
def test_wandb_has_every_undocumented_setting_that_we_use(name: str) -> None:
    import wandb

    assert name in wandb.Settings.model_fields


def test_no_private_name_is_used_that_is_not_listed() -> None:
    public = {"_replace", "_exit"}  # of named tuples and of os
    listed = {part for name in PRIVATE for part in name.split(".")} | {*OF_INSTANCES, *SETTINGS, *public}
    unlisted = {
        f"{path.name}: {name}"
        for package in (tune_app, search_spaces, trainables)
        for path in Path(str(package.__file__)).parent.rglob("*.py")
        for name in private_names(ast.parse(path.read_text()))
        if name not in listed
    }
    assert not unlisted


def private_names(tree: ast.Module) -> set[str]:
    """Return the private modules imported from the libraries, and the private attributes of objects other than self."""
    names: set[str] = set()
    uses = any(
        isinstance(node, ast.Import | ast.ImportFrom)
        and (getattr(node, "module", None) or node.names[0].name).split(".")[0] in LIBRARIES
        for node in ast.walk(tree)
    )
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in LIBRARIES:
            path = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
            names |= {part for part in path if part.startswith("_")}
        if uses and isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            ours = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls", "other")
            names |= set() if ours else {node.attr}
    return names
