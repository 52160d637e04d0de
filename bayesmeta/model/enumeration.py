"""Finite discrete latents, summed out: their joint values at once, on dimensions of their own."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bayesmeta.data.tasks import Tasks
from bayesmeta.model.checks import DATA, TASKS, StructureError, plate_names
from bayesmeta.model.structure import Node, Role, Structure
from bayesmeta.running.sites import Choice, Site

MOST_STATES = 64
HOW_UNMIXED = (
    "write it by a latent of one place: u = pyro.sample('u', dist.Normal(0.0, 1.0)), then {name} = "
    "pyro.deterministic('{name}', loc + scale * u)"
)


@dataclass(frozen=True)
class Summed:
    """The finite discrete latents z of a model, as Pyro's parallel enumeration treats them:

        log p(phi_i, D_i) = log sum_z p(z_i) p(phi_i | z_i) prod_j sum_z p(z_ij | z_i) p(y_ij | z)

    The joint values of those with a value a task stand on one dimension to the left of all plates,
    and those of datapoints on the next: a log density is (of tasks, of rows, plates, tasks, data).

    Attributes:
        of_tasks, of_rows: how many values each latent has, by name, in the model's order.
        values: what these are, (values, events...).
        plates: how many dimensions all plates take, those of tasks and data among them.
    """

    of_tasks: Mapping[str, int]
    of_rows: Mapping[str, int]
    values: Mapping[str, Tensor]
    plates: int

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.of_tasks, *self.of_rows)

    @property
    def sizes(self) -> tuple[int, int]:
        """How many joint values those of tasks have, and those of datapoints."""
        return math.prod(self.of_tasks.values()), math.prod(self.of_rows.values())

    def choose(self, name: str, fn: Any, joint: Tensor | None = None) -> Choice:
        """All values of a latent, or those of the joint values given, (tasks, 1) or (tasks, data).

        Where a handler masks it each of its values is as likely: it is not there.
        """
        every = self.values[name].to(torch.get_default_device())
        if joint is None:
            size = self.sizes[name in self.of_rows]
            left = [size] if name in self.of_rows else [size, 1]
            joint = torch.arange(size).reshape(*left, *[1] * self.plates)
        value = every[self._place(name, joint)]
        log_prob = fn.log_prob(value)
        idle = torch.full_like(log_prob, -math.log(len(every)))
        return Choice(value, log_prob, there=torch.ones((), dtype=torch.bool), idle=idle)

    def draw(self, name: str, fn: Any) -> tuple[Tensor, Tensor]:
        """A value drawn from fn, and its part in the joint value, (tasks, 1) or (tasks, data)."""
        every = self.values[name].to(torch.get_default_device())
        apart = every.reshape(len(every), *[1] * len(fn.batch_shape), *fn.event_shape)
        chances = fn.log_prob(apart.expand(-1, *fn.batch_shape, *fn.event_shape)).movedim(0, -1)
        index = torch.distributions.Categorical(logits=chances).sample()
        return every[index], index * self._stride(name)

    def cells(self, value: Tensor) -> Tensor:
        """(of tasks, of rows, tasks, data) of a log density, further plates summed."""
        whole = self._padded(value)
        return whole.flatten(2, -3).sum(2) if self.plates > 2 else whole

    def over_rows(self, cells: Tensor, mask: Tensor) -> Tensor:
        """Latents of datapoints summed out, (of tasks, tasks, data); zero on padding."""
        return torch.where(mask, cells.logsumexp(1), 0.0)

    def over_tasks(self, of_tasks: Tensor, rows: Tensor) -> Tensor:
        """Those of tasks summed out, too, (tasks,): of their cells, and what `over_rows` gave."""
        return (of_tasks[:, 0, :, 0] + rows.sum(-1)).logsumexp(0)

    def posterior(self, of_tasks: Tensor, cells: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """log p(z_i | phi_i, D_i) (of tasks, tasks), and log p(z_ij | z_i, phi_i, D_i).

        The latter is (of tasks, of rows, tasks, data); that of padding is of no meaning.
        """
        mine = of_tasks[:, 0, :, 0] + self.over_rows(cells, mask).sum(-1)
        sizes = self.sizes
        rows = cells.expand(*sizes, *cells.shape[2:]).log_softmax(1)
        return mine.expand(sizes[0], -1).log_softmax(0), rows

    def drawn(self, of_tasks: Tensor, of_rows: Tensor, uniform: Tensor) -> Tensor:
        """Joint values out of what `posterior` gave, in the columns that `states` reads.

        Args:
            of_tasks, of_rows: logarithms of chances.
            uniform: numbers between 0 and 1, (tasks, 1 + data).
        """
        mine = _index(of_tasks.T, uniform[:, 0])
        rows = of_rows[mine, :, torch.arange(len(mine))].movedim(1, -1)
        found = _index(rows, uniform[:, 1:])
        parts = [mine[:, None]] if self.of_tasks else []
        return torch.cat([*parts, *([found] if self.of_rows else [])], 1)

    def states(self, columns: Tensor, num_data: int) -> dict[str, Tensor]:
        """Joint values by name: (tasks, 1), and (tasks, data) where they are among the columns."""
        head, found = int(bool(self.of_tasks)), dict[str, Tensor]()
        if columns.shape[1] >= head:
            found |= dict.fromkeys(self.of_tasks, columns[:, :1].long())
        if columns.shape[1] == head + num_data:
            found |= dict.fromkeys(self.of_rows, columns[:, head:].long())
        return found

    def columns(self, parts: Mapping[str, Tensor], num_data: int) -> Tensor:
        """The columns of `states`, of what `draw` gave for each latent."""
        levels = [[parts[n] for n in names] for names in (self.of_tasks, self.of_rows)]
        return torch.cat([torch.stack(level).sum(0) for level in levels if level], 1)

    def marginals(self, of_tasks: Tensor, of_rows: Tensor) -> dict[str, Tensor]:
        """The chances of each latent's values, (tasks, values) or (tasks, data, values)."""
        mine = of_tasks.exp()
        rows = (mine[:, None, :, None] * of_rows.exp()).sum(0)
        levels = (self.of_tasks, mine.movedim(0, -1)), (self.of_rows, rows.movedim(0, -1))
        return {
            name: joint @ self._members(name, count).to(joint)
            for latents, joint in levels
            for name, count in latents.items()
        }

    def indicators(self, name: str, columns: Tensor, num_data: int) -> Tensor:
        """1 for the value that a latent has by the columns of `states`, and 0 for the others."""
        joint = self.states(columns, num_data)[name]
        joint = joint if name in self.of_rows else joint[:, 0]
        count = len(self.values[name])
        return torch.nn.functional.one_hot(self._place(name, joint), count).to(columns.dtype)

    def weights(self, log_probs: Iterable[Tensor]) -> Tensor:
        """The chances of joint values before any data, of the latents' log densities."""
        total = torch.stack(torch.broadcast_tensors(*(self._padded(x) for x in log_probs))).sum(0)
        return total.flatten(0, 1).softmax(0).reshape(total.shape)

    def average(self, value: Tensor, weights: Tensor, batch: int, events: int) -> Tensor:
        """The mean over joint values, with so many dimensions left of plates, and of events."""
        whole = self._padded(value, events)
        weights = weights.reshape(*weights.shape, *[1] * events)
        mean = (weights * whole).flatten(0, 1).sum(0)
        return mean.reshape(mean.shape[mean.dim() - batch - events :])

    def picked(self, value: Tensor, joint: Tensor, batch: int, events: int) -> Tensor:
        """The value at a joint value of datapoints, (tasks, data), as `average` shapes it."""
        whole = self._padded(value, events)[0]
        size = self.sizes[1]
        whole = whole.expand(
            size, *whole.shape[1 : self.plates - 1], *joint.shape, *whole.shape[self.plates + 1 :]
        )
        at = joint.reshape(*[1] * (self.plates - 1), *joint.shape, *[1] * events).expand(
            1, *whole.shape[1:]
        )
        found = whole.gather(0, at)[0]
        return found.reshape(found.shape[found.dim() - batch - events :])

    def agree(self, whole: Site, one: Site, of_tasks: Tensor, of_rows: Tensor) -> bool:
        """Whether a site's density among all joint values is that at those of each cell.

        Args:
            whole, one: the site at all joint values, and at those given.
            of_tasks, of_rows: the latter, (tasks, 1) and (tasks, data).
        """
        if whole.is_deterministic:
            return True
        among, alone = self.cells(whole.log_prob), self.cells(one.log_prob)[0, 0]
        cells = among.expand(*self.sizes, *of_rows.shape)
        task, row = torch.meshgrid(*(torch.arange(n) for n in of_rows.shape), indexing="ij")
        at = cells[of_tasks.expand_as(of_rows), of_rows, task, row]
        alone = alone.expand_as(at).to(at)
        return torch.allclose(at, alone, rtol=1e-4, atol=1e-5, equal_nan=True)

    def depends(self, value: Tensor, events: int) -> bool:
        """Whether a value has dimensions of joint values."""
        return value.dim() > self.plates + events

    def _padded(self, value: Tensor, events: int = 0) -> Tensor:
        lacking = self.plates + 2 + events - value.dim()
        return value.reshape(*[1] * lacking, *value.shape)

    def _stride(self, name: str) -> int:
        level = self.of_tasks if name in self.of_tasks else self.of_rows
        after = list(level).index(name) + 1
        return math.prod(list(level.values())[after:])

    def _place(self, name: str, joint: Tensor) -> Tensor:
        count = {**self.of_tasks, **self.of_rows}[name]
        return joint // self._stride(name) % count

    def _members(self, name: str, count: int) -> Tensor:
        """Which joint values (joint, values) hold which value."""
        joint = torch.arange(self.sizes[name in self.of_rows])
        return self._place(name, joint)[:, None] == torch.arange(count)


class Cells(NamedTuple):
    """Log densities of tasks, and of datapoints without and with what was observed.

    Each is (of tasks, of rows, tasks, data).
    """

    of_tasks: Tensor
    latent: Tensor
    whole: Tensor


def cells_of(
    summed: Summed, structure: Structure, sites: Mapping[str, Site], tasks: Tasks
) -> Cells:
    """What the sites say of each task and datapoint, at all joint values."""
    of_tasks = tasks.mask.new_zeros(1, 1, tasks.num_tasks, 1, dtype=tasks.dtype)
    latent = whole = of_tasks.expand(1, 1, *tasks.mask.shape)
    for name, site in sites.items():
        node, plates = structure.nodes[name], plate_names(site)
        if node.role is Role.DETERMINISTIC or TASKS not in plates:
            continue
        found = summed.cells(site.log_prob)
        if DATA not in plates:
            of_tasks = of_tasks + found
            continue
        whole = whole + found
        if node.role is Role.LOCAL:
            latent = latent + found
    return Cells(of_tasks, latent, whole)


def levels_of(
    summed: Summed, structure: Structure, sites: Mapping[str, Site], tasks: Tasks
) -> tuple[Tensor, Tensor]:
    """log p(phi_i | theta) and log p(D_i | phi_i, theta), (tasks,)."""
    of_tasks, latent, whole = cells_of(summed, structure, sites, tasks)
    prior, joint = (
        summed.over_tasks(of_tasks, summed.over_rows(x, tasks.mask)) for x in (latent, whole)
    )
    return prior, joint - prior


def summed_of(structure: Structure, drawn_from: Mapping[str, Any]) -> Summed | None:
    """The finite discrete latents in the plates; None where there are none.

    Raises:
        StructureError: where they stand in further plates, or beside continuous ones of datapoints.
    """
    names = structure.discrete
    if not names:
        return None
    nodes = {name: structure.nodes[name] for name in names}
    for node in nodes.values():
        _check_plates(node)
    if structure.local:
        raise StructureError(
            f"'{structure.local[0]}' is a continuous latent in the plate 'data' beside the "
            f"discrete {', '.join(names)}, and only one of both kinds is treated; integrate one "
            "out: draw what it chooses or shifts from a mixture, or a wider distribution"
        )
    depth = max(-plate.dim for node in structure.nodes.values() for plate in node.plates)
    by_level = {
        role: {n: len(_values(drawn_from[n])) for n in names if nodes[n].role is role}
        for role in (Role.PHI, Role.LOCAL)
    }
    values = {name: _values(drawn_from[name]) for name in names}
    return Summed(by_level[Role.PHI], by_level[Role.LOCAL], values, max(2, depth))


def check_count(structure: Structure, drawn_from: Mapping[str, Any]) -> None:
    """Refuse finite discrete latents that have too many joint values to be summed out.

    Raises:
        StructureError: naming them, with how many values each has.
    """
    finite = [n for n in structure.discrete if structure.nodes[n].is_finite]
    counts = {name: _count(structure.nodes[name], drawn_from[name]) for name in finite}
    states = math.prod(counts.values())
    if states > MOST_STATES:
        each = ", ".join(f"{name} ({count})" for name, count in counts.items())
        raise StructureError(
            f"the discrete latents {each} have {states} joint values, but at most {MOST_STATES} "
            "are summed out; take fewer values, or a continuous latent in their place"
        )


def _count(node: Node, fn: Any) -> int:
    try:
        return len(_values(fn))
    except NotImplementedError as error:
        raise StructureError(
            f"the values of the discrete latent '{node.name}' ({node.distribution}) cannot be "
            f"listed ({error}); where their number differs, take the largest, and make those that "
            "cannot be improbable"
        ) from error


def _check_plates(node: Node) -> None:
    if further := [plate.name for plate in node.plates if plate.name not in (TASKS, DATA)]:
        raise StructureError(
            f"'{node.name}' is a discrete latent in the further plate '{further[0]}', whose joint "
            "values are not summed out; write a statement for each of its members"
        )


def _values(fn: Any) -> Tensor:
    """All values that fn takes, (values, events...)."""
    found: Tensor = fn.enumerate_support(expand=False)
    return found.reshape(-1, *fn.event_shape)


def _index(log_chances: Tensor, uniform: Tensor) -> Tensor:
    """One of the values on the last dimension, by a uniform number for each."""
    below = log_chances.exp().cumsum(-1)[..., :-1] < uniform[..., None]
    return below.sum(-1)
