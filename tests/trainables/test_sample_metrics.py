"""Sample metrics: the trained features, their cache, and the values of known samples."""

from __future__ import annotations

import pickle
from dataclasses import replace
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from trainables import sample_metrics
from trainables.contract import DataSpec, FeaturesError
from trainables.data import ImageData, load
from trainables.metrics import Reference, cnn, features, kid, randconv
from trainables.metrics.frechet import frechet_distance, moments
from trainables.metrics.kid import NO_UNIT, Unit
from trainables.sample_metrics import Measure, SampleMetrics, blurred, build_sample_metrics, mean_distance

CPU = torch.device("cpu")
REFERENCE = 1000


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def coloured(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return noise with one brighter channel, and the channel's number."""
    generator = seeded(seed)
    labels = torch.randint(3, (count,), generator=generator)
    images = torch.randint(150, (count, 3, 16, 16), generator=generator)
    images[torch.arange(count), labels] += 105
    return images.byte(), labels


def coloured_data(classes: tuple[str, ...] = ("red", "green", "blue"), count: int = 300) -> ImageData:
    train, labels = coloured(count, seed=0)
    held_out, held_labels = coloured(200, seed=1)
    return ImageData(
        train, labels, held_out, held_labels, held_out, held_labels, classes, mean=0.45, variance=0.06, fingerprint="c"
    )


@pytest.fixture(autouse=True)
def cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Use an empty cache folder, a training of a second or less, and few corrupted images."""
    path = folder / "cache"
    path.mkdir()
    monkeypatch.setenv("TUNE_APP_CACHE", str(path))
    monkeypatch.setattr(cnn, "IMAGES", 300)
    monkeypatch.setattr(sample_metrics, "CORRUPTED_IMAGES", 200)
    return path


@pytest.fixture(scope="module")
def shapes(shapes_cache: Path) -> ImageData:
    return load(DataSpec("shapes", 16), shapes_cache)


@pytest.fixture(scope="module")
def both(shapes: ImageData) -> SampleMetrics:
    """Return the sample metrics of the shapes on both feature sets. The trained one saw two epochs of 3,000 images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cnn, "IMAGES", 6000)
        found = cnn.train(shapes.train[:3000], shapes.train_factors[:3000], CPU)  # type: ignore[index]
        return build_sample_metrics(shapes, "randconv", saved=found.dump())


# the classifier


def test_features_learn_an_easy_question(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cnn, "IMAGES", 1200)
    data = coloured_data()
    found = cnn.train(data.train, data.train_labels[:, None], CPU)
    assert found.accuracy(data.held_out, data.held_out_labels[:, None])[0] > 0.9
    shape = found(data.held_out)
    assert (shape.shape, shape.dtype) == ((200, cnn.DIMENSIONS), torch.float32)
    assert shape.isfinite().all()


def test_each_column_of_targets_is_a_question_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cnn, "IMAGES", 1200)
    data = coloured_data()
    targets = torch.stack([data.train_labels, torch.arange(300) % 5], dim=1)
    found = cnn.train(data.train, targets, CPU)
    assert found.network.sizes == [3, 5]
    colour, nothing = found.accuracy(data.held_out, torch.stack([data.held_out_labels, torch.arange(200) % 5], dim=1))
    assert colour > 0.9
    assert nothing < 0.5


def test_two_trainings_are_one_and_leave_the_global_generator_alone() -> None:
    data = coloured_data()
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = cnn.train(data.train, data.train_labels[:, None], CPU)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    second = cnn.train(data.train, data.train_labels[:, None], CPU)
    assert first.fingerprint == second.fingerprint
    assert torch.equal(first(data.held_out), second(data.held_out))


def test_other_images_or_labels_give_another_fingerprint() -> None:
    data = coloured_data()
    labels = data.train_labels[:, None]
    found = {
        cnn.train(images, targets, CPU).fingerprint
        for images, targets in ((data.train, labels), (data.train, (labels + 1) % 3), (data.train.flip(3), labels))
    }
    assert len(found) == 3


def test_what_is_dumped_loads_to_the_same_features() -> None:
    data = coloured_data()
    found = cnn.train(data.train, data.train_labels[:, None], CPU)
    again = cnn.Cnn.load(found.dump())
    assert again.fingerprint == found.fingerprint
    assert torch.equal(again(data.held_out), found(data.held_out))
    assert again.accuracy(data.held_out, data.held_out_labels[:, None]) == found.accuracy(
        data.held_out, data.held_out_labels[:, None]
    )


def untrained() -> cnn.Cnn:
    return cnn.Cnn(cnn._Classifier([3]))


class Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def saved(content: Any) -> bytes:
    file = BytesIO()
    torch.save(content, file)
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no weights at all",
        b"PK\x03\x04",
        saved([]),
        saved({"sizes": [3]}),
        saved({"sizes": [3], "weights": {}}),
        saved({"sizes": "abc", "weights": {}}),
        saved({"sizes": [4], "weights": untrained().network.state_dict()}),
        untrained().dump()[:-100],
    ],
    ids=["nothing", "text", "half a zip", "a list", "no weights", "empty", "no sizes", "another head", "cut off"],
)
def test_what_is_no_dump_is_refused(content: bytes) -> None:
    with pytest.raises(FeaturesError, match="cnn features cannot be read"):
        cnn.Cnn.load(content)


@pytest.mark.parametrize("zipped", [True, False])
def test_pickle_that_runs_code_is_refused_unrun(tmp_path: Path, zipped: bool) -> None:
    mark = tmp_path / "exploded"
    bomb = {"sizes": [3], "weights": Bomb(mark)}
    content = saved(bomb) if zipped else pickle.dumps(bomb)
    with pytest.raises(FeaturesError):
        cnn.Cnn.load(content)
    assert not mark.exists()


def test_features_depend_neither_on_the_batch_nor_on_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    images, found = coloured(90, seed=4)[0], untrained()
    whole = found(images)
    torch.testing.assert_close(torch.cat([found(image[None]) for image in images]), whole, rtol=1e-5, atol=1e-6)
    order = torch.randperm(90, generator=seeded(0))
    torch.testing.assert_close(found(images[order]), whole[order], rtol=1e-5, atol=1e-6)
    monkeypatch.setattr(cnn, "CHUNK", {"cpu": 7})
    torch.testing.assert_close(found(images), whole, rtol=1e-5, atol=1e-6)


def test_bytes_and_fractions_give_the_same_features_whatever_autocast_says() -> None:
    images, found = coloured(10, seed=4)[0], untrained()
    plain = found(images)
    assert torch.equal(found(images.float() / 255), plain)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(found(images), plain)


# which features


def test_auto_takes_the_trained_features_where_there_are_labels() -> None:
    labelled = build_sample_metrics(coloured_data(), "auto")
    assert list(labelled.fingerprints) == ["cnn", "randconv"]
    assert labelled.fingerprints["randconv"] == randconv.fingerprint()
    unlabelled = build_sample_metrics(coloured_data(classes=("all",)), "auto")
    assert list(unlabelled.fingerprints) == ["randconv"]
    assert unlabelled.cnn == b""


def test_the_other_set_stands_beside_where_there_are_labels() -> None:
    data = coloured_data()
    samples = coloured(60, seed=5)[0]
    alone = build_sample_metrics(coloured_data(classes=("all",)), "randconv").measure(samples).metrics
    assert "kid_alt" not in alone
    assert "kid_alt_stderr" not in alone
    first, second = (
        build_sample_metrics(data, "cnn").measure(samples).metrics,
        build_sample_metrics(data, "randconv").measure(samples).metrics,
    )
    assert first["kid"] == pytest.approx(second["kid_alt"])
    assert first["kid_alt"] == pytest.approx(second["kid"])
    assert first["kid_alt_stderr"] == pytest.approx(second["kid_stderr"])
    assert alone["kid"] == second["kid"]


def test_trained_features_without_labels_are_refused() -> None:
    with pytest.raises(FeaturesError, match="needs images of two classes or more; use randconv"):
        build_sample_metrics(coloured_data(classes=("all",)), "cnn")


def test_labels_that_are_factors_are_what_it_learns() -> None:
    factors = torch.stack([torch.arange(300) % 4, torch.arange(300) % 2], dim=1)
    found = cnn.Cnn.load(
        build_sample_metrics(replace(coloured_data(), train_factors=factors, fingerprint="f"), "cnn").cnn
    )
    assert found.network.sizes == [4, 2]


# where they are kept


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record the number of images of each training from here on."""
    counts: list[int] = []
    train = cnn.train

    def counted(images: Tensor, targets: Tensor, device: torch.device) -> cnn.Cnn:
        counts.append(len(images))
        return train(images, targets, device)

    monkeypatch.setattr(cnn, "train", counted)
    return counts


def test_one_training_serves_all_later_ones_of_the_same_data(cache: Path, trainings: list[int]) -> None:
    first, second = build_sample_metrics(coloured_data(), "cnn"), build_sample_metrics(coloured_data(), "auto")
    assert trainings == [300]
    assert first.fingerprints == second.fingerprints
    assert len([*cache.glob("cnn-*.pt")]) == 1
    assert not [path for path in cache.iterdir() if path.suffix not in (".pt", ".lock")], "a part is left behind"
    build_sample_metrics(replace(coloured_data(), fingerprint="other images"), "cnn")
    assert len(trainings) == 2


@pytest.mark.parametrize("damage", [b"", b"no weights at all", saved({"sizes": [3], "weights": {}})])
def test_a_damaged_file_is_trained_anew(cache: Path, trainings: list[int], damage: bytes) -> None:
    first = build_sample_metrics(coloured_data(), "cnn")
    (file,) = cache.glob("cnn-*.pt")
    file.write_bytes(damage)
    second = build_sample_metrics(coloured_data(), "cnn")
    assert len(trainings) == 2
    assert second.fingerprints == first.fingerprints
    assert cnn.Cnn.load(file.read_bytes()).fingerprint == first.fingerprints["cnn"]


def test_another_recipe_is_not_read_from_the_cache(trainings: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    build_sample_metrics(coloured_data(), "cnn")
    monkeypatch.setattr(cnn, "RECIPE", "cnn of another day")
    build_sample_metrics(coloured_data(), "cnn")
    assert len(trainings) == 2


def test_weights_that_a_sweep_began_with_are_taken_and_nothing_is_trained(cache: Path, trainings: list[int]) -> None:
    began = build_sample_metrics(coloured_data(), "cnn")
    trainings.clear()
    for file in cache.glob("cnn-*"):
        file.unlink()
    later = build_sample_metrics(coloured_data(), "cnn", saved=began.cnn)
    assert trainings == []
    assert later.fingerprints == began.fingerprints
    samples = coloured(50, seed=6)[0]
    assert later.measure(samples) == began.measure(samples)


def test_weights_of_a_sweep_that_are_damaged_are_refused_and_not_replaced(trainings: list[int]) -> None:
    with pytest.raises(FeaturesError):
        build_sample_metrics(coloured_data(), "cnn", saved=b"damaged")
    assert trainings == []


# numbers


def test_real_images_are_at_no_distance_and_as_diverse_as_real_ones(both: SampleMetrics, shapes: ImageData) -> None:
    found = both.measure(shapes.test[:800]).metrics
    assert set(found) == {"kid", "kid_stderr", "kid_blurs", "kid_alt", "kid_alt_stderr", "fd", "diversity"}
    assert abs(found["kid"]) < 3 * found["kid_stderr"]
    assert abs(found["kid_alt"]) < 3 * found["kid_alt_stderr"]
    assert abs(found["kid_blurs"]) < 0.1
    assert found["diversity"] == pytest.approx(1, abs=0.02)
    assert 0 < found["fd"] < 10


def test_kid_and_fd_are_those_of_the_features_to_the_held_out_images(both: SampleMetrics, shapes: ImageData) -> None:
    samples = blurred(shapes.test[:300])
    found = both.measure(samples).metrics
    real = features(shapes.held_out[:REFERENCE])
    value, stderr = kid(features(samples), Reference(real))[:2]
    assert (found["kid"], found["kid_stderr"]) == (pytest.approx(value), pytest.approx(stderr))
    assert found["fd"] == pytest.approx(frechet_distance(moments(real), moments(features(samples))))
    trained = cnn.Cnn.load(both.cnn)
    other = kid(trained(samples), Reference(trained(shapes.held_out[:REFERENCE])))
    assert (found["kid_alt"], found["kid_alt_stderr"]) == (pytest.approx(other.value), pytest.approx(other.stderr))


def test_kid_counts_in_blurs_of_real_images(both: SampleMetrics, shapes: ImageData) -> None:
    found = both.measure(blurred(shapes.test[:800])).metrics
    assert found["kid_blurs"] == pytest.approx(1, abs=0.3)
    assert found["kid_blurs"] == pytest.approx(found["kid"] / both.main.blurred)


def test_that_unit_does_not_hang_on_how_many_images_are_held_out(shapes: ImageData) -> None:
    """An image and its own blur are alike. With 30 such images the unit would be small or even negative."""
    few = [Measure(randconv.RandConv(), part).blurred for part in torch.split(shapes.held_out[:1000], 100)]
    apart = kid(features(blurred(shapes.train[:1000])), Reference(features(shapes.held_out[:1000]))).value
    assert sum(few) / len(few) == pytest.approx(apart, rel=0.25)


def test_a_blur_is_the_mean_of_the_neighbourhood_and_keeps_a_flat_image() -> None:
    flat = torch.full((2, 3, 5, 5), 77, dtype=torch.uint8)
    assert torch.equal(blurred(flat), flat)
    dot = torch.zeros(1, 1, 5, 5, dtype=torch.uint8)
    dot[0, 0, 2, 2] = 90
    expected = torch.zeros(1, 1, 5, 5, dtype=torch.uint8)
    expected[0, 0, 1:4, 1:4] = 10
    assert torch.equal(blurred(dot), expected)


def test_diversity_is_that_of_the_samples(both: SampleMetrics, shapes: ImageData) -> None:
    near_constant = shapes.test[:1].repeat(200, 1, 1, 1).int() + torch.randint(-3, 4, (200, 3, 16, 16))
    few = shapes.test[:2].repeat(100, 1, 1, 1)
    assert both.measure(near_constant.clamp(0, 255).byte()).metrics["diversity"] < 0.2
    expected = float((shapes.test[0].float() - shapes.test[1].float()).norm()) / 255 * 100 / 199 / both.spread
    half = both.measure(few).metrics["diversity"]
    assert half == pytest.approx(expected, abs=0.01)  # half of all pairs, and a few more


def test_mean_distance_is_the_mean_over_pairs() -> None:
    images = torch.randint(256, (40, 3, 4, 4), generator=seeded(0)).byte()
    flat = images.flatten(1).double() / 255
    pairs = [float((flat[i] - flat[j]).norm()) for i in range(40) for j in range(i)]
    assert mean_distance(images) == pytest.approx(sum(pairs) / len(pairs), rel=1e-4)


@pytest.mark.parametrize("count", [400, 333])
def test_order_of_samples_changes_nothing(both: SampleMetrics, shapes: ImageData, count: int) -> None:
    noisy = shapes.test[:count].float() / 255 + 0.05 * torch.randn(count, 3, 16, 16, generator=seeded(0))
    samples = (noisy.clamp(0, 1) * 255).round().byte()
    plain = both.measure(samples).metrics
    for order in (torch.randperm(count, generator=seeded(1)), torch.arange(count).flip(0)):
        shuffled = both.measure(samples[order]).metrics
        assert set(shuffled) == set(plain)
        for name, value in plain.items():
            assert shuffled[name] == pytest.approx(value, rel=1e-9, abs=1e-9), name


def test_measuring_twice_gives_the_same_numbers(both: SampleMetrics, shapes: ImageData) -> None:
    assert both.measure(shapes.test[:100]) == both.measure(shapes.test[:100])


def noisy(images: Tensor, sd: float) -> Tensor:
    x = images.float() / 255 + sd * torch.randn(images.shape, generator=seeded(0))
    return (x.clamp(0, 1) * 255).round().byte()


def box(images: Tensor, size: int) -> Tensor:
    padded = F.pad(images.float(), (size // 2,) * 4, mode="reflect")
    return F.avg_pool2d(padded, size, stride=1).round().byte()


def test_every_distance_grows_with_noise_and_with_blur(both: SampleMetrics, shapes: ImageData) -> None:
    real = shapes.test[:400]
    by_noise = [both.measure(noisy(real, sd)).metrics for sd in (0.02, 0.05, 0.1)]
    by_blur = [both.measure(box(real, size)).metrics for size in (3, 5, 7)]
    for name in ("kid", "kid_alt", "fd"):
        for smaller, larger in [*pairwise(by_noise), *pairwise(by_blur)]:
            assert larger[name] > smaller[name], name
    for name in ("kid", "kid_alt"):
        assert by_noise[2][name] > 3 * by_noise[2][f"{name}_stderr"]
        assert by_blur[0][name] > 3 * by_blur[0][f"{name}_stderr"]


def test_the_re_evaluation_has_the_other_half_of_the_held_out_images_in_the_same_unit(shapes: ImageData) -> None:
    found = build_sample_metrics(shapes)
    samples = blurred(shapes.train[:300])
    first, second = features(shapes.held_out[:1000]), features(shapes.held_out[1000:])
    assert found.measure(samples).metrics["kid"] == pytest.approx(kid(features(samples), Reference(first)).value)
    assert found.fresh
    expected = kid(features(samples), Reference(second, Unit.of(first))).value
    assert found.fresh.measure(samples).metrics["kid"] == pytest.approx(expected)
    assert (found.part, found.fresh.part, found.compared) == ("first_half", "second_half", 1000)
    for part, half in (("first_half", slice(1000)), ("second_half", slice(1000, None))):
        images, factors = shapes.part(part)  # type: ignore[arg-type]
        assert torch.equal(images, shapes.held_out[half])
        assert factors is not None
        assert shapes.factors is not None
        assert torch.equal(factors, shapes.factors[half])


def test_few_held_out_images_are_all_used_for_both() -> None:
    data = coloured_data()
    few = replace(data, held_out=data.held_out[:40], fingerprint="few")
    found = build_sample_metrics(few)
    assert (found.part, found.fresh, found.compared) == ("held_out", None, 40)


def test_an_older_experiment_keeps_its_2000_held_out_images_for_both(shapes: ImageData) -> None:
    more = replace(shapes, held_out=torch.cat([shapes.held_out, shapes.test[:50]]))
    found = build_sample_metrics(more, version=1)
    assert found.fresh is None
    samples = shapes.test[:300]
    expected = kid(features(samples), Reference(features(shapes.held_out))).value
    assert found.measure(samples).metrics["kid"] == pytest.approx(expected)
    assert build_sample_metrics(more).measure(samples).metrics["kid"] != pytest.approx(expected)


@pytest.mark.usefixtures("pretended")
@pytest.mark.parametrize("version", [1, 2])
def test_inception_features_are_standardised_in_older_experiments_only(version: int, shapes: ImageData) -> None:
    samples, net = shapes.test[:100], Pretended(Path())
    found = build_sample_metrics(shapes, "inception:some/file.pth", version=version).measure(samples).metrics["kid"]
    unit, real = (None, shapes.held_out) if version == 1 else (NO_UNIT, shapes.held_out[:1000])
    assert found == pytest.approx(kid(net(samples), Reference(net(real), unit)).value)


# FID


class Pretended:
    """Stands in for Inception. Returns the first columns of the weight-free features."""

    name, fingerprint = "inception", "f" * 64

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, images: Tensor) -> Tensor:
        return features(images)[:, :12]


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_metrics, "Inception", Pretended)
    monkeypatch.setattr(sample_metrics, "FID_IMAGES", 50)


@pytest.mark.usefixtures("pretended")
def test_fid_is_the_distance_to_all_training_images_at_the_conventions_number() -> None:
    data = coloured_data(classes=("all",))
    found = build_sample_metrics(data, "inception:some/file.pth", fid=True)
    assert list(found.fingerprints) == ["inception", "randconv"]
    samples = coloured(60, seed=7)[0]
    numbers = found.measure(samples).metrics
    net = Pretended(Path())
    everything = moments(net(torch.cat([data.train, data.held_out])))
    assert numbers["fid"] == pytest.approx(frechet_distance(everything, moments(net(samples))))
    assert numbers["fd"] == pytest.approx(frechet_distance(moments(net(data.held_out[:100])), moments(net(samples))))
    assert "fid" not in found.measure(samples[:49]).metrics
    assert "fid" in found.measure(samples[:50]).metrics


@pytest.mark.usefixtures("pretended")
def test_no_other_features_and_no_sweep_earn_that_name() -> None:
    samples = coloured(60, seed=7)[0]
    assert "fid" not in build_sample_metrics(coloured_data(), "inception:some/file.pth").measure(samples).metrics
    for name in ("cnn", "randconv", "auto"):
        assert "fid" not in build_sample_metrics(coloured_data(), name, fid=True).measure(samples).metrics


@pytest.mark.usefixtures("pretended")
def test_the_path_of_inception_is_the_users_and_labels_put_the_trained_features_beside_it() -> None:
    found = build_sample_metrics(coloured_data(), "inception:~/a:b.pth")
    assert found.main.features.path == Path.home() / "a:b.pth"  # type: ignore[attr-defined]
    assert list(found.fingerprints) == ["inception", "cnn"]
    assert found.main.label == "inception ffffffffffff"


def test_the_convention_is_fifty_thousand() -> None:
    assert sample_metrics.FID_IMAGES == 50_000
