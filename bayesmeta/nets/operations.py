"""Operations of torch that cannot be batched or differentiated twice, in a form that can be.

Found by trying all layers of torch.nn against a loop and finite differences (tests/nets/layers.py):
in torch 2.13 each of these has no batching rule, no second derivative, or a wrong one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from bayesmeta.nets import recurrence
from bayesmeta.nets.recurrence import Cell, State, Weights


class _Restated(TorchFunctionMode):
    """Operations of the table in their other form, whichever layer or function calls them."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        return _FORMS.get(func, func)(*args, **(kwargs or {}))


@contextmanager
def restated() -> Iterator[None]:
    """Within the block torch computes by forms that can be batched and differentiated twice.

    Attention takes its plain form, as the fused ones have no second derivative.
    """
    with sdpa_kernel(SDPBackend.MATH), _Restated():
        yield


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """Rows of a table. Torch batches padding_idx for the first task only.

    Raises:
        ValueError: for max_norm and scale_grad_by_freq, with which it is no function.
    """
    _refuse(max_norm, scale_grad_by_freq)
    found: Tensor = functional.embedding(input, weight)
    if padding_idx is None:
        return found
    is_padding = (input == padding_idx % weight.shape[0])[..., None]
    return torch.where(is_padding, found.detach(), found)


def embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """Sum, mean or maximum of the rows of each bag. Torch's has no second derivative.

    Raises:
        ValueError: for bags given by offsets, and as `embedding`.
    """
    _refuse(max_norm, scale_grad_by_freq)
    if offsets is not None or input.dim() != 2:
        raise ValueError("gives its bags by offsets: give (bags, tokens), padded by padding_idx")
    rows = functional.embedding(input, weight)
    there = torch.ones_like(input, dtype=torch.bool)
    if padding_idx is not None:
        there = input != padding_idx % weight.shape[0]
    count = there.sum(1, keepdim=True)
    if mode == "max":
        lowest = rows.masked_fill(~there[..., None], -torch.inf).max(1).values
        return torch.where(count > 0, lowest, 0.0)
    scale = there.to(rows.dtype) if per_sample_weights is None else per_sample_weights * there
    total = (rows * scale[..., None]).sum(1)
    return total / count.clamp(min=1) if mode == "mean" else total


def weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    """g v / |v|, norms of all dimensions but one. Torch's second derivative is wrong."""
    others = [k for k in range(v.dim()) if k != dim % v.dim()] if dim != -1 else None
    norm = v.square().sum(others, keepdim=True) if others != [] else v.square()
    return v * (g / norm.sqrt())


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """min(max(x / 6 + 1 / 2, 0), 1). Torch's has no second derivative."""
    return (input / 6 + 0.5).clamp(0, 1)


def rrelu(
    input: Tensor,
    lower: float = 1 / 8,
    upper: float = 1 / 3,
    training: bool = False,
    inplace: bool = False,
) -> Tensor:
    """Rectified by a slope between two, their mean in eval mode. Torch's is not batched.

    Raises:
        ValueError: in training mode, where it is random.
    """
    if training:
        raise ValueError("is random, but a density must not be")
    return functional.leaky_relu(input, (lower + upper) / 2)


def cdist(x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: Any = None) -> Tensor:
    """Distances of rows; all derivatives are 0 where they coincide.

    Torch's has no second derivative, and its slopes under vmap are those of the first task.
    """
    apart = x1[..., :, None, :] - x2[..., None, :, :]
    is_same = (apart == 0).all(-1)
    found = torch.linalg.vector_norm(torch.where(is_same[..., None], 1.0, apart), p, -1)
    return torch.where(is_same, 0.0, found)


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """x'y / (max(|x|, eps) max(|y|, eps)). Torch's second derivative is no number at zero."""
    lengths = [x.square().sum(dim).clamp(min=eps**2).sqrt() for x in (x1, x2)]
    return (x1 * x2).sum(dim) / (lengths[0] * lengths[1])


def multi_head_attention_forward(
    *args: Any, key_padding_mask: Tensor | None = None, **options: Any
) -> tuple[Tensor, Tensor | None]:
    """Attention, which reads nothing where all keys are padding; torch's is no number there."""
    plain = functional.multi_head_attention_forward
    if key_padding_mask is None:
        found: tuple[Tensor, Tensor | None] = plain(*args, **options)
        return found
    hidden = key_padding_mask
    is_away = hidden if hidden.dtype == torch.bool else hidden == -torch.inf
    reads_nothing = is_away.all(-1)
    hidden = torch.where(reads_nothing[..., None], torch.zeros_like(hidden), hidden)
    out, weights = plain(*args, **{**options, "key_padding_mask": hidden})
    bias = args[12]
    nothing = torch.zeros_like(out) if bias is None else bias.expand_as(out)
    out = torch.where(reads_nothing[..., None], nothing, out)
    if weights is not None:
        alone = reads_nothing.reshape(-1, *[1] * (weights.dim() - reads_nothing.dim()))
        weights = torch.where(alone, 0.0, weights)
    return out, weights


def lstm(x: Tensor, hx: Any, flat: Any, *how: Any) -> tuple[Tensor, ...]:
    """torch.lstm, unrolled."""
    return _recurrent(recurrence.lstm_cell, x, hx, flat, *how)


def gru(x: Tensor, hx: Any, flat: Any, *how: Any) -> tuple[Tensor, ...]:
    """torch.gru, unrolled."""
    return _recurrent(recurrence.gru_cell, x, hx, flat, *how)


def rnn_tanh(x: Tensor, hx: Any, flat: Any, *how: Any) -> tuple[Tensor, ...]:
    """torch.rnn_tanh, unrolled."""
    return _recurrent(recurrence.tanh_cell, x, hx, flat, *how)


def rnn_relu(x: Tensor, hx: Any, flat: Any, *how: Any) -> tuple[Tensor, ...]:
    """torch.rnn_relu, unrolled."""
    return _recurrent(recurrence.relu_cell, x, hx, flat, *how)


def lstm_cell(x: Tensor, hx: tuple[Tensor, Tensor], *weights: Tensor) -> State:
    """A step of an LSTM."""
    return _step(recurrence.lstm_cell, x, tuple(hx), weights)


def gru_cell(x: Tensor, hx: Tensor, *weights: Tensor) -> Tensor:
    """A step of a gated recurrent unit."""
    return _step(recurrence.gru_cell, x, (hx,), weights)[0]


def rnn_tanh_cell(x: Tensor, hx: Tensor, *weights: Tensor) -> Tensor:
    """A step of Elman's network."""
    return _step(recurrence.tanh_cell, x, (hx,), weights)[0]


def rnn_relu_cell(x: Tensor, hx: Tensor, *weights: Tensor) -> Tensor:
    """The same, rectified."""
    return _step(recurrence.relu_cell, x, (hx,), weights)[0]


def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x' A_k y + b_k of each output k."""
    found = torch.einsum("...i,kij,...j->...k", input1, weight, input2)
    return found if bias is None else found + bias


def _step(cell: Cell, x: Tensor, state: State, weights: tuple[Tensor, ...]) -> State:
    each = Weights(*weights)
    return cell(state, functional.linear(x, each.of_input, each.input_bias), each)


def _recurrent(cell: Cell, x: Tensor, hx: Any, flat: Any, *how: Any) -> tuple[Tensor, ...]:
    """Torch's arguments: has_biases, num_layers, dropout, training, bidirectional, batch_first."""
    if isinstance(hx, Tensor) and not hx.is_floating_point():
        raise ValueError(
            "reads packed sequences, whose lengths are no tensors of a graph; give padded ones, "
            "(examples, steps, width), and pick what is wanted of the outputs"
        )
    has_biases, layers, dropout, training, both_ways, batch_first = how
    if dropout and training and layers > 1:
        raise ValueError("is random by its dropout, but a density must not be")
    start = (hx,) if isinstance(hx, Tensor) else tuple(hx)
    return recurrence.unrolled(
        cell,
        x,
        start,
        flat,
        has_biases=has_biases,
        layers=layers,
        both_ways=both_ways,
        batch_first=batch_first,
    )


def _refuse(max_norm: float | None, scale_grad_by_freq: bool) -> None:
    if max_norm is not None:
        raise ValueError("changes its weights when it is called, by max_norm; leave that out")
    if scale_grad_by_freq:
        raise ValueError("scales its gradient, by scale_grad_by_freq; leave that out")


_FORMS: Mapping[Callable[..., Any], Callable[..., Any]] = {
    functional.embedding: embedding,
    functional.embedding_bag: embedding_bag,
    functional.hardsigmoid: hardsigmoid,
    functional.rrelu: rrelu,
    torch._weight_norm: weight_norm,
    torch.cdist: cdist,
    functional.cosine_similarity: cosine_similarity,
    torch.cosine_similarity: cosine_similarity,
    functional.multi_head_attention_forward: multi_head_attention_forward,
    torch.lstm: lstm,
    torch.gru: gru,
    torch.rnn_tanh: rnn_tanh,
    torch.rnn_relu: rnn_relu,
    torch.lstm_cell: lstm_cell,
    torch.gru_cell: gru_cell,
    torch.rnn_tanh_cell: rnn_tanh_cell,
    torch.rnn_relu_cell: rnn_relu_cell,
    functional.bilinear: bilinear,
}
