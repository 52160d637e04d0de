"""The model read off its plates: what is theta, phi and data, and who depends on whom."""

from __future__ import annotations

import enum
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from bayesmeta.data.tasks import Tasks
from bayesmeta.model.checks import (
    DATA,
    HOW,
    TASKS,
    StructureError,
    check_finite_density,
    check_levels,
    check_sites,
    distribution_name,
    is_factor,
    plate_names,
)
from bayesmeta.model.handlers import Choice, Model, Plate, Site, SiteNameError, isolated, run
from bayesmeta.model.parents import Parents, find_parents

_TASKS_TO_COMPARE = 256
_TASKS_AT_ONCE = 1000


class Role(enum.Enum):
    """What a site is in p(theta) prod_i p(phi_i | theta) prod_j p(y_ij | x_ij, phi_i)."""

    THETA = "theta"
    PHI = "phi"
    LOCAL = "local"
    DATA = "data"
    FACTOR = "factor"
    DETERMINISTIC = "deterministic"
    INPUT = "input"


@dataclass(frozen=True)
class Node:
    """One site of the model.

    Attributes:
        name: the site's name.
        role: theta, phi, local to a datapoint, data, a factor, or deterministic.
        plates: the plates around it, outermost first.
        shape: the whole shape of its value, batch and event dimensions.
        event_dim: how many of these are event dimensions.
        distribution: the family it is drawn from; "flat" for a parameter.
        is_discrete: whether it is a latent with discrete support.
        parents: the sites its density reads.
        inputs: the x columns its density reads.
    """

    name: str
    role: Role
    plates: tuple[Plate, ...]
    shape: tuple[int, ...]
    event_dim: int
    distribution: str
    is_discrete: bool
    parents: tuple[str, ...]
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class Structure:
    """The sites of a model by role; printing it shows whether the model was read as meant."""

    nodes: Mapping[str, Node]

    def _with_role(self, role: Role) -> tuple[str, ...]:
        return tuple(n.name for n in self.nodes.values() if n.role is role)

    @property
    def theta(self) -> tuple[str, ...]:
        """Latent sites outside the plate "tasks", and parameters: shared by all tasks."""
        return self._with_role(Role.THETA)

    @property
    def phi(self) -> tuple[str, ...]:
        """Latent sites inside "tasks": one value a task."""
        return self._with_role(Role.PHI)

    @property
    def local(self) -> tuple[str, ...]:
        """Latent sites inside "data": one value a datapoint."""
        return self._with_role(Role.LOCAL)

    @property
    def data(self) -> tuple[str, ...]:
        """Observed sites."""
        return self._with_role(Role.DATA)

    def check_treatable(self, strategy: str, *, needs_phi: bool) -> None:
        """Refuse what no strategy of this library that works on real vectors can treat.

        Raises:
            StructureError: for a discrete latent, a latent in the plate "data", and, where the
                strategy needs one, no phi.
        """
        for node in self.nodes.values():
            if node.role in (Role.THETA, Role.PHI, Role.LOCAL) and node.is_discrete:
                raise StructureError(
                    f"site '{node.name}' ({node.distribution}) is a discrete latent, but "
                    f"{strategy} works on continuous ones; sum it out in the model, for instance "
                    "with dist.MixtureSameFamily"
                )
            if node.role is Role.LOCAL:
                raise StructureError(
                    f"site '{node.name}' is a latent in the plate 'data', one a datapoint, but "
                    f"{strategy} treats theta and phi only; integrate it into the likelihood, or "
                    "move it to the plate 'tasks'"
                )
        if needs_phi and not self.phi:
            raise StructureError(
                f"no latent is in the plate 'tasks', so there is no phi, but {strategy} infers "
                "one; put what differs between tasks inside it, or use phi=bm.Joint()"
            )

    def rows(self) -> list[dict[str, str]]:
        """The sites in words, one a row: site, role, plates, shape, distribution and parents."""
        return [
            {
                "site": n.name,
                "role": n.role.value,
                "plates": ", ".join(p.name for p in n.plates) or "-",
                "shape": str(n.shape).replace(",)", ")"),
                "distribution": n.distribution,
                "parents": ", ".join([*n.parents, *(f"x.{column}" for column in n.inputs)]) or "-",
            }
            for n in self.nodes.values()
        ]

    def __str__(self) -> str:
        rows = self.rows()
        head = list(rows[0])
        widths = [max(len(column), *(len(row[column]) for row in rows)) for column in head]
        lines = [
            "  ".join(cell.ljust(w) for cell, w in zip(cells, widths, strict=True)).rstrip()
            for cells in (head, *(row.values() for row in rows))
        ]
        return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def structure(model: Model, tasks: Tasks) -> Structure:
    """Read theta, phi, data, plates and parents off a plain Pyro model, and refuse what is amiss.

    Args:
        model: a Pyro function of the tasks, with plates "tasks" (dim=-2) and "data" (dim=-1).
        tasks: the data, with y.

    Raises:
        StructureError: where the model does not fit the tasks; it names site, plate and remedy.
        TypeError: where model is no function of one argument, or tasks are no Tasks.
    """
    check_types(model, tasks)
    if tasks.y is None:
        raise StructureError(
            "the tasks have no y, so no site is observed; give outcomes to fit, and keep "
            "tasks without y for predict"
        )
    some = tasks.sample()
    with isolated(seed=0):
        sites = run_checked(model, some)
        parents = _find_parents(model, some, sites)
        check_levels(sites, parents.sites)
    check_all(model, tasks)
    count = some.num_tasks if tasks.are_episodes else tasks.num_tasks
    return Structure(
        {
            name: _resized(_node(site, parents.sites[name], parents.inputs[name]), count)
            for name, site in sites.items()
        }
    )


def read(model: Model, tasks: Tasks) -> Structure:
    """As `structure`; but a model without the plate "tasks" is read as it stands.

    Raises:
        StructureError, TypeError: as `structure`.
    """
    check_types(model, tasks)
    some = tasks.sample()
    with isolated(seed=0):
        try:
            sites = _followed(model, some)
        except Exception:  # whatever is wrong, `structure` says in words
            return structure(model, tasks)
        if any(TASKS in plate_names(site) for site in sites.values()):
            return structure(model, tasks)
        parents = find_parents(model, some, sites)
    return Structure(
        {n: _node(site, parents.sites[n], parents.inputs[n]) for n, site in sites.items()}
    )


def check_all(model: Model, tasks: Tasks) -> None:
    """Run the model on what `tasks.sample()` leaves out, part by part: is every outcome possible?

    Raises:
        StructureError: where the model does not fit the tasks.
    """
    if tasks.are_episodes or tasks.sample() is tasks:
        return
    with isolated(seed=0):
        for part in torch.arange(tasks.num_tasks).split(_TASKS_AT_ONCE):
            run_checked(model, tasks.select(part), provenance=False)


def _resized(node: Node, num_tasks: int) -> Node:
    """A node as it is in a plate of so many tasks."""
    batch, shape = len(node.shape) - node.event_dim, list(node.shape)
    plates = []
    for plate in node.plates:
        if plate.name == TASKS and plate.size != num_tasks:
            if shape[batch + plate.dim] == plate.size:
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
        return find_parents(model, few, run_checked(model, few))
    except StructureError:
        # A model that holds data of its own may run on all tasks alone, and else it fails again.
        return find_parents(model, tasks, sites)


def check_types(model: Model, tasks: Tasks) -> None:
    """Refuse what is no function of the tasks, and what are no tasks.

    Raises:
        TypeError: naming what was given.
    """
    if not isinstance(tasks, Tasks):
        raise TypeError(
            f"tasks is a {type(tasks).__name__}, but bm.Tasks is expected, after the model: make "
            "them by bm.Tasks.from_frame, from_arrays or from_list"
        )
    try:
        inspect.signature(model).bind(tasks)
    except TypeError as error:
        raise TypeError(
            f"model={model!r} must be a function of one argument, the tasks: def model(tasks): ... "
            f"({error})"
        ) from error


def run_checked(model: Model, tasks: Tasks, *, provenance: bool = True) -> dict[str, Site]:
    """Run the model once, with errors that say what does not fit the tasks."""
    try:
        sites = _followed(model, tasks) if provenance else run(model, tasks)
    except SiteNameError as error:
        raise StructureError(str(error)) from error
    except KeyError as error:
        raise StructureError(
            f"the model does not run on these tasks: it asks for {error}, which is not there; the "
            f"columns of tasks.x are {list(tasks.x)}"
        ) from error
    except (ValueError, RuntimeError, AssertionError, IndexError) as error:
        _check_outcomes(model, tasks, error)
        columns = {n: f"{tuple(c.shape)} {c.dtype}" for n, c in tasks.x.items()}
        raise StructureError(
            f"the model does not run on these tasks: {type(error).__name__}: {error}. The plates "
            f"must be 'tasks' (dim=-2, size {tasks.num_tasks}) and 'data' (dim=-1, size "
            f"{tasks.num_data}); the columns are {columns}, a value in 'tasks' has shape "
            f"({tasks.num_tasks}, 1). Write {HOW}"
        ) from error
    check_sites(sites, tasks)
    check_finite_density(sites, tasks)
    return sites


def _check_outcomes(model: Model, tasks: Tasks, error: Exception) -> None:
    """Say that y is at fault, where the model runs without it and does not know such outcomes."""
    if tasks.y is None:
        return
    try:
        sites = run(model, replace(tasks, y=None))
        supports = {n: site.fn.support for n, site in sites.items() if _is_of_data(site)}
        outside = {n: s for n, s in supports.items() if not s.check(tasks.y)[tasks.mask].all()}
    except Exception:
        return
    for name, support in outside.items():
        seen = tasks.y[tasks.mask]
        raise StructureError(
            f"y has values from {float(seen.min()):g} to {float(seen.max()):g}, but site '{name}' "
            f"takes {support}; number classes 0, 1, ... as the model does, or give it another "
            f"outcome ({type(error).__name__}: {error})"
        ) from error


def _is_of_data(site: Site) -> bool:
    return not site.is_deterministic and not is_factor(site) and DATA in plate_names(site)


def _followed(model: Model, tasks: Tasks) -> dict[str, Site]:
    """A run with provenance. Values are drawn without: torch's Cauchy has another shape with it."""
    drawn = {name: site.value for name, site in run(model, tasks).items()}
    return run(model, tasks, lambda name, fn: Choice(drawn[name]), provenance=True)


def _role(site: Site) -> Role:
    if site.is_deterministic:
        return Role.DETERMINISTIC
    if is_factor(site):
        return Role.FACTOR
    if site.is_observed:
        return Role.DATA
    names = plate_names(site)
    return Role.LOCAL if DATA in names else Role.PHI if TASKS in names else Role.THETA


def _node(site: Site, parents: tuple[str, ...], inputs: tuple[str, ...]) -> Node:
    role = _role(site)
    if site.is_param and role is not Role.THETA:
        raise StructureError(
            f"pyro.param '{site.name}' is inside the plate 'tasks', which gives no prior to tie "
            f"the tasks together; make it pyro.sample, or move it outside"
        )
    if role is Role.DETERMINISTIC:
        shape, event_dim, family = tuple(site.value.shape), 0, "-"
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
        parents=parents,
        inputs=inputs,
    )
