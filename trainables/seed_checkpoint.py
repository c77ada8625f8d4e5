"""Checkpoints of the reference project, read as weights of our networks."""

import pickle
import re
import stat
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.beta_vae.task import BetaVae
from trainables.catalog import MODELS
from trainables.checkpoint import MALFORMED, UNREADABLE, CheckpointError, refuse_zip_bomb
from trainables.contract import Scalar
from trainables.ncsn.task import Ncsn
from trainables.ncsn.unet import FREQUENCIES

GROUPS = 32
SCALAR = np.float64(0).__reduce__()[0]
NUMPY_SCALARS: list[Any] = [
    (SCALAR, "numpy.core.multiarray.scalar"),  # as NumPy 1 wrote it
    (SCALAR, "numpy._core.multiarray.scalar"),
    np.dtype,
    *{type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?")},
]
"""Types that a file may hold beside tensors, for instance for its best loss. Unpickling them runs no code."""
SETTINGS: Mapping[str, Mapping[str, Scalar]] = {
    "ncsn": {
        "sigma_begin": 1.0,
        "sigma_end": 0.01,
        "num_scales": 50,
        "arch": "unet",
        "groups": GROUPS,
        "network": 2,
        "conditioning": "sigma",
        "input_scaling": False,
    },
    "beta_vae": {"network": 2, "beta": 1.0, "likelihood": "gaussian", "kl_warmup_kimg": 0.0},
}
"""Settings of the reference that its weights do not show."""
BEFORE_NORMS: Mapping[str, Mapping[str, Scalar]] = {"ncsn": {"network": 0}, "beta_vae": {"network": 0, "beta": 4.0}}
"""Settings of the reference before its networks had normalisation, where they differ."""
KNOWN = "known are its U-Net (with embed.W) and its VAE (with encoder.fc_mu.weight), with and without normalisation"
UNET = {
    "backbone.conv_in": "conv_in",
    **{
        f"backbone.{ours}.{part}": f"{theirs}.{index}"
        for ours, theirs in {
            "down1": "down1",
            "down2": "down2",
            "down3": "down3",
            "up3": "up1",  # we number by resolution, the reference by the order of the pass
            "up2": "up2",
            "up1": "up3",
        }.items()
        for part, index in {"conv": "0", "shift": "1.dense", "norm": "2"}.items()
    },
    "backbone.conv_out": "conv_out",
}
VAE = {
    **{f"encoder.{3 * layer}": f"encoder.conv{layer + 1}" for layer in range(4)},
    **{f"encoder.{3 * layer + 1}": f"encoder.bn{layer + 1}" for layer in range(4)},
    "encoder.13": "encoder.fc",
    "mean": "encoder.fc_mu",
    "log_variance": "encoder.fc_log_var",
    "decoder.0": "decoder.fc",
    "decoder.2": "decoder.fc2",
    **{f"decoder.{3 * layer + 5}": f"decoder.deconv{layer + 1}" for layer in range(4)},
    **{f"decoder.{3 * layer + 6}": f"decoder.bn{layer + 1}" for layer in range(3)},
}
"""Our modules and the corresponding ones of the reference."""

AVERAGED = ("ema_state_dict", "model_ema", "ema_model", "state_dict_ema", "ema")
WRAPPERS = (*AVERAGED, "model_state_dict", "state_dict", "model", "net", "network")
"""Keys under which training loops save weights. Averaged weights are preferred, because samples are drawn with them."""
PREFIXES = ("module.", "_orig_mod.")
"""Prefixes that DataParallel and torch.compile put before the names."""
Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class SeedNetwork:
    """A network of the reference project."""

    model: str
    """`ncsn` or `beta_vae`."""
    params: dict[str, Scalar]
    """Sizes from the weights, and the reference's settings for the rest."""
    weights: dict[str, Tensor]
    """State dict of our network with these params."""
    key: str = ""
    """Key of the weights in the file, if they are wrapped."""

    @property
    def averaged(self) -> bool:
        """True if the weights are averages over the training."""
        return self.key in AVERAGED

    def load_into(self, network: nn.Module) -> nn.Module:
        """Load the weights into `network`, built with `params`."""
        network.load_state_dict(self.weights)
        return network


def read(path: Path) -> SeedNetwork:
    """Return the network in a checkpoint or bare state dict of the reference. Raise CheckpointError."""
    path = Path(path)
    key, tensors, others = _tensors(path)
    try:
        found = _identify(tensors, others)
        return replace(found, key=key, params={**found.params, **_bound(found.model, path.name)})
    except _UnfitError as error:
        raise CheckpointError(f"{path}: {error}") from error


class _UnfitError(Exception):
    """The file's tensors do not match any network of the reference project."""


def _identify(tensors: Tensors, others: list[str]) -> SeedNetwork:
    if "embed.W" in tensors:
        width = _size(tensors, "conv_in.weight")
        normed = any(re.match(r"(up|down)\d\.2\.", name) for name in tensors)
        if normed and width % GROUPS:
            raise _UnfitError(f"a width of {width} is not the reference's: its GroupNorm has {GROUPS} groups")
        names = {"backbone.embedding.frequencies": "embed.W", **_leaves(UNET)}
        return _fitted("ncsn", {"width": width, **({} if normed else BEFORE_NORMS["ncsn"])}, _padded(tensors), names)
    if "encoder.fc_mu.weight" in tensors:
        sizes: dict[str, Scalar] = {
            "width": _size(tensors, "encoder.conv1.weight"),
            "latent_dim": _size(tensors, "encoder.fc_mu.weight"),
        }
        normed = any(name.startswith(("encoder.bn", "decoder.bn")) for name in tensors)
        return _fitted("beta_vae", {**sizes, **({} if normed else BEFORE_NORMS["beta_vae"])}, tensors, _leaves(VAE))
    raise _UnfitError(f"not a known network of the reference: {_description(tensors, others)}; {KNOWN}")


def _bound(model: str, name: str) -> dict[str, Scalar]:
    """Return the settings of an IWAE. Its weights are those of a Beta-VAE, so only the name of its file tells.

    The reference halves the squared error, which is a beta of 2 in units of the whole one.
    """
    if model != "beta_vae" or "iwae" not in name.lower():
        return {}
    samples = re.search(r"k_?(\d{1,3})", name.lower())
    return {"bound": "iwae", "beta": 2.0, **({"k": int(samples[1])} if samples else {})}


def _fitted(model: str, sizes: Mapping[str, Scalar], tensors: Tensors, names: Mapping[str, str]) -> SeedNetwork:
    """Return `tensors` under our names (`names` maps ours to theirs). Raise _UnfitError if a shape is wrong."""
    params: dict[str, Scalar] = {**SETTINGS[model], **sizes}
    for name, parameter in MODELS[model].parameters.items():
        if name in params and (complaint := parameter.complaint(params[name])):
            raise _UnfitError(f"{name} {complaint}")
    expected = _network(model, params).state_dict()
    theirs = {ours: names[ours] for ours in expected}
    for ours, weight in expected.items():
        name = theirs[ours]
        if name not in tensors:
            raise _UnfitError(f"{name!r:.80} is missing")
        got = tensors[name]
        if got.shape != weight.shape or got.dtype.is_floating_point != weight.dtype.is_floating_point:
            shapes = f"{tuple(got.shape)} of {got.dtype}, not {tuple(weight.shape)} of {weight.dtype}"
            raise _UnfitError(f"{name!r:.80} does not fit: {shapes}")
    if foreign := [name for name in tensors if name not in theirs.values()]:
        raise _UnfitError(f"{foreign[0]!r:.80} does not belong to a {model} of this width")
    weights = {ours: tensors[name].detach() for ours, name in theirs.items()}
    return SeedNetwork(model, params, weights)


def _network(model: str, params: Mapping[str, Scalar]) -> nn.Module:
    """Return our network, with no memory allocated for its weights."""
    with torch.device("meta"):
        if model == "ncsn":
            return Ncsn(params, mean=0.0, variance=1.0).network
        return BetaVae(params).network


def _leaves(modules: Mapping[str, str]) -> dict[str, str]:
    """Return a map from our tensor names to the reference's, with the statistics of norm layers."""
    leaves = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    return {f"{ours}.{leaf}": f"{theirs}.{leaf}" for ours, theirs in modules.items() for leaf in leaves}


def _padded(tensors: Tensors) -> dict[str, Tensor]:
    """Return the tensors with the frequencies padded from width / 2 to our number. Added ones get zero weights."""
    padded, count = dict(tensors), tensors["embed.W"].numel()
    room = FREQUENCIES - count
    if tensors["embed.W"].dim() != 1 or room <= 0:
        return padded
    padded["embed.W"] = F.pad(tensors["embed.W"], (0, room))
    for theirs in UNET.values():
        name = f"{theirs}.weight"
        if theirs.endswith(".dense") and name in tensors and tensors[name].shape[1:] == (2 * count,):
            sin, cos = tensors[name][:, :count], tensors[name][:, count:]
            padded[name] = torch.cat([F.pad(sin, (0, room)), F.pad(cos, (0, room))], 1)
    return padded


def _size(tensors: Tensors, name: str) -> int:
    """Return the number of outputs of the layer `name`."""
    if name not in tensors or not tensors[name].dim():
        raise _UnfitError(f"{name!r} is missing or not the weight of a layer")
    return len(tensors[name])


def _tensors(path: Path) -> tuple[str, dict[str, Tensor], list[str]]:
    """Return the key of the weights in `path`, the weights in float32, and the names of all other entries."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise CheckpointError(f"{path} is not a regular file")
        content = _load(path)
        size = path.stat().st_size
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is missing") from error
    except pickle.UnpicklingError as error:
        refused = re.search(r"GLOBAL (\S+)", str(error))
        why = f"it refers to {refused[1]:.80}" if refused else "its pickle is damaged"
        raise CheckpointError(f"{path} holds more than weights, and nothing in it was run: {why}") from error
    except (OSError, *MALFORMED, *UNREADABLE) as error:
        raise CheckpointError(f"{path} is not a checkpoint of torch: {str(error) or repr(error):.200}") from error
    key, state = _wrapped(content)
    tensors = {name: value for name, value in state.items() if isinstance(name, str) and _plain(value)}
    if sum(tensor.nbytes for tensor in tensors.values()) > size:
        raise CheckpointError(f"{path}: its tensors need more bytes than the file has, so it is damaged")
    others = [str(name) for name in state if name not in tensors]
    while tensors and (prefix := next((p for p in PREFIXES if all(name.startswith(p) for name in tensors)), "")):
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    halves = (torch.float16, torch.bfloat16)
    return key, {name: t.float() if t.dtype in halves else t for name, t in tensors.items()}, others


def _wrapped(content: object) -> tuple[str, dict[Any, Any]]:
    """Return the state dict in the content of a file, and its key if it is wrapped."""
    if not isinstance(content, dict):
        return "", {}
    for key in WRAPPERS:
        state = content.get(key)
        if isinstance(state, dict) and isinstance(state.get("shadow"), dict):
            state = state["shadow"]
        if isinstance(state, dict) and any(_plain(value) for value in state.values()):
            return key, state
    state = content.get("model_state_dict", content)
    return "", state if isinstance(state, dict) else {}


def _load(path: Path) -> Any:
    refuse_zip_bomb(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings about formats that are refused below
        with torch.serialization.safe_globals(NUMPY_SCALARS):
            return torch.load(path, map_location="cpu", weights_only=True)


def _plain(value: object) -> bool:
    """Return True if `value` is a dense tensor in CPU memory."""
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
    )


def _description(tensors: Tensors, others: list[str]) -> str:
    if not tensors:
        return f"no tensors, but {', '.join(f'{name:.40}' for name in others[:3]) or 'nothing'}"
    names = ", ".join(f"{name!r:.60}" for name in list(tensors)[:3])
    return f"{len(tensors)} tensor{'s' * (len(tensors) > 1)}, the first {names}"
