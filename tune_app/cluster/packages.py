"""Check that every node of a cluster has the packages that define the models of the sweep."""

from collections.abc import Sequence

from trainables import plugin_code
from trainables.contract import Plugin
from tune_app.cluster.every_node import complaints, other_nodes
from tune_app.errors import InputError


def check_packages(plugins: Sequence[Plugin]) -> None:
    """Raise InputError with each node that lacks a package of the plug-ins or has other code of it."""
    packages = [plugin for plugin in plugins if plugin.entry_point]
    if packages and (wrong := complaints(other_nodes(), plugin_code.complaint, packages)):
        raise InputError(
            f"model: not every node can run it: {'; '.join(wrong)}",
            hint="install the same version on every node, or put the model into one file and use --models",
        )
