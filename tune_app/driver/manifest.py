"""manifest.json: versions, hardware, data and feature fingerprints, seed, and how the sweep was started."""

import platform
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

from pydantic import JsonValue

from tune_app.cluster.ray import Cluster
from tune_app.config.schema import SweepConfig
from tune_app.driver.shared_data import SharedData

PACKAGES = ("tune_app", "torch", "torchvision", "ray", "optuna", "numpy")


def make_manifest(
    config: SweepConfig, cluster: Cluster, data: SharedData, about: Mapping[str, JsonValue]
) -> dict[str, JsonValue]:
    """Return the manifest. `about` holds the profile, the command and the source file."""
    versions: dict[str, JsonValue] = {"python": platform.python_version()}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return {
        **about,
        "versions": versions,
        "hardware": {"cpus": cluster.cpus, "gpus": cluster.gpus, "slots": cluster.slots, "machine": platform.machine()},
        "data": {**config.data.model_dump(), "fingerprint": data.images},
        "features": dict(data.features),
        "seed": config.search.seed,
    }
