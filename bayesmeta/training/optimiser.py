"""Adam on shared parameters and on the rows of a batch, with a state that can be stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bayesmeta.training.adam import Adam


@dataclass(frozen=True)
class Parameters:
    """What is trained: `shared` tensors, and `rows` with one row a task, read batch by batch."""

    shared: list[Tensor]
    rows: list[Tensor]


class Optimiser:
    """Adam on the shared parameters, and on the rows that a batch has.

    Args:
        parameters: changed in place.
        adam: its settings; the rate is given at each step.
        sparse: whether a batch has some of the rows only.
    """

    def __init__(self, parameters: Parameters, adam: Adam, *, sparse: bool) -> None:
        self.parameters, self.sparse = parameters, sparse
        self._parts: list[torch.optim.Optimizer] = []
        if parameters.shared:
            self._parts.append(torch.optim.Adam(parameters.shared, adam.lr, fused=True))
        # Where phi has a strategy of its own rows have no numbers, but would cost a step as much.
        rows = [x for x in parameters.rows if x.numel()]
        if rows:
            kind = torch.optim.SparseAdam if sparse else torch.optim.Adam
            self._parts.append(kind(rows, adam.lr))

    def step(self, gradients: Sequence[Tensor], index: Tensor, rate: float) -> None:
        """One step at this rate; gradients are of the shared, then of the rows at index."""
        cut = len(self.parameters.shared)
        for parameter, gradient in zip(self.parameters.shared, gradients[:cut], strict=True):
            # The fused step reads memory as it lies, and a broadcast gradient has one number of it.
            parameter.grad = gradient.contiguous()
        for parameter, gradient in zip(self.parameters.rows, gradients[cut:], strict=True):
            parameter.grad = (
                torch.sparse_coo_tensor(
                    index[None].to(gradient.device),
                    gradient,
                    parameter.shape,
                    check_invariants=False,
                )
                if self.sparse
                else gradient
            )
        for part in self._parts:
            for group in part.param_groups:
                group["lr"] = rate
            # The indices are ours and in range; saying so silences torch's warning.
            with torch.sparse.check_sparse_tensor_invariants(False):
                part.step()

    def tensors(self) -> dict[str, Tensor]:
        """Parameters and Adam's averages by name: all that a later `restore` needs."""
        found = dict(self._parameters())
        for p, part in enumerate(self._parts):
            for i, state in part.state_dict()["state"].items():
                found |= {f"adam.{p}.{i}.{k}": torch.as_tensor(v) for k, v in state.items()}
        return found

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go back to what `tensors` returned."""
        with torch.no_grad():
            for name, parameter in self._parameters():
                parameter.copy_(tensors[name])
        for p, part in enumerate(self._parts):
            whole = part.state_dict()
            for name, tensor in tensors.items():
                kind, *place = name.split(".")
                if kind == "adam" and place[0] == str(p):
                    # SparseAdam counts its steps by a plain number.
                    value = int(tensor) if self._counts(part, place[2]) else tensor.clone()
                    whole["state"].setdefault(int(place[1]), {})[place[2]] = value
            part.load_state_dict(whole)

    def _parameters(self) -> list[tuple[str, Tensor]]:
        return [
            *((f"shared.{i}", x) for i, x in enumerate(self.parameters.shared)),
            *((f"rows.{i}", x) for i, x in enumerate(self.parameters.rows)),
        ]

    @staticmethod
    def _counts(part: torch.optim.Optimizer, name: str) -> bool:
        return name == "step" and isinstance(part, torch.optim.SparseAdam)
