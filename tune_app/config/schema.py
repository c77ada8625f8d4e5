"""SweepConfig: all that a space file may say, with its defaults."""

from __future__ import annotations

import re
from math import inf, log
from typing import Annotated, Any, Literal
from urllib.parse import parse_qs, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from typing_extensions import Self

from search_spaces.distributions import Distribution, Plain, Scalar
from search_spaces.space import Space
from trainables.catalog import MODELS, sign
from tune_app.config import checks

MOST_RUNGS = 50
SECRET = re.compile(r"secret|key|token|password", re.IGNORECASE)
LEAST_SHARE = 0.125
"""Of a GPU: `gpu: auto` packs no more than eight trials on one."""


class Block(BaseModel):
    """A block of the file: frozen, without unknown keys, and "abc" is no number."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class DataConfig(Block):
    """The images."""

    name: Literal["cifar10", "shapes", "folder"] = "cifar10"
    """cifar10, shapes (drawn by program, no download), or folder."""
    path: str | None = Field(default=None, min_length=1)
    """Of `folder`: DIR, which holds DIR/train/<class>/* and DIR/test/<class>/*."""
    resolution: int = 32
    """Side of an image in pixels: 16 or 32, for folders also 48 or 64."""

    @model_validator(mode="after")
    def _path_goes_with_folder(self) -> Self:
        if self.name == "folder" and self.path is None:
            raise ValueError("folder needs a path")
        if self.name != "folder" and self.path is not None:
            raise ValueError(f"path ({self.path}) goes with name: folder, not with {self.name}")
        return self

    @model_validator(mode="after")
    def _resolution_is_offered(self) -> Self:
        offered = (16, 32, 48, 64) if self.name == "folder" else (16, 32)
        if self.resolution not in offered:
            raise ValueError(
                f"resolution of {self.name} must be one of {', '.join(map(str, offered))}, not {self.resolution}"
            )
        return self


class MetricConfig(Block):
    """A number that the sweep makes better."""

    name: str
    """A metric of the model; `kid` means the same for every trial."""
    goal: Literal["minimize", "maximize"] = Field(default_factory=lambda data: _natural_goal(data.get("name")))
    """minimize, or for a metric of which more is better maximize; by default what the metric asks for."""


def _natural_goal(metric: Any) -> Literal["minimize", "maximize"]:
    return "maximize" if isinstance(metric, str) and sign(metric) < 0 else "minimize"


class SearchConfig(Block):
    """How trials are proposed."""

    sampler: Literal["tpe", "random", "grid", "gp", "cmaes"] = "tpe"
    """Optuna's sampler."""
    trials: int = Field(default=40, ge=1, le=1_000_000)
    """Trials in all, baselines included; a grid may end earlier."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seed of proposals and trials."""


class TrustConfig(Block):
    """When a rung may stop trials: once it has proved to predict."""

    trials: int = Field(default=4, ge=2)
    """Finished trials that must have a value at the rung."""
    tau: float = Field(default=0.3, ge=-1, le=1)
    """Kendall's tau-b between rung and end that those trials must show."""


class SchedulerConfig(Block):
    """ASHA: at each rung only the best share of the trials goes on."""

    type: Literal["asha", "none"] = "asha"
    """none: every trial runs to max_kimg."""
    max_kimg: float = Field(default=20_000.0, gt=0)
    """Length of a trial that is never stopped, in thousands of images seen."""
    grace_kimg: float = Field(default=740.0, gt=0)
    """First rung; no trial is stopped before it."""
    reduction_factor: float = Field(default=3.0, gt=1)
    """Each rung is so many times the last one, and about one in so many trials goes on."""
    trust: TrustConfig | None = TrustConfig()
    """null: every rung stops trials from the start, which is classic ASHA."""

    @model_validator(mode="after")
    def _rungs_fit(self) -> Self:
        if self.type == "none":
            return self
        if self.grace_kimg > self.max_kimg:
            raise ValueError(f"grace_kimg ({self.grace_kimg:g}) must not exceed max_kimg ({self.max_kimg:g})")
        if (log(self.max_kimg) - log(self.grace_kimg)) / log(self.reduction_factor) > MOST_RUNGS:
            raise ValueError(f"reduction_factor ({self.reduction_factor:g}) makes more than {MOST_RUNGS} rungs")
        return self


def _known_features(features: str) -> str:
    if features not in ("auto", "randconv", "cnn") and not features.partition("inception:")[2]:
        raise ValueError(f"must be one of auto, randconv, cnn or inception:FILE, not {features!r}")
    return features


class EvaluationConfig(Block):
    """What an evaluation costs."""

    samples: int = Field(default=512, ge=16)
    """Images drawn at a rung."""
    final_samples: int = Field(default=2000, ge=16)
    """Images drawn at max_kimg."""
    nfe: int = Field(default=100, ge=1)
    """Network evaluations that one sampled image may cost."""
    features: Annotated[str, AfterValidator(_known_features)] = "auto"
    """Features behind kid: randconv (fixed), cnn (trained on the labels), inception:FILE, or auto: cnn with labels."""
    report_kimg: float = Field(default=50.0, gt=0)
    """Losses are reported every so many kimg."""


class RecheckConfig(Block):
    """How the best trials are measured again when the sweep ends."""

    trials: int = Field(default=5, ge=0)
    """How many; 0 leaves the sweep's own values."""
    draws: int = Field(default=3, ge=2)
    """Times that each is measured, with seeds of its own."""
    samples: int = Field(default=5000, ge=16)
    """Images drawn each time."""
    nfe: int = Field(default=1000, ge=1)
    """Network evaluations that one sampled image may cost."""


def _share(gpu: Any) -> Any:
    if gpu == "auto" or (isinstance(gpu, int | float) and not isinstance(gpu, bool) and 0 <= gpu < inf):
        return gpu
    raise ValueError(f"must be a number from 0 on, or auto, not {gpu!r}")


class ResourcesConfig(Block):
    """What a trial occupies."""

    cpu: float = Field(default=2.0, gt=0)
    """CPU cores."""
    gpu: Annotated[float | Literal["auto"], BeforeValidator(_share)] = 0.25
    """A share of one GPU up to 1, a whole number of GPUs, or auto: the smallest share that holds a trial, measured."""

    @property
    def gpus(self) -> float:
        """What a trial occupies; of auto, the least that it may turn out to be."""
        return LEAST_SHARE if self.gpu == "auto" else self.gpu

    @model_validator(mode="after")
    def _gpus_are_shared_or_whole(self) -> Self:
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise ValueError(f"gpu ({self.gpus:g}) must be a share up to 1 or a whole number")
        return self


def _address(storage: str) -> str:
    parts = urlsplit(storage)
    if not parts.scheme or "://" not in storage:
        raise ValueError(f"must be an address like s3://BUCKET/FOLDER, not {storage!r}; a folder is named with --out")
    if parts.password or any(SECRET.search(name) for name in parse_qs(parts.query)):
        raise ValueError("must not hold a key: credentials come from each node's own environment")
    return storage


class BudgetConfig(Block):
    """Limits at which the sweep ends, resumable."""

    hours: float | None = Field(default=None, gt=0)
    """Hours on the clock."""
    gpu_hours: float | None = Field(default=None, gt=0)
    """Hours of training times the GPUs, or the share of one, that they occupied."""
    cpu_hours: float | None = Field(default=None, gt=0)
    """Hours of training times the CPUs they occupied."""


class FailuresConfig(Block):
    """What happens to a trial that fails."""

    retries: int = Field(default=2, ge=0)
    """Times that it is started again from its last checkpoint."""
    checkpoint_kimg: float | None = Field(default=None, gt=0)
    """Least kimg between two checkpoints, the rungs' own apart; null writes one at every report."""


class WandbConfig(Block):
    """Weights & Biases."""

    mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    """auto: online where a key is found, else offline, which keeps all in the experiment for `tune_app sync`."""
    project: str = Field(default="cifar10-generative-models", min_length=1)
    """Project of the sweep and its runs."""
    entity: str | None = Field(default=None, min_length=1)
    """Team or user; null takes the account's own."""
    finish_timeout: float = Field(default=60.0, gt=0)
    """Seconds that the end of a sweep waits for W&B."""
    log_model: bool = False
    """Whether the winner's checkpoint becomes a model artifact."""
    workspace: bool = False
    """Whether a workspace of the sweep is made; needs `pip install 'tune_app[workspace]'`."""


class NotifyConfig(Block):
    """Who is told when the sweep ends."""

    webhook: str | None = Field(default=None, pattern=r"^https?://")
    """Address that gets a small JSON: name, state, best, cost, where."""


def _number(version: Any) -> Any:
    if isinstance(version, bool):  # true equals 1
        raise ValueError(f"must be 1, not {str(version).lower()}")
    return version


def _by_name(metric: Any) -> Any:
    return {"name": metric} if isinstance(metric, str) else metric


def _known_model(name: str) -> str:
    if name not in MODELS:
        raise ValueError(f"must be one of {', '.join(MODELS)}, not {name!r}")
    return name


def _usual_metric(data: dict[str, Any]) -> MetricConfig:
    return next(iter(data["metrics"]), MetricConfig(name=next(iter(MODELS[data["model"]].metrics))))


class SweepConfig(Block):
    """One sweep: what is searched, how, for how long, on what."""

    version: Annotated[Literal[1], BeforeValidator(_number)]
    """Version of this format."""
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    """Name of the experiment and its folder: letters, digits, dots, dashes and underscores."""
    model: Annotated[str, AfterValidator(_known_model), Field(json_schema_extra={"enum": [*MODELS]})]
    """What is trained."""
    data: DataConfig = DataConfig()
    """The images."""
    metrics: list[Annotated[MetricConfig, BeforeValidator(_by_name)]] = Field(default=[], max_length=2)
    """Instead of `metric` two that pull against each other: none is stopped early, and the answer is their front."""
    metric: MetricConfig = Field(default_factory=_usual_metric)
    """The number that the sweep makes better; by default the model's first: kid, for images."""
    parameters: dict[str, Distribution] = Field(min_length=1)
    """What is searched, by the model's own names."""
    fixed: dict[str, Plain] = {}
    """Values of parameters that are not searched; what is named nowhere keeps the model's default."""
    baselines: list[dict[str, Plain]] = []
    """Known good points, run first and never stopped; what they leave out is sampled."""
    search: SearchConfig = SearchConfig()
    """How trials are proposed."""
    scheduler: SchedulerConfig = SchedulerConfig()
    """When trials are evaluated and stopped."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """What an evaluation costs."""
    recheck: RecheckConfig = RecheckConfig()
    """How the best trials are measured again when the sweep ends."""
    resources: ResourcesConfig = ResourcesConfig()
    """What a trial occupies."""
    storage: Annotated[str, AfterValidator(_address)] | None = None
    """Where checkpoints go if not into the experiment: s3://BUCKET/FOLDER, gs:// or any of fsspec's, from all nodes."""
    budget: BudgetConfig = BudgetConfig()
    """Limits at which the sweep ends."""
    failures: FailuresConfig = FailuresConfig()
    """What happens to a trial that fails."""
    wandb: WandbConfig = WandbConfig()
    """Weights & Biases."""
    notify: NotifyConfig = NotifyConfig()
    """Who is told when the sweep ends."""
    profiles: dict[str, dict[str, Any]] = {}
    """Named overlays of this file; null takes a parameter away. A loaded configuration has none left."""

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Self:
        checks.check(self)
        return self

    @property
    def objectives(self) -> list[MetricConfig]:
        """`metrics`, or the one metric."""
        return self.metrics or [self.metric]

    @property
    def rungs(self) -> list[float]:
        """The kimg at which trials are evaluated: grace, times reduction_factor, the last exactly max_kimg.

        Two objectives have no order by which to stop: every trial runs to max_kimg.
        """
        scheduler = self.scheduler
        ladder: list[float] = []
        if scheduler.type == "asha" and not self.metrics:
            rung = scheduler.grace_kimg
            while rung < scheduler.max_kimg:
                ladder.append(rung)
                rung *= scheduler.reduction_factor
        return [*ladder, scheduler.max_kimg]

    @property
    def space(self) -> Space:
        """What is searched."""
        return Space(self.parameters, self.fixed)

    @property
    def constants(self) -> dict[str, Scalar]:
        """The model's parameters that are not searched: its defaults, then `fixed`."""
        defaults = {name: p.default for name, p in MODELS[self.model].parameters.items() if name not in self.parameters}
        return {**defaults, **self.fixed}
