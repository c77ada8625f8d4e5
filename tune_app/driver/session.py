"""One session of an experiment: Tune's loop, with its start and its end in the log whatever happens between."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from ray import tune
from ray.exceptions import RayError
from ray.tune.error import TuneError

from trainables import storage
from trainables.ray_worker import RayTrial
from tune_app.answer.summary import summarise
from tune_app.cluster.ray import Cluster
from tune_app.config.schema import SweepConfig
from tune_app.driver import study
from tune_app.driver.asha import RungBook, Trust
from tune_app.driver.recheck import recheck
from tune_app.driver.scheduler import Pulse, Rungs, replay
from tune_app.driver.searcher import Search, reuses_actors
from tune_app.driver.stopping import Limits
from tune_app.driver.trial_spec import Basis, arguments
from tune_app.errors import StorageError, TuneAppError
from tune_app.experiment.changes import Changes
from tune_app.experiment.folder import PARK_FILE, Experiment, write_json
from tune_app.experiment.log import EventLog
from tune_app.experiment.records import Records
from tune_app.trackers.console import Quiet
from tune_app.trackers.wandb_process import reported
from tune_app.trackers.webhook import notify


def drive(
    config: SweepConfig,
    experiment: Experiment,
    log: EventLog,
    cluster: Cluster,
    basis: Basis,
    console: Quiet | None,
    *,
    changed: Changes | None = None,
) -> None:
    """Run trials until none is left or a limit ends it; `changed` is what a person changed since the last session.

    Raises StorageError where the disk takes no more, TuneAppError where Ray is lost: the sweep can be carried on.
    """
    console = console or Quiet()
    records = Records()
    log.subscribe(records.apply)
    trust, names = config.scheduler.trust, [one.name for one in config.objectives]
    book = RungBook(config.rungs, config.scheduler.reduction_factor, Trust(trust.trials, trust.tau) if trust else None)
    replay(book, log.events, config.metric.name)
    park_file = experiment.place(PARK_FILE, config.storage)
    limits = Limits(config.budget, experiment, records, park_file)
    hint = f"mend that, then carry on with: python -m tune_app resume {experiment.shown}"
    with limits.storage():
        teller = study.rebuild(experiment, config.name, log.events, config.space, names)
        log.listen(teller)
        about = {"config": config.model_dump(mode="json", exclude={"profiles"}), "data": basis.data}
        log.append(
            "sweep_resumed" if log.events else "sweep_started",
            name=config.name,
            seed=config.search.seed,
            **about,
            features=basis.features,
            **({"changed": changed} if changed else {}),
        )
        search = Search(
            config,
            experiment,
            log,
            records,
            teller,
            limits,
            cluster=cluster,
            arguments=partial(arguments, config, experiment, basis.yardstick),
        )
        scheduler = Rungs(
            book, config.metric.name, experiment, log, records, limits, slots=cluster.slots, address=config.storage
        )
        log.listen(console.event)
        console.begin(config, experiment, records, cluster.slots)
        state = "interrupted"
        with reported(config.wandb, experiment, console.note):
            try:
                with _closing(console), limits.signals():
                    _run(config, search, scheduler, limits, cluster, console)
                    if _end_state(records, limits) in ("completed", "budget") and not limits.closed:
                        recheck(config, experiment, log, records, cluster, basis, limits, console.note)
                state = _end_state(records, limits)
            except (RayError, TuneError) as error:
                if not limits.broken:
                    raise TuneAppError(f"Ray broke off: {str(error).strip().splitlines()[-1]}", hint=hint) from error
            finally:
                by = {"reason": "person"} if limits.closed or limits.full else {}
                log.append("sweep_ended", state=state, hours=limits.hours, **by)
                summary = summarise(config, records, log.events)
                write_json(experiment.summary, summary)
                storage.remove(park_file)
        webhook = config.notify.webhook
        if webhook and (why := notify(webhook, summary, str(experiment.folder))):
            console.note(f"notify.webhook: it was not told ({why})")
    if limits.broken:
        raise StorageError(limits.broken.message, hint=hint)


def _run(
    config: SweepConfig, search: Search, scheduler: Rungs, limits: Limits, cluster: Cluster, console: Quiet
) -> None:
    # as many trials may start at once as run at once; Tune's own choice is one after the other
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # what goes wrong is ours to say, in a sentence
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(min(max(cluster.slots, 1), 16))
    if search.is_finished():
        return
    tune.run(
        RayTrial,
        name="tune",
        storage_path=str(cluster.scratch),
        search_alg=search,
        scheduler=scheduler,
        stop=limits,
        callbacks=[Pulse(console.pulse)],
        reuse_actors=reuses_actors(config, cluster),
        raise_on_failed_trial=False,
        verbose=0,
    )


def _end_state(records: Records, limits: Limits) -> str:
    if limits.interrupted:
        return "interrupted"
    if limits.spent and not (limits.closed or limits.full):
        return "budget"
    if records.unfinished and not limits.closed:
        return "interrupted"  # Tune has left trials behind: better said than lost
    return "completed" if records.counts["completed"] + records.counts["stopped"] else "failed"


@contextmanager
def _closing(console: Quiet) -> Iterator[None]:
    try:
        yield
    finally:
        console.end()
