"""The console of a running sweep: nothing, or one plain line per event. The table is in live_table.py."""

import sys
import time
from collections.abc import Callable, Mapping

from search_spaces.distributions import Scalar
from trainables.progress import report
from tune_app.config.schema import SweepConfig
from tune_app.experiment.elsewhere import other_values
from tune_app.experiment.events import Asked, Ended, Event, Failed, Rechecked, Reported
from tune_app.experiment.folder import Experiment
from tune_app.experiment.fresh_values import fresh_estimate
from tune_app.experiment.records import Records, TrialRecord
from tune_app.formatting import clock, escaped, short
from tune_app.plan import trial_count
from tune_app.trackers.time_left import seconds_left

PROGRESS_SECONDS = 10.0
"""If nobody listens to progress, a line about it comes at the earliest so long after the line before."""
PULSE_SECONDS = 1.0


class Quiet:
    """Console that shows nothing, and the interface of every console."""

    def begin(self, config: SweepConfig, experiment: Experiment, records: Records, slots: int) -> None:
        """Start a session. `records` stays current while it runs, and `slots` trials run at once."""

    def event(self, event: Event) -> None:
        """Show an event that was logged."""

    def note(self, line: str) -> None:
        """Show a line that a person should read once."""

    def progress(self, line: str) -> None:
        """Show how far a long step is. The next line replaces this one."""

    def pulse(self) -> None:
        """Redraw if needed. Tune calls this about ten times a second."""

    def end(self) -> None:
        """End the session and release the terminal."""

    def leave(self, line: str) -> None:
        """Restore the terminal and show a last line, because the process ends now."""
        self.note(line)


class Plain(Quiet):
    """One line per event, on stdout, or on stderr if stdout is for a JSON document."""

    def __init__(self, *, to_stderr: bool = False) -> None:
        self._stream = sys.stderr if to_stderr else sys.stdout
        self._closed = False
        self._in_session = False
        self._said = self._pulsed = time.monotonic()

    def begin(self, config: SweepConfig, experiment: Experiment, records: Records, slots: int) -> None:
        self._config, self._records, self._slots, self._began = config, records, slots, time.monotonic()
        for line in opening_lines(experiment, records, slots):
            self.note(line)
        self._in_session = True
        report("starting the trials")

    def note(self, line: str) -> None:
        if self._closed:
            return
        self._said = time.monotonic()
        if not self._in_session:  # the line names a long step, such as starting Ray
            report(line)
        try:
            print(escaped(line), file=self._stream, flush=True)
        except (OSError, UnicodeError):  # the sweep goes on without output
            self._closed = True

    def progress(self, line: str) -> None:
        if not report(line) and time.monotonic() - self._said >= PROGRESS_SECONDS:
            self.note(line)

    def pulse(self) -> None:
        """Report which trials are running, at most once a second."""
        if not self._in_session or time.monotonic() - self._pulsed < PULSE_SECONDS:
            return
        self._pulsed = time.monotonic()
        running = [f"{one.id} at {one.kimg:g} kimg" for one in self._records.unfinished.values()]
        if running:
            report(f"running: {', '.join(running[: self._slots])}")

    def event(self, event: Event) -> None:
        line = self._line(event)
        if line:
            self.note(f"[{clock(time.monotonic() - self._began)}] {line}")

    def _line(self, event: Event) -> str:
        metric = self._config.metric.name
        match event:
            case Asked():
                searched = {name: value for name, value in event.params.items() if name in self._config.parameters}
                searched |= other_values(event.params, self._config.constants)
                source = f"trial {event.retrains} again" if event.retrains else event.source
                return f"{event.trial} asked ({source}): {assignments(searched)}"
            case Reported(rung=True):
                trusted = {True: ", rung trusted", False: ", rung not yet trusted", None: ""}[event.trusted]
                value = f"{metric} {rung_value(self._records.trials[event.trial], metric)}"
                at_the_end = event.kimg >= self._config.scheduler.max_kimg
                decision = "" if at_the_end else f" -> {event.decision}{trusted}"
                return f"{event.trial} at {event.kimg:g} kimg: {value}{decision}"
            case Failed():
                share = "" if event.gpu is None else f" with {event.gpu:g} of a GPU"
                retry = f"; trying again{share}" if event.retry else ""
                return f"{event.trial} failed ({event.kind}): {event.message}{retry}"
            case Rechecked():
                return f"{event.trial} re-evaluated: {fresh_value(self._records.trials[event.trial], metric)}"
            case Ended():
                end = f"{event.trial} {event.state} at {event.kimg:g} kimg ({event.reason})"
                return "; ".join([end, *self._progress(self._records.trials[event.trial])])
        return ""

    def _progress(self, record: TrialRecord) -> list[str]:
        """Return how many trials of the search have ended, and the time left."""
        ended = len(self._records.searched) - sum(not one.retrains for one in self._records.unfinished.values())
        left = seconds_left(self._config, self._records, self._slots)
        count = [] if record.retrains else [f"{ended}/{trial_count(self._config, self._records.added)}"]
        return [", ".join([*count, *([f"about {clock(left)} left at most"] if left else [])])]


def opening_lines(experiment: Experiment, records: Records, slots: int) -> list[str]:
    """Return the first lines of a session: folder, slots and, after a resume, the unfinished trials and the changes."""
    lines = [f"experiment {experiment.folder}, {slots} trials at once"]
    if records.trials:
        ended = len(records.trials) - len(records.unfinished)
        lines.append(f"resuming: {ended} trials have ended, {len(records.unfinished)} continue from their checkpoints")
    if records.clock_set_back:
        lines.append(
            f"the clock was set back: the log already holds {records.clock_set_back}; "
            "`latest` may name an older experiment"
        )
    lines += [
        f"changed: {key} from {short(before)} to {short(after)}" for key, (before, after) in records.changed.items()
    ]
    return lines


def rung_value(record: TrialRecord, metric: str, number: Callable[[float], str] = short) -> str:
    """Return the metric at the trial's last rung, with its standard error if it has one."""
    value = record.value(metric)
    if value is None:
        return ""
    error = record.rungs[-1].metrics.get(f"{metric}_stderr")
    return number(value) + (f" ± {error:.2g}" if error is not None else "")


def fresh_value(record: TrialRecord, metric: str) -> str:
    """Return the mean and the standard error over the draws of a re-evaluated trial."""
    value = fresh_estimate(record, metric)
    return f"{metric} {value.mean:.4g} ± {value.stderr:.2g}" if value else f"no {metric}"


def assignments(params: Mapping[str, Scalar]) -> str:
    """Return parameters as name=value, separated by commas."""
    return ", ".join(f"{name}={short(value)}" for name, value in params.items())
