"""Who depends on whom: provenance, which follows values, and perturbation, which moves them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from bayesmeta.data.tasks import Tasks
from bayesmeta.distributions.supports import bijection
from bayesmeta.model.checks import DATA, TASKS, StructureError, plate_names
from bayesmeta.running.handlers import Model, run
from bayesmeta.running.sites import Choice, FlatPrior, Site


@dataclass(frozen=True)
class Parents:
    """What each site reads: other sites, and columns of x, both in the model's order."""

    sites: Mapping[str, tuple[str, ...]]
    inputs: Mapping[str, tuple[str, ...]]


class _Replay:
    """The model re-run with every latent held at the values of a first run."""

    def __init__(self, model: Model, tasks: Tasks, sites: Mapping[str, Site]) -> None:
        self.model, self.tasks = model, tasks
        self.values = {
            s.name: s.value for s in sites.values() if not s.is_observed and not s.is_deterministic
        }
        plain = self._run({}, tasks, {})
        self.base = _shown(plain)
        self.computed = {s.name: s.value for s in plain.values() if s.is_deterministic}
        self.elsewhere = self._elsewhere() if self.computed else {}
        # Of the run without provenance, with which some distributions draw another shape.
        self.fns = {name: plain[name].fn for name in self.values}
        # A deterministic site shows its value, whose dimensions need not be the plates'.
        self.in_tasks = {
            s.name for s in sites.values() if TASKS in plate_names(s) and not s.is_deterministic
        }

    def __call__(
        self,
        changed: Mapping[str, Tensor] | None = None,
        tasks: Tasks | None = None,
        *,
        held: Mapping[str, Tensor] = MappingProxyType({}),
    ) -> dict[str, Tensor]:
        """What each site shows when some values, or the tasks, are changed.

        What stands behind a deterministic site goes on with the value that is held of it.
        """
        tasks = self.tasks if tasks is None else tasks
        return _shown(self._run(changed or {}, tasks, held))

    def _elsewhere(self) -> dict[str, Tensor]:
        """Other values of the deterministic sites: those of another draw, or moved a little."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            drawn = run(self.model, self.tasks)
        return {
            name: drawn[name].value
            if not torch.equal(drawn[name].value, value)
            else 1.1 * value + 0.1
            for name, value in self.computed.items()
        }

    def _run(
        self, changed: Mapping[str, Tensor], tasks: Tasks, computed: Mapping[str, Tensor]
    ) -> dict[str, Site]:
        values = {**self.values, **changed}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return run(
                self.model,
                tasks,
                lambda name, fn: Choice(values[name]) if name in values else None,
                held=computed,
            )

    def moved(self, shown: Mapping[str, Tensor], but: str = "") -> list[str]:
        """The sites that show something else than in the first run."""
        return [
            name
            for name, before in self.base.items()
            if name != but
            and not torch.equal(torch.nan_to_num(before), torch.nan_to_num(shown[name]))
        ]


def _shown(sites: Mapping[str, Site]) -> dict[str, Tensor]:
    """The log density of each site, or its value where it is deterministic."""
    return {n: s.value if s.is_deterministic else s.log_prob for n, s in sites.items()}


def find_parents(model: Model, tasks: Tasks, sites: Mapping[str, Site]) -> Parents:
    """Edges of the Bayes net, from a run with provenance and one re-run a site and column.

    A site's parent is a site whose value its density reads (provenance), or whose change moves its
    density while every other site is held (perturbation). Provenance alone loses edges through
    torch.vmap and networks; perturbation alone loses edges at a point where they are flat. A
    deterministic site stands between what it reads and what reads it, if the model goes on with
    what `pyro.deterministic` returns.

    Raises:
        StructureError: where a change of one task's phi moves another task's density.
    """
    replay = _Replay(model, tasks, sites)
    children: dict[str, set[str]] = {}
    for name in replay.values:
        other = _other_value(replay.fns[name], replay.values[name])
        shown = replay({name: other}, held=replay.computed)
        children[name] = set(replay.moved(shown, but=name))
        # A parameter in there is refused with its reason later.
        if TASKS in plate_names(sites[name]) and not sites[name].is_param:
            axis = other.dim() - 2 - len(sites[name].fn.event_shape)
            changed = _first_task_only(replay.values[name], other, axis)
            _check_own_task_only(replay, name, replay({name: changed}))
    for name, other in replay.elsewhere.items():
        children[name] = set(replay.moved(replay(held={**replay.computed, name: other}), but=name))
    inputs = {}
    for column, values in tasks.x.items():
        other = _other_column(values)
        shown = replay(tasks=_with_column(tasks, column, other), held=replay.computed)
        inputs[column] = set(replay.moved(shown))
        changed = _first_task_only(values, other, 0)
        shown = replay(tasks=_with_column(tasks, column, changed))
        _check_own_task_only(replay, f"tasks.x['{column}']", shown)
    return Parents(
        sites={
            name: tuple(
                p
                for p in sites
                if p != name and (name in children.get(p, ()) or p in site.provenance)
            )
            for name, site in sites.items()
        },
        inputs={name: tuple(c for c in tasks.x if name in inputs[c]) for name in sites},
    )


def _other_value(fn: Any, value: Tensor) -> Tensor:
    if isinstance(fn, FlatPrior):
        transform = bijection(fn)
        there = transform.inv(value.detach())
        return transform(there + 0.1 + 0.1 * torch.rand_like(there))
    for _ in range(20):
        other: Tensor = fn.sample()
        if not torch.equal(other, value):
            break
    return other


def _other_column(values: Tensor) -> Tensor:
    # What may be an index stays one.
    other = values.flatten().roll(1).reshape(values.shape)
    if not values.is_floating_point():
        return other
    if torch.equal(values, values.round()) and not torch.equal(values, other):
        return other
    # A positive factor keeps signs and zeros, so that scales and masks stay legal.
    return values * (1 + 0.5 * torch.rand_like(values))


def _with_column(tasks: Tasks, column: str, values: Tensor) -> Tasks:
    return replace(tasks, x={**tasks.x, column: values})


def _first_task_only(values: Tensor, other: Tensor, axis: int) -> Tensor:
    """`values`, but `other` for the first task, which lies along `axis`."""
    changed = values.clone()
    first = (slice(None),) * axis + (0,)
    changed[first] = other[first]
    return changed


def _check_own_task_only(replay: _Replay, what: str, shown: Mapping[str, Tensor]) -> None:
    """Where `what` changed for the first task alone, only the first task may notice."""
    tasks = replay.tasks
    for name in replay.moved(shown, but=what):
        before, after = replay.base[name], shown[name]
        if name not in replay.in_tasks or before.dim() < 2:
            continue
        rows = (
            (torch.nan_to_num(before) != torch.nan_to_num(after)).movedim(-2, 0).flatten(1).any(1)
        )
        if rows[1:].any():
            raise StructureError(
                f"site '{name}' of task '{tasks.names[int(rows[1:].nonzero()[0]) + 1]}' depends on "
                f"'{what}' of task '{tasks.names[0]}'; tasks must be independent given theta. "
                f"A value in the plate '{TASKS}' has shape (..., tasks, 1) and lines up with "
                f"(tasks, data) in '{DATA}' as it is: do not squeeze or transpose it. A statistic "
                "over all tasks is taken out of the data before the tasks are made"
            )
