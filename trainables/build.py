"""The run of a RunSpec."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from trainables.contract import ImageModel, Run, RunSpec
from trainables.model import MakeImageModel, Model
from trainables.plugin_code import entry_of


def build(spec: RunSpec) -> Run:
    """Return the run of a spec. Imports torch if the model needs it. Raise PluginError."""
    entry = entry_of(spec)
    if entry.run:
        run: Run = _function(entry.run)(spec)
        return run
    from trainables.training import image_run

    return image_run(spec, image_model_maker(entry))


def image_model_maker(entry: Model) -> MakeImageModel:
    """Return the function that builds the ImageModel of a model of images."""
    make: Callable[..., ImageModel] = _function(entry.image_model)
    return make


def _function(named: str | Callable[..., Any]) -> Callable[..., Any]:
    """Return a function, which may be given as `module:function`."""
    if not isinstance(named, str):
        return named
    module, name = named.split(":")
    function: Callable[..., Any] = getattr(import_module(module), name)
    return function
