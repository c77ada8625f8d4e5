"""The features of Ray and Ray Tune that we switch off, with the reason for each."""

from collections.abc import Iterator
from contextlib import contextmanager

from tune_app.cluster.secrets import SECRET

FOR_EVERY_CLUSTER = {
    # our own table and messages replace Tune's
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    # failures are reported by our own messages, also if two workers fail at once
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",
    # nothing is sent to Ray's makers
    "RAY_USAGE_STATS_ENABLED": "0",
    # workers keep the driver's folder, so relative data paths work
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # a trial without a GPU must not see one
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
    # the event log replaces Tune's result files and snapshots
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
    "TUNE_WARN_SLOW_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "1000000",
    # Tune asks for the cluster's resources only to log them, and a head that has died keeps it waiting
    "TUNE_STATE_REFRESH_PERIOD": "1000000000",
    # our own handler lets trials write a checkpoint first
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # Ray would start the preparation of the images again for ever if the machine has too little memory for it
    "RAY_task_oom_retries": "3",
    # a report without the metric is normal between rungs
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    # with a checkpoint in the buffer, Tune 2.60 can start a trial's next step twice, out of order
    "TUNE_RESULT_BUFFER_LENGTH": "1",
}
"""Environment variables. Ray reads them when it is imported."""
FOR_A_PRIVATE_RAY = {
    # the switch for macOS and Windows: Ray then binds to the address it is given, so every port is on loopback
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_AUTH_MODE": "token",
}
FOR_A_JOINED_CLUSTER = {
    # the port is open, so more retries do not help
    "RAY_NUM_REDIS_GET_RETRIES": "3",
    # Ray would end this process after 60 s without the head, before we can say so and log the end
    "RAY_gcs_rpc_server_reconnect_timeout_s": "120",
}
UNUSED_PROCESSES = ("start_api_server", "start_monitor", "start_log_monitor")
"""Methods of Ray's Node. They start the job and state API, the autoscaler and the process that prints worker logs."""
FOR_WORKERS = ("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO",)
"""Variables of FOR_EVERY_CLUSTER that a joined cluster's workers need too."""


def silence_worker_logs() -> None:
    """Keep Ray's messages about lost workers out of our output."""
    from ray._private import worker

    worker._worker_logs_enabled = False


def count_no_callbacks() -> None:
    """Keep Tune from counting our callbacks for its usage statistics, which are off.

    To count them, it imports its integrations with W&B, MLflow and Comet, and with them wandb.
    """
    from ray.air._internal import usage

    usage.tag_callbacks = lambda *_: False


def keep_secrets_out_of_runtime_envs() -> None:
    """Keep Tune from sending AWS keys with each actor. Whoever can read a cluster's job API would see them."""
    from ray.tune.execution import class_cache

    sent = {name for name in class_cache.ENV_VARS_TO_PROPAGATE if not SECRET.search(name)}
    class_cache.ENV_VARS_TO_PROPAGATE = sent


@contextmanager
def small_processes() -> Iterator[None]:
    """Let Ray start no process that a private cluster can do without, and load only what plain `ray` needs.

    This saves 1.2 CPU seconds of 3.3, and 2 more where `ray[default]` is installed.
    """
    from ray._private import utils
    from ray._private.node import Node

    check, starts = utils.get_dashboard_dependency_error, {name: getattr(Node, name) for name in UNUSED_PROCESSES}
    utils.get_dashboard_dependency_error = lambda: ImportError("not needed here")
    for name in UNUSED_PROCESSES:
        setattr(Node, name, lambda *_, **__: None)
    try:
        yield
    finally:
        utils.get_dashboard_dependency_error = check
        for name, start in starts.items():
            setattr(Node, name, start)
