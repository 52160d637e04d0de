"""Optimisers of torch.optim at work on the phi of tasks, which know nothing of one another."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from bayesmeta.engine.noise import normal
from bayesmeta.model.checks import StructureError, first_few
from bayesmeta.running.isolation import isolated

Optimiser = Callable[..., torch.optim.Optimizer]
# Of numbers that move, (tasks, some), to the loss of all tasks together and its gradient.
Look = Callable[[Tensor], tuple[Tensor, Tensor]]
# Of the trial: lengths of gradients, and of those of the second task beside the first.
_LENGTHS, _LONGER = (1e-3, 1.0, 1e3, 1.0), 30.0


class Walker:
    """An optimiser that moves numbers (tasks, some), in parameters of some shapes.

    Args:
        make: a class of torch.optim, or a function of (parameters, lr=...).
        at: where it starts.
        lr: its rate.
        shapes: of the parameters that the numbers of a single task are, one after the other; None
            makes all of them one parameter (tasks, some).

    Raises:
        TypeError: where `make` makes no optimiser.
    """

    def __init__(
        self, make: Optimiser, at: Tensor, lr: float, shapes: Sequence[Sequence[int]] | None = None
    ) -> None:
        shapes = [at.shape] if shapes is None else shapes
        self._rows, self._sizes = len(at), [torch.Size(s).numel() // len(at) for s in shapes]
        pieces = zip(at.split(self._sizes, 1), shapes, strict=True)
        self._parameters = [torch.nn.Parameter(x.reshape(*s).clone()) for x, s in pieces]
        self._optimiser = make(self._parameters, lr=lr)
        if not isinstance(self._optimiser, torch.optim.Optimizer):
            raise TypeError(f"it gives back a {type(self._optimiser).__name__}, no optimiser")
        closure = inspect.signature(self._optimiser.step).parameters.get("closure")
        self._takes_closure = closure is not None
        self.needs_closure = closure is not None and closure.default is closure.empty

    @property
    def at(self) -> Tensor:
        """Where it is, (tasks, some)."""
        return torch.cat([p.detach().reshape(self._rows, -1) for p in self._parameters], 1)

    def put(self, at: Tensor) -> None:
        """Go there."""
        with torch.no_grad():
            for p, piece in zip(self._parameters, at.split(self._sizes, 1), strict=True):
                p.copy_(piece.reshape(p.shape))

    def step(self, look: Look) -> Tensor:
        """One step; the loss before it."""
        seen: list[Tensor] = []

        def closure() -> Tensor:
            with torch.no_grad():
                value, gradient = look(self.at)
            for p, piece in zip(self._parameters, gradient.split(self._sizes, 1), strict=True):
                p.grad = piece.reshape(p.shape).clone()
            seen.append(value)
            return value.clone()

        if self._takes_closure:
            self._optimiser.step(closure)  # type: ignore[arg-type]
        else:
            closure()
            self._optimiser.step()
        return seen[0]


def is_elementwise(make: Optimiser) -> bool:
    """Whether each number goes where it would go alone: tried on two tasks, together and apart.

    Adam is so; what looks at a parameter as a matrix (Muon, Adafactor), at the length of all
    gradients, or along a line (LBFGS), is not.
    """
    noise = normal((len(_LENGTHS), 2, 6), torch.float64, torch.Generator().manual_seed(0))
    noise[:, 1] *= _LONGER

    def ends(rows: slice, shapes: Sequence[Sequence[int]] | None) -> Tensor:
        walker = Walker(make, noise[0, rows], 0.1, shapes)
        for length, slope in zip(_LENGTHS, noise[:, rows], strict=True):
            walker.step(lambda at, g=length * slope: (at.sum(), g))  # type: ignore[misc]
        return walker.at

    with isolated(0), warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        try:
            together = ends(slice(None), None)
            apart = [ends(slice(i, i + 1), [(2, 2), (2,)]) for i in range(2)]
        except Exception:  # What it refuses is said where it is tried on phi itself.
            return False
    return torch.allclose(together, torch.cat(apart), rtol=1e-9, atol=1e-12)


def check_takes(
    make: Optimiser, shapes: Mapping[str, Sequence[int]], lr: float, *, at_one_rate: bool
) -> None:
    """Refuse an optimiser that does not take such parameters, by a step of each.

    Args:
        make: the optimiser.
        shapes: of the parameters of a task that move together, by name.
        lr: the rate.
        at_one_rate: whether all move at that.

    Raises:
        StructureError: naming the parameters, and what the optimiser says of them.
    """
    name, refused, reason = getattr(make, "__name__", repr(make)), list[str](), ""
    taken: list[str] = []
    for part, shape in shapes.items():
        zeros = torch.zeros(1, torch.Size(shape).numel())
        try:
            with isolated(0), torch.no_grad():
                walker = Walker(make, zeros, lr, [shape])
                walker.step(lambda at: (at.sum(), torch.ones_like(at)))
        except Exception as error:
            refused, reason = [*refused, f"'{part}' {tuple(shape)}"], f"{error}"
            continue
        taken.append(part)
        if walker.needs_closure and not at_one_rate:
            raise StructureError(
                f"FineTune got optimiser={name}, which searches along a line and cannot move "
                "blocks at different rates; take decay=1"
            )
    if refused:
        raise StructureError(
            f"FineTune got optimiser={name}, which does not take {first_few(refused)}: {reason}; "
            f"{f'move what it takes alone, as bm.Surgical({taken[0]!r}), or ' if taken else ''}"
            "take torch.optim.AdamW"
        )
