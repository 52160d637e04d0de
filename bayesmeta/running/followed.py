"""What each value was computed from: Pyro's provenance, and where it says too little or much."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from pyro.ops.provenance import detach_provenance, get_provenance, track_provenance
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from bayesmeta.data.tasks import Tasks


@dataclass(frozen=True)
class Column:
    """The origin of what was computed from a column of x; that of a site is its name."""

    name: str


def followed(tasks: Tasks) -> Tasks:
    """The tasks with columns that are followed."""
    columns = {n: track_provenance(c, frozenset({Column(n)})) for n, c in tasks.x.items()}
    return replace(tasks, x=columns)


# Of these tensors the shape, dtype and device alone are read.
_ALIKE = frozenset(
    (
        *(torch.zeros_like, torch.ones_like, torch.empty_like, torch.full_like),
        *(torch.rand_like, torch.randn_like, torch.randint_like),
        *(torch.Tensor.new_zeros, torch.Tensor.new_ones, torch.Tensor.new_empty),
        *(torch.Tensor.new_full, torch.Tensor.new_tensor),
    )
)
_AS_ANOTHER = frozenset(
    (torch.Tensor.expand_as, torch.Tensor.view_as, torch.Tensor.reshape_as, torch.Tensor.type_as)
)
# What makes a number of Python out of a tensor, or an array, whose origin is lost.
_LEAVING = frozenset(
    (
        *(torch.Tensor.item, torch.Tensor.tolist, torch.Tensor.numpy, torch.Tensor.__array__),
        *(torch.Tensor.__bool__, torch.Tensor.__int__, torch.Tensor.__float__),
        torch.Tensor.__index__,
    )
)


# What puts several tensors into one, so that a part of it has the origins of all.
_PACKING = frozenset(
    (
        *(torch.stack, torch.cat, torch.concat, torch.concatenate),
        *(torch.hstack, torch.vstack, torch.dstack, torch.column_stack),
    )
)


class Following(TorchFunctionMode):
    """Lets shapes have no origin, follows through `torch.vmap`, and notes what leaves torch.

    Attributes:
        left: the origins of the tensors that became numbers of Python or arrays.
        packed: those of tensors that were put into one with others, which has the origins of all.
    """

    def __init__(self) -> None:
        super().__init__()
        self.left: frozenset[Any] = frozenset()
        self.packed: frozenset[Any] = frozenset()
        self._maps = contextlib.ExitStack()

    def __enter__(self) -> Following:
        self._maps.enter_context(_maps_followed())
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._maps.close()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in _LEAVING:
            self.left |= get_provenance(args[0])
        elif func in _PACKING and len({get_provenance(part) for part in args[0]}) > 1:
            self.packed |= get_provenance(list(args[0]))
        elif func in _ALIKE:
            args, kwargs = detach_provenance(args), detach_provenance(dict(kwargs))
        elif func in _AS_ANOTHER:
            args = args[0], *detach_provenance(args[1:])
        return func(*args, **kwargs)


@contextlib.contextmanager
def _maps_followed() -> Iterator[None]:
    """`torch.vmap` as one that keeps origins, found by the function on the first slice."""
    original = torch.func.vmap

    def vmap(func: Callable[..., Any], in_dims: Any = 0, *more: Any, **options: Any) -> Any:
        mapped = original(func, in_dims, *more, **options)

        def call(*args: Any, **kwargs: Any) -> Any:
            found = mapped(*detach_provenance(args), **detach_provenance(kwargs))
            try:
                each = in_dims if isinstance(in_dims, tuple | list) else [in_dims] * len(args)
                slices = [_first(a, dim) for a, dim in zip(args, each, strict=True)]
                origins = func(*slices, **{n: _first(a, 0) for n, a in kwargs.items()})
            except Exception:  # what runs on slices together alone is followed no further
                return found
            ways = iter([get_provenance(leaf) for leaf in tree_leaves(origins)])
            return tree_map(lambda leaf: track_provenance(leaf, next(ways)), found)

        return call

    torch.func.vmap = torch.vmap = vmap
    try:
        yield
    finally:
        torch.func.vmap = torch.vmap = original


def _first(value: Any, dim: Any) -> Any:
    """The first slice of a tensor, or of all tensors in a structure, along a dimension."""
    if isinstance(dim, dict):
        return {key: _first(value[key], dim[key]) for key in value}
    if isinstance(dim, tuple | list):
        return type(value)(_first(v, d) for v, d in zip(value, dim, strict=True))
    return value if dim is None else tree_map(lambda leaf: leaf.select(dim, 0), value)
