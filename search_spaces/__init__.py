"""What may be searched: distributions, spaces, their forms in Optuna and W&B, and the space files that ship."""
