"""What `submit` sends, its errors for unusable clusters, and its exit codes. No Ray runs."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

import search_spaces
from tests.conftest import Cli
from tune_app.commands.submit import job_exit_code

BRANIN = Path(search_spaces.__file__).with_name("branin_space.yaml")
HOSTILE = (".env", "id_rsa", "wandb/run.json", "secret.py", "tune_app/mine.py", "search_spaces/token.yaml", "big.bin")


def test_whatever_lies_in_the_current_folder_stays_there(cli: Cli, folder: Path) -> None:
    for name in HOSTILE:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("hunter2")
    os.truncate(folder / "big.bin", 100 * 2**20)
    (folder / "tune_app").rename(folder / "mine")  # else `python -m tune_app` would run it here and now
    (folder / "search_spaces").rename(folder / "yours")
    shutil.copy(BRANIN, folder / "my space.yaml")
    done = cli("submit", "my space.yaml", "--dry-run", "--json", "--name", "a", "--set", "search.seed=1; rm -rf ~")
    assert done.returncode == 2, "the value is no seed, and nothing was sent"
    done = cli("submit", "my space.yaml", "--dry-run", "--json", "--name", "a", "--trials", "3", "--out", "/data/ex p")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    names = [file["path"] for file in found["files"]]
    assert {name.split("/")[0] for name in names} == {"tune_app", "search_spaces", "trainables", "space"}
    pages, templates = {".html", ".css", ".js"}, {".txt"}
    assert {Path(name).suffix for name in names} == {".py", ".yaml", ".json", ".typed"} | pages | templates
    assert [name for name in names if name.startswith("space/")] == ["space/my space.yaml"]
    assert not [name for name in names if "mine" in name or "token" in name]
    assert found["bytes"] == sum(file["bytes"] for file in found["files"]) < 2_000_000
    assert found["command"] == (
        "python -m tune_app run 'space/my space.yaml' --resume a --address auto --trials 3 --out '/data/ex p'"
    )


def test_a_shipped_space_goes_with_its_package_and_a_relative_folder_is_the_heads(cli: Cli) -> None:
    done = cli("submit", "branin_space.yaml", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith(
        "python -m tune_app run branin_space.yaml --resume branin --address auto --out ~/experiments"
    )
    assert " space/" not in done.stdout


@pytest.mark.parametrize(
    ("state", "code", "left"),
    [("SUCCEEDED", 0, 0), ("FAILED", 2, 2), ("FAILED", 1, 1), ("FAILED", 130, 130), ("FAILED", -9, 1),
     ("FAILED", None, 1), ("STOPPED", None, 130)],
)  # fmt: skip
def test_the_exit_code_is_the_drivers_where_it_is_one_of_ours(state: str, code: int | None, left: int) -> None:
    assert job_exit_code(state, code) == left


@contextmanager
def dashboard(answer: Callable[[str | None], tuple[int, bytes]]) -> Iterator[str]:
    """Yield the address of a loopback server that answers each request by its Authorization header."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            code, body = answer(self.headers["Authorization"])
            self.send_response(code)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def version(ray: str) -> bytes:
    return json.dumps({"version": "4", "ray_version": ray, "ray_commit": "x"}).encode()


def test_a_cluster_of_another_ray_is_refused_and_an_open_one_warned_about(cli: Cli) -> None:
    with dashboard(lambda _: (200, version("2.1.0"))) as address:
        done = cli("submit", "branin_space.yaml", "--address", address)
    assert done.returncode == 2
    assert f"warning: {address} accepts jobs from anyone who can reach it" in done.stdout
    assert f"error: --address {address}: the cluster runs Ray 2.1.0, this is Ray " in done.stderr


def test_the_token_of_rays_own_places_is_shown_and_a_wrong_one_is_a_sentence(cli: Cli, tmp_path: Path) -> None:
    seen: list[str | None] = []

    def answer(token: str | None) -> tuple[int, bytes]:
        seen.append(token)
        return (403, b"Forbidden") if token else (401, b"Unauthorized")

    (tmp_path / "token").write_text("hunter2hunter2")
    with dashboard(answer) as address:
        environment = {"RAY_AUTH_TOKEN_PATH": str(tmp_path / "token"), "RAY_ADDRESS": "127.0.0.1:1"}
        done = cli("submit", "--status", "raysubmit_1", "--address", address, env=environment)
    assert done.returncode == 2
    assert seen == [None, "Bearer hunter2hunter2"]
    assert f"error: --address {address}: the cluster rejected the token, or no token was found" in done.stderr
    assert "hunter2" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://127.0.0.1:1", "nothing answers there"),
        ("ray://127.0.0.1:10001", "submit needs the address of the cluster's dashboard"),
        ("auto", "submit needs the address of the cluster's dashboard"),
    ],
)
def test_an_address_that_is_no_dashboard_is_a_sentence(cli: Cli, address: str, said: str) -> None:
    done = cli("submit", "branin_space.yaml", "--address", address)
    assert done.returncode == 2
    assert f"error: --address {address}: {said}" in done.stderr


def test_a_ray_client_address_is_no_place_for_a_driver(cli: Cli) -> None:
    done = cli("run", "branin_space.yaml", "--address", "ray://127.0.0.1:10001")
    assert done.returncode == 2
    assert "use `tune_app submit SPACE --address http://HEAD:8265`" in done.stderr
