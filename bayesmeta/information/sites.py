"""Which sites are meant, and whether they have an entropy together."""

from __future__ import annotations

from collections.abc import Sequence, Set

import torch

from bayesmeta.distributions.supports import bijection
from bayesmeta.model.checks import StructureError
from bayesmeta.model.structure import Role, Structure
from bayesmeta.posterior.posterior import Posterior

Sites = str | Sequence[str]

LATENT = (Role.THETA, Role.PHI, Role.LOCAL)


def names_of(posterior: Posterior, sites: Sites) -> tuple[str, ...]:
    """The sites by name: those given, and those of a group, "theta" or "phi".

    Raises:
        StructureError: for a name of neither, a group without a site, a site that is given twice,
            and theta where it is a point.
    """
    structure, found = posterior.structure, list[str]()
    for given in (sites,) if isinstance(sites, str) else tuple(sites):
        found += _members(structure, given)
    if not found:
        raise StructureError(f"sites={sites!r} names no site; give one, such as 'phi'")
    if twice := sorted({name for name in found if found.count(name) > 1}):
        raise StructureError(f"{', '.join(twice)} is given twice in {sites!r}; give it once")
    for name in found:
        if posterior.is_point and not is_of_tasks(structure, name):
            raise StructureError(
                f"theta is a point estimate here, so that '{name}' has no distribution; fit with "
                "theta=bm.NUTS() or theta=bm.Gaussian(), or ask for a site of phi"
            )
    return tuple(found)


def is_of_tasks(structure: Structure, name: str) -> bool:
    """Whether a site is one of tasks or datapoints, or of what reads these."""
    computed = structure.computed(is_phi=True)
    return name in (*structure.phi, *structure.local, *structure.discrete, *computed)


def all_discrete(structure: Structure, names: Sequence[str]) -> bool:
    """Whether sites are discrete.

    Raises:
        StructureError: where some are and others are not.
    """
    discrete = [name for name in names if name in structure.discrete]
    if discrete and len(discrete) < len(names):
        others = [name for name in names if name not in discrete]
        raise StructureError(
            f"{', '.join(discrete)} is discrete and {', '.join(others)} is not, so that neighbours "
            "tell nothing of both together; ask for one kind at a time"
        )
    return bool(discrete)


def check_together(structure: Structure, names: Sequence[str]) -> None:
    """Refuse sites that are computed from the others.

    Raises:
        StructureError: naming them.
    """
    for name in names:
        others, above = set(names) - {name}, behind(structure, name)
        if structure.nodes[name].role is not Role.DETERMINISTIC:
            continue
        if above <= set(names) or (others and _follows(structure, name, others)):
            raise StructureError(
                f"'{name}' is computed from {', '.join(sorted(above)) or 'no latent'}, so that it "
                "has no density beside what it comes from; leave one of them out"
            )


def check_free(posterior: Posterior, names: Sequence[str]) -> None:
    """Refuse sites of which some numbers follow from others, as of a simplex.

    Raises:
        StructureError: naming the first.
    """
    for name in names:
        if name not in posterior.density.segments:
            continue
        fn = posterior.density.reading.drawn_from[name]
        whole = fn.batch_shape + fn.event_shape
        free, size = bijection(fn).inverse_shape(whole).numel(), torch.Size(whole).numel()
        if free != size:
            raise StructureError(
                f"of {size} numbers of site '{name}' only {free} are free, so that it has no "
                "density in them; ask for another site, or for mutual_information"
            )


def _follows(structure: Structure, name: str, known: Set[str]) -> bool:
    """Whether a computed site has countably many values once others are known."""
    parents = structure.nodes[name].parents
    return any(p in known for p in parents) and all(
        p in known
        or p in structure.discrete
        or (structure.nodes[p].role is Role.DETERMINISTIC and _follows(structure, p, known))
        for p in parents
    )


def behind(structure: Structure, name: str) -> set[str]:
    """The random sites that a site reads, through those that are computed."""
    found = set()
    for parent in structure.nodes[name].parents:
        is_computed = structure.nodes[parent].role is Role.DETERMINISTIC
        found |= behind(structure, parent) if is_computed else {parent}
    return found


def _members(structure: Structure, name: str) -> tuple[str, ...]:
    known = [
        node.name for node in structure.nodes.values() if node.role in (*LATENT, Role.DETERMINISTIC)
    ]
    if name in known:
        return (name,)
    phi = tuple(node.name for node in structure.nodes.values() if node.role is Role.PHI)
    groups = {"theta": structure.theta, "phi": phi}
    if found := groups.get(name, ()):
        return found
    if name in groups:
        raise StructureError(f"the model has no {name}; it has {', '.join(known) or 'no latent'}")
    raise StructureError(
        f"there is no site '{name}' among those that are inferred or computed; these are "
        f"{', '.join(known) or 'none'}, and 'theta' and 'phi' name all of a level"
    )
