"""Who depends on whom: provenance, which follows values, and perturbation, which moves them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from bayesmeta.data.tasks import Tasks
from bayesmeta.model.coupling import check_tasks_apart, read_elsewhere, read_of_others
from bayesmeta.model.outcome_parts import readers_of_outcomes
from bayesmeta.model.probes import Change, Replay, permuted
from bayesmeta.running.followed import Column
from bayesmeta.running.handlers import Model
from bayesmeta.running.sites import Site

_EXTREME = (float("nan"), float("inf"), float("-inf"), 0.0, 1.0)


@dataclass(frozen=True)
class Parents:
    """What each site reads, in the model's order.

    Attributes:
        sites: other sites.
        inputs: columns of x.
        elsewhere: what of both, and of a site itself, it reads at other datapoints of its task.
        of_others: what of both a deterministic site reads of other tasks.
        priors_of_outcomes: latents of theta or phi whose densities read outcomes.
    """

    sites: Mapping[str, tuple[str, ...]]
    inputs: Mapping[str, tuple[str, ...]]
    elsewhere: Mapping[str, tuple[str | Column, ...]]
    of_others: Mapping[str, tuple[str | Column, ...]]
    priors_of_outcomes: tuple[str, ...]


def find_parents(model: Model, tasks: Tasks, sites: Mapping[str, Site]) -> Parents:
    """Edges of the Bayes net, from a run with provenance and re-runs at other values.

    A site's parent is a site, or a column, from which its density is computed (provenance), or
    whose change moves its density while every other site is held (perturbation). A deterministic
    site stands between what it reads and what reads it, if the model goes on with what
    `pyro.deterministic` returns.

    Provenance goes through torch's operations, `torch.vmap` and networks as `bm.nets.Net` and
    `pyro.module`. It is lost where a value is written into a tensor in place, in numpy, in compiled
    code, in a `vmap` that was imported by its name, and by .item(). There an edge is found if it
    shows at another draw of a latent, after .item() at some far away too, or where a column's
    values change places: not a threshold that no draw and no datum reaches, an effect below the
    rounding of the data's dtype, or a column that is constant.

    Args:
        model: a Pyro function of the tasks.
        tasks: the data.
        sites: of a run with provenance.

    Raises:
        StructureError: where a density of one task moves with what is another's.
    """
    replay = Replay(model, tasks, sites)
    children: dict[str, set[str]] = {
        name: _moved(replay, name, sites[name].has_left) for name in replay.values
    }
    for name, other in replay.redrawn().items():
        change = Change(held={**replay.computed, name: other})
        children[name] = _tried(replay, [change], but=name)
    inputs = {name: _moved_by_column(replay, name) for name in tasks.x}
    check_tasks_apart(replay, sites)
    outcomes = readers_of_outcomes(replay, sites)
    for name, moved in outcomes.children.items():
        children.setdefault(name, set()).update(moved)
    elsewhere = read_elsewhere(replay, sites, outcomes.owners)
    of_others = read_of_others(replay, sites, outcomes.owners)
    for name, read in (*elsewhere.items(), *of_others.items()):
        # An outcome that is read at other datapoints alone is a parent of what comes after it.
        for p in sites:
            if p == name:
                break
            if p in read:
                children.setdefault(p, set()).add(name)
    unread = {name: _unread(replay, site, children, inputs) for name, site in sites.items()}
    return Parents(
        sites={
            name: tuple(
                p
                for p in sites
                if p != name
                and (name in children.get(p, ()) or p in site.provenance - unread[name])
            )
            for name, site in sites.items()
        },
        inputs={
            name: tuple(
                c
                for c in tasks.x
                if name in inputs[c] or (c in site.columns and Column(c) not in unread[name])
            )
            for name, site in sites.items()
        },
        elsewhere=elsewhere,
        of_others=of_others,
        priors_of_outcomes=outcomes.priors,
    )


def _unread(
    replay: Replay,
    site: Site,
    children: Mapping[str, Collection[str]],
    inputs: Mapping[str, Collection[str]],
) -> frozenset[str | Column]:
    """Of what was put into one tensor with others, what the site did not read of that.

    It moves with no value at all: NaN goes through whatever is computed from it, and infinities
    and 0 and 1 through thresholds. On a GPU, where an index out of range ends everything, and of
    whole numbers nothing is tried.
    """
    found = set()
    for origin in site.doubtful if replay.tasks.device.type == "cpu" else ():
        known: Mapping[str, Tensor] = {**replay.values, **replay.computed}
        name, moved = origin, children.get(origin, ())
        if isinstance(origin, Column):
            known, name, moved = replay.tasks.x, origin.name, inputs[origin.name]
        value = known.get(name)
        if site.name in moved or value is None or not value.is_floating_point():
            continue
        if not any(_moves(replay, site, origin, torch.full_like(value, x)) for x in _EXTREME):
            found.add(origin)
    return frozenset(found)


def _moves(replay: Replay, site: Site, origin: str | Column, other: Tensor) -> bool:
    """Whether a site moves where something is put at a value, or the model does not run there."""
    if isinstance(origin, Column):
        change = Change(columns={origin.name: other}, held=replay.computed)
    elif origin in replay.computed:
        change = Change(held={**replay.computed, origin: other})
    else:
        change = Change(sites={origin: other}, held=replay.computed)
    try:
        return site.name in replay.moved(change)
    except Exception:  # a value that the model cannot take is one that it reads
        return True


def _moved(replay: Replay, name: str, has_left: bool) -> set[str]:
    """The sites whose densities move with a latent."""
    others = replay.others(name, far=has_left)
    changes = [Change(sites={name: other}, held=replay.computed) for other in others]
    return _tried(replay, changes, but=name)


def _moved_by_column(replay: Replay, name: str) -> set[str]:
    """The sites whose densities move with a column."""
    column = replay.tasks.x[name]
    changes = [permuted(column, replay.tasks.mask)]
    if column.is_floating_point() and not torch.equal(column, column.round()):
        # In the same order, as times have to be.
        low = column.min()
        changes.append(low + 0.9 * (column - low))
    for other in changes:
        found = _tried(replay, [Change(columns={name: other}, held=replay.computed)])
        if found:
            return found
    return set()


def _tried(replay: Replay, changes: Iterable[Change], but: str = "") -> set[str]:
    """The sites that move with any of the changes on which the model runs."""
    found: set[str] = set()
    for change in changes:
        try:
            found |= set(replay.moved(change, but))
        except Exception:  # a value that the model cannot take says nothing
            continue
    return found
