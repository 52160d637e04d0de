"""Every layer of torch.nn, as a network on inputs it takes: what Net runs, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

F64 = torch.float64


class Case(NamedTuple):
    """How a network is made, the shape of a datapoint, and what Net says where it refuses it."""

    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    refused: str = ""
    tokens: int = 0

    def inputs(self, tasks: int, data: int = 4) -> Tensor:
        """Numbers, or tokens below `tokens`, (tasks, data, ...)."""
        generator = torch.Generator().manual_seed(1)
        if self.tokens:
            return torch.randint(self.tokens, (tasks, data, *self.shape), generator=generator)
        return torch.randn(tasks, data, *self.shape, generator=generator, dtype=F64)


class Read(nn.Module):
    """A layer that is called as the lambda says, after one with weights, and before one."""

    def __init__(self, layer: nn.Module, call: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.layer, self.call = layer, call
        self.first = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.call(self.layer, self.first(x))


class Table(nn.Module):
    """A layer that reads tokens."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer, self.last = layer, nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.layer(x)))


class Pooled(nn.Module):
    """Pooling and its inverse."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv = _of("Conv", dim)(CHANNELS[dim], 2, 3, padding=1)
        self.pool = _of("MaxPool", dim)(2, return_indices=True)
        self.layer = _of("MaxUnpool", dim)(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(*self.pool(self.conv(x)))


class Function(nn.Module):
    """A function of a matrix of weights and the input."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function
        self.matrix = nn.Parameter(torch.eye(6) + 0.1 * torch.randn(6, 6))

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.matrix, x)


VECTOR, SEQUENCE = (6,), (5, 6)
CHANNELS = {1: 3, 2: 3, 3: 2}
SHAPES = {1: (3, 8), 2: (3, 6, 6), 3: (2, 4, 4, 4)}
RANDOM, STATISTICS = "random", "running statistics"
CASES: dict[str, Case] = {}


def _of(kind: str, dim: int) -> Any:
    return getattr(nn, f"{kind}{dim}d")


def _add(
    name: str, make: Callable[[], nn.Module], shape: tuple[int, ...], refused: str = ""
) -> None:
    CASES[name] = Case(make, shape, refused)


def _after_linear() -> None:
    """Layers of vectors, after a linear one."""
    plain = (
        "CELU ELU GELU GLU Hardshrink Hardsigmoid Hardswish Hardtanh LeakyReLU LogSigmoid Mish "
        "PReLU ReLU ReLU6 SELU SiLU Sigmoid Softplus Softshrink Softsign Tanh Tanhshrink Identity "
        "Flatten"
    )
    for name in plain.split():
        _add(name, lambda name=name: nn.Sequential(nn.Linear(6, 6), getattr(nn, name)()), VECTOR)
    for name in ("LogSoftmax", "Softmax", "Softmin"):
        _add(name, lambda name=name: nn.Sequential(nn.Linear(6, 6), getattr(nn, name)(-1)), VECTOR)
    for name in ("RReLU", "Dropout", "AlphaDropout", "FeatureAlphaDropout"):
        _add(
            name,
            lambda name=name: nn.Sequential(nn.Linear(6, 6), getattr(nn, name)()),
            VECTOR,
            RANDOM,
        )
    layers = {
        "Threshold": lambda: nn.Threshold(0.1, 0.0),
        "Unflatten": lambda: nn.Unflatten(1, (2, 3)),
        "LayerNorm": lambda: nn.LayerNorm(6),
        "RMSNorm": lambda: nn.RMSNorm(6),
        "in place": lambda: nn.ReLU(inplace=True),
    }
    for name, layer in layers.items():
        _add(name, lambda layer=layer: nn.Sequential(nn.Linear(6, 6), layer()), VECTOR)
    sync = nn.Sequential(nn.Linear(6, 6), nn.SyncBatchNorm(6))
    _add("SyncBatchNorm", lambda: sync, VECTOR, STATISTICS)
    _add("Linear", lambda: nn.Linear(6, 2), VECTOR)
    pairs = {
        "Bilinear": lambda: nn.Bilinear(6, 6, 3),
        "CosineSimilarity": nn.CosineSimilarity,
        "PairwiseDistance": nn.PairwiseDistance,
    }
    for name, layer in pairs.items():
        _add(name, lambda layer=layer: Read(layer(), lambda f, x: f(x, torch.tanh(x))), VECTOR)


def _around(dim: int, layer: Callable[[], nn.Module], channels: int) -> Callable[[], nn.Module]:
    conv = _of("Conv", dim)
    return lambda: nn.Sequential(conv(CHANNELS[dim], channels, 3, padding=1), layer())


def _of_images(dim: int) -> None:
    """Layers that torch has in one, two and three dimensions."""
    shape, channels = SHAPES[dim], CHANNELS[dim]
    _add(f"Conv{dim}d", lambda: _of("Conv", dim)(channels, 4, 3, padding=1), shape)
    transposed = _of("ConvTranspose", dim)
    _add(f"ConvTranspose{dim}d", lambda: transposed(channels, 4, 3, stride=2), shape)
    for name in ("MaxPool", "AvgPool", "AdaptiveAvgPool", "AdaptiveMaxPool"):
        _add(f"{name}{dim}d", _around(dim, lambda name=name: _of(name, dim)(2), 4), shape)
    _add(f"LPPool{dim}d", _around(dim, lambda: _of("LPPool", dim)(2, 2), 4), shape)
    for name in ("ReflectionPad", "ReplicationPad", "ZeroPad", "CircularPad"):
        _add(f"{name}{dim}d", _around(dim, lambda name=name: _of(name, dim)(1), 2), shape)
    _add(f"ConstantPad{dim}d", _around(dim, lambda: _of("ConstantPad", dim)(1, 0.5), 2), shape)
    _add(f"MaxUnpool{dim}d", lambda: Pooled(dim), shape)
    _add(f"Dropout{dim}d", _around(dim, lambda: _of("Dropout", dim)(), 4), shape, RANDOM)
    for name in ("BatchNorm", "InstanceNorm"):
        norm = _of(name, dim)
        kept = _around(dim, lambda norm=norm: norm(4, track_running_stats=True), 4)
        _add(f"{name}{dim}d, kept", kept, shape, STATISTICS)
    own = _around(dim, lambda: _of("InstanceNorm", dim)(4, affine=True), 4)
    _add(f"InstanceNorm{dim}d", own, shape)
    if dim > 1:
        pool = _of("FractionalMaxPool", dim)
        fractional = _around(dim, lambda: pool(2, output_size=2), 4)
        _add(f"FractionalMaxPool{dim}d", fractional, shape, RANDOM)


def _of_pictures() -> None:
    """Layers of two dimensions alone."""
    layers = {
        "Softmax2d": nn.Softmax2d,
        "GroupNorm": lambda: nn.GroupNorm(2, 4),
        "LocalResponseNorm": lambda: nn.LocalResponseNorm(2),
        "Unfold": lambda: nn.Unfold(2),
        "PixelShuffle": lambda: nn.PixelShuffle(2),
        "PixelUnshuffle": lambda: nn.PixelUnshuffle(2),
        "ChannelShuffle": lambda: nn.ChannelShuffle(2),
        "Upsample": lambda: nn.Upsample(scale_factor=2, mode="bicubic"),
        "UpsamplingNearest2d": lambda: nn.UpsamplingNearest2d(scale_factor=2),
        "UpsamplingBilinear2d": lambda: nn.UpsamplingBilinear2d(scale_factor=2),
    }
    for name, layer in layers.items():
        _add(name, _around(2, layer, 4), SHAPES[2])
    lrn = _around(2, lambda: nn.CrossMapLRN2d(2), 4)
    _add("CrossMapLRN2d", lrn, SHAPES[2], "cannot be run on several tasks at once")
    fold = lambda: nn.Sequential(nn.Unfold(3), nn.Linear(16, 16), nn.Fold((6, 6), 3))  # noqa: E731
    _add("Fold", fold, SHAPES[2])


def _of_tokens() -> None:
    """Tables of embeddings."""
    hows: tuple[tuple[dict[str, Any], str], ...] = (
        ({}, ""),
        ({"padding_idx": 0}, ""),
        ({"padding_idx": -1}, ""),
        ({"sparse": True}, ""),
        ({"scale_grad_by_freq": True}, "scales its gradient"),
        ({"max_norm": 1.0}, "changes its weight"),
    )
    for kind in (nn.Embedding, nn.EmbeddingBag):
        modes = ({},) if kind is nn.Embedding else ({"mode": m} for m in ("mean", "sum", "max"))
        for mode in modes:
            for how, refused in hows:
                if mode == {"mode": "max"} and {"sparse", "scale_grad_by_freq"} & how.keys():
                    continue
                name = " ".join(map(str, (kind.__name__, *mode.values(), *how)))
                given = {**mode, **how}
                CASES[name] = Case(
                    lambda kind=kind, given=given: Table(kind(7, 3, **given)), (5,), refused, 7
                )


def _last(f: nn.Module, x: Tensor) -> Tensor:
    return f(x)[0][:, -1]


def _twice(f: nn.Module, x: Tensor) -> Tensor:
    state = f(x, f(x))
    return state[0] if isinstance(state, tuple) else state


def _of_sequences() -> None:
    """Recurrence and attention."""
    for name in ("RNN", "GRU", "LSTM"):
        hows: list[tuple[dict[str, Any], str]] = [
            ({}, ""),
            ({"num_layers": 2, "bidirectional": True, "bias": False}, ""),
            ({"num_layers": 2, "dropout": 0.5}, RANDOM),
        ]
        hows += [({"proj_size": 2}, "")] if name == "LSTM" else []
        hows += [({"nonlinearity": "relu"}, "")] if name == "RNN" else []
        for how, refused in hows:
            kind = getattr(nn, name)
            make = lambda kind=kind, how=how: Read(  # noqa: E731
                kind(6, 3, batch_first=True, **how), _last
            )
            _add(" ".join((name, *how)), make, SEQUENCE, refused)
        cell = getattr(nn, f"{name}Cell")
        _add(f"{name}Cell", lambda cell=cell: Read(cell(6, 3), _twice), VECTOR)
    for weights in (True, False):
        for dropout, refused in ((0.0, ""), (0.3, RANDOM)):
            _add(
                f"MultiheadAttention {weights} {dropout}",
                lambda weights=weights, dropout=dropout: Read(
                    nn.MultiheadAttention(6, 2, dropout=dropout, batch_first=True),
                    lambda f, x: f(x, x, x, need_weights=weights)[0].mean(1),
                ),
                SEQUENCE,
                refused,
            )
    how = {"dropout": 0.0, "batch_first": True}
    encode = lambda: nn.TransformerEncoderLayer(6, 2, 8, **how)  # noqa: E731
    decode = lambda: nn.TransformerDecoderLayer(6, 2, 8, **how)  # noqa: E731
    readers = {"TransformerEncoderLayer": encode}
    readers["TransformerEncoder"] = lambda: nn.TransformerEncoder(encode(), 2)
    writers = {"TransformerDecoderLayer": decode}
    writers["TransformerDecoder"] = lambda: nn.TransformerDecoder(decode(), 1)
    writers["Transformer"] = lambda: nn.Transformer(6, 2, 1, 1, 8, **how)
    for name, layer in readers.items():
        _add(name, lambda layer=layer: Read(layer(), lambda f, x: f(x).mean(1)), SEQUENCE)
    for name, layer in writers.items():
        _add(name, lambda layer=layer: Read(layer(), lambda f, x: f(x[:, :2], x)), SEQUENCE)


def _by_other_means() -> None:
    """Parametrisations, and functions of a matrix."""
    new, old = nn.utils.parametrizations, nn.utils
    _add("weight_norm", lambda: new.weight_norm(nn.Linear(6, 3)), VECTOR)
    _add("weight_norm, of all", lambda: new.weight_norm(nn.Linear(6, 3), dim=None), VECTOR)
    _add("orthogonal", lambda: new.orthogonal(nn.Linear(6, 3)), VECTOR)
    _add("spectral_norm", lambda: new.spectral_norm(nn.Linear(6, 3)), VECTOR, "changes its buffer")
    _add(
        "old spectral_norm",
        lambda: nn.Sequential(old.spectral_norm(nn.Linear(6, 3))),
        VECTOR,
        "changes its buffer",
    )
    functions: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "cdist": lambda a, x: torch.cdist(x, a),
        "logdet": lambda a, x: (a @ a.mT).logdet() * x.sum(1),
        "det": lambda a, x: a.det() * x.sum(1),
        "solve": lambda a, x: torch.linalg.solve(a, x.mT).mT,
        "inv": lambda a, x: x @ torch.linalg.inv(a),
        "cholesky_inverse": lambda a, x: x @ torch.cholesky_inverse((a @ a.mT).cholesky()),
        "batch_norm": lambda a, x: nn.functional.batch_norm(
            x @ a, None, None, weight=a[0], bias=a[1], training=True
        ),
        "scatter_reduce": lambda a, x: torch.zeros(2, 6, dtype=x.dtype).scatter_reduce(
            0, torch.arange(4)[:, None].expand(4, 6) % 2, x @ a, "prod", include_self=False
        )[torch.arange(4) % 2],
        "hardsigmoid": lambda a, x: nn.functional.hardsigmoid(x @ a),
        "rrelu, not in training": lambda a, x: nn.functional.rrelu(x @ a),
    }
    for name, function in functions.items():
        _add(name, lambda function=function: Function(function), VECTOR)


_after_linear()
for _dim in (1, 2, 3):
    _of_images(_dim)
_of_pictures()
_of_tokens()
_of_sequences()
_by_other_means()
# What holds layers, takes shapes at its first call, or takes labels: no layer of a network.
NO_LAYERS = {
    "Module", "Container", "Sequential", "ModuleList", "ModuleDict", "ParameterList",
    "ParameterDict", "RNNBase", "RNNCellBase", "AdaptiveLogSoftmaxWithLoss",
    "DataParallel",
}  # fmt: skip
