"""One thread a test process: the tests are many small computations."""

from __future__ import annotations

import torch

torch.set_num_threads(1)
