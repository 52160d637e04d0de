"""Distributions of Pyro that write in place, with the same numbers made anew while a model runs.

Of a write in place torch.vmap batches neither the derivative nor, with an end counted from the
back, what stands for it in a graph without one (torch 2.13, 2.14).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pyro.distributions as dist
import torch
from torch import Tensor


@contextlib.contextmanager
def rewritten() -> Iterator[None]:
    """Let models make such distributions without a write in place."""
    original = dist.OrderedLogistic.__init__
    dist.OrderedLogistic.__init__ = _ordered_logistic
    try:
        yield
    finally:
        dist.OrderedLogistic.__init__ = original


def _ordered_logistic(
    fn: dist.OrderedLogistic,
    predictor: Tensor,
    cutpoints: Tensor,
    validate_args: bool | None = None,
) -> None:
    """P(y = k) is sigmoid(c_k - x) - sigmoid(c_{k-1} - x), with c_{-1} = -inf and c_K = inf."""
    below = torch.sigmoid(cutpoints - predictor.unsqueeze(-1))
    fn.predictor = predictor.expand(below.shape[:-1])
    fn.cutpoints = cutpoints.expand(below.shape)
    chances = torch.cat([below[..., :1], below.diff(dim=-1), 1 - below[..., -1:]], -1)
    super(dist.OrderedLogistic, fn).__init__(chances, validate_args=validate_args)
