"""Branin as a user's own model, so that the tests of resume and W&B run on a plug-in."""

from trainables.catalog import BRANIN

MODELS = {"valley": BRANIN}
