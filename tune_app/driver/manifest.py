"""manifest.json: versions, hardware, data and feature fingerprints, seed, and how the sweep was started."""

import platform
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

from pydantic import JsonValue

from tune_app.cluster.ray import Cluster
from tune_app.config.schema import SweepConfig
from tune_app.driver.shared_data import SharedData
from tune_app.experiment.model_code import logged_plugins

PACKAGES = ("tune_app", "torch", "torchvision", "ray", "optuna", "numpy")


def make_manifest(
    config: SweepConfig, cluster: Cluster, data: SharedData, about: Mapping[str, JsonValue]
) -> dict[str, JsonValue]:
    """Return the manifest. `about` holds the profile, the command and the source file."""
    return {
        **about,
        "versions": dict(versions()),
        "hardware": {"cpus": cluster.cpus, "gpus": cluster.gpus, "slots": cluster.slots, "machine": platform.machine()},
        "data": {**config.data.model_dump(), "fingerprint": data.data},
        "features": dict(data.features),
        "seed": config.search.seed,
        "code": [one.model_dump(exclude={"description"}) for one in logged_plugins(config.model)],
    }


def versions() -> dict[str, str]:
    """Return the versions of Python, of tune_app and of the libraries that the numbers depend on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
