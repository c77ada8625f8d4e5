"""A W&B server double on this machine. It answers the real client of wandb 0.31 and keeps what it received.

with WandbServer() as server:
    subprocess.run(command, env={**os.environ, **server.environment(home)})
    assert server.runs["a-1"].history == [...]
"""

from __future__ import annotations

import gzip
import json
import re
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, unquote

import yaml
from typing_extensions import Self

Json = dict[str, Any]
Mode = Literal["ok", "unavailable", "hang", "unauthorized"]

KEY = "0123456789abcdef" * 3
STATUS = {"unavailable": 503, "unauthorized": 401}
HISTORY, EVENTS, SUMMARY = "wandb-history.jsonl", "wandb-events.jsonl", "wandb-summary.json"


@dataclass
class FakeSweep:
    """A sweep as UpsertSweep left it."""

    id: str
    project: str
    entity: str
    config: Json = field(default_factory=dict)
    state: str = "PENDING"
    display: str | None = None


@dataclass
class FakeRun:
    """A run. `history` holds every line in the order of arrival, so that repeats and gaps show.

    `config` is what the caller set. What the client adds under `_wandb` is in `internals`.
    """

    id: str
    project: str
    entity: str
    sweep: str | None = None
    group: str | None = None
    name: str | None = None
    tags: list[str] = field(default_factory=list)
    config: Json = field(default_factory=dict)
    internals: Json = field(default_factory=dict)
    history: list[Json] = field(default_factory=list)
    events: list[Json] = field(default_factory=list)
    summary: Json = field(default_factory=dict)
    exit_code: int | None = None
    preempting: bool = False
    files: dict[str, bytes] = field(default_factory=dict)
    stop_requested: bool = False

    @property
    def state(self) -> str:
        if self.exit_code is None:
            return "running"
        if self.exit_code == 0:
            return "finished"
        return "preempted" if self.preempting else "failed"


class WandbServer:
    """A server with one entity and any project. It listens on 127.0.0.1 until it is closed, in every mode."""

    def __init__(self, entity: str = "founders") -> None:
        self.entity = entity
        self.sweeps: dict[str, FakeSweep] = {}
        self.runs: dict[str, FakeRun] = {}
        self.deleted: set[str] = set()
        """Runs that a person has deleted. Their ids cannot be used again."""
        self.alerts: list[Json] = []
        self.artifacts: list[Json] = []
        self.operations: Counter[str] = Counter()
        self.unknown: set[str] = set()
        self.requests = 0
        self._mode: Mode = "ok"
        self._changed = threading.Condition()  # guards all that is above
        self._http = _Http(("127.0.0.1", 0), _Handler)
        self._http.owner = self
        self.ports = (self._http.server_port,)  # all that a client of ours may connect to
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.mode = "unavailable"  # lets go of those that hang
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    @property
    def mode(self) -> Mode:
        return self._mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        with self._changed:
            self._mode = mode
            self._changed.notify_all()

    def environment(self, home: Path) -> dict[str, str]:
        """Return variables that point a client to this server and keep its files below `home`."""
        home.mkdir(parents=True, exist_ok=True)
        folders = ("HOME", "WANDB_DIR", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR")
        switches = {"WANDB_ERROR_REPORTING": "false", "WANDB_CONSOLE": "off"}
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": KEY, **switches, **dict.fromkeys(folders, str(home))}

    def press_stop(self, run_id: str) -> None:
        self.runs[run_id].stop_requested = True

    def admit(self) -> None:
        """Count a request, and hold it while the mode is "hang"."""
        with self._changed:
            self.requests += 1
            self._changed.wait_for(lambda: self._mode != "hang")

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Json]:
        """Return status and body for one request."""
        with self._changed:
            if self._mode in STATUS:
                return STATUS[self._mode], {"error": self._mode}
            if path == "/graphql":
                return 200, self._graphql(json.loads(body))
            if path.endswith("/file_stream") and (run := self.runs.get(unquote(path.split("/")[-2]))):
                return 200, self._file_stream(run, json.loads(body))
            if method == "PUT" and path.startswith("/storage/"):
                self._store(unquote(path).removeprefix("/storage/"), body)
                return 200, {}
            return 404, {"error": "not found"}

    def upload_url(self, kind: str, owner: str, name: str) -> str:
        return f"{self.url}/storage/{kind}/{quote(owner)}/{quote(name)}"

    def _graphql(self, request: Json) -> Json:
        found = re.search(r"(?:query|mutation)\s+(\w+)", request["query"])
        name = found[1] if found else ""
        self.operations[name] += 1
        if name not in OPERATIONS:
            self.unknown.add(name)
            return _refusal(f"no such operation: {name}")
        told = request.get("variables") or {}
        entity = told.get("entity") or told.get("entityName") or self.entity
        if entity != self.entity:
            return _refusal(f"no such entity: {entity}")
        try:
            return {"data": OPERATIONS[name](self, told)}
        except LookupError as error:
            return _refusal(str(error.args[0]))

    def _file_stream(self, run: FakeRun, told: Json) -> Json:
        for name, chunk in told.get("files", {}).items():
            lines = chunk["content"]
            if name == HISTORY:
                run.history += map(json.loads, lines)
            elif name == EVENTS:
                run.events += map(json.loads, lines)
            elif name == SUMMARY:
                run.summary = json.loads(lines[-1])
        run.preempting = run.preempting or told.get("preempting", False)
        if told.get("complete"):
            run.exit_code = told.get("exitcode")
        return {"stopped": run.stop_requested}

    def _store(self, place: str, body: bytes) -> None:
        kind, owner, name = place.split("/", 2)
        if kind == "runs":
            self.runs[owner].files[name] = body
        elif kind == "artifacts":
            self.artifacts[int(owner)]["files"][name] = body


def _refusal(why: str) -> Json:
    return {"errors": [{"message": why}], "data": None}


def _viewer(server: WandbServer, _: Json) -> Json:
    who = {"id": "user", "username": "tester", "email": "tester@example.com", "flags": "{}"}
    return {"viewer": {**who, "entity": server.entity, "teams": {"edges": [{"node": {"name": server.entity}}]}}}


def _upsert_sweep(server: WandbServer, told: Json) -> Json:
    project, entity = told.get("projectName"), told.get("entityName") or server.entity
    sweep = server.sweeps.get(told.get("id") or "")
    if sweep is None:
        sweep = FakeSweep(f"sweep{len(server.sweeps) + 1:03}", project or "uncategorized", entity)
        server.sweeps[sweep.id] = sweep
    if told.get("config"):
        sweep.config = yaml.safe_load(told["config"])
    sweep.state = told.get("state") or sweep.state
    sweep.display = told.get("displayName") or sweep.config.get("name")
    seen = {"id": sweep.id, "name": sweep.id, "state": sweep.state, "project": _project(sweep)}
    return {"upsertSweep": {"sweep": seen, "configValidationWarnings": []}}


def _sweep(server: WandbServer, told: Json) -> Json:
    sweep = server.sweeps.get(told["sweep"])
    if sweep is None or sweep.project != told["project"]:
        return {"project": {"sweep": None}}
    seen = {"id": sweep.id, "name": sweep.id, "state": sweep.state, "config": yaml.safe_dump(sweep.config)}
    return {"project": {"sweep": {**seen, "runs": {"edges": []}}}}


def _upsert_bucket(server: WandbServer, told: Json) -> Json:
    if told["name"] in server.deleted:
        raise LookupError(
            f"run {told['project']}/{told['name']} was previously created and deleted; try a new run name"
        )
    fresh = told["name"] not in server.runs
    if fresh:
        server.runs[told["name"]] = FakeRun(told["name"], told["project"], told.get("entity") or server.entity)
    run = server.runs[told["name"]]
    if run.exit_code is not None:  # it goes on
        run.exit_code, run.preempting, run.stop_requested = None, False, False
    run.sweep = run.sweep or told.get("sweep")
    run.group = told.get("groupName") or run.group
    run.name = told.get("displayName") or run.name
    run.tags = told["tags"] if told.get("tags") is not None else run.tags
    if told.get("config"):
        run.config = {name: entry["value"] for name, entry in json.loads(told["config"]).items()}
        run.internals = run.config.pop("_wandb", {})
    seen = {"id": run.id, "name": run.id, "displayName": run.name, "sweepName": run.sweep, "project": _project(run)}
    return {"upsertBucket": {"bucket": {**seen, "historyLineCount": len(run.history)}, "inserted": fresh}}


def _resume_status(server: WandbServer, told: Json) -> Json:
    run = server.runs.get(told["name"])
    model = {"id": told["project"], "name": told["project"], "entity": {"id": server.entity, "name": server.entity}}
    return {"model": {**model, "bucket": run and _bucket(run)}}


def _bucket(run: FakeRun) -> Json:
    """Return what a client needs to resume `run`: JSON as text, and the last history lines as text within text."""
    config = {name: {"value": value} for name, value in {**run.config, "_wandb": run.internals}.items()}
    texts = {
        "summaryMetrics": run.summary,
        "historyTail": [json.dumps(line) for line in run.history[-1:]],
        "eventsTail": [json.dumps(line) for line in run.events[-1:]],
        "config": config,
        "wandbConfig": {"t": run.internals.get("t")},
    }
    counts = {"historyLineCount": len(run.history), "eventsLineCount": len(run.events), "logLineCount": 0}
    names = {"id": run.id, "name": run.id, "displayName": run.name, "tags": run.tags, "notes": None}
    return {**names, **counts, **{name: json.dumps(value) for name, value in texts.items()}}


def _create_run_files(server: WandbServer, told: Json) -> Json:
    run = told["run"]
    files = [{"name": name, "uploadUrl": server.upload_url("runs", run, name)} for name in told["files"]]
    return {"createRunFiles": {"runID": run, "uploadHeaders": [], "files": files}}


def _alert(server: WandbServer, told: Json) -> Json:
    server.alerts.append(told)
    return {"notifyScriptableRunAlert": {"success": True}}


def _create_artifact(server: WandbServer, told: Json) -> Json:
    asked = told["input"]
    names = {"name": asked["artifactCollectionName"], "type": asked["artifactTypeName"]}
    server.artifacts.append({**names, "aliases": sorted(each["alias"] for each in asked["aliases"]), "files": {}})
    created = {"id": str(len(server.artifacts) - 1), "state": "PENDING", "artifactSequence": {"latestArtifact": None}}
    return {"createArtifact": {"artifact": created}}


def _create_manifest(server: WandbServer, told: Json) -> Json:
    owner = told["artifactID"]
    file = {"id": owner, "uploadUrl": server.upload_url("manifests", owner, told["name"]), "uploadHeaders": []}
    return {"createArtifactManifest": {"artifactManifest": {"id": owner, "file": file}}}


def _create_artifact_files(server: WandbServer, told: Json) -> Json:
    def node(file: Json) -> Json:
        owner, name = file["artifactID"], file["name"]
        to = {"storagePath": name, "uploadUrl": server.upload_url("artifacts", owner, name), "uploadHeaders": []}
        return {"node": {**to, "uploadMultipartUrls": None, "artifact": {"id": owner}}}

    return {"createArtifactFiles": {"files": {"edges": [node(file) for file in told["input"]["artifactFiles"]]}}}


def _commit_artifact(server: WandbServer, told: Json) -> Json:
    return {"commitArtifact": {"artifact": {"id": told["artifactID"], "digest": ""}}}


def _project(item: FakeSweep | FakeRun) -> Json:
    return {"id": item.project, "name": item.project, "entity": {"id": item.entity, "name": item.entity}}


OPERATIONS: dict[str, Callable[[WandbServer, Json], Json]] = {
    "Viewer": _viewer,
    "UpsertSweep": _upsert_sweep,
    "SweepWithRuns": _sweep,
    "GetSweepState": _sweep,
    "UpsertBucket": _upsert_bucket,
    "RunResumeStatus": _resume_status,
    "CreateRunFiles": _create_run_files,
    "NotifyScriptableRunAlert": _alert,
    "CreateArtifact": _create_artifact,
    "CreateArtifactManifest": _create_manifest,
    "CreateArtifactFiles": _create_artifact_files,
    "CommitArtifact": _commit_artifact,
}


class _Http(ThreadingHTTPServer):
    owner: WandbServer
    daemon_threads = True
    request_queue_size = 256  # hundreds of runs connect at once
    block_on_close = False  # a client that keeps a connection open must not keep the test

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):  # a client may give up first
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Http

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.server.owner.admit()
        if self._client_gave_up():  # it will ask again: an answer now would count what it tells twice
            return
        status, answer = self.server.owner.answer(self.command, self.path.partition("?")[0], body)
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_PUT = do_POST  # noqa: N815

    def _client_gave_up(self) -> bool:
        try:
            return not self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing: the tests read the server's attributes."""
