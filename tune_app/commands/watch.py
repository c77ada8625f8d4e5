"""Watch a sweep that another process runs, from its folder."""

import time

from tune_app.experiment.folder import Experiment
from tune_app.experiment.lock import is_running
from tune_app.experiment.log import Tail
from tune_app.experiment.records import Records
from tune_app.trackers.console import Quiet

POLL_SECONDS = 0.3


def watch(experiment: Experiment, console: Quiet) -> None:
    """Show the sweep on `console` until it ends, or until its driver no longer runs."""
    tail, known = Tail(experiment.events), Records()
    before = tail.new()
    slots = max(1, sum(record.state == "running" for record in Records(before).trials.values()))
    console.begin(experiment.config(), experiment, known, slots)
    for event in before:
        known.apply(event)
    try:
        while known.state == "running":
            alive = is_running(experiment.folder)  # asked before the log is read, so that no last event is missed
            for event in tail.new():
                known.apply(event)
                console.event(event)
            console.pulse()
            if not alive:
                break
            time.sleep(POLL_SECONDS)
    finally:
        console.end()
