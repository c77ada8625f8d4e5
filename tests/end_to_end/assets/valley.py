"""Branin as a user's own model, so that the tests of resume and W&B run on a plug-in."""

from trainables.plugin import Metric, Model, Parameter

MODELS = {
    "valley": Model(
        run="trainables.branin:build",
        parameters={
            "x1": Parameter(0.0, "first coordinate", low=-5, high=10),
            "x2": Parameter(5.0, "second coordinate", low=0, high=15),
            "bias": Parameter(30.0, "height of the bias that falls to 0 at max_kimg", low=0, high=1e6),
            "step_seconds": Parameter(0.0, "simulated work per report, in seconds", low=0, high=3600),
        },
        metrics={"value": Metric("Branin plus the bias of its fidelity")},
        uses_images=False,
    )
}
