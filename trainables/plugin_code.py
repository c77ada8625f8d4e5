"""Load the models of users: from a file that a person names, or from an installed package.

A space file names a model only by its short name and never names code.
"""

import linecache
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from hashlib import sha256
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from platform import node
from traceback import extract_tb
from types import ModuleType
from typing import TypeVar

from trainables.catalog import MODELS, Contents
from trainables.contract import Plugin, PluginError, RunSpec
from trainables.model import Metric, Model

Kind = TypeVar("Kind", Model, Metric)
GROUP = "tune_app.models"
"""Entry-point group of packages. The entry point's name is the model's, and it refers to a Model."""
MOST_BYTES = 1_000_000


def read_file(path: Path) -> Plugin:
    """Return the plug-in in a Python file. Nothing is run. Raise PluginError."""
    path = path.expanduser().absolute()
    try:
        content = path.read_bytes()
        if len(content) > MOST_BYTES:
            raise PluginError(f"{path} is longer than {MOST_BYTES} bytes: it is not a file of models")
        return Plugin(path.name, sha256(content).hexdigest(), source=content.decode(), path=str(path))
    except OSError as error:
        raise PluginError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise PluginError(f"{path} is not a Python file in UTF-8") from None


def installed() -> dict[str, EntryPoint]:
    """Return the entry points of installed packages by the model's name."""
    return {point.name: point for point in entry_points(group=GROUP)}


def of_package(point: EntryPoint) -> Plugin:
    """Return the plug-in behind an entry point. Imports the packages around its module. Raise PluginError."""
    assert point.dist
    name = f"package {point.dist.name}"
    return Plugin(name, _package_hash(name, point.module), entry_point=point.value, version=point.dist.version)


def add(plugin: Plugin) -> None:
    """Run the code of a plug-in and add its models and metrics to the catalog. Raise PluginError."""
    MODELS.add(_of_entry_points(plugin) if plugin.entry_point else _of_source(plugin))


def install(plugins: Iterable[Plugin]) -> None:
    """Add those plug-ins to the catalog of this process that are missing there or differ. Raise PluginError."""
    for plugin in plugins:
        known = MODELS.contents(plugin)
        if known is None or known.described or known.plugin.sha256 != plugin.sha256:
            _check_package(plugin)
            add(plugin)


def entry_of(spec: RunSpec) -> Model:
    """Return the model of a spec from the catalog, to which the spec's plug-ins are added first. Raise PluginError."""
    install(spec.plugins)
    return MODELS[spec.model]


def add_installed(model: str) -> bool:
    """Add the model of that name from an installed package. Return False if no package has it. Raise PluginError."""
    point = installed().get(model)
    if point is None:
        return False
    add(of_package(point))
    return True


def complaint(plugins: Iterable[Plugin]) -> str:
    """Return why this machine cannot run the plug-ins, or an empty string."""
    try:
        install(plugins)
    except PluginError as error:
        return str(error)
    return ""


def where_it_failed(plugins: Sequence[Plugin], error: BaseException) -> str:
    """Return a sentence about an error in the code of plug-ins: name and line, the type and the message."""
    names = {_filename(plugin): plugin.name for plugin in plugins}
    frames = [frame for frame in extract_tb(error.__traceback__) if frame.filename in names]
    place = f"{names[frames[-1].filename]}:{frames[-1].lineno}" if frames else plugins[0].name
    if isinstance(error, SyntaxError) and error.filename in names:
        place = f"{names[error.filename]}:{error.lineno}"
    words = error.msg if isinstance(error, SyntaxError) else " ".join(str(error).split())
    return f"{place}: {type(error).__name__}: {words}" if words else f"{place}: {type(error).__name__}"


def _of_source(plugin: Plugin) -> Contents:
    """Return the models and metrics that a file defines as MODELS and METRICS."""
    module = ModuleType(f"tune_app_plugin_{plugin.sha256[:12]}")
    module.__file__ = _filename(plugin)
    sys.modules[module.__name__] = module  # dataclasses look their module up
    lines = plugin.source.splitlines(keepends=True)
    linecache.cache[_filename(plugin)] = (len(plugin.source), None, lines, _filename(plugin))  # for tracebacks
    try:
        with redirect_stdout(sys.stderr):  # standard output belongs to the command
            exec(compile(plugin.source, _filename(plugin), "exec"), module.__dict__)  # noqa: S102 - a person named it
    except (Exception, SystemExit) as error:
        raise PluginError(where_it_failed([plugin], error)) from error
    models, metrics = getattr(module, "MODELS", {}), getattr(module, "METRICS", {})
    if not models and not metrics:
        raise PluginError(f'{plugin.name} defines no models: it needs MODELS = {{"NAME": image_model(...)}}')
    return Contents(plugin, _checked(plugin, "MODELS", models, Model), _checked(plugin, "METRICS", metrics, Metric))


def _of_entry_points(plugin: Plugin) -> Contents:
    """Return the models of every entry point of a package with the value that the plug-in names."""
    points = [point for point in installed().values() if point.value == plugin.entry_point]
    if not points:
        raise PluginError(f"{plugin.name} {plugin.version} is not installed on {node()}")
    models = {}
    for point in points:
        try:
            models[point.name] = point.load()
        except (Exception, SystemExit) as error:
            raise PluginError(where_it_failed([plugin], error)) from error
    return Contents(plugin, _checked(plugin, GROUP, models, Model), {})


def _checked(plugin: Plugin, name: str, given: object, kind: type[Kind]) -> Mapping[str, Kind]:
    """Return what a plug-in gives under a name. Raise PluginError unless it is a mapping of names to `kind`."""
    if not isinstance(given, Mapping):
        raise PluginError(f"{plugin.name}: {name} must be a dictionary, not {type(given).__name__}")
    for key, value in given.items():
        if not isinstance(key, str) or not key.isidentifier() or len(key) > 40:
            raise PluginError(f"{plugin.name}: {name}: {key!r:.60} is not a name: use letters, digits and underscores")
        if not isinstance(value, kind):
            made = "image_model(...) or Model(...)" if kind is Model else "Metric(...)"
            raise PluginError(f"{plugin.name}: {name}[{key!r}] must be {made}, not {type(value).__name__}")
    return given


def _check_package(plugin: Plugin) -> None:
    """Raise PluginError unless this machine has the same package as the one that started the sweep."""
    if not plugin.entry_point:
        return
    point = next((one for one in installed().values() if one.value == plugin.entry_point), None)
    if point is None:
        raise PluginError(f"{plugin.name} {plugin.version} is not installed on {node()}")
    here = of_package(point)
    if here.sha256 != plugin.sha256:
        raise PluginError(
            f"{node()} has other code of {plugin.name}: version {here.version} ({here.sha256[:12]}) instead of "
            f"{plugin.version} ({plugin.sha256[:12]})"
        )


def _package_hash(name: str, module: str) -> str:
    """Return the hash of every Python file of the package that holds a module."""
    try:
        found = find_spec(module.partition(".")[0])
    except (ImportError, ValueError):
        found = None
    if found is None or found.origin is None:
        raise PluginError(f"{name}: its module {module} cannot be found")
    root = Path(found.origin)
    files = sorted(root.parent.rglob("*.py")) if found.submodule_search_locations else [root]
    digest = sha256()
    for file in files:
        digest.update(file.relative_to(root.parent).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()


def _filename(plugin: Plugin) -> str:
    """Return the file name that tracebacks show."""
    return plugin.path or plugin.name
