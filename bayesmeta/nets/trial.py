"""A module at two tasks: its outputs by torch, one by one, and as a network computes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.utils._pytree import (
    register_pytree_node,
    tree_flatten,
    tree_leaves,
    tree_map,
    tree_unflatten,
)

from bayesmeta.nets.operations import restated

Named = Mapping[str, Tensor]


@dataclass(frozen=True)
class Trial:
    """A module at two tasks.

    Attributes:
        module: what is tried.
        weights: parameters by name, of each task.
        constants: buffers and parameters that are held.
        args: what it is called with, of each task.
        is_inside: whether it is a layer of a network, whose inputs move with weights before it.
    """

    module: nn.Module
    weights: Sequence[Named]
    constants: Named
    args: Sequence[tuple[Any, ...]]
    is_inside: bool = False

    def alone(self, task: int, seed: int = 0) -> Tensor:
        """The outputs of a task by torch itself."""
        given = tree_map(copied, (dict(self.constants), self.weights[task], self.args[task]))
        torch.manual_seed(seed)
        return numbers(self.called(*given))

    def together(self, weights: Named, args: tuple[Any, ...], *, shared: bool = False) -> Tensor:
        """The outputs of both tasks at once, (2, numbers), as a network computes them."""
        parts, where = split(args)

        def one(named: Named, tensors: tuple[Tensor, ...]) -> Tensor:
            with restated():
                return numbers(self.called(self.constants, named, where(tensors)))

        found: Tensor = vmap(one, in_dims=(None if shared else 0, 0))(
            weights, tuple(map(copied, parts))
        )
        return found

    def called(self, constants: Named, weights: Named, args: tuple[Any, ...]) -> Any:
        """What the module returns."""
        named = {**constants, **weights}
        if args and isinstance(args[-1], Keywords):
            return functional_call(self.module, named, args[:-1], dict(args[-1]))
        return functional_call(self.module, named, args)

    def stacked(self) -> tuple[Named, tuple[Any, ...]]:
        """Weights and arguments of both tasks, with the tasks as first dimension."""
        one, other = self.weights
        weights = {name: torch.stack([w, other[name]]) for name, w in one.items()}
        return weights, tree_map(_together, *self.args)

    def of_layer(self, prefix: str, layer: nn.Module, args: Sequence[tuple[Any, ...]]) -> Trial:
        """A layer whose parameters' names start so, with what it is called with."""

        def below(named: Mapping[str, Any]) -> dict[str, Any]:
            return {n.removeprefix(prefix): x for n, x in named.items() if n.startswith(prefix)}

        weights, constants = [below(w) for w in self.weights], below(self.constants)
        return Trial(layer, weights, constants, args, is_inside=True)


class Keywords(dict[str, Any]):
    """Keyword arguments, as the last of a call's."""


register_pytree_node(
    Keywords,
    lambda kept: (list(kept.values()), list(kept)),
    lambda values, names: Keywords(zip(names, values, strict=True)),
)


def split(
    args: tuple[Any, ...],
) -> tuple[list[Tensor], Callable[[Sequence[Tensor]], tuple[Any, ...]]]:
    """The tensors of arguments, and what puts others in their places."""
    leaves, spec = tree_flatten(args)
    places = [k for k, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]

    def where(tensors: Sequence[Tensor]) -> tuple[Any, ...]:
        given = list(leaves)
        for k, value in zip(places, tensors, strict=True):
            given[k] = value
        found: tuple[Any, ...] = tree_unflatten(given, spec)
        return found

    return [leaves[k] for k in places], where


def numbers(output: Any) -> Tensor:
    """All floating numbers that a module returns, flat."""
    leaves = [x for x in tree_leaves(output) if isinstance(x, Tensor) and x.is_floating_point()]
    return torch.cat([x.reshape(-1) for x in leaves]) if leaves else torch.zeros(0)


def copied(x: Any) -> Any:
    """A tensor's copy; anything else as it is."""
    return x.clone() if isinstance(x, Tensor) else x


def _together(one: Any, other: Any) -> Any:
    return torch.stack([one, other]) if isinstance(one, Tensor) else one
