"""Reading: a model read off its tasks, once, for all that works on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch

from bayesmeta.data.tasks import Tasks
from bayesmeta.model.checked_run import (
    Runs,
    check_predicts,
    check_runs,
    check_sums,
    check_types,
    run_checked,
    run_followed,
)
from bayesmeta.model.checks import (
    DATA,
    TASKS,
    StructureError,
    check_levels,
    distribution_name,
    is_factor,
    plate_names,
)
from bayesmeta.model.enumeration import Summed, check_count, summed_of
from bayesmeta.model.observation import (
    about_priors,
    classes_of,
    drawn_bounds,
    factors_of_outcomes,
    is_weighted,
    remarks,
)
from bayesmeta.model.padding import check_padding
from bayesmeta.model.parents import Parents, find_parents
from bayesmeta.model.structure import Node, Role, Structure
from bayesmeta.running.followed import Column
from bayesmeta.running.handlers import Model
from bayesmeta.running.isolation import isolated, undisturbed
from bayesmeta.running.sites import Site, seen

_TASKS_TO_COMPARE = 256
_TASKS_AT_ONCE = 1000


@dataclass(frozen=True)
class Reading:
    """A model as it was read on some tasks: made once, and passed on to all that works on it.

    Attributes:
        model: a Pyro function of the tasks.
        structure: its sites by role.
        drawn_from: what each latent site was drawn from in one run on `tasks.sample()`.
        bounded: the observed sites whose support has edges that are drawn, and the sites that
            these read.
        scored: the observed sites, and the factors in the plate "data" that are said of outcomes,
            as of censored ones: they read y, or stand for what is masked.
        masked: the observed sites that the model masks somewhere.
        weighted: the observed sites, and such factors, that `poutine.scale` weighs.
        remarks: sentences on how outcomes count.
        classes: how many y names, where it is of classes.
    """

    model: Model
    structure: Structure
    drawn_from: Mapping[str, Any]
    bounded: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    scored: tuple[str, ...] = ()
    masked: tuple[str, ...] = ()
    weighted: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    classes: int | None = None

    @cached_property
    def summed(self) -> Summed | None:
        """The finite discrete latents in the plates, which are summed out; None without any.

        Raises:
            StructureError: where they are not among those that can be.
        """
        return summed_of(self.structure, self.drawn_from)

    def check(self, tasks: Tasks) -> None:
        """Refuse tasks on which the model does not run: does it, and is every outcome possible?

        Raises:
            StructureError: where the model does not fit the tasks; it names site and remedy.
        """
        _check_outcomes_given(tasks)
        with isolated(seed=0), torch.no_grad():
            for some in _tries(tasks):
                check_runs(self.model, some)
            self.check_padding(tasks)

    def check_sums(self, tasks: Tasks) -> None:
        """Refuse a model that does not take all values of its discrete latents at once.

        Raises:
            StructureError: naming the site, and the remedy.
        """
        if self.summed is not None:
            with isolated(seed=0), torch.no_grad():
                check_sums(self.model, tasks.sample(), self.summed)

    def check_padding(self, tasks: Tasks) -> None:
        """Refuse tasks whose padding the model reads.

        Raises:
            StructureError: naming the site, and the remedy.
        """
        with isolated(seed=0), torch.no_grad():
            check_padding(self.model, tasks.sample())


def structure(model: Model, tasks: Tasks) -> Structure:
    """Read theta, phi, data, plates and parents off a plain Pyro model, and refuse what is amiss.

    Args:
        model: a Pyro function of the tasks, with plates "tasks" (dim=-2) and "data" (dim=-1).
        tasks: the data, with y.

    Raises:
        StructureError: where the model does not fit the tasks; it names site, plate and remedy.
        TypeError: where model is no function of one argument, or tasks are no Tasks.
    """
    return read(model, tasks).structure


@undisturbed()
def read(model: Model, tasks: Tasks) -> Reading:
    """A model with its sites, plates and parents, as `structure` finds them.

    Raises:
        StructureError, TypeError: as `structure`.
    """
    check_types(model, tasks)
    _check_outcomes_given(tasks)
    tries = _tries(tasks)
    some = next(tries)
    with isolated(seed=0), torch.no_grad():
        found = run_checked(model, some)
        parents = _find_parents(model, some, found.followed)
        check_levels(found.followed, parents.sites)
        check_predicts(model, some)
        check_padding(model, some, found.drawn)
        for more in tries:
            check_runs(model, more)
        count = some.num_tasks if tasks.are_episodes else tasks.num_tasks
        return _reading(model, some, found, parents, count)


@undisturbed()
def read_as_it_stands(model: Model, tasks: Tasks) -> Reading:
    """As `read`; but a model without the plate "tasks" is read as it stands.

    Raises:
        StructureError, TypeError: as `structure`.
    """
    check_types(model, tasks)
    some = tasks.sample()
    with isolated(seed=0), torch.no_grad():
        try:
            found = run_followed(model, some)
        except Exception:  # whatever is wrong, `read` says in words
            return read(model, tasks)
        if any(TASKS in plate_names(site) for site in found.followed.values()):
            return read(model, tasks)
        parents = find_parents(model, some, found.followed)
        return _reading(model, some, found, parents, tasks.num_tasks)


def _check_outcomes_given(tasks: Tasks) -> None:
    if tasks.y is None:
        raise StructureError(
            "the tasks have no y, so no site is observed; give outcomes to fit, and keep "
            "tasks without y for predict"
        )


def _tries(tasks: Tasks) -> Iterator[Tasks]:
    """What to try a model on so that every outcome is seen: a sample, then all parts of many."""
    some = tasks.sample()
    yield some
    if some is not tasks and not tasks.are_episodes:
        for part in torch.arange(tasks.num_tasks).split(_TASKS_AT_ONCE):
            yield tasks.select(part)


def _reading(model: Model, tasks: Tasks, found: Runs, parents: Parents, num_tasks: int) -> Reading:
    nodes = {
        name: _resized(_node(site, parents), num_tasks) for name, site in found.followed.items()
    }
    latent = (Role.THETA, Role.PHI, Role.LOCAL)
    drawn_from = {n: found.drawn[n].fn for n, node in nodes.items() if node.role in latent}
    structure = Structure(nodes)
    check_count(structure, drawn_from)
    masked = tuple(n for n in structure.data if seen(found.drawn[n]) is not None)
    scored = (*structure.data, *factors_of_outcomes(model, tasks, structure, found))
    return Reading(
        model,
        structure,
        drawn_from,
        bounded=drawn_bounds(model, tasks, found, parents),
        scored=scored,
        masked=masked,
        weighted=tuple(name for name in scored if is_weighted(found.drawn[name])),
        remarks=(*remarks(tasks, structure, found), *about_priors(parents.priors_of_outcomes)),
        classes=classes_of(tasks, structure, found),
    )


def _resized(node: Node, num_tasks: int) -> Node:
    """A node as it is in a plate of so many tasks."""
    batch, shape = len(node.shape) - node.event_dim, list(node.shape)
    plates = []
    for plate in node.plates:
        if plate.name == TASKS and plate.size != num_tasks:
            if batch + plate.dim >= 0 and shape[batch + plate.dim] == plate.size:
                shape[batch + plate.dim] = num_tasks
            plate = replace(plate, size=num_tasks)
        plates.append(plate)
    return replace(node, plates=tuple(plates), shape=tuple(shape))


def _find_parents(model: Model, tasks: Tasks, sites: dict[str, Site]) -> Parents:
    """Parents, found on the largest tasks where there are very many: one run a site and column."""
    if tasks.num_tasks <= _TASKS_TO_COMPARE:
        return find_parents(model, tasks, sites)
    few = tasks.select(tasks.sizes.argsort(descending=True)[:_TASKS_TO_COMPARE].sort().values)
    try:
        return find_parents(model, few, run_checked(model, few).followed)
    except StructureError:
        # A model that holds data of its own may run on all tasks alone, and else it fails again.
        return find_parents(model, tasks, sites)


def _role(site: Site) -> Role:
    if site.is_deterministic:
        return Role.DETERMINISTIC
    if is_factor(site):
        return Role.FACTOR
    if site.is_observed:
        return Role.DATA
    names = plate_names(site)
    return Role.LOCAL if DATA in names else Role.PHI if TASKS in names else Role.THETA


def _event_dim(site: Site) -> int:
    """Of a deterministic site, which Pyro takes for all event where it is not told.

    The first place at which the plates' sizes stand is where its batch ends.
    """
    shape, sizes = tuple(site.value.shape), {plate.name: plate.size for plate in site.plates}
    if site.fn.event_dim < len(shape) or TASKS not in sizes:
        return int(site.fn.event_dim)
    plates = (sizes[TASKS], sizes.get(DATA, 1))
    ends = [k + 2 for k in range(len(shape) - 1) if shape[k : k + 2] == plates]
    return len(shape) - ends[0] if ends else 0


def _node(site: Site, parents: Parents) -> Node:
    role, elsewhere = _role(site), parents.elsewhere.get(site.name, ())
    of_others = parents.of_others.get(site.name, ())
    if site.is_param and role is not Role.THETA:
        raise StructureError(
            f"pyro.param '{site.name}' is inside the plate 'tasks', which gives no prior to tie "
            f"the tasks together; make it pyro.sample, or move it outside"
        )
    if role is Role.DETERMINISTIC:
        shape, event_dim, family = tuple(site.value.shape), _event_dim(site), "-"
    else:
        shape = tuple(site.fn.batch_shape) + tuple(site.fn.event_shape)
        event_dim, family = len(site.fn.event_shape), distribution_name(site.fn)
    is_latent = role in (Role.THETA, Role.PHI, Role.LOCAL)
    return Node(
        name=site.name,
        role=role,
        plates=site.plates,
        shape=shape,
        event_dim=event_dim,
        distribution=family,
        is_discrete=is_latent and bool(getattr(site.fn.support, "is_discrete", False)),
        is_finite=is_latent and bool(site.fn.has_enumerate_support),
        parents=parents.sites[site.name],
        inputs=parents.inputs[site.name],
        elsewhere=tuple(one for one in elsewhere if isinstance(one, str)),
        inputs_elsewhere=tuple(one.name for one in elsewhere if isinstance(one, Column)),
        of_others=tuple(one for one in of_others if isinstance(one, str)),
        inputs_of_others=tuple(one.name for one in of_others if isinstance(one, Column)),
    )
