"""What is refused before inference: plates, shapes and supports that do not fit the tasks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from pyro.ops.provenance import get_provenance
from torch import Tensor

from bayesmeta.data.tasks import Tasks
from bayesmeta.distributions.supports import edges, within
from bayesmeta.distributions.wrappers import base_distribution
from bayesmeta.running.sites import Site, seen

TASKS, DATA = "tasks", "data"
RESERVED = frozenset({TASKS, DATA, "chain", "draw", "observation"})
_DIMS = {TASKS: -2, DATA: -1}
_NAMED = 5
HOW = (
    'with pyro.plate("tasks", tasks.num_tasks, dim=-2): ... '
    'with pyro.plate("data", tasks.num_data, dim=-1): ...'
)


class StructureError(ValueError):
    """The model cannot be read as theta, phi and data; the message names site, plate and remedy."""


def check_sites(sites: Mapping[str, Site], tasks: Tasks) -> None:
    """Refuse what would give a wrong posterior or none.

    Raises:
        StructureError: for a missing or misplaced plate, a plate of another size than the data, no
            observed site, an observed site outside the plates or of another shape than they give,
            an outcome outside its support, or a reserved site name.
    """
    random = [s for s in sites.values() if not s.is_deterministic]
    reserved = RESERVED | {plate.name for site in sites.values() for plate in site.plates}
    for site in sites.values():
        if site.name in reserved:
            raise StructureError(
                f"a site is named '{site.name}', which names a plate or a dimension of the "
                "posterior; rename the site"
            )
    _check_tasks_plate(random)
    for site in random:
        _check_plates(site, tasks)
        if not site.is_observed and not site.is_param and DATA not in plate_names(site):
            _check_latent(site, tasks)
    observed = [s for s in random if s.is_observed and not is_factor(s)]
    if not observed:
        raise StructureError(
            'no site is observed; give one the outcomes, as in pyro.sample("y", ..., obs=tasks.y)'
        )
    for site in observed:
        _check_observed(site, tasks)


def check_levels(sites: Mapping[str, Site], parents: Mapping[str, tuple[str, ...]]) -> None:
    """Refuse what stands outside the plate "tasks" and yet reads phi: it ties tasks together.

    Raises:
        StructureError: for a latent or a factor of that kind.
    """
    for name, site in sites.items():
        if TASKS in plate_names(site) or site.is_deterministic:
            continue
        for parent in _drawn_parents(name, sites, parents):
            if TASKS in plate_names(sites[parent]):
                raise StructureError(
                    f"site '{name}' is outside the plate '{TASKS}', but reads '{parent}' inside "
                    "it; tasks must be independent given theta. Move it into the plate, or make it "
                    "pyro.deterministic if it only reports"
                )


def _drawn_parents(
    name: str, sites: Mapping[str, Site], parents: Mapping[str, tuple[str, ...]]
) -> Iterator[str]:
    """The parents of a site, those of a deterministic parent in its place."""
    for parent in parents[name]:
        if sites[parent].is_deterministic:
            yield from _drawn_parents(parent, sites, parents)
        else:
            yield parent


def is_factor(site: Site) -> bool:
    """Whether the site is a `pyro.factor`: a term of the density and no data."""
    return type(site.fn).__name__ == "Unit"


def plate_names(site: Site) -> list[str]:
    """The names of the plates around a site, outermost first."""
    return [p.name for p in site.plates]


def _check_tasks_plate(sites: list[Site]) -> None:
    if not any(TASKS in plate_names(s) for s in sites):
        found = sorted({name for s in sites for name in plate_names(s)})
        raise StructureError(
            f"no site is in a plate named 'tasks' (plates found: {found or 'none'}); what differs "
            f"between tasks goes inside it: {HOW}"
        )


def _check_plates(site: Site, tasks: Tasks) -> None:
    sizes = {TASKS: tasks.num_tasks, DATA: tasks.num_data}
    for plate in site.plates:
        if plate.name not in _DIMS:
            # A group of theta beside the plates has its dimensions to itself; one of the size of
            # the tasks is theirs, misnamed.
            is_inside = site.is_observed or TASKS in plate_names(site)
            is_misnamed = plate.dim == -2 and plate.size == tasks.num_tasks
            if plate.dim in (-1, -2) and (is_inside or is_misnamed):
                owner = TASKS if plate.dim == -2 else DATA
                raise StructureError(
                    f"site '{site.name}': plate '{plate.name}' has dim={plate.dim}, which belongs "
                    f"to the plate '{owner}'; name it '{owner}' if it is that plate, or give it "
                    "dim=-3 or below"
                )
            continue
        if plate.dim != _DIMS[plate.name]:
            raise StructureError(
                f"site '{site.name}': plate '{plate.name}' has dim={plate.dim}, expected "
                f"dim={_DIMS[plate.name]}. Plates without dim= are numbered from the outside in, "
                f"which swaps the two; write {HOW}"
            )
        if plate.size != sizes[plate.name]:
            raise StructureError(
                f"site '{site.name}': plate '{plate.name}' has size {plate.size}, but the tasks "
                f"have {sizes[plate.name]}; write tasks.num_{plate.name} as its size"
            )
    if DATA in plate_names(site) and TASKS not in plate_names(site):
        raise StructureError(
            f"site '{site.name}' is in the plate 'data' but not in 'tasks'; data belong to tasks: "
            f"{HOW}"
        )


def _check_latent(site: Site, tasks: Tasks) -> None:
    """A latent in the plate "tasks" has one value a task, whatever its parameters broadcast to."""
    given, expected = tuple(site.fn.batch_shape), (tasks.num_tasks, 1)
    if TASKS in plate_names(site) and given[-2:] != expected:
        raise StructureError(
            f"site '{site.name}' in the plate '{TASKS}' has batch shape {given}, but (..., "
            f"{expected[0]}, 1) is expected: one value a task. Its parameters may read columns of "
            "shape (tasks, 1), not (tasks, data); event dimensions need .to_event()"
        )


def _check_observed(site: Site, tasks: Tasks) -> None:
    names = plate_names(site)
    for plate in (TASKS, DATA):
        if plate not in names:
            raise StructureError(
                f"observed site '{site.name}' is outside the plate '{plate}' (its plates: "
                f"{names or 'none'}); each datapoint belongs to a task: {HOW}"
            )
    expected = tuple(site.fn.batch_shape) + tuple(site.fn.event_shape)
    if tuple(site.value.shape) != expected:
        raise StructureError(
            f"observed site '{site.name}' got values of shape {tuple(site.value.shape)}, but its "
            f"plates and distribution give {expected} (plates {names}, sizes "
            f"{[p.size for p in site.plates]}); it would broadcast to a wrong posterior. Give "
            f"obs=tasks.y of shape (tasks, data, ...) whole"
        )
    _check_support(site, tasks)


def _check_support(site: Site, tasks: Tasks) -> None:
    # A bound that is itself drawn says nothing at the draw we happen to have.
    if edges_read(site):
        return
    inside = within(site.fn, site.value).expand(site.fn.batch_shape)
    bad = tasks.mask & ~inside
    if (shown := seen(site)) is not None:
        bad = bad & shown
    if bool(bad.any()):
        at = bad.nonzero()[0].tolist()
        task, row = at[-2:]
        raise StructureError(
            f"observed site '{site.name}' is {site.value[tuple(at)].tolist()} at task "
            f"'{tasks.names[task]}', row {row} of that task, outside the support "
            f"{_support_at(site.fn, at)} of {distribution_name(site.fn)} ({int(bad.sum())} such "
            "cells); "
            f"recode the outcomes or choose another likelihood{_about_counts(site.fn)}"
        )


def _support_at(fn: Any, at: Sequence[int]) -> str:
    """A support in words: where each cell has limits of its own, those of one."""
    limits = [getattr(fn.support, name, None) for name in ("lower_bound", "upper_bound")]
    if not any(isinstance(x, Tensor) and x.numel() > 1 for x in limits):
        return str(fn.support)
    lower, upper = (torch.as_tensor(x).expand(fn.batch_shape)[tuple(at)].item() for x in limits)
    return f"from {lower:g} to {upper:g} there"


def _about_counts(fn: Any) -> str:
    if distribution_name(fn) != "Multinomial":
        return ""
    return (
        " (the counts of a row add up to total_count; where totals differ, counts that are "
        "independent Poisson given the rates of their classes say the same of the chances)"
    )


def edges_read(site: Site) -> frozenset[str]:
    """The sites that the edges of a site's support read, as of Uniform(0, a), in a followed run."""
    return frozenset(one for one in get_provenance(edges(site.fn)) if isinstance(one, str))


def first_few(items: Sequence[str]) -> str:
    """The first five of them in a sentence, and how many more there are."""
    more = f" and {len(items) - _NAMED} more" if len(items) > _NAMED else ""
    return ", ".join(items[:_NAMED]) + more


def check_value(name: str, value: Tensor, fn: Any) -> None:
    """Refuse a value given for a site that the site cannot take.

    Raises:
        StructureError: where its shape or its support is another.
    """
    expected = tuple(fn.batch_shape) + tuple(fn.event_shape)
    if tuple(value.shape) != expected:
        raise StructureError(
            f"site '{name}' was given a value of shape {tuple(value.shape)}, but it has shape "
            f"{expected}; give one value of that shape, without dimensions for chain and draw "
            "(another network's weights fit after bm.nets.Net.carry)"
        )
    if bool(value.isnan().any()):
        raise StructureError(f"site '{name}' was given a value that is no number (NaN)")
    if not bool(within(fn, value).all()):
        raise StructureError(
            f"site '{name}' was given a value outside its support {fn.support}; give the site's "
            "own value, not one on another scale"
        )


def distribution_name(fn: Any) -> str:
    """The family of a distribution, less the wrappers around it; "flat" for a parameter."""
    base = base_distribution(fn)
    while type(base).__name__ == "MaskedDistribution":
        base = base_distribution(base.base_dist)
    return "flat" if type(base).__name__ == "FlatPrior" else type(base).__name__


def check_finite_density(sites: Mapping[str, Site], tasks: Tasks) -> None:
    """Refuse a model whose density is NaN at a draw from its own prior, at a value that can be."""
    for site in sites.values():
        bad = torch.isnan(site.log_prob)
        if bad.any() and (bad & within(site.fn, site.value)).any():
            raise StructureError(
                f"the log density of site '{site.name}' is NaN at a draw from the prior "
                f"({distribution_name(site.fn)} in plates {plate_names(site)}); check its "
                "parameters and the columns that they read"
            )
