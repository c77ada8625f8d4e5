"""The event log as W&B runs. Only the wandb_*.py files and this one import wandb.

W&B is a projection of the log: each report goes to the trial's run once and in order, live or in a replay. Only the
log is kept for later: whatever could not be sent is sent when the log is applied again.
"""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from secrets import token_hex
from tempfile import TemporaryDirectory

import wandb
from wandb.sdk.lib import wbauth

from search_spaces.distributions import Scalar
from trainables import storage
from tune_app.config.schema import SweepConfig
from tune_app.experiment.elsewhere import other_values
from tune_app.experiment.events import Event, TrialEvent
from tune_app.experiment.folder import Experiment
from tune_app.experiment.fresh_values import fresh_estimate
from tune_app.experiment.ranking import best_result
from tune_app.experiment.records import Records, TrialRecord
from tune_app.experiment.requests import SweepRequest, request
from tune_app.trackers.wandb_names import QUIET, wandb_name, wandb_run_id
from tune_app.trackers.wandb_sweep import RefusedError, RunDeletedError, UnreachableError, WandbSweep, reaching_wandb

CONNECT_SECONDS = 20.0
RETRY_SECONDS = 60.0
"""Seconds before an unreachable server is tried again."""
FINISHING_THREADS = 16
STATES = {"completed": "FINISHED", "failed": "FINISHED", "interrupted": "PAUSED", "budget": "PAUSED"}
"""State of the W&B Sweep for each state of ours."""
BUTTONS: dict[str, SweepRequest] = {
    "PAUSED": "hold", "RUNNING": "release", "FINISHED": "rest", "STOPPED": "rest", "CANCELED": "all",
}  # fmt: skip
"""Our request for each state that a person sets with W&B's buttons."""


class WandbMirror:
    """Sends the log to W&B: all that can be sent now, the rest at the next call.

    `live` is True beside a running sweep.
    """

    def __init__(
        self, experiment: Experiment, config: SweepConfig, say: Callable[[str], None], *, live: bool = False
    ) -> None:
        self._live = live
        self._experiment, self._config, self._say = experiment, config, say
        self._records = Records()
        self._sweep = WandbSweep(experiment)
        self._runs: dict[str, wandb.Run] = {}
        self._next_report: dict[str, int] = {}
        """Index of the first report that a run lacks."""
        self._pending: dict[str, None] = {}
        """Trials with something to send, in order."""
        self._last_event: dict[str, str] = {}
        """Time of the last event of each trial."""
        self._deleted: set[str] = set()
        """Trials whose runs a person has deleted in W&B. wandb does not accept their ids again in this process."""
        self._refused = False
        """True if W&B refuses what we send, so it is not tried again."""
        self._unreachable_until = 0.0
        self._state = ""
        self._scratch = TemporaryDirectory(prefix="tune_app-wandb-", ignore_cleanup_errors=True)
        os.environ.pop("WANDB_SWEEP_ID", None)  # with it, wandb.init ignores project, entity and id
        os.environ["WANDB_SILENT"] = "true"
        self._api: wandb.Api | None = None

    @property
    def url(self) -> str:
        """Address of the Sweep's page, empty before the Sweep is made."""
        return self._sweep.url

    @property
    def waiting(self) -> int:
        """Number of trials with something to send."""
        return len(self._pending)

    def apply(self, event: Event) -> None:
        """Update the mirror with one event of the log. Nothing is sent yet."""
        self._records.apply(event)
        if isinstance(event, TrialEvent):
            self._pending[event.trial] = None
            self._last_event[event.trial] = event.time

    def skip_delivered(self) -> None:
        """Send nothing for runs that are complete in W&B already."""
        if self._sweep.is_elsewhere(self._config.wandb):
            self._say("wandb.project or wandb.entity has changed: W&B gets a new sweep with all trials")
            self._sweep.renew()
        for trial in [*self._pending]:
            if self._sweep.is_delivered(trial, self._last_event[trial]):
                del self._pending[trial]

    def renew(self) -> None:
        """Make a new Sweep with new runs at the next call."""
        self._sweep.renew(edition=token_hex(2))

    def reach(self) -> bool:
        """Return True if W&B answers and has the Sweep."""
        try:
            self._sweep.state(self._connect())
        except UnreachableError as error:
            self._note_unreachable(error)
        except RefusedError as error:
            self._note_refused(error)
        return not (self._refused or self._unreachable_until)

    def send(self, *, now: bool = False) -> bool:
        """Send everything pending. Return True if nothing is left.

        An unreachable server is tried again after RETRY_SECONDS, or `now`.
        """
        if not self._pending or self._refused or (time.monotonic() < self._unreachable_until and not now):
            return not self._pending
        try:
            api = self._connect()
            for trial in list(self._pending):
                self._send_trial(api, trial)
                del self._pending[trial]
        except UnreachableError as error:
            self._note_unreachable(error)
        except RefusedError as error:
            self._note_refused(error)
        return not self._pending

    def _send_trial(self, api: wandb.Api, trial: str) -> None:
        """Send one trial, unless a person has deleted its run. Raise UnreachableError or RefusedError."""
        try:
            self._update(api, self._records.trials[trial])
        except RunDeletedError:
            self._say(f"W&B: the run of trial {trial} was deleted there, so the trial is left out")
            self._deleted.add(trial)
            self._sweep.mark_delivered(trial, self._last_event[trial])

    def poll(self) -> SweepRequest | None:
        """Return the request that a person made with W&B's buttons since the last call."""
        if self._api is None or self._refused or time.monotonic() < self._unreachable_until:
            return None
        try:
            state = self._sweep.state(self._api)
        except UnreachableError as error:
            self._note_unreachable(error)
            return None
        except RefusedError as error:
            self._note_refused(error)
            return None
        changed, self._state = state != self._state, state
        return BUTTONS.get(state) if changed else None

    def close(self) -> bool:
        """End the runs and the Sweep as the log says. Return True if everything was sent."""
        ended = self._records.state != "running"
        sent = self.send(now=True)
        with ThreadPoolExecutor(FINISHING_THREADS) as pool:  # each run may wait for a server that hangs
            finishing = [pool.submit(self._finish, trial, exit_code=1, preempted=True) for trial in list(self._runs)]
        sent = sent and all(future.exception() is None for future in finishing)
        if sent and ended and self._api is not None:
            with suppress(UnreachableError, RefusedError, RunDeletedError):
                self._conclude(self._api)
        self._scratch.cleanup()
        return sent

    def _connect(self) -> wandb.Api:
        """Log in, and find or make the Sweep. Raise UnreachableError."""
        if self._api is not None:
            return self._api
        with reaching_wandb():
            host = wandb.setup().settings.base_url
            if wbauth.authenticate_session(host=host, source="tune_app", prompt=False) is None:
                raise RefusedError(f"no key for {host} is configured")
            api = wandb.Api(timeout=int(CONNECT_SECONDS))
            if not self._sweep.id:
                self._sweep.create(api, self._config)
        self._api, self._state = api, "RUNNING"
        self._sweep.set_state(api, "RUNNING")
        self._say(f"W&B sweep: {self.url}")
        return api

    def _update(self, api: wandb.Api, record: TrialRecord) -> None:
        """Send the reports that a trial's run lacks, and the trial's end. Raise UnreachableError."""
        run = self._runs.get(record.id) or self._open(api, record)
        for step in range(self._next_report[record.id], len(record.reports)):
            run.log(self._history_row(record, step), step=step)
            if record.reports[step].sampling:
                chosen = {**record.reports[step].sampling, "settled": record.reports[step].settled}
                run.config.update(chosen, allow_val_change=True)  # type: ignore[no-untyped-call]
            self._next_report[record.id] = step + 1
        if record.ended:
            reason = record.reason if record.state != "failed" else record.failures[-1].message
            for name, value in {"state": record.state, "reason": reason, **self._final_value(record)}.items():
                run.summary[name] = value
            run.tags = self._tags(record)
            self._finish(record.id, exit_code=int(record.state == "failed"))
            self._sweep.state(api)  # raises if the key was rejected meanwhile; wandb then drops data without an error
            self._sweep.mark_delivered(record.id, self._last_event[record.id])

    def _open(self, api: wandb.Api, record: TrialRecord) -> wandb.Run:
        self._sweep.state(api)  # check first: after a failed init, wandb does not accept the id in this process again
        searched = {name: value for name, value in record.params.items() if name in self._config.parameters}
        with reaching_wandb():
            run = wandb.init(
                entity=self._sweep.place["entity"],
                project=self._sweep.place["project"],
                id=wandb_run_id(self._experiment, self._records, record.id, self._sweep.edition),
                name=record.id,
                group=self._experiment.folder.name,
                tags=self._tags(record),  # these replace the tags of a resumed run
                mode="online",
                config={
                    **searched,
                    "fixed": {**self._config.constants, **other_values(record.params, self._config.constants)},
                    "trial": record.id,
                    **({"retrains": record.retrains} if record.retrains else {}),
                },
                resume="allow",
                reinit="create_new",
                settings=self._settings(record.id),
            )
            run.define_metric("*", step_metric="kimg")
            self._runs[record.id], self._next_report[record.id] = run, run.starting_step
            return run

    def _settings(self, trial: str) -> wandb.Settings:
        return wandb.Settings(
            sweep_id=self._sweep.id,
            root_dir=self._scratch.name,
            init_timeout=CONNECT_SECONDS,
            finish_timeout=self._config.wandb.finish_timeout,
            finish_timeout_raises=True,
            stop_fn=lambda: request(self._experiment, trial),
            **QUIET,
            x_disable_meta=True,
            x_disable_machine_info=True,  # the driver's machine is not the trial's
            x_disable_stats=True,
        )

    def _tags(self, record: TrialRecord) -> tuple[str, ...]:
        stopped = ["stopped-by-asha"] if record.reason == "asha" else []
        return (self._config.model, self._experiment.profile() or "none", record.source, *stopped)

    def _final_value(self, record: TrialRecord) -> dict[str, float]:
        metric = self._config.metric.name
        value = fresh_estimate(record, metric)
        return {f"final_{metric}": value.mean, f"final_{metric}_stderr": value.stderr} if value else {}

    def _history_row(self, record: TrialRecord, step: int) -> dict[str, object]:
        """Return one report as W&B shows it: metrics, and at a rung pictures and curves."""
        report, metric = record.reports[step], self._config.metric.name
        before = record.reports[step - 1].kimg if step else 0.0
        training_seconds = max(1e-6, report.seconds - (report.metrics.get("evaluation_seconds") or 0.0))
        speed = 1000 * (report.kimg - before) / training_seconds
        row: dict[str, object] = {"kimg": report.kimg, "images_per_second": speed}
        for name, value in report.metrics.items():
            if value is not None:
                row[wandb_name(name, rung=report.rung)] = value
        for name, path in report.pictures.items():
            if (self._experiment.folder / path).is_file():
                row[name] = wandb.Image(str(self._experiment.folder / path), caption=f"{report.kimg:g} kimg")
        searched = [name for name in report.sampling if name in self._config.parameters]
        if report.curve and searched:
            row["curve"] = _line_plot(report.curve, searched[0], metric)
        if report.levels:
            row["loss_by_level"] = _line_plot(report.levels, "sigma", "loss")
        return row

    def _finish(self, trial: str, *, exit_code: int, preempted: bool = False) -> None:
        run = self._runs.pop(trial)
        with reaching_wandb():
            if preempted:
                run.mark_preempting()
            run.finish(exit_code=exit_code)

    def _conclude(self, api: wandb.Api) -> None:
        """Set the Sweep's state, and send one alert and the winner's checkpoint. Raise UnreachableError."""
        records, metric = self._records, self._config.metric.name
        self._sweep.set_state(api, "CANCELED" if records.reason == "person" else STATES[records.state])
        result = best_result(records.trials.values(), metric, self._config.retraining)
        if (
            result is None
            or result.trial in self._deleted
            or records.state == "interrupted"
            or self._sweep.concluded == records.ended_at
        ):
            return
        winner = records.trials[result.trial]
        run = self._open(api, winner)
        with reaching_wandb():
            run.alert(f"{self._config.name}: {records.state}", f"best trial {winner.id}, {metric} {result.value:.4g}")
            if self._config.wandb.log_model and result.checkpoint:
                artifact = wandb.Artifact(self._experiment.folder.name, type="model", metadata=dict(winner.params))
                with storage.local(self._experiment.place(result.checkpoint, self._config.storage)) as folder:
                    artifact.add_dir(str(folder))
                    run.log_artifact(artifact, aliases=["best"])
        self._finish(winner.id, exit_code=0)
        self._sweep.mark_concluded(records.ended_at)

    def _note_unreachable(self, error: UnreachableError) -> None:
        if not self._unreachable_until:
            self._say(f"W&B is unreachable ({error}){'; the sweep goes on, and the rest is sent later' * self._live}")
        self._unreachable_until = time.monotonic() + RETRY_SECONDS

    def _note_refused(self, error: RefusedError) -> None:
        self._refused = True
        again = f"fix this, then run: python -m tune_app sync {self._experiment.shown}"
        new = " --new (makes a new sweep)" if "deleted" in str(error) else ""
        self._say(f"W&B refuses ({error}); {'the sweep goes on without it; ' * self._live}{again}{new}")


def _line_plot(points: list[dict[str, Scalar | None]], x: str, y: str) -> object:
    table = wandb.Table([x, y], [[point.get(x), point.get(y)] for point in points])
    return wandb.plot.line(table, x, y, title=f"{y} by {x}")
