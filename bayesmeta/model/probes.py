"""Probes: other values for sites, columns and outcomes that a model can take, and runs at them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from bayesmeta.data.tasks import Tasks
from bayesmeta.distributions.supports import bijection
from bayesmeta.running.handlers import Model, run
from bayesmeta.running.sites import Choice, FlatPrior, Site

# How far a value that became a number of Python is moved, in sds of its prior.
_WIDE = (-100.0, -10.0, 10.0, 100.0)


@dataclass(frozen=True)
class Change:
    """What a run has other than the first one.

    Attributes:
        sites: other values of latents and parameters.
        columns: other columns of x.
        y: other outcomes.
        held: what the model goes on with after deterministic sites.
    """

    sites: Mapping[str, Tensor] = field(default_factory=dict)
    columns: Mapping[str, Tensor] = field(default_factory=dict)
    y: Tensor | None = None
    held: Mapping[str, Tensor] = field(default_factory=dict)


class Replay:
    """The model run again with every latent held at the values of a first run.

    Attributes:
        values: those of the latents.
        base: what each site shows in the first run: its log density, or its value where it is
            deterministic.
        outcomes, computed: the values of observed sites, and of deterministic ones.
        fns: what each latent is drawn from.
    """

    def __init__(self, model: Model, tasks: Tasks, sites: Mapping[str, Site]) -> None:
        self.model, self.tasks = model, tasks
        self.values = {
            s.name: s.value for s in sites.values() if not s.is_observed and not s.is_deterministic
        }
        plain = self._run(Change())
        self.base = _shown(plain)
        self.outcomes = {s.name: s.value for s in plain.values() if s.is_observed}
        self.computed = {s.name: s.value for s in plain.values() if s.is_deterministic}
        # Of the run without provenance, with which some distributions draw another shape.
        self.fns = {name: plain[name].fn for name in self.values}

    def moved(self, change: Change, but: str = "") -> list[str]:
        """The sites that show something else than in the first run."""
        return list(self.differing(change, but))

    def shown(self, change: Change) -> dict[str, Tensor]:
        """What each site shows with a change."""
        return _shown(self._run(change))

    def differing(
        self, change: Change, but: str = "", base: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Where they do: of each the cells that differ, in the shape of what it shows.

        Args:
            change: from the first run.
            but: a site that is left out.
            base: what is shown in the run to compare with; None is the first.
        """
        shown = self.shown(change)
        cells = {
            n: differ(before, shown[n])
            for n, before in (self.base if base is None else base).items()
            if n != but
        }
        return {n: differ for n, differ in cells.items() if differ.any()}

    def observed(self, change: Change) -> tuple[dict[str, Tensor], set[str]]:
        """Where sites differ with a change, and the observed sites whose values do."""
        found = self._run(change)
        shown = _shown(found)
        cells = {n: differ(before, shown[n]) for n, before in self.base.items()}
        changed = {
            n
            for n, site in found.items()
            if site.is_observed
            and (n not in self.outcomes or bool(differ(self.outcomes[n], site.value).any()))
        }
        return {n: c for n, c in cells.items() if c.any()}, changed

    def _run(self, change: Change) -> dict[str, Site]:
        values, tasks = {**self.values, **change.sites}, self.tasks
        if change.columns or change.y is not None:
            y = tasks.y if change.y is None else change.y
            tasks = replace(tasks, x={**tasks.x, **change.columns}, y=y)
        with _seeded(0):
            return run(
                self.model,
                tasks,
                lambda name, fn: Choice(values[name]) if name in values else None,
                held=change.held,
            )

    def others(self, name: str, *, far: bool) -> list[Tensor]:
        """Other values of a latent: of another draw, and some far away."""
        fn, value = self.fns[name], self.values[name]
        found = [_other_draw(fn, value)]
        if far and not getattr(fn.support, "is_discrete", False):
            to = bijection(fn)
            there = to.inv(value.detach())
            sd = torch.stack([to.inv(_other_draw(fn, value)) for _ in range(10)]).std(0) + 1e-3
            found += [to(there + step * sd) for step in _WIDE]
        return found

    def redrawn(self) -> dict[str, Tensor]:
        """Deterministic sites at other values of the kind they have: of another draw, or permuted.

        Those of which there are none, as of a constant, are left out.
        """
        if not self.computed:
            return {}
        with _seeded(1):
            drawn = run(self.model, self.tasks)
        found = {}
        for name, value in self.computed.items():
            other = drawn[name].value
            if other.shape != value.shape or torch.equal(other, value):
                other = value.flatten().roll(1).reshape(value.shape)
            if not torch.equal(other, value):
                found[name] = other
        return found


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Random numbers from a seed, and those of before after it; torch's own takes a millisecond."""
    state = torch.random.get_rng_state()
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)
    try:
        yield
    finally:
        torch.random.set_rng_state(state)


def permuted(values: Tensor, mask: Tensor) -> Tensor:
    """The same values elsewhere, those of real cells among each other: a column, or outcomes.

    No value is made up, so that what is an index, a count or a probability stays one.

    Args:
        values: (tasks, data or 1, ...).
        mask: the real cells, (tasks, data).
    """
    if values.shape[:2] != mask.shape:
        return values.roll(1, 0)
    there = values[mask]
    other = values.clone()
    # By more than a task's worth, so that rows that repeat, as times do, change too.
    other[mask] = there.roll(1 + len(there) // 3, 0)
    return other if not torch.equal(other, values) else _put(values, mask, there.roll(1, 0))


def _put(values: Tensor, mask: Tensor, there: Tensor) -> Tensor:
    other = values.clone()
    other[mask] = there
    return other


def _other_draw(fn: Any, value: Tensor) -> Tensor:
    if isinstance(fn, FlatPrior):
        transform = bijection(fn)
        there = transform.inv(value.detach())
        return transform(there + 0.1 + 0.1 * torch.rand_like(there))
    for _ in range(20):
        other: Tensor = fn.sample()
        if not torch.equal(other, value):
            break
    return other


def _shown(sites: Mapping[str, Site]) -> dict[str, Tensor]:
    """The log density of each site, or its value where it is deterministic."""
    return {n: s.value if s.is_deterministic else s.log_prob for n, s in sites.items()}


def differ(before: Tensor, after: Tensor) -> Tensor:
    """Where two are not the same, NaN being the same as NaN; everywhere if of other shapes."""
    if before.shape != after.shape:
        return torch.ones((), dtype=torch.bool)
    return (before != after) & ~(before.isnan() & after.isnan())
