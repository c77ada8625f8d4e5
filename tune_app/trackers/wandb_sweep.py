"""The W&B Sweep of an experiment, and wandb.json, which names the Sweep and the runs that are complete."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import wandb
from pydantic import JsonValue
from wandb.apis.public import sweeps

from search_spaces.to_wandb import parameters
from trainables.files import write_json
from tune_app.config.schema import SweepConfig, WandbConfig
from tune_app.errors import first_line
from tune_app.experiment.folder import Experiment
from tune_app.trackers.wandb_names import wandb_name

DELETED = re.compile("previously created and deleted", re.IGNORECASE)
REFUSED = re.compile(
    r"\b40[134]\b|permission|unauthorized|forbidden|not found|no such|does not exist|api.key", re.IGNORECASE
)
"""Words in errors for which a retry does not help."""


class UnreachableError(Exception):
    """W&B does not answer. A retry may work."""


class RefusedError(Exception):
    """W&B refuses: the key, entity or project is wrong, or the Sweep was deleted. A retry does not help."""


class RunDeletedError(Exception):
    """A person has deleted the run in W&B."""


@contextmanager
def reaching_wandb() -> Iterator[None]:
    """Turn every error of a call that needs the server into one of the three above."""
    try:
        yield
    except (wandb.errors.Error, TimeoutError, ConnectionError, ValueError, OSError) as error:
        message = first_line(error)
        if DELETED.search(str(error)):
            raise RunDeletedError(message) from error
        kind = RefusedError if REFUSED.search(str(error)) else UnreachableError
        raise kind(message) from error


class WandbSweep:
    """The experiment's W&B Sweep. If wandb.json is lost, the next sync makes a second Sweep.

    wandb.json holds the Sweep's id and address, the entity and project, and, for each trial whose run is complete, the
    time of its last event.
    """

    def __init__(self, experiment: Experiment) -> None:
        self._experiment = experiment
        self._path = experiment.folder / "wandb.json"
        self._saved: dict[str, JsonValue] = {}
        with suppress(OSError, ValueError):
            saved = json.loads(self._path.read_text())
            self._saved = saved if isinstance(saved, dict) else {}

    @property
    def id(self) -> str:
        """Id of the Sweep, empty before the Sweep is made."""
        return self._text("sweep")

    @property
    def url(self) -> str:
        """Address of the Sweep's page, empty before the Sweep is made."""
        return self._text("url")

    @property
    def place(self) -> dict[str, str]:
        """Entity and project."""
        return {"entity": self._text("entity"), "project": self._text("project")}

    @property
    def edition(self) -> str:
        """Part of the run ids that distinguishes a second Sweep of the experiment from the first."""
        return self._text("edition")

    def is_delivered(self, trial: str, last_event: str) -> bool:
        """Return True if the trial's run is complete and includes the trial's last event."""
        delivered = self._saved.get("delivered")
        if isinstance(delivered, list):  # version 0.1 kept the trials alone
            return trial in delivered
        return isinstance(delivered, dict) and delivered.get(trial) == last_event

    def renew(self, edition: str = "") -> None:
        """Forget the Sweep, so that the next call makes a new one."""
        self._saved = {"edition": edition} if edition else {}
        write_json(self._path, self._saved)

    def is_elsewhere(self, config: WandbConfig) -> bool:
        """Return True if the Sweep lies in another project or entity than the configuration names."""
        return bool(self.id) and (
            self.place["project"] != config.project or config.entity not in (None, self.place["entity"])
        )

    @property
    def concluded(self) -> str:
        """Time of the sweep's end for which the alert was sent."""
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
        """Return the Sweep's state in W&B. Raise UnreachableError or RefusedError."""
        with reaching_wandb():
            try:
                return str(sweeps._get_sweep_state(api, self.id, **self.place))
            except (TypeError, KeyError, AttributeError):  # the server's answer has no such sweep
                raise RefusedError("the sweep was deleted in W&B") from None

    def set_state(self, api: wandb.Api, state: str) -> None:
        """Set the Sweep's state. W&B refuses if a person has ended the Sweep there; then it stays ended."""
        with suppress(Exception):
            sweeps._set_sweep_state(api, self.id, state, **self.place)  # type: ignore[arg-type]

    def mark_delivered(self, trial: str, last_event: str) -> None:
        """Remember that the run of `trial` is complete up to the event at the time `last_event`."""
        delivered = self._saved.get("delivered")
        old = delivered if isinstance(delivered, dict) else dict.fromkeys(map(str, delivered or []), "")  # type: ignore[arg-type]
        self._save(delivered={**old, trial: last_event})

    def mark_concluded(self, end: str) -> None:
        """Remember that the alert was sent for the sweep's end at the time `end`."""
        self._save(concluded=end)

    def _text(self, key: str) -> str:
        return str(self._saved.get(key, ""))

    def _save(self, **values: JsonValue) -> None:
        self._saved.update(values)
        write_json(self._path, self._saved)


def sweep_config(config: SweepConfig, experiment: Experiment) -> dict[str, object]:
    """Return the search space and the sweep's description in W&B's own schema."""
    return {
        "name": experiment.folder.name,
        "description": f"{config.model}, made with: {' '.join(experiment.command()) or 'tune_app'}",
        "method": "custom",
        "metric": {**config.metric.model_dump(), "name": wandb_name(config.metric.name)},
        "parameters": parameters(config.space),
    }
