from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable
from hashlib import md5
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from shutil import rmtree

import numpy as np
import pytest
import torch
from PIL import Image
from pytest import approx
from torchvision.datasets import CIFAR10

from trainables.data import load, shapes, sources
from trainables.data.cache import cache_folder
from trainables.model import DataError, DataSpec


def album(root: Path, *, train: int = 20, test: int = 4, side: int = 16) -> Path:
    """A data folder of random pictures, classes cat and dog, `train` and `test` images a class."""
    random = np.random.default_rng(0)
    for split, count in (("train", train), ("test", test)):
        for name in ("cat", "dog"):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = random.integers(0, 256, (side, side, 3), np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{i:02}.png")
    return root


def spec(root: Path, resolution: int = 16) -> DataSpec:
    return DataSpec("folder", resolution, str(root))


@pytest.fixture
def cache(folder: Path) -> Path:
    return folder / "cache"


@pytest.fixture(autouse=True)
def forget() -> None:
    sources._load.cache_clear()


def test_folder_holds_a_tenth_of_train_out_and_keeps_every_image(folder: Path, cache: Path) -> None:
    data = load(spec(album(folder / "pets")), cache)
    assert data.train.shape == (36, 3, 16, 16)
    assert data.held_out.shape == (4, 3, 16, 16)
    assert data.test.shape == (8, 3, 16, 16)
    assert data.train.dtype == torch.uint8
    assert data.train_labels.dtype == torch.int64
    assert data.classes == ("cat", "dog")
    written = {np.asarray(Image.open(path)).tobytes(): path for path in folder.glob("pets/train/*/*")}
    kept = zip([*data.train, *data.held_out], [*data.train_labels, *data.held_out_labels], strict=True)
    found = {image.permute(1, 2, 0).numpy().tobytes(): int(label) for image, label in kept}
    assert {path.parent.name: data.classes[found[pixels]] for pixels, path in written.items()} == {
        "cat": "cat",
        "dog": "dog",
    }
    assert found.keys() == written.keys()


def test_mean_and_variance_are_those_of_all_training_pixels(folder: Path, cache: Path) -> None:
    data = load(spec(album(folder / "pets")), cache)
    pixels = data.train.double() / 255
    assert data.mean == approx(pixels.mean().item(), abs=1e-12)
    assert data.variance == approx(pixels.var(correction=0).item(), abs=1e-12)


def test_fingerprint_follows_the_pixels_and_the_resolution_but_not_the_place(folder: Path, cache: Path) -> None:
    first = load(spec(album(folder / "a", side=32), 32), cache)
    assert load(spec(album(folder / "b", side=32), 32), cache) == first
    assert load(spec(folder / "a", 16), cache) != first
    assert load(spec(album(folder / "c", side=32, train=21), 32), cache) != first


def test_images_of_twice_the_side_are_box_averaged(folder: Path, cache: Path) -> None:
    root = album(folder / "pets", side=32)
    large, small = load(spec(root, 32), cache), load(spec(root, 16), cache)
    averaged = large.train.float().reshape(-1, 3, 16, 2, 16, 2).mean((3, 5))
    assert (small.train.float() - averaged).abs().max() <= 0.5


def test_other_files_and_hidden_ones_are_passed_over(folder: Path, cache: Path) -> None:
    root = album(folder / "pets")
    (root / "train" / "cat" / "notes.txt").write_text("no image")
    (root / "train" / "cat" / "._01.png").write_bytes(b"what macOS leaves behind")
    (root / "train" / ".thumbnails").mkdir()
    assert len(load(spec(root), cache).train) == 36


def test_changed_folder_is_decoded_again(folder: Path, cache: Path) -> None:
    root = album(folder / "pets")
    before = load(spec(root), cache)
    (root / "train" / "cat" / "00.png").unlink()
    sources._load.cache_clear()
    assert len(load(spec(root), cache).train) == len(before.train) - 1


def no_train(root: Path) -> None:
    rmtree(root / "train")


def no_test(root: Path) -> None:
    rmtree(root / "test")


def no_class(root: Path) -> None:
    rmtree(root / "train" / "cat")
    rmtree(root / "train" / "dog")


def empty_class(root: Path) -> None:
    (root / "train" / "fox").mkdir()
    (root / "test" / "fox").mkdir()


def class_in_train_alone(root: Path) -> None:
    rmtree(root / "test" / "dog")


def too_few(root: Path) -> None:
    for path in [*root.glob("train/*/0[1-9].png"), *root.glob("train/*/1*.png")]:
        path.unlink()


def no_picture(root: Path) -> None:
    (root / "train" / "cat" / "03.png").write_text("not a picture")


def truncated(root: Path) -> None:
    path = root / "train" / "cat" / "03.png"
    path.write_bytes(path.read_bytes()[:300])


def wrong_size(root: Path) -> None:
    Image.new("RGB", (24, 24)).save(root / "train" / "dog" / "03.png")


def not_square(root: Path) -> None:
    Image.new("RGB", (32, 16)).save(root / "test" / "dog" / "03.png")


def sixteen_bits(root: Path) -> None:
    Image.fromarray(np.zeros((16, 16), np.uint16)).save(root / "train" / "dog" / "03.png")


def link_outside(root: Path) -> None:
    (root / "train" / "dog" / "out.png").symlink_to("/etc/hostname")


def folder_link_outside(root: Path) -> None:
    (root / "train" / "dog" / "out").symlink_to("/etc")


def dangling_link(root: Path) -> None:
    (root / "train" / "dog" / "out.png").symlink_to(root / "nowhere.png")


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (no_train, r"pets/train is not a folder: a data folder holds DIR/train/<class>/\* and DIR/test/<class>/\*"),
        (no_test, "pets/test is not a folder"),
        (no_class, "pets/train holds no class: its images belong in .*/pets/train/<class>/"),
        (empty_class, "pets/train/fox holds no image: add some .* or remove the folder"),
        (class_in_train_alone, "must hold the same classes, but these are in one alone: dog"),
        (too_few, "holds 2 images: at least 6 are needed"),
        (no_picture, r"cat/03.png cannot be read as an image \(.*\): replace or remove it"),
        (truncated, r"cat/03.png cannot be read as an image \(.*\): replace or remove it"),
        (wrong_size, "dog/03.png has 24x24 pixels: 16x16 or a whole multiple is needed; resize it"),
        (not_square, "test/dog/03.png has 32x16 pixels"),
        (sixteen_bits, "dog/03.png has pixels of more than 8 bits: convert it"),
        (link_outside, "dog/out.png is a link that leads outside"),
        (folder_link_outside, "dog/out is a link that leads outside"),
        (dangling_link, "dog/out.png cannot be read: No such file"),
    ],
)
def test_spoilt_folder_is_refused_in_a_sentence(
    folder: Path, cache: Path, spoil: Callable[[Path], None], sentence: str
) -> None:
    root = album(folder / "pets")
    spoil(root)
    with pytest.raises(DataError, match=sentence):
        load(spec(root), cache)
    assert not list(cache.glob("*/about.json"))


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (DataSpec("imagenet"), "no data set 'imagenet': choose one of cifar10, folder, shapes"),
        (DataSpec("folder"), "needs a path: `--data folder:DIR`"),
        (DataSpec("folder", 8, "/"), "resolution must be 16 pixels or more, not 8"),
        (DataSpec("shapes", 24), "16 or 32, not 24"),
        (DataSpec("cifar10", 24), "resolution must divide 32, not 24"),
    ],
)
def test_wrong_spec_is_refused(cache: Path, wrong: DataSpec, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        load(wrong, cache)


def test_link_to_an_image_inside_the_folder_is_followed(folder: Path, cache: Path) -> None:
    root = album(folder / "pets")
    (root / "train" / "cat" / "again.png").symlink_to(root / "train" / "cat" / "00.png")
    assert len(load(spec(root), cache).train) == 37


def truncate_array(entry: Path) -> None:
    os.truncate(entry / "train.npy", 500)


def flip_a_byte(entry: Path) -> None:
    content = bytearray((entry / "held_out.npy").read_bytes())
    content[-1] ^= 1
    (entry / "held_out.npy").write_bytes(content)


def empty_array(entry: Path) -> None:
    (entry / "test.npy").write_bytes(b"")


def drop_a_file(entry: Path) -> None:
    (entry / "test_labels.npy").unlink()


def garble_about(entry: Path) -> None:
    (entry / "about.json").write_text('{"arrays": ["train"')


def other_about(entry: Path) -> None:
    (entry / "about.json").write_text("[]")


@pytest.mark.parametrize("damage", [truncate_array, flip_a_byte, empty_array, drop_a_file, garble_about, other_about])
def test_damaged_entry_is_said_and_rebuilt(
    folder: Path, cache: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None]
) -> None:
    root = album(folder / "pets")
    before = load(spec(root), cache).train.clone()
    damage(next(cache.glob("*/about.json")).parent)
    sources._load.cache_clear()
    assert torch.equal(load(spec(root), cache).train, before)
    assert "is damaged; the images are decoded again" in caplog.text


def test_what_a_killed_process_left_is_cleared(folder: Path, cache: Path) -> None:
    root = album(folder / "pets")
    load(spec(root), cache)
    entry = next(cache.glob("*/about.json")).parent
    entry.rename(entry.with_suffix(".partial"))
    sources._load.cache_clear()
    assert len(load(spec(root), cache).train) == 36
    assert not entry.with_suffix(".partial").exists()


def test_second_process_maps_what_the_first_decoded_and_neither_decodes_twice(folder: Path, cache: Path) -> None:
    root = album(folder / "pets")
    code = """if True:
        import pathlib, sys, time
        from trainables.data import load, sources
        from trainables.model import DataSpec

        plain, (root, cache, count) = sources.SOURCES["folder"], sys.argv[1:]

        def counted(spec, cache):
            source = plain(spec, cache)

            def decode():
                with open(count, "a") as file:
                    file.write("decoded\\n")
                time.sleep(1)
                return source.decode()

            return source._replace(decode=decode)

        sources.SOURCES["folder"] = counted
        print(load(DataSpec("folder", 16, root), pathlib.Path(cache)).fingerprint)
    """
    command = [sys.executable, "-W", "error", "-c", code, str(root), str(cache), str(folder / "count")]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    said = [process.communicate(timeout=50) for process in started]
    assert {errors for _, errors in said} == {""}
    assert len({out for out, _ in said}) == 1
    assert (folder / "count").read_text() == "decoded\n"


def test_writing_to_an_image_stays_in_this_process(folder: Path, cache: Path) -> None:
    root = album(folder / "pets")
    before = load(spec(root), cache)
    kept = before.train.clone()
    before.train.zero_()
    sources._load.cache_clear()
    assert torch.equal(load(spec(root), cache).train, kept)


def test_cache_is_the_one_given_else_the_environments_else_at_home(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(folder / "home"))
    monkeypatch.setenv("TUNE_APP_CACHE", str(folder / "named"))
    assert cache_folder(folder / "given") == folder / "given"
    assert cache_folder() == folder / "named"
    monkeypatch.delenv("TUNE_APP_CACHE")
    assert cache_folder() == folder / "home" / ".cache" / "tune_app"


def test_home_that_cannot_be_written_gives_a_private_temporary_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "file").touch()
    monkeypatch.delenv("TUNE_APP_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(folder / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    private = cache_folder()
    assert private.parent == folder
    assert private.stat().st_mode & 0o777 == 0o700
    assert cache_folder() == private
    private.chmod(0o777)  # as one that somebody else prepared
    other = cache_folder()
    assert other != private
    assert other.stat().st_mode & 0o777 == 0o700


def test_named_cache_that_cannot_be_written_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "file").touch()
    monkeypatch.setenv("TUNE_APP_CACHE", str(folder / "file" / "cache"))
    with pytest.raises(DataError, match="cache folder .*cache cannot be written: set TUNE_APP_CACHE"):
        load(DataSpec("shapes", 16))


@pytest.mark.parametrize("resolution", [16, 32])
def test_shapes_are_split_and_labelled_by_their_shape(cache: Path, resolution: int) -> None:
    data = load(DataSpec("shapes", resolution), cache)
    assert [len(part) for part in (data.train, data.held_out, data.test)] == [8000, 2000, 2000]
    assert data.train.shape[1:] == (3, resolution, resolution)
    assert data.classes == ("rectangle", "ellipse", "triangle")
    assert data.train_factors is not None
    assert data.factors is not None
    assert torch.equal(data.train_factors[:, 0], data.train_labels)
    assert torch.equal(data.factors[:, 0], data.held_out_labels)
    assert tuple(data.train_factors.max(0).values + 1) == tuple(shapes.FACTORS.values())
    both = torch.cat([data.train_factors, data.factors])
    assert len(both.unique(dim=0)) == len(both)


def test_shapes_are_the_same_bytes_everywhere() -> None:
    factors = np.array([[0, 0, 1, 0, 7, 3, 8], [1, 5, 3, 4, 4, 0, 5], [2, 3, 6, 6, 2, 7, 0]])
    images = shapes.draw(factors, 16, np.random.default_rng(0))
    assert md5(images.tobytes()).hexdigest() == "PINNED"


def test_shape_is_drawn_where_and_in_the_colour_its_factors_say() -> None:
    places = [[shape, 5, 0, column, row, 0, 5] for shape in range(3) for column in (0, 7) for row in (0, 7)]
    images = shapes.draw(np.array(places), 32, np.random.default_rng(0)) / 255.0
    for image, (_, _, _, column, row, _, _) in zip(images, places, strict=True):
        red = image[0] > 0.6  # hue 0 on ground hue 5, cyan
        assert red.any()
        assert (np.argwhere(red).mean(0) < 15.5).tolist() == [row == 0, column == 0]


def test_pixel_noise_has_the_stated_deviation() -> None:
    table = shapes._normal_table()
    assert table.mean() == approx(0, abs=1e-6)
    assert table.std() == approx(1, abs=1e-3)
    blank = np.zeros((400, 7), np.int64)
    corner = shapes.draw(blank, 32, np.random.default_rng(0))[:, 1, -4:, -4:] / 255.0
    assert corner.std() == approx(shapes.NOISE, rel=0.03)


CIFAR_SENTENCE = (
    r"place cifar-10-python.tar.gz \(md5 \w+\) in .*cifar10, or choose `--data shapes` or `--data folder:DIR`"
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
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(b"<html>Please log in</html>")

        do_HEAD = do_GET

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
    """An archive as the official one is built, 10 images a batch, its checksums taken for the published ones."""
    images = torch.randint(256, (60, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    base = root / "made" / "cifar-10-batches-py"
    base.mkdir(parents=True)
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    for name, chunk in zip(names, images.split(10), strict=True):
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


def test_entry_says_in_json_what_it_holds(folder: Path, cache: Path) -> None:
    data = load(spec(album(folder / "pets")), cache)
    about = json.loads(next(cache.glob("folder-16-*/about.json")).read_text())
    assert about["fingerprint"] == data.fingerprint
    assert about["classes"] == ["cat", "dog"]
