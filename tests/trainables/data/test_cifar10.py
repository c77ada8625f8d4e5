from __future__ import annotations

import pickle
import tarfile
import threading
from hashlib import md5
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import torch
from torchvision.datasets import CIFAR10

from trainables.contract import DataError, DataSpec
from trainables.data import load

CIFAR_SENTENCE = (
    r"place cifar-10-python.tar.gz \(md5 \w+\) in .*cifar10, "
    "or choose `--data shapes`, `digits`, `folder:DIR` or `npz:FILE`"
)


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(CIFAR10, "url", "http://127.0.0.1:9/cifar-10-python.tar.gz")


@pytest.mark.usefixtures("unreachable")
def test_cifar10_without_network_says_what_to_do(cache: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DataError, match="CIFAR-10 could not be downloaded .*refused.*: " + CIFAR_SENTENCE):
        load(DataSpec("cifar10"), cache)
    assert capfd.readouterr().out == ""


@pytest.mark.usefixtures("unreachable")
def test_cifar10_archive_that_is_damaged_is_named(cache: Path) -> None:
    (cache / "cifar10").mkdir(parents=True)
    (cache / "cifar10" / "cifar-10-python.tar.gz").write_bytes(b"half of it")
    with pytest.raises(DataError, match="CIFAR-10 is damaged and could not be downloaded anew .*: " + CIFAR_SENTENCE):
        load(DataSpec("cifar10"), cache)


def test_cifar10_download_that_is_something_else_is_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class LoginPage(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200)
            self.end_headers()

        def do_GET(self) -> None:
            self.do_HEAD()
            self.wfile.write(b"<html>Please log in</html>")

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), LoginPage) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("no_proxy", "*")
        monkeypatch.setattr(CIFAR10, "url", f"http://127.0.0.1:{server.server_port}/cifar-10-python.tar.gz")
        with pytest.raises(DataError, match="corrupted.*: " + CIFAR_SENTENCE):
            load(DataSpec("cifar10"), cache)
        server.shutdown()


@pytest.mark.usefixtures("unreachable")
@pytest.mark.parametrize("resolution", [16, 32])
def test_cifar10_archive_put_in_place_is_read(
    cache: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, resolution: int
) -> None:
    images = archive(cache / "cifar10", monkeypatch)
    data = load(DataSpec("cifar10", resolution), cache)
    assert data.train.shape == (45, 3, resolution, resolution)
    assert data.held_out.shape == (5, 3, resolution, resolution)
    assert data.test.shape == (10, 3, resolution, resolution)
    assert data.classes == ("cat", "dog")
    side = 32 // resolution
    averaged = images[50:].float().reshape(10, 3, resolution, side, resolution, side).mean((3, 5))
    assert (data.test - averaged).abs().max() <= 0.5
    assert capfd.readouterr().out == ""


def archive(root: Path, monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    """Build an archive in the official layout with 10 images per batch, and have its checksums accepted."""
    images = torch.randint(256, (60, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    base = root / "made" / "cifar-10-batches-py"
    base.mkdir(parents=True)
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    for name, chunk in zip(names, torch.split(images, 10), strict=True):
        (base / name).write_bytes(pickle.dumps({"data": chunk.flatten(1).numpy(), "labels": [0, 1] * 5}))
    (base / "batches.meta").write_bytes(pickle.dumps({"label_names": ["cat", "dog"]}))
    sums = {path.name: md5(path.read_bytes()).hexdigest() for path in base.iterdir()}
    with tarfile.open(root / "cifar-10-python.tar.gz", "w:gz") as file:
        file.add(base, "cifar-10-batches-py")
    monkeypatch.setattr(CIFAR10, "tgz_md5", md5((root / "cifar-10-python.tar.gz").read_bytes()).hexdigest())
    monkeypatch.setattr(CIFAR10, "train_list", [[name, sums[name]] for name in names[:5]])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": sums["batches.meta"]})
    return images
