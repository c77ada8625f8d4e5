"""Write the files to start with: a model that runs as it stands, or a space made from a model's parameters."""

from importlib.resources import files
from math import isfinite
from pathlib import Path
from string import Template

from trainables.catalog import MODELS, TRAINING
from trainables.files import write_file
from trainables.model import Model, Parameter
from tune_app.commands.check_model import known_model
from tune_app.config.load import load
from tune_app.errors import InputError, StorageError

TEMPLATES = {"model.py.txt": "{}.py", "space.yaml.txt": "{}.yaml", "test.py.txt": "test_{}.py"}
FACTOR = {"float": 4, "int": 2}
"""How far a suggested range reaches above and below the default."""
SPACE = """\
# Made by `tune_app init space {model}`. Narrow the ranges to your question: each parameter costs trials.
version: 1
name: {model}
model: {model}
{data}metric: {{name: {metric}}}
parameters:
{searched}
{rest}
search: {{trials: 12}}
scheduler: {{max_kimg: 24, grace_kimg: 8}}
{evaluation}resources: {{cpu: 1, gpu: 0}}
"""
DATA = "data: {name: shapes, resolution: 16}\n"
EVALUATION = """\
evaluation: {samples: 256, final_samples: 512, nfe: 30, report_kimg: 2}
recheck: {trials: 2, draws: 2, samples: 512, nfe: 30}
"""


def write_model(name: str, folder: Path) -> list[Path]:
    """Write the model, its space and its test into a folder, and return their paths. Raise InputError."""
    if not name.isidentifier() or name != name.lower() or name in MODELS:
        hint = "choose another one" if name in MODELS else "use small letters, digits and underscores"
        raise InputError(f"{name}: this cannot be the name of a model of your own", hint=hint)
    paths = {template: folder / pattern.format(name) for template, pattern in TEMPLATES.items()}
    _check_new(*paths.values())
    class_name = "".join(word.capitalize() for word in name.split("_"))
    for template, path in paths.items():
        text = Template((files("tune_app.commands") / "templates" / template).read_text(encoding="utf-8"))
        _write(path, text.substitute(name=name, class_name=class_name))
    return list(paths.values())


def init_lines(name: str, written: list[Path]) -> list[str]:
    """Return what was written and what to type next."""
    code, space, test = written
    return [
        *(f"wrote {path}" for path in written),
        f"check it:  python -m tune_app check-model {name} --models {code}   (or pytest {test})",
        f"sweep it:  python -m tune_app run {space} --models {code}",
    ]


def write_space(model: str, path: Path) -> Path:
    """Write a space file for a model, check it and return its path. Raise InputError."""
    entry = known_model(model)
    _check_new(path)
    _write(path, _space(model, entry))
    load(path)
    return path


def _space(model: str, entry: Model) -> str:
    searched = {name: line for name, p in entry.parameters.items() if (line := _range(name, p))}
    rest = [
        f"  # {name}: {_yaml(p.default)}  # {p.help}" for name, p in entry.parameters.items() if name not in searched
    ]
    return SPACE.format(
        model=model,
        metric=next(iter(entry.metrics)),
        data=DATA if entry.uses_images else "",
        evaluation=EVALUATION if entry.uses_images else "evaluation: {report_kimg: 2}\n",
        searched="\n".join(f"  {name}: {line}" for name, line in searched.items()),
        rest="\n".join(["fixed: {}  # remove the braces and a `#` to fix one of these", *rest]),
    )


def _range(name: str, parameter: Parameter) -> str | None:
    """Return a range around the default of a parameter, or None if it is better left alone at first."""
    default = parameter.default
    if isinstance(default, bool) or not isinstance(default, int | float) or parameter.before is not None:
        return None
    if name in TRAINING and name != "lr":
        return None
    stage = ", stage: sampling" if parameter.stage == "sampling" else ""
    kind = "int" if isinstance(default, int) else "float"
    if isfinite(parameter.low) and isfinite(parameter.high) and parameter.low < 0:
        return f"{{type: {kind}, low: {_yaml(parameter.low)}, high: {_yaml(parameter.high)}{stage}}}"
    if default <= 0:
        return None
    low, high = max(default / FACTOR[kind], parameter.low), min(default * FACTOR[kind], parameter.high)
    if kind == "int":
        low, high = max(1, round(low)), round(high)
    return f"{{type: {kind}, low: {_yaml(low)}, high: {_yaml(high)}, log: true{stage}}}"


def _yaml(value: object) -> str:
    """Return a value as YAML 1.2 reads it, with a decimal point in a float."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        text = f"{value:.4g}"
        return text.replace("e", ".0e") if "e" in text and "." not in text else text if "." in text else f"{text}.0"
    return str(value)


def _check_new(*paths: Path) -> None:
    for path in paths:
        if path.exists():
            raise InputError(f"{path} exists already", hint="give another --out, or remove it")


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, text.encode())
    except OSError as error:
        raise StorageError.of(error, path) from error
