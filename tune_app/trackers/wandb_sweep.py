"""The W&B Sweep of an experiment, and wandb.json, which says which Sweep it is and which runs are complete."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import wandb
from pydantic import JsonValue
from wandb.apis.public import sweeps

from search_spaces.to_wandb import parameters
from trainables.files import write_json
from tune_app.config.schema import SweepConfig
from tune_app.errors import first_line
from tune_app.experiment.folder import Experiment


class UnreachableError(Exception):
    """W&B does not answer, or rejects the key."""


@contextmanager
def reaching_wandb() -> Iterator[None]:
    """Turn every error of a call that needs the server into UnreachableError."""
    try:
        yield
    except (wandb.errors.Error, TimeoutError, ConnectionError, ValueError, OSError) as error:
        raise UnreachableError(first_line(error)) from error


class WandbSweep:
    """The experiment's W&B Sweep. If wandb.json is lost, the next sync makes a second Sweep."""

    def __init__(self, experiment: Experiment) -> None:
        self._experiment = experiment
        self._path = experiment.folder / "wandb.json"
        self._saved: dict[str, JsonValue] = {}
        with suppress(OSError, ValueError):
            saved = json.loads(self._path.read_text())
            self._saved = saved if isinstance(saved, dict) else {}

    @property
    def id(self) -> str:
        """Id of the Sweep, empty before it is made."""
        return self._text("sweep")

    @property
    def url(self) -> str:
        """Address of the Sweep's page, empty before it is made."""
        return self._text("url")

    @property
    def place(self) -> dict[str, str]:
        """Entity and project."""
        return {"entity": self._text("entity"), "project": self._text("project")}

    @property
    def delivered(self) -> list[str]:
        """Trials whose runs are complete."""
        delivered = self._saved.get("delivered", [])
        return [str(trial) for trial in delivered] if isinstance(delivered, list) else []

    @property
    def concluded(self) -> str:
        """Time of the sweep's end that the winner's alert was sent for."""
        return self._text("concluded")

    def create(self, api: wandb.Api, config: SweepConfig) -> None:
        """Make the Sweep from the search space."""
        answer, _ = sweeps._upsert_sweep(
            api, sweep_config(config, self._experiment), project=config.wandb.project, entity=config.wandb.entity
        )
        place = {"entity": answer["project"]["entity"]["name"], "project": answer["project"]["name"]}
        url = f"{wandb.setup().settings.app_url}/{place['entity']}/{place['project']}/sweeps/{answer['name']}"
        self._save(sweep=answer["name"], url=url, **place)

    def state(self, api: wandb.Api) -> str:
        """Return the Sweep's state in W&B. Raise UnreachableError."""
        with reaching_wandb():
            return str(sweeps._get_sweep_state(api, self.id, **self.place))

    def set_state(self, api: wandb.Api, state: str) -> None:
        """Set the Sweep's state. W&B refuses if a person has ended the Sweep there; then it stays ended."""
        with suppress(Exception):
            sweeps._set_sweep_state(api, self.id, state, **self.place)  # type: ignore[arg-type]

    def mark_delivered(self, trial: str) -> None:
        """Remember that the run of `trial` is complete."""
        if trial not in self.delivered:
            self._save(delivered=[*self.delivered, trial])

    def mark_concluded(self, end: str) -> None:
        """Remember that the end at the time `end` was announced."""
        self._save(concluded=end)

    def _text(self, key: str) -> str:
        return str(self._saved.get(key, ""))

    def _save(self, **values: JsonValue) -> None:
        self._saved.update(values)
        write_json(self._path, self._saved)


def sweep_config(config: SweepConfig, experiment: Experiment) -> dict[str, object]:
    """Return the sweep in W&B's own schema."""
    return {
        "name": experiment.folder.name,
        "description": f"{config.model}, made with: {' '.join(experiment.command()) or 'tune_app'}",
        "method": "custom",
        "metric": config.metric.model_dump(),
        "parameters": parameters(config.space),
    }
