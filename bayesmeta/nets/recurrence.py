"""Recurrent layers step by step, in plain operations: torch's own have no batching rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear

# The state (h,), or (h, c) of an LSTM, each (examples, width).
State = tuple[Tensor, ...]


class Weights(NamedTuple):
    """Of one layer in one direction, as torch lays them out; a projection maps an LSTM's h."""

    of_input: Tensor
    of_state: Tensor
    input_bias: Tensor | None = None
    state_bias: Tensor | None = None
    projection: Tensor | None = None


# A step: the state before, what the input adds to the gates, the weights; to the state after.
Cell = Callable[[State, Tensor, Weights], State]


def lstm_cell(state: State, added: Tensor, weights: Weights) -> State:
    """Long short-term memory (Hochreiter & Schmidhuber 1997), as torch.nn.LSTM has it."""
    h, c = state
    gates = added + linear(h, weights.of_state, weights.state_bias)
    i, f, g, o = gates.chunk(4, -1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    h = o.sigmoid() * c.tanh()
    return (h if weights.projection is None else linear(h, weights.projection)), c


def gru_cell(state: State, added: Tensor, weights: Weights) -> State:
    """Gated recurrent unit (Cho et al. 2014), as torch.nn.GRU has it."""
    (h,) = state
    r, z, n = added.chunk(3, -1)
    hr, hz, hn = linear(h, weights.of_state, weights.state_bias).chunk(3, -1)
    z = (z + hz).sigmoid()
    n = (n + (r + hr).sigmoid() * hn).tanh()
    return ((1 - z) * n + z * h,)


def tanh_cell(state: State, added: Tensor, weights: Weights) -> State:
    """Elman's (1990), as torch.nn.RNN has it."""
    return ((added + linear(state[0], weights.of_state, weights.state_bias)).tanh(),)


def relu_cell(state: State, added: Tensor, weights: Weights) -> State:
    """The same with rectified units."""
    return ((added + linear(state[0], weights.of_state, weights.state_bias)).relu(),)


def unrolled(
    cell: Cell,
    x: Tensor,
    start: State,
    flat: Sequence[Tensor],
    *,
    has_biases: bool,
    layers: int,
    both_ways: bool,
    batch_first: bool,
) -> tuple[Tensor, ...]:
    """All layers over all steps.

    Args:
        cell: a step.
        x: (steps, examples, width), or with the first two exchanged.
        start: each (layers * directions, examples, width).
        flat: weights of layer after layer, forwards and backwards.
        has_biases: whether there are any.
        layers: how many.
        both_ways: whether each layer also reads backwards.
        batch_first: whether x is (examples, steps, width), and the outputs too.

    Returns:
        The outputs of the last layer, and the last state, as `start` is laid out.
    """
    count = len(flat) // (layers * (1 + both_ways))
    each = [_weights(flat[k : k + count], has_biases) for k in range(0, len(flat), count)]
    sequence = x.transpose(0, 1) if batch_first else x
    last: list[State] = []
    for _ in range(layers):
        ways = []
        for backwards in range(1 + both_ways):
            k = len(last)
            state, outputs = _run(
                cell, sequence, tuple(s[k] for s in start), each[k], bool(backwards)
            )
            last.append(state)
            ways.append(outputs)
        sequence = torch.cat(ways, -1)
    outputs = sequence.transpose(0, 1) if batch_first else sequence
    return outputs, *(torch.stack(parts) for parts in zip(*last, strict=True))


def _weights(flat: Sequence[Tensor], has_biases: bool) -> Weights:
    of_input, of_state, *rest = flat
    biases = rest[:2] if has_biases else [None, None]
    return Weights(of_input, of_state, *biases, *rest[2 * has_biases :])


def _run(
    cell: Cell, x: Tensor, state: State, weights: Weights, backwards: bool
) -> tuple[State, Tensor]:
    """One layer in one direction: its last state, and outputs (steps, examples, width)."""
    added = linear(x, weights.of_input, weights.input_bias)
    outputs = []
    for step in reversed(added.unbind(0)) if backwards else added.unbind(0):
        state = cell(state, step, weights)
        outputs.append(state[0])
    return state, torch.stack(outputs[::-1] if backwards else outputs)
