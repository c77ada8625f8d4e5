"""The search space: distributions, conditions, their forms in Optuna and W&B, and the shipped space files."""
