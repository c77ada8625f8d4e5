"""The pictures of a trial, written into its folder."""

from collections.abc import Mapping

from trainables.files import write_file
from tune_app.experiment.folder import Experiment


def write_pictures(experiment: Experiment, trial: str, stem: str, pictures: Mapping[str, bytes]) -> dict[str, str]:
    """Write PNG files as trials/<id>/<name>-<stem>.png and return their paths by name."""
    folder = experiment.trial(trial)
    folder.mkdir(exist_ok=True)
    paths = {}
    for name, png in pictures.items():
        path = folder / f"{name}-{stem}.png"
        write_file(path, png)
        paths[name] = experiment.relative(path)
    return paths
