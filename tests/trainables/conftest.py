"""Run PyTorch on one thread: the networks are tiny, and several tests may share the machine."""

import torch

torch.set_num_threads(1)
