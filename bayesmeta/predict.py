"""Predictions, and functions of theta and phi at every draw of a posterior."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bayesmeta.capture import capture, over_draws

_DRAWS_AT_ONCE = 64


@dataclass(frozen=True, eq=False)
class Prediction:
    """Draws of outcomes given the inputs, p(y | x, D).

    Attributes:
        draws: (chain, draw, tasks, data, ...); padded cells hold NaN.
        means: E[y | x, theta, phi] at each draw, of the same shape.
    """

    draws: Tensor
    means: Tensor

    @property
    def mean(self) -> Tensor:
        """The predictive mean, (tasks, data, ...)."""
        return self.means.mean((0, 1))

    @property
    def sd(self) -> Tensor:
        """The predictive standard deviation, (tasks, data, ...)."""
        return self.draws.flatten(0, 1).std(0)

    def quantile(self, q: float) -> Tensor:
        """The q-quantile of the predictive draws, (tasks, data, ...)."""
        return torch.quantile(self.draws.flatten(0, 1), q, dim=0)


def at_draws(
    function: Callable[..., tuple[Tensor, ...]], theta: Tensor, phi: Tensor, data: list[Tensor]
) -> tuple[Tensor, ...]:
    """function(theta, phi, *data) at every draw, captured once; outputs lead with (chain, draw)."""
    graph = capture(function, [theta[0, 0], phi[0, 0], *data])
    outputs = over_draws(graph, [theta.flatten(0, 1), phi.flatten(0, 1)], data)
    return tuple(o.reshape(*theta.shape[:2], *o.shape[1:]) for o in outputs)


def random_at_draws(
    function: Callable[..., tuple[Tensor, ...]], theta: Tensor, phi: Tensor, data: list[Tensor]
) -> tuple[Tensor, ...]:
    """`at_draws` for a random function: no graph, and fresh randomness at each draw."""
    flat = theta.flatten(0, 1), phi.flatten(0, 1)
    in_dims = (0, 0, *[None] * len(data))
    batched = torch.func.vmap(function, in_dims=in_dims, randomness="different")
    with torch.no_grad():
        try:
            parts = [
                batched(*(f[i : i + _DRAWS_AT_ONCE] for f in flat), *data)
                for i in range(0, len(flat[0]), _DRAWS_AT_ONCE)
            ]
        except RuntimeError:
            # Some samplers (gamma, Poisson, binomial) do not run under vmap: one draw at a time.
            parts = [
                tuple(o[None] for o in function(t, p, *data)) for t, p in zip(*flat, strict=True)
            ]
    return tuple(
        torch.cat(p).reshape(*theta.shape[:2], *p[0].shape[1:]) for p in zip(*parts, strict=True)
    )
