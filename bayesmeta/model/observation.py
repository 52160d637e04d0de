"""What a run of a model tells of its outcomes: bounds that are drawn, masks, weights, factors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import torch

from bayesmeta.data.tasks import Tasks
from bayesmeta.distributions.censored import Censored
from bayesmeta.distributions.supports import edges
from bayesmeta.distributions.wrappers import base_distribution
from bayesmeta.model.checked_run import Runs
from bayesmeta.model.checks import edges_read, is_factor
from bayesmeta.model.parents import Parents
from bayesmeta.model.structure import Structure
from bayesmeta.running.handlers import Model, run
from bayesmeta.running.sites import Choice, Site, seen

# Edges may be the same at two draws of what is discrete.
_OTHER_DRAWS = 3


def factors_of_outcomes(
    model: Model, tasks: Tasks, structure: Structure, found: Runs
) -> tuple[str, ...]:
    """The factors in the plate "data" that move with y, or all of them where an outcome is masked.

    Others are said of inputs alone.
    """
    factors = structure.data_factors
    is_masked = any(seen(found.drawn[n]) is not None for n in structure.data)
    if not factors or is_masked or tasks.y is None:
        return factors
    other = tasks.y.flatten(0, 1).roll(1, 0).reshape(tasks.y.shape)
    held = {name: site.value for name, site in found.drawn.items() if not site.is_observed}
    moved = run(model, replace(tasks, y=other), lambda name, fn: _held(held, name))
    return tuple(n for n in factors if not torch.equal(moved[n].plain, found.drawn[n].plain))


def classes_of(tasks: Tasks, structure: Structure, found: Runs) -> int | None:
    """How many classes y names, where one site of classes observes it; None where y is numbers."""
    counts = {
        found.drawn[name].fn.support.upper_bound + 1
        for name in structure.data
        if isinstance(base_distribution(found.drawn[name].fn), torch.distributions.Categorical)
        and _is_y(found.drawn[name].value, tasks.y)
    }
    return int(counts.pop()) if len(counts) == 1 else None


def _is_y(value: torch.Tensor, y: torch.Tensor | None) -> bool:
    return y is not None and value.shape == y.shape and bool((value == y).all())


def _held(values: Mapping[str, torch.Tensor], name: str) -> Choice | None:
    return Choice(values[name]) if name in values else None


def remarks(tasks: Tasks, structure: Structure, found: Runs) -> Iterator[str]:
    """What a user may not see of how outcomes count, in sentences."""
    for name in structure.data:
        site = found.drawn[name]
        if is_weighted(site):
            yield (
                f"{name}: weighted in the fit, as the model says; scores are not, and ArviZ's loo "
                "takes a row out once, whatever its weight: bm.cross_validate takes it out whole"
            )
        fn = base_distribution(site.fn)
        if isinstance(fn, Censored):
            yield _about_limits(name, fn, site.value, tasks.mask)
    yield from about_elsewhere(structure)
    if structure.local:
        yield (
            f"{', '.join(structure.local)}: one a datapoint; scores of the rows that were fitted "
            "are given what was inferred of each, so that leaving rows out by importance (LOO) has "
            "large k, and bm.cross_validate or a query compare models"
        )


def is_weighted(site: Site) -> bool:
    """Whether `poutine.scale` weighs it."""
    return isinstance(site.scale, torch.Tensor) or site.scale != 1


def about_priors(names: Sequence[str]) -> Iterator[str]:
    """What it means that a latent's density reads outcomes."""
    if names:
        yield (
            f"{', '.join(names)}: drawn from a distribution that reads tasks.y, so that the "
            "outcomes count twice, and a graph has no arrow for it; give what is known before as "
            "a number or a column"
        )


def about_elsewhere(structure: Structure) -> Iterator[str]:
    """What it means that datapoints read each other, in a sentence a site."""
    for node in structure.read_elsewhere():
        if node.elsewhere:
            yield (
                f"{node.name}: reads {', '.join(node.elsewhere)} at other datapoints of its task, "
                "so that they are not independent given phi, and what takes some apart from the "
                "others (LOO, cross-validation by rows, a query) scores another model; hold out "
                "whole tasks"
            )
        else:
            columns = ", ".join(f"x.{c}" for c in node.inputs_elsewhere)
            yield (
                f"{node.name}: reads {columns} at all datapoints of its task; where some are taken "
                "apart (cross-validation by rows, a query) it reads those alone"
            )


def _about_limits(name: str, fn: Censored, value: torch.Tensor, mask: torch.Tensor) -> str:
    reached, there = 0, 0
    for limit, at in zip((fn.lower, fn.upper), fn.at_limits(value), strict=True):
        finite = limit.isfinite() & mask
        reached, there = reached + int((at & finite).sum()), there + int(finite.sum())
    said = f"{name}: {reached} of {there} finite limits are reached, and count as censored"
    if there and not reached:
        said += "; give y at its limit where an outcome is known to be beyond it"
    return said


def drawn_bounds(
    model: Model, tasks: Tasks, found: Runs, parents: Parents
) -> dict[str, tuple[str, ...]]:
    """The observed sites whose supports have edges that are drawn, and what these read.

    Other draws of the model tell whether edges are drawn, and provenance what they read, unless it
    is lost, as by a write in place. It alone says too much: a total count that was broadcast with
    logits has theirs.
    """
    observed = [n for n, site in found.drawn.items() if site.is_observed and not is_factor(site)]
    edged = [name for name in observed if edges(found.drawn[name].fn)]
    others = [run(model, tasks) for _ in range(_OTHER_DRAWS if edged else 0)]
    reads = {}
    for name in edged:
        ours = edges(found.drawn[name].fn)
        drawn = [edges(other[name].fn) for other in others]
        if any(not torch.equal(a, b) for x in drawn for a, b in zip(ours, x, strict=False)):
            reads[name] = edges_read(found.followed[name]) or frozenset(parents.sites[name])
    return {n: tuple(p for p in found.drawn if p in read) for n, read in reads.items()}
