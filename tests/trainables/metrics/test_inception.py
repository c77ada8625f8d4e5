"""Inception features through torch-fidelity, with random weights in a file of the real layout."""

from __future__ import annotations

import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.models import Inception3

from trainables.contract import FeaturesError
from trainables.metrics import inception
from trainables.metrics.inception import FILE, SHA256, Inception


def random_weights() -> dict[str, Tensor]:
    """Return a state dict of the real layout. All convolutions are views of one pool, so the file stays small."""
    with torch.device("meta"):
        state: dict[str, Tensor] = Inception3(1008, aux_logits=False, init_weights=False).state_dict()
    random = np.random.RandomState(0)  # its stream never changes, which the recorded features need
    pool = torch.from_numpy(random.standard_normal(max(weight.numel() for weight in state.values())).astype(np.float32))
    for name, weight in state.items():
        if weight.ndim > 1:
            state[name] = pool[: weight.numel()].view(weight.shape)
        elif name.endswith("running_var"):  # keeps the signal from fading through 48 layers
            kernel = state[name.replace("bn.running_var", "conv.weight")]
            state[name] = torch.full(weight.shape, kernel[0].numel() / 2)
        elif name.endswith("tracked"):
            state[name] = torch.tensor(0)
        else:
            state[name] = torch.from_numpy(random.rand(len(weight)).astype(np.float32)) + name.endswith("weight") / 2
    return state


def save(content: Any, path: Path, *, zipped: bool = False) -> str:
    """Save the weights in the old format of the real file, which is not a zip. Return the SHA-256."""
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    return random_weights()


@pytest.fixture(scope="module")
def extract(weights: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Inception:
    path = tmp_path_factory.mktemp("inception") / "random.pth"
    return Inception(path, sha256=save(weights, path))


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.from_numpy(np.random.RandomState(1).randint(0, 256, (3, 3, 16, 20), np.uint8))


@pytest.fixture(scope="module")
def found(extract: Inception, images: Tensor) -> Tensor:
    return extract(images)


def test_features_are_finite_floats(found: Tensor) -> None:
    assert (found.shape, found.dtype, found.device.type) == ((3, 2048), torch.float32, "cpu")
    assert found.isfinite().all()


def test_features_are_those_that_torch_fidelity_0_4_0_gave(found: Tensor) -> None:
    norms = [[branch.norm().item() for branch in image.split([320, 768, 768, 192])] for image in found]
    assert norms == [  # recorded with the same weights; the last branch takes a maximum
        pytest.approx([252.9196, 395.0953, 401.3951, 284.4440], rel=1e-4),
        pytest.approx([255.3381, 399.0714, 404.6086, 287.2156], rel=1e-4),
        pytest.approx([253.8147, 396.8942, 402.8149, 286.6426], rel=1e-4),
    ]


def test_images_in_0_1_have_the_features_of_their_8_bits(extract: Inception, images: Tensor, found: Tensor) -> None:
    torch.testing.assert_close(extract((images[:1] + 0.4) / 255), found[:1], rtol=1e-4, atol=1e-4)


def test_features_do_not_depend_on_the_batch(
    extract: Inception, images: Tensor, found: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inception, "CHUNK", {"cpu": 1})
    torch.testing.assert_close(extract(images), found, rtol=1e-4, atol=1e-4)


def test_another_file_has_another_fingerprint(extract: Inception, weights: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "zipped.pth"
    assert Inception(path, sha256=save(weights, path, zipped=True)).fingerprint != extract.fingerprint


def test_nothing_is_drawn_from_the_global_generator(weights: dict[str, Tensor], tmp_path: Path) -> None:
    digest = save(weights, tmp_path / "random.pth")
    before = torch.get_rng_state()
    Inception(tmp_path / "random.pth", sha256=digest)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_grey_image_has_the_features_of_the_same_image_in_colour(extract: Inception) -> None:
    grey = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(extract(grey), extract(grey.repeat(1, 3, 1, 1)))


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 2, 16, 16), (2, 3, 15, 16)])
def test_images_of_another_shape_are_refused(extract: Inception, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="images must be"):
        extract(torch.zeros(shape))


def test_missing_file_is_named_and_the_right_one_too(tmp_path: Path) -> None:
    with pytest.raises(FeaturesError, match=rf"nowhere\.pth does not exist: get {FILE}"):
        Inception(tmp_path / "nowhere.pth")


def test_folder_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(FeaturesError, match=f"is not a file: get {FILE}"):
        Inception(tmp_path)


def test_wrong_file_is_refused_by_its_digest(tmp_path: Path) -> None:
    digest = save({}, tmp_path / "other.pth")
    with pytest.raises(FeaturesError, match=rf"other\.pth has SHA-256 {digest}, expected {SHA256}: get {FILE}"):
        Inception(tmp_path / "other.pth")


class Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("zipped", [True, False])
def test_pickle_that_runs_code_is_refused_unrun(tmp_path: Path, zipped: bool) -> None:
    path, mark = tmp_path / "bomb.pth", tmp_path / "exploded"
    digest = save({"fc.weight": Bomb(mark)}, path, zipped=zipped)
    with pytest.raises(FeaturesError, match="must hold the weights"):
        Inception(path, sha256=digest)
    assert not mark.exists()


@pytest.mark.parametrize("content", [b"", b"no weights at all", b"PK\x03\x04"])
def test_file_of_other_content_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "text.pth"
    path.write_bytes(content)
    with pytest.raises(FeaturesError, match="must hold the weights"):
        Inception(path, sha256=sha256(content).hexdigest())


def test_weights_of_another_network_are_refused(weights: dict[str, Tensor], tmp_path: Path) -> None:
    digest = save({name: weight for name, weight in weights.items() if name != "fc.bias"}, tmp_path / "less.pth")
    with pytest.raises(FeaturesError, match="must hold the weights"):
        Inception(tmp_path / "less.pth", sha256=digest)


def test_without_torch_fidelity_the_package_to_install_is_named(
    weights: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = save(weights, tmp_path / "random.pth")
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", None)
    with pytest.raises(FeaturesError, match=r"pip install 'tune_app\[fid\]'"):
        Inception(tmp_path / "random.pth", sha256=digest)
