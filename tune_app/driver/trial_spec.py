"""The specification of one trial, as its worker gets it."""

from collections.abc import Mapping

from search_spaces.distributions import Scalar
from trainables.catalog import MODELS
from trainables.contract import DataSpec, RunSpec
from tune_app.config.schema import SweepConfig
from tune_app.experiment.records import TrialRecord
from tune_app.plan import FINAL_SETTINGS, RUNG_SETTINGS


def trial_spec(config: SweepConfig, record: TrialRecord) -> RunSpec:
    """Return the run of a trial, with the trial's own seed."""
    return run_spec(config, record.params, seed=trial_seed(config.search.seed, record.number))


def trial_seed(seed: int, number: int) -> int:
    """Return a trial's seed. It depends on the sweep's seed and the trial's number alone."""
    return (seed * 1_000_003 + number * 7919 + 1) % 2**31


def run_spec(config: SweepConfig, params: Mapping[str, Scalar], *, seed: int) -> RunSpec:
    """Return the run of the given parameters; the others take their fixed or default values."""
    known = MODELS[config.model].parameters
    given = {**{name: item.default for name, item in known.items()}, **config.fixed, **params}
    training = {name: value for name, value in given.items() if known[name].stage == "training"}
    sampling = {name: value for name, value in given.items() if known[name].stage == "sampling"}
    return RunSpec(
        model=config.model,
        params=training,
        seed=seed,
        common_seed=config.search.seed,
        metric=config.metric.name,
        data=data_spec(config),
        samples=config.evaluation.samples,
        final_samples=config.evaluation.final_samples,
        nfe=config.evaluation.nfe,
        sampling=_settings(config, RUNG_SETTINGS, given, sampling),
        final_sampling=_settings(config, FINAL_SETTINGS, given, sampling),
        max_kimg=config.scheduler.max_kimg,
        plugins=MODELS.plugins_of(config.model),
    )


def data_spec(config: SweepConfig) -> DataSpec:
    """Return the images of an experiment. Only a retraining is evaluated on the test images."""
    return config.data.spec("test" if config.retraining else "held_out")


def _settings(
    config: SweepConfig, most: int, given: Mapping[str, Scalar], sampling: Mapping[str, Scalar]
) -> tuple[Mapping[str, Scalar], ...]:
    """Return the sampling settings that each evaluation tries: those that suit the network."""
    tried = ({**sampling, **setting} for setting in config.space.sampling_grid(most, given))
    return tuple(setting for setting in tried if MODELS[config.model].can_sample(given, setting))


def threads(config: SweepConfig) -> int:
    """Return the number of threads of a trial: one for each of its CPUs."""
    return max(1, int(config.resources.cpu))
