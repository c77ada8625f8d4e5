"""SweepConfig: every key of a space file, with its default and its meaning."""

from math import log
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PrivateAttr,
    ValidationInfo,
    field_validator,
    model_validator,
)
from typing_extensions import Self

from search_spaces.distributions import Distribution, Plain, Scalar
from search_spaces.space import Space
from trainables.catalog import MODELS, sign
from tune_app.config import checks, values
from tune_app.config.block import Block
from tune_app.config.data import DataConfig
from tune_app.config.retraining_config import RetrainingConfig
from tune_app.config.rung_ladder import MOST_RUNGS, rung_ladder

LEAST_SHARE = 0.125
"""Smallest share of a GPU. `gpu: auto` runs at most eight trials on one GPU."""
RESUMED = "resumed"
"""Context of the validation of an experiment's own configuration, which an earlier version may have written."""


class MetricConfig(Block):
    """The number that the sweep optimises."""

    name: str
    """A metric of the model; `kid` means the same for every trial."""
    goal: Literal["minimize", "maximize"] = Field(default_factory=lambda data: _natural_goal(data.get("name")))
    """minimize or maximize. The default is the right one for the metric."""


def _natural_goal(metric: Any) -> Literal["minimize", "maximize"]:
    return "maximize" if isinstance(metric, str) and sign(metric) < 0 else "minimize"


class SearchConfig(Block):
    """How trials are proposed."""

    sampler: Literal["tpe", "random", "grid", "gp", "cmaes"] = "tpe"
    """Optuna's sampler."""
    trials: int = Field(default=40, ge=1, le=1_000_000)
    """Number of trials, baselines included. A grid may end earlier."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seed of proposals and trials."""
    warm_start: list[Annotated[str, Field(min_length=1)]] = Field(default=[], max_length=20)
    """Earlier experiments (folders, names or latest) whose trials inform the sampler. They are not run again."""


class TrustConfig(Block):
    """When a rung is trusted to stop trials: a sequential test (`error`), or a fixed threshold (`trials` and `tau`)."""

    error: float | None = Field(default=None, gt=0, le=0.5)
    """Probability that a rung without relation to the end is ever trusted. 0.1 if no key of this block is given."""
    trials: int | None = Field(default=None, ge=2)
    """Threshold of earlier versions: finished trials that must have a value at the rung. 4 if only tau is given."""
    tau: float | None = Field(default=None, ge=-1, le=1)
    """Kendall's tau-b between rung and end that these trials must reach. 0.3 if only trials is given."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, given: Any) -> Any:
        if not isinstance(given, dict) or given.get("error") is not None:
            return given
        named = {key: value for key, value in given.items() if value is not None}
        return {"trials": 4, "tau": 0.3, **named} if {"trials", "tau"} & {*named} else {"error": 0.1, **named}

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        if self.error is not None and (self.trials is not None or self.tau is not None):
            raise ValueError("give either error, or trials and tau (then set error to null)")
        return self


class SchedulerConfig(Block):
    """ASHA: only the best fraction of trials continues past each rung."""

    type: Literal["asha", "none"] = "asha"
    """none: every trial runs to max_kimg."""
    max_kimg: float = Field(default=20_000.0, gt=0)
    """Length of a full trial, in thousands of training images seen."""
    grace_kimg: float = Field(default=740.0, gt=0)
    """First rung. No trial is stopped earlier."""
    reduction_factor: float = Field(default=3.0, gt=1)
    """Ratio of one rung to the one before. About one in this many trials continues past a rung."""
    rungs: list[Annotated[float, Field(gt=0)]] | None = Field(default=None, min_length=1, max_length=MOST_RUNGS)
    """Rungs in kimg. null: max_kimg divided by reduction_factor again and again, down to grace_kimg."""
    trust: TrustConfig | None = TrustConfig()
    """null: every rung stops trials from the start, as in classic ASHA."""

    @model_validator(mode="after")
    def _rungs_fit(self) -> Self:
        if self.type == "none":
            return self
        if self.grace_kimg > self.max_kimg:
            raise ValueError(f"grace_kimg ({self.grace_kimg:g}) must not exceed max_kimg ({self.max_kimg:g})")
        if (log(self.max_kimg) - log(self.grace_kimg)) / log(self.reduction_factor) > MOST_RUNGS:
            raise ValueError(f"reduction_factor ({self.reduction_factor:g}) makes more than {MOST_RUNGS} rungs")
        if self.rungs and (self.rungs != sorted(set(self.rungs)) or self.rungs[-1] != self.max_kimg):
            raise ValueError(f"rungs must rise, and the last one must be max_kimg ({self.max_kimg:g})")
        return self


class EvaluationConfig(Block):
    """Cost of an evaluation."""

    samples: int = Field(default=512, ge=16)
    """Images sampled at a rung."""
    final_samples: int = Field(default=2000, ge=16)
    """Images sampled at max_kimg."""
    nfe: int = Field(default=100, ge=1)
    """Network evaluations allowed for one sampled image."""
    features: Annotated[str, AfterValidator(values.known_features)] = "auto"
    """Features behind kid: randconv (fixed), cnn (trained on the labels), inception:FILE, or auto (cnn with labels)."""
    report_kimg: float = Field(default=50.0, gt=0)
    """Interval between two reports of the losses, in kimg."""


class RecheckConfig(Block):
    """Re-evaluation of the best trials at the end of the sweep, with fresh seeds."""

    trials: int = Field(default=5, ge=0)
    """Number of trials to re-evaluate. 0 keeps the sweep's own values."""
    draws: int = Field(default=3, ge=2)
    """Number of evaluations of each trial, each with its own seeds."""
    samples: int = Field(default=5000, ge=16)
    """Images sampled in each evaluation."""
    nfe: int = Field(default=1000, ge=1)
    """Network evaluations allowed for one sampled image."""
    seeds: int = Field(default=0, ge=0)
    """Seeds with which the best two settings and the best baseline are trained again, to name the winner by the mean.

    0: the answer rests on one training of each setting. 1 would tell nothing of the spread between trainings.
    """

    @field_validator("seeds")
    @classmethod
    def _two_seeds_or_none(cls, seeds: int) -> int:
        if seeds == 1:
            raise ValueError("must be 0, or 2 or more: one training tells nothing of the spread")
        return seeds


class ResourcesConfig(Block):
    """Share of the machine that one trial occupies."""

    cpu: float = Field(default=2.0, gt=0)
    """CPU cores."""
    gpu: Annotated[float | Literal["auto"], BeforeValidator(values.share)] = 0.25
    """Share of one GPU up to 1, a whole number of GPUs, or auto: the smallest share that a trial fits in, measured."""

    @property
    def gpus(self) -> float:
        """Number of GPUs that a trial occupies; for auto the smallest possible share."""
        return LEAST_SHARE if self.gpu == "auto" else self.gpu

    @model_validator(mode="after")
    def _gpus_are_shared_or_whole(self) -> Self:
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise ValueError(f"gpu ({self.gpus:g}) must be a share up to 1 or a whole number")
        return self


class BudgetConfig(Block):
    """Limits at which the sweep ends. The sweep can be resumed afterwards."""

    hours: float | None = Field(default=None, gt=0)
    """Hours on the clock."""
    gpu_hours: float | None = Field(default=None, gt=0)
    """Hours of training, times the GPUs or the share of one that each trial occupied."""
    cpu_hours: float | None = Field(default=None, gt=0)
    """Hours of training, times the CPUs that each trial occupied."""


class FailuresConfig(Block):
    """Handling of trials that fail."""

    retries: int = Field(default=2, ge=0)
    """Number of times that a trial is started again from its last checkpoint."""
    checkpoint_kimg: float | None = Field(default=None, gt=0)
    """Smallest interval between two checkpoints in kimg. null writes one at every report. Rungs always write one."""
    trial_timeout: float | None = Field(default=None, gt=0)
    """Longest time between two reports of a trial in seconds, after which its worker is ended and the trial retried.

    null allows 20 times the trial's longest report, and at least 10 minutes.
    """


class WandbConfig(Block):
    """Weights & Biases."""

    mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    """auto: online if a key is found, else offline. `tune_app sync` sends an offline sweep later."""
    project: Annotated[str, AfterValidator(values.wandb_name)] = Field(
        default="cifar10-generative-models", min_length=1, max_length=128
    )
    """Project of the Sweep and its runs."""
    entity: Annotated[str, AfterValidator(values.wandb_name)] | None = Field(default=None, min_length=1)
    """Team or user. null takes the account's default."""
    finish_timeout: float = Field(default=60.0, gt=0)
    """Seconds to wait for W&B at the end of a sweep."""
    log_model: bool = False
    """True uploads the winner's checkpoint as a model artifact."""


class NotifyConfig(Block):
    """Notification at the end of the sweep."""

    webhook: str | None = Field(default=None, pattern=r"^https?://")
    """URL that gets a small JSON document by POST: name, state, best, cost, where."""


def _by_name(metric: Any) -> Any:
    return {"name": metric} if isinstance(metric, str) else metric


Objective = Annotated[MetricConfig, BeforeValidator(_by_name, json_schema_input_type=MetricConfig | str)]
"""A metric as a block, or its name alone."""


def _usual_metric(data: dict[str, Any]) -> MetricConfig:
    return next(iter(data["metrics"]), MetricConfig(name=next(iter(MODELS[data["model"]].metrics))))


class SweepConfig(Block):
    """Configuration of one sweep."""

    version: Annotated[Literal[1], BeforeValidator(values.number)]
    """Version of this format."""
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    """Name of the experiment and its folder: letters, digits, dots, dashes and underscores."""
    model: Annotated[str, AfterValidator(values.known_model), Field(json_schema_extra={"enum": [*MODELS]})]
    """Model to train."""
    data: DataConfig = DataConfig()
    """The images."""
    metrics: list[Objective] = Field(default=[], max_length=2)
    """Two objectives instead of `metric`. No trial is stopped early, and the answer is their Pareto front."""
    metric: Objective = Field(default_factory=_usual_metric)
    """Metric that the sweep optimises. The default is the model's first: kid for images."""
    parameters: dict[str, Distribution] = Field(min_length=1)
    """Searched parameters, by the model's names."""
    fixed: dict[str, Plain] = Field(default={})
    """Values of parameters that are not searched. All others keep the model's defaults."""
    baselines: list[dict[str, Plain]] = Field(default=[])
    """Known good points. They run first and are never stopped. They may set any parameter; missing ones are sampled."""
    search: SearchConfig = SearchConfig()
    """How trials are proposed."""
    scheduler: SchedulerConfig = SchedulerConfig()
    """When trials are evaluated and stopped."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """Cost of an evaluation."""
    recheck: RecheckConfig = RecheckConfig()
    """Re-evaluation of the best trials at the end of the sweep, with fresh seeds."""
    resources: ResourcesConfig = ResourcesConfig()
    """Share of the machine that one trial occupies."""
    storage: Annotated[str, AfterValidator(values.address)] | None = None
    """Address for checkpoints, for all nodes: s3://BUCKET/FOLDER, gs:// or any of fsspec. null: the experiment."""
    budget: BudgetConfig = BudgetConfig()
    """Limits at which the sweep ends."""
    failures: FailuresConfig = FailuresConfig()
    """Handling of trials that fail."""
    wandb: WandbConfig = WandbConfig()
    """Weights & Biases."""
    notify: NotifyConfig = NotifyConfig()
    """Notification at the end of the sweep."""
    retraining: RetrainingConfig | None = None
    """Written by `tune_app retrain`: the sweep whose settings this experiment trains again. null for a sweep."""
    _notes: list[str] = PrivateAttr(default_factory=list)
    profiles: dict[str, dict[str, Any]] = Field(default={})
    """Named overlays of this file. In them null removes a parameter. A loaded configuration has none left."""

    @model_validator(mode="after")
    def _parts_fit_together(self, info: ValidationInfo) -> Self:
        checks.check(self, resumed=info.context == RESUMED)
        return self

    @property
    def notes(self) -> list[str]:
        """Sentences about what was left out of the file, to be shown to the person."""
        return self._notes

    @property
    def objectives(self) -> list[MetricConfig]:
        """The objectives: `metrics`, or the single `metric`."""
        return self.metrics or [self.metric]

    @property
    def rungs(self) -> list[float]:
        """Kimg at which trials are evaluated. With two objectives no trial can be stopped, so only max_kimg is left."""
        scheduler = self.scheduler
        grace = scheduler.grace_kimg if scheduler.type == "asha" and not self.metrics else scheduler.max_kimg
        listed = scheduler.rungs if grace < scheduler.max_kimg else None
        return listed or rung_ladder(grace, scheduler.max_kimg, scheduler.reduction_factor)

    @property
    def space(self) -> Space:
        """The search space."""
        return Space(self.parameters, self.fixed)

    @property
    def constants(self) -> dict[str, Scalar]:
        """Values of the parameters that are not searched: the model's defaults, then `fixed`."""
        defaults = {name: p.default for name, p in MODELS[self.model].parameters.items() if name not in self.parameters}
        return {**defaults, **self.fixed}
