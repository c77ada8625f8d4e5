"""The event log as a W&B Sweep and its runs. The only file that imports wandb.

W&B is a projection of the log: a run holds the reports that it lacks, in order, each once, whether they come live or
are replayed. So nothing is kept for later but the log, and whatever was missed is sent by applying it again.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from tempfile import TemporaryDirectory
from typing import Any

import wandb
from wandb.apis.public import sweeps
from wandb.sdk.lib import wbauth

from search_spaces.to_wandb import parameters
from trainables import storage
from tune_app.config.schema import SweepConfig
from tune_app.experiment.folder import Experiment, write_json
from tune_app.experiment.log import Event
from tune_app.experiment.records import Records, TrialRecord, best, describe
from tune_app.trackers import workspace

CONNECT_SECONDS = 20.0
AGAIN_SECONDS = 60.0
"""How long an unreachable server is left alone."""
STATES = {"completed": "FINISHED", "failed": "FINISHED", "interrupted": "PAUSED", "budget": "PAUSED"}
WISHES = {"PAUSED": "hold", "RUNNING": "release", "FINISHED": "rest", "STOPPED": "rest", "CANCELED": "all"}
"""What a state that a person gave the sweep in W&B asks of us, in the words of Experiment.ask."""


class Unreachable(Exception):  # noqa: N818 (a state, not a fault)
    """W&B does not answer, or not to us; says why."""


class Mirror:
    """Applies events to W&B: sends what can be sent now, and keeps what cannot for the next call."""

    def __init__(self, experiment: Experiment, config: SweepConfig, say: Callable[[str], None]) -> None:
        self._experiment, self._config, self._say = experiment, config, say
        self._records = Records()
        self._identity = _Identity(experiment)
        self._runs: dict[str, wandb.Run] = {}
        self._next: dict[str, int] = {}
        """The first report that a run lacks."""
        self._behind: dict[str, None] = {}
        """Trials with something to send, in order."""
        self._away_until = 0.0
        self._state = ""
        self._scratch = TemporaryDirectory(prefix="tune_app-wandb-", ignore_cleanup_errors=True)
        os.environ.pop("WANDB_SWEEP_ID", None)  # it makes wandb.init pass over project, entity and id
        os.environ["WANDB_SILENT"] = "true"
        self._api: wandb.Api | None = None

    def apply(self, event: Event) -> None:
        """Take up one event of the log."""
        self._records.apply(event)
        if "trial" in event:
            self._behind[event["trial"]] = None

    def forget_delivered(self) -> None:
        """Leave alone the runs that an earlier session has sent to their end."""
        for trial in self._identity.delivered:
            self._behind.pop(trial, None)

    def send(self, *, patiently: bool = False) -> bool:
        """Send all that is behind; whether all is sent. A server that was away is tried again after a while."""
        if not self._behind or (time.monotonic() < self._away_until and not patiently):
            return not self._behind
        try:
            self._connect()
            for trial in list(self._behind):
                self._update(self._records.trials[trial])
                del self._behind[trial]
        except Unreachable as away:
            self._leave(str(away))
        return not self._behind

    def poll(self) -> str | None:
        """What a person asked for in W&B since the last call: hold, release, rest, all, or None."""
        if self._api is None or time.monotonic() < self._away_until:
            return None
        try:
            state = self._knock()
        except Unreachable as away:
            self._leave(str(away))
            return None
        changed, self._state = state != self._state, state
        return WISHES.get(state) if changed else None

    def close(self) -> bool:
        """End runs and sweep as the log says; whether all has arrived."""
        ended = self._records.state != "running"
        sent = self.send(patiently=True)
        with ThreadPoolExecutor(max_workers=16) as pool:  # each may wait for a server that hangs
            left = [pool.submit(self._finish, trial, exit_code=1, preempted=True) for trial in list(self._runs)]
        sent = sent and all(future.exception() is None for future in left)
        if sent and ended and self._api is not None:
            with suppress(Unreachable):
                self._conclude()
        self._scratch.cleanup()
        return sent

    @property
    def url(self) -> str:
        """Where the sweep is looked at, or nothing before it is there."""
        return self._identity.url

    def _connect(self) -> None:
        """Find or make the sweep. Raises Unreachable."""
        if self._api is not None:
            return
        with _reaching():
            host = wandb.setup().settings.base_url
            if wbauth.authenticate_session(host=host, source="tune_app", prompt=False) is None:
                raise Unreachable(f"no key for {host} is configured")
            api = wandb.Api(timeout=int(CONNECT_SECONDS))
            if not self._identity.sweep:
                self._identity.create(api, self._config, self._experiment)
        self._api, self._state = api, "RUNNING"
        self._set_state("RUNNING")
        self._say(f"W&B sweep: {self.url}")

    def _update(self, record: TrialRecord) -> None:
        """Send a trial's reports that its run lacks, and its end. Raises Unreachable."""
        run = self._runs.get(record.id) or self._open(record)
        for step in range(self._next[record.id], len(record.reports)):
            run.log(self._shown(record, step), step=step)
            if record.reports[step].sampling:
                run.config.update(record.reports[step].sampling, allow_val_change=True)  # type: ignore[no-untyped-call]
            self._next[record.id] = step + 1
        if record.ended:
            reason = record.reason if record.state != "failed" else record.failures[-1]["message"]
            for name, value in {"state": record.state, "reason": reason, **self._again(record)}.items():
                run.summary[name] = value
            run.tags = self._tags(record)
            self._finish(record.id, exit_code=int(record.state == "failed"))
            self._knock()  # a key that is refused meanwhile makes wandb drop what it has, without a word
            self._identity.deliver(record.id)

    def _open(self, record: TrialRecord) -> wandb.Run:
        self._knock()  # an init that fails leaves its id taken in this process
        searched = {name: value for name, value in record.params.items() if name in self._config.parameters}
        with _reaching():
            run = wandb.init(
                entity=self._identity.place["entity"],
                project=self._identity.place["project"],
                id=f"{self._experiment.folder.name}-{record.id}",
                name=record.id,
                group=self._experiment.folder.name,
                tags=self._tags(record),  # a run that goes on takes these for its own
                mode="online",
                config={**searched, "fixed": self._config.constants, "trial": record.id},
                resume="allow",
                reinit="create_new",
                settings=self._settings(record.id),
            )
            run.define_metric("*", step_metric="kimg")
            self._runs[record.id], self._next[record.id] = run, run.starting_step
            return run

    def _again(self, record: TrialRecord) -> dict[str, float]:
        """What the trial measured at the end with fresh seeds, where it was."""
        metric = self._config.metric.name
        found = record.recheck.estimate(metric) if record.recheck else None
        return {f"final_{metric}": found[0], f"final_{metric}_stderr": found[1]} if found else {}

    def _tags(self, record: TrialRecord) -> tuple[str, ...]:
        stopped = ["stopped-by-asha"] if record.reason == "asha" else []
        return (self._config.model, self._experiment.profile() or "none", record.source, *stopped)

    def _knock(self) -> str:
        """The state of the sweep in W&B. Raises Unreachable."""
        assert self._api
        with _reaching():
            return str(sweeps._get_sweep_state(self._api, self._identity.sweep, **self._identity.place))

    def _settings(self, trial: str) -> wandb.Settings:
        return wandb.Settings(
            sweep_id=self._identity.sweep,
            root_dir=self._scratch.name,
            init_timeout=CONNECT_SECONDS,
            finish_timeout=self._config.wandb.finish_timeout,
            finish_timeout_raises=True,
            stop_fn=lambda: self._experiment.ask(trial),
            silent=True,
            quiet=True,  # else its login is announced, and waited for
            console="off",
            disable_git=True,
            disable_code=True,
            x_save_requirements=False,
            x_disable_meta=True,
            x_disable_machine_info=True,  # the driver's machine says nothing of a trial
            x_disable_stats=True,
        )

    def _shown(self, record: TrialRecord, step: int) -> dict[str, Any]:
        """What one report shows: metrics, at a rung pictures and the curve over sampling settings."""
        report, metric = record.reports[step], self._config.metric.name
        before = record.reports[step - 1].kimg if step else 0.0
        training = max(1e-6, report.seconds - report.metrics.get("evaluation_seconds", 0.0))
        shown: dict[str, Any] = {"kimg": report.kimg, "images_per_second": 1000 * (report.kimg - before) / training}
        shown.update({name: value for name, value in report.metrics.items() if value is not None})
        for name, path in report.pictures.items():
            if (self._experiment.folder / path).is_file():
                shown[name] = wandb.Image(str(self._experiment.folder / path), caption=f"{report.kimg:g} kimg")
        searched = [name for name in report.sampling if name in self._config.parameters]
        if report.curve and searched:
            shown["curve"] = _line(report.curve, searched[0], metric)
        if report.levels:
            shown["loss_by_level"] = _line(report.levels, "sigma", "loss")
        return shown

    def _finish(self, trial: str, *, exit_code: int, preempted: bool = False) -> None:
        run = self._runs.pop(trial)
        with _reaching():
            if preempted:
                run.mark_preempting()
            run.finish(exit_code=exit_code)

    def _conclude(self) -> None:
        """The sweep's state, one alert, the winner's weights. Raises Unreachable."""
        end = self._records.ended_at
        self._set_state("CANCELED" if self._records.reason == "person" else STATES[self._records.state])
        winner = best(self._records.trials.values(), self._config.metric.name)
        if winner is None or self._records.state == "interrupted" or self._identity.concluded == end:
            return
        run = self._open(winner)
        with _reaching():
            value = f"{self._config.metric.name} {describe(winner, self._config.metric.name)['value']:.4g}"
            run.alert(f"{self._config.name}: {self._records.state}", f"best trial {winner.id}, {value}")
            if self._config.wandb.log_model and winner.checkpoints:
                artifact = wandb.Artifact(self._experiment.folder.name, type="model", metadata=winner.params)
                with storage.local(self._experiment.checkpoints(winner, self._config.storage)[0]) as folder:
                    artifact.add_dir(str(folder))
                    run.log_artifact(artifact, aliases=["best"])
        self._finish(winner.id, exit_code=0)
        self._identity.conclude(end)
        if self._config.wandb.workspace:
            self._make_workspace()

    def _make_workspace(self) -> None:
        name, sweep = self._experiment.folder.name, self._identity.sweep
        try:
            with _reaching():
                self._say(
                    f"W&B workspace: {workspace.save(self._config, name=name, sweep=sweep, **self._identity.place)}"
                )
        except ImportError:
            self._say("wandb.workspace needs one more package: pip install 'tune_app[workspace]'")

    def _set_state(self, state: Any) -> None:
        assert self._api
        with suppress(Exception):  # what a person has ended in W&B stays as it is
            sweeps._set_sweep_state(self._api, self._identity.sweep, state, **self._identity.place)

    def _leave(self, why: str) -> None:
        if not self._away_until:
            self._say(f"W&B is away ({why}); the sweep goes on, and what is missing is sent later")
        self._away_until = time.monotonic() + AGAIN_SECONDS


class _Identity:
    """wandb.json: which sweep in W&B is ours, and which runs have arrived whole. Losing it costs a second sweep."""

    def __init__(self, experiment: Experiment) -> None:
        self._path = experiment.folder / "wandb.json"
        self._known: dict[str, Any] = {}
        with suppress(OSError, ValueError):
            known = json.loads(self._path.read_text())
            self._known = known if isinstance(known, dict) else {}

    @property
    def sweep(self) -> str:
        return str(self._known.get("sweep", ""))

    @property
    def url(self) -> str:
        return str(self._known.get("url", ""))

    @property
    def place(self) -> dict[str, str]:
        return {key: str(self._known.get(key, "")) for key in ("entity", "project")}

    @property
    def delivered(self) -> list[str]:
        return list(self._known.get("delivered", []))

    @property
    def concluded(self) -> str:
        return str(self._known.get("concluded", ""))

    def create(self, api: wandb.Api, config: SweepConfig, experiment: Experiment) -> None:
        """Make the sweep, from the space."""
        asked = sweep_config(config, experiment)
        found, _ = sweeps._upsert_sweep(api, asked, project=config.wandb.project, entity=config.wandb.entity)
        place = {"entity": found["project"]["entity"]["name"], "project": found["project"]["name"]}
        url = f"{wandb.setup().settings.app_url}/{place['entity']}/{place['project']}/sweeps/{found['name']}"
        self._write(sweep=found["name"], url=url, **place)

    def deliver(self, trial: str) -> None:
        if trial not in self.delivered:
            self._write(delivered=[*self.delivered, trial])

    def conclude(self, end: str) -> None:
        self._write(concluded=end)

    def _write(self, **more: Any) -> None:
        self._known.update(more)
        write_json(self._path, self._known)


def sweep_config(config: SweepConfig, experiment: Experiment) -> dict[str, Any]:
    """The sweep as W&B's own schema has it."""
    return {
        "name": experiment.folder.name,
        "description": f"{config.model}, made with: {' '.join(experiment.command()) or 'tune_app'}",
        "method": "custom",
        "metric": config.metric.model_dump(),
        "parameters": parameters(config.space),
    }


def _line(points: list[dict[str, Any]], x: str, y: str) -> Any:
    table = wandb.Table([x, y], [[point.get(x), point.get(y)] for point in points])
    return wandb.plot.line(table, x, y, title=f"{y} by {x}")


@contextmanager
def _reaching() -> Iterator[None]:
    """Around each call that needs the server: its many ways to fail become one."""
    try:
        yield
    except (wandb.errors.Error, TimeoutError, ConnectionError, ValueError, OSError) as error:
        raise Unreachable(str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__) from error
