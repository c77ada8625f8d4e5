"""optuna-dashboard on an experiment: a copy of its study in memory, with pictures and notes, that follows the log.

The files of the experiment are only read, so a running driver is not disturbed. The copy ends with the server.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urlsplit
from uuid import uuid4
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from optuna.artifacts import ArtifactMeta, upload_artifact
from optuna.trial import Trial

from tune_app.config.schema import SweepConfig
from tune_app.driver.study import StudyWriter, study_in_memory
from tune_app.errors import InputError, first_line
from tune_app.experiment.events import Ended, Event, Failed, Rechecked, Reported
from tune_app.experiment.folder import Experiment
from tune_app.experiment.fresh_values import fresh_estimate
from tune_app.experiment.log import Tail
from tune_app.experiment.records import Records, TrialRecord

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

HOST = "127.0.0.1"
LOOPBACK = ("127.0.0.1", "localhost")
FOLLOW_SECONDS = 1.0
EXTRA = "optuna_dashboard"
ARTIFACT_OF_TRIAL = "dashboard:artifacts:{}:{}"
"""Attribute of the study that the dashboard reads for a picture of a finished trial, whose own attributes are fixed."""


class Pictures:
    """Optuna artifact store of picture files that stay where they are. Nothing is copied or removed."""

    def __init__(self) -> None:
        self._files: dict[str, Path] = {}

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Remember the file that is uploaded."""
        self._files[artifact_id] = Path(content_body.name)

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Return the open file. Raise the dashboard's own error if it is gone, which the browser gets as 404."""
        from bottle import HTTPError

        try:
            return self._files[artifact_id].open("rb")
        except (KeyError, OSError):
            raise HTTPError(404, "the picture no longer exists") from None

    def remove(self, artifact_id: str) -> None:
        """Forget the file."""
        self._files.pop(artifact_id, None)


class FollowedStudy:
    """A copy of an experiment's study in memory. `follow` brings it up to date with the log."""

    def __init__(self, experiment: Experiment) -> None:
        records = experiment.read_records()
        self._config = experiment.logged_config(records)
        self._experiment, self._tail, self._records = experiment, Tail(experiment.events), Records()
        self._writer: StudyWriter = study_in_memory(self._config)
        self.pictures = Pictures()
        self.study = self._writer.study
        self.follow()

    def follow(self) -> None:
        """Add the events that were logged since the last call."""
        noted = set()
        for event in self._tail.new():
            self._records.apply(event)
            self._writer(event)
            self._attach(event)
            if isinstance(event, Reported | Failed | Ended | Rechecked) and event.trial in self._writer.ids:
                noted.add(event.trial)
        for trial in sorted(noted):
            self._note(trial)

    def _attach(self, event: Event) -> None:
        """Attach the pictures of an evaluation to its trial. Pictures that no longer exist are left out."""
        if not isinstance(event, Reported | Rechecked) or event.trial not in self._writer.ids:
            return
        storage, trial_id = self.study._storage, self._writer.ids[event.trial]
        for path in map(self._experiment.folder.joinpath, event.pictures.values()):
            if not path.is_file():
                continue
            if isinstance(event, Reported):
                trial = storage.get_trial(trial_id)
                upload_artifact(
                    artifact_store=self.pictures, file_path=str(path), study_or_trial=trial, storage=storage
                )
            else:
                artifact = str(uuid4())
                with path.open("rb") as file:
                    self.pictures.write(artifact, file)
                meta = ArtifactMeta(artifact_id=artifact, filename=path.name, mimetype="image/png", encoding=None)
                key = ARTIFACT_OF_TRIAL.format(trial_id, artifact)
                storage.set_study_system_attr(self.study._study_id, key, json.dumps(asdict(meta)))

    def _note(self, trial: str) -> None:
        from optuna_dashboard import save_note

        note = trial_note(self._records.trials[trial], self._config)
        save_note(Trial(self.study, self._writer.ids[trial]), note)


def trial_note(record: TrialRecord, config: SweepConfig) -> str:
    """Return a short note in Markdown: what became of the trial, and its values."""
    metric = config.metric.name
    reason = f" ({record.reason})" if record.reason else ""
    lines = [f"Trial {record.id} ({record.source}): {record.state}{reason} at {record.kimg:g} kimg"]
    value = record.value(metric)
    lines += [f"- {metric} {value:.4g} at {record.rungs[-1].kimg:g} kimg"] if value is not None else []
    if fresh := fresh_estimate(record, metric):
        lines.append(f"- {metric} {fresh.mean:.4g} ± {fresh.stderr:.2g} re-evaluated with fresh seeds")
    settled = record.rungs[-1].settled if record.rungs else {}
    lines += [f"- sampling: {', '.join(f'{name} {one}' for name, one in settled.items())}"] if settled else []
    lines += [f"- last failure: `{record.failures[-1].message}`"] if record.failures else []
    return "\n".join(lines)


def dashboard(experiment: Experiment, port: int, ready: Callable[[str], None], note: Callable[[str], None]) -> None:
    """Serve the dashboard on this machine until the process is interrupted. Call `ready` with its address.

    Call `note` with a sentence if the log can no longer be read. The dashboard then stays as it is.

    Raise InputError if the extra is not installed or the port is taken.
    """
    if find_spec(EXTRA) is None:
        raise InputError("dashboard needs optuna-dashboard: pip install 'optuna-dashboard>=0.21,<0.22'")
    followed = FollowedStudy(experiment)
    with make_dashboard(followed, port) as server:
        stopped = threading.Event()
        follower = threading.Thread(target=_follow, args=(followed, stopped, note), daemon=True)
        follower.start()
        ready(f"http://{HOST}:{server.server_port}/dashboard/studies/{followed.study._study_id}")
        with suppress(KeyboardInterrupt):
            server.serve_forever()
        stopped.set()
        follower.join()


def make_dashboard(followed: FollowedStudy, port: int) -> WSGIServer:
    """Return the server, which listens on loopback only. Raise InputError if the port is taken."""
    from optuna_dashboard import wsgi

    app = read_only(wsgi(followed.study._storage, artifact_store=followed.pictures))
    try:
        return make_server(HOST, port, app, server_class=_Server, handler_class=_Handler)
    except OSError as error:
        raise InputError(f"--port {port}: {first_line(error)}", hint="--port 0 takes a free one") from None


def read_only(app: WSGIApplication) -> WSGIApplication:
    """Return the application without everything that changes a study, and only for this machine's own browser.

    A page of another site could otherwise reach the server by a name that leads to loopback.
    """

    def guarded(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if urlsplit(f"//{environ.get('HTTP_HOST', '')}").hostname not in LOOPBACK:
            return _refused("403 Forbidden", "open the address that tune_app printed", start_response)
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return _refused("405 Method Not Allowed", "this dashboard only shows the experiment", start_response)
        return app(environ, start_response)

    return guarded


def _refused(status: str, reason: str, start_response: StartResponse) -> Iterable[bytes]:
    start_response(status, [("Content-Type", "application/json")])
    return [json.dumps({"reason": reason}).encode()]


def _follow(followed: FollowedStudy, stopped: threading.Event, note: Callable[[str], None]) -> None:
    while not stopped.wait(FOLLOW_SECONDS):
        try:
            followed.follow()
        except (OSError, ValueError) as error:
            note(f"the dashboard no longer follows the log: {first_line(error)}")
            return


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    allow_reuse_address = False


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Write no line for each request."""
