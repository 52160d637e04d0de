"""Functions of theta and phi at every draw of a posterior, in chunks that fit in memory."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Sequence
from functools import partial

import torch
from torch import Tensor

from bayesmeta.capturing.capture import capture, over_draws
from bayesmeta.capturing.kept import captured
from bayesmeta.data.tasks import Tasks
from bayesmeta.model.density import Density

Function = Callable[[Tensor, Tensor, Tasks], tuple[Tensor, ...]]
# Who keeps the graph of a function, and what tells it from others of the same owner.
Keeper = tuple[Density, Hashable]
Over = Callable[[Function, Tensor, Tensor, Tasks], tuple[Tensor, ...]]

# Draws in memory together, and numbers of phi in them: a network's layers are several times larger.
_DRAWS_AT_ONCE, _NUMBERS_AT_ONCE = 64, 4_000_000


def in_chunks(
    over: Over, function: Function, theta: Tensor, phi: Tensor, tasks: Tasks
) -> list[tuple[Tensor, ...]]:
    """`at_draws` or `random_at_draws`, with many tasks treated chunk by chunk, in this order."""
    return [
        over(function, theta, phi[:, :, chunk], tasks.select(chunk))
        for chunk in tasks.chunks(phi.shape[-1])
    ]


def joined(chunks: Sequence[Tensor]) -> Tensor:
    """What chunks of tasks gave, (chain, draw, tasks, ...), put together."""
    return torch.cat(list(chunks), dim=2) if len(chunks) > 1 else chunks[0]


def kept_by(density: Density, what: Hashable) -> Over:
    """`at_draws` with a graph that the density keeps: it and `what` are all that it depends on."""
    return partial(at_draws, keeper=(density, what))


def at_draws(
    function: Function,
    theta: Tensor,
    phi: Tensor,
    tasks: Tasks,
    *,
    keeper: Keeper | None = None,
) -> tuple[Tensor, ...]:
    """function(theta, phi, tasks) at every draw; outputs lead with (chain, draw)."""
    if theta.shape[:2].numel() == 1:
        # Recording a graph takes longer than what it would do.
        with torch.no_grad():
            return tuple(o[None, None] for o in function(theta[0, 0], phi[0, 0], tasks))

    def on_data(point: Tensor, free: Tensor, *data: Tensor) -> tuple[Tensor, ...]:
        return function(point, free, tasks.with_tensors(data))

    data = tasks.tensors()
    inputs = [theta[0, 0], phi[0, 0], *data]
    if keeper is None:
        graph = capture(on_data, inputs)
    else:
        density, what = keeper
        graph = captured(density, ("at draws", what), [tasks], on_data, inputs)
    flat = [theta.flatten(0, 1), phi.flatten(0, 1)]
    outputs = over_draws(graph, flat, data, _at_once(phi))
    return tuple(o.reshape(*theta.shape[:2], *o.shape[1:]) for o in outputs)


def random_at_draws(
    function: Function, theta: Tensor, phi: Tensor, tasks: Tasks
) -> tuple[Tensor, ...]:
    """`at_draws` for a random function: no graph, and fresh randomness at each draw."""
    flat = theta.flatten(0, 1), phi.flatten(0, 1)
    batched = torch.func.vmap(lambda t, p: function(t, p, tasks), randomness="different")
    at_once = _at_once(phi)
    with torch.no_grad(), warnings.catch_warnings():
        # Of samplers that torch.vmap knows by a slower route alone.
        for told in ("There is a performance drop", "An output with one or more elements was"):
            warnings.filterwarnings("ignore", told, UserWarning)
        try:
            parts = [
                batched(*(f[i : i + at_once] for f in flat))
                for i in range(0, len(flat[0]), at_once)
            ]
        except RuntimeError:
            # Some samplers (gamma, Poisson, binomial) do not run under vmap: one draw at a time.
            parts = [
                tuple(o[None] for o in function(t, p, tasks)) for t, p in zip(*flat, strict=True)
            ]
    return tuple(
        torch.cat(p).reshape(*theta.shape[:2], *p[0].shape[1:]) for p in zip(*parts, strict=True)
    )


def _at_once(phi: Tensor) -> int:
    """How many draws of phi (chain, draw, tasks, d_phi) to treat together."""
    return max(1, min(_DRAWS_AT_ONCE, _NUMBERS_AT_ONCE // max(1, phi[0, 0].numel())))
