"""Check a model against the contract, with a few small trainings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

from pydantic import JsonValue

from trainables import plugin_code
from trainables.catalog import MODELS
from trainables.contract import DataError, PluginError, RunSpec
from trainables.model import Model
from tune_app.config.checks import nearest
from tune_app.config.model_parameters import data_spec, model_parameters
from tune_app.errors import InputError, first_line

BATCH, SAMPLES, NFE = 16, 64, 20
KIMG = 1.0


@dataclass(frozen=True)
class Checked:
    """The outcome of one check."""

    check: str
    """The rule, as a sentence."""
    passed: bool
    message: str = ""
    """The reason why it did not pass."""

    def as_json(self) -> dict[str, JsonValue]:
        """Return the JSON object."""
        return asdict(self)

    def line(self) -> str:
        """Return the outcome as text."""
        return f"ok    {self.check}" if self.passed else f"FAIL  {self.check}: {self.message}"


def known_model(name: str) -> Model:
    """Return a model of the catalog or of an installed package. Raise InputError."""
    try:
        if name in MODELS or plugin_code.add_installed(name):
            return MODELS[name]
    except PluginError as error:
        raise InputError(str(error)) from None
    hint = f"{nearest(name, [*MODELS])}; --models FILE adds the models of a file"
    raise InputError(f"{name}: there is no such model", hint=hint)


def check_model(name: str, sets: Mapping[str, str], data: str, resolution: int) -> Iterator[Checked]:
    """Yield the outcome of each check of a model. Raise InputError if there is no such model, parameter or data."""
    entry = known_model(name)
    params = model_parameters(name, sets)
    if "batch_size" in params and "batch_size" not in sets:
        params["batch_size"] = BATCH
    sampling = {key: value for key, value in params.items() if entry.parameters[key].stage == "sampling"}
    spec = RunSpec(
        model=name,
        params={key: value for key, value in params.items() if key not in sampling},
        seed=0,
        metric=next(iter(entry.metrics)),
        data=data_spec(name, data, {"resolution": resolution}),
        samples=SAMPLES,
        final_samples=SAMPLES,
        nfe=NFE,
        sampling=(sampling,),
        final_sampling=(sampling,),
        max_kimg=KIMG,
    )
    from trainables import contract_checks
    from trainables.build import build

    images = int(params.get("batch_size", BATCH))
    subject = contract_checks.Subject(entry, spec, build, images)
    plugins = MODELS.plugins_of(name)
    for check in contract_checks.checks(entry):
        sentence = check.__name__.replace("_", " ")
        try:
            check(subject)
            yield Checked(sentence, passed=True)
        except contract_checks.BrokenContractError as error:
            yield Checked(sentence, passed=False, message=str(error))
        except DataError as error:
            raise InputError(f"--data {data}: {error}") from None
        except Exception as error:
            where = plugin_code.where_it_failed(plugins, error) if plugins else first_line(error)
            yield Checked(sentence, passed=False, message=where)
