"""Structure: the sites of a model by role, what is theta, phi and data, in a table."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from bayesmeta.model.checks import DATA, TASKS, StructureError
from bayesmeta.running.sites import Plate


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
        is_finite: whether it is one with finitely many values.
        parents: the sites its density reads.
        inputs: the x columns its density reads.
        elsewhere, inputs_elsewhere: what of these it reads at other datapoints of its task, as a
            lag or a mean over them does; an outcome may read itself there.
        of_others, inputs_of_others: what of these a deterministic site reads of other tasks.
    """

    name: str
    role: Role
    plates: tuple[Plate, ...]
    shape: tuple[int, ...]
    event_dim: int
    distribution: str
    is_discrete: bool
    is_finite: bool
    parents: tuple[str, ...]
    inputs: tuple[str, ...]
    elsewhere: tuple[str, ...] = ()
    inputs_elsewhere: tuple[str, ...] = ()
    of_others: tuple[str, ...] = ()
    inputs_of_others: tuple[str, ...] = ()

    @property
    def tasks_axis(self) -> int:
        """Where in its shape the tasks are, if it is in their plate."""
        return len(self.shape) - self.event_dim - 2

    @property
    def is_by_task(self) -> bool:
        """Whether it has a value for each task; one inside the plate may read none of phi."""
        sizes = [plate.size for plate in self.plates if plate.name == TASKS]
        axis = self.tasks_axis
        return bool(sizes) and axis >= 0 and self.shape[axis] == sizes[0]

    @property
    def is_by_datapoint(self) -> bool:
        """Whether it has a value for each datapoint; one inside the plate may read none of it."""
        sizes = [plate.size for plate in self.plates if plate.name == DATA]
        return bool(sizes) and self.is_by_task and self.shape[self.tasks_axis + 1] == sizes[0]


@dataclass(frozen=True)
class Structure:
    """The sites of a model by role; printing it shows whether the model was read as meant."""

    nodes: Mapping[str, Node]

    def _with_role(self, *roles: Role, is_discrete: bool | None = None) -> tuple[str, ...]:
        return tuple(
            n.name
            for n in self.nodes.values()
            if n.role in roles and is_discrete in (None, n.is_discrete)
        )

    @property
    def theta(self) -> tuple[str, ...]:
        """Latent sites outside the plate "tasks", and parameters: shared by all tasks."""
        return self._with_role(Role.THETA)

    @property
    def phi(self) -> tuple[str, ...]:
        """Latent sites inside "tasks", but for discrete ones: one value a task."""
        return self._with_role(Role.PHI, is_discrete=False)

    def computed(self, *, is_phi: bool) -> tuple[str, ...]:
        """Deterministic sites that are of theta alone, or those that are of the tasks, too.

        The latter have a value for each task, or datapoint, or read phi, as a maximum over tasks
        does.
        """
        return tuple(
            node.name
            for node in self.nodes.values()
            if node.role is Role.DETERMINISTIC
            and (node.is_by_task or self._reads_phi(node)) is is_phi
        )

    def _reads_phi(self, node: Node) -> bool:
        above = [self.nodes[name] for name in node.parents]
        return any(
            other.role in (Role.PHI, Role.LOCAL)
            or (other.role is Role.DETERMINISTIC and self._reads_phi(other))
            for other in above
        )

    @property
    def local(self) -> tuple[str, ...]:
        """Latent sites inside "data", but for discrete ones: one value a datapoint."""
        return self._with_role(Role.LOCAL, is_discrete=False)

    @property
    def discrete(self) -> tuple[str, ...]:
        """Discrete latent sites inside "tasks" and "data", which are summed out."""
        return self._with_role(Role.PHI, Role.LOCAL, is_discrete=True)

    @property
    def data(self) -> tuple[str, ...]:
        """Observed sites."""
        return self._with_role(Role.DATA)

    @property
    def data_factors(self) -> tuple[str, ...]:
        """Factors in the plate "data"."""
        factors = self._with_role(Role.FACTOR)
        return tuple(n for n in factors if DATA in {p.name for p in self.nodes[n].plates})

    def read_elsewhere(self) -> tuple[Node, ...]:
        """The sites that read columns or sites at other datapoints of their task."""
        return tuple(n for n in self.nodes.values() if n.elsewhere or n.inputs_elsewhere)

    def outcome(self, name: str | None) -> str:
        """The observed site of that name, or the only one.

        Raises:
            StructureError: where there is none of that name, or several and no name.
        """
        if name in self.data:
            return name
        if name is None and len(self.data) == 1:
            return self.data[0]
        given = "several" if name is None else f"no '{name}' among its"
        raise StructureError(
            f"the model has {given} outcomes: {', '.join(self.data)}; say of which, as in "
            f"outcome='{self.data[0]}'"
        )

    def check_treatable(self, strategy: str, *, needs_phi: bool) -> None:
        """Refuse what strategies that work on real vectors cannot treat.

        Args:
            strategy: its name, in words.
            needs_phi: whether it infers phi task by task, and so no latent of a datapoint.

        Raises:
            StructureError: for a discrete latent of theta, one of endless values, and one that is a
                constant; where phi is inferred task by task, for a continuous latent in the plate
                "data", and where there is no phi.
        """
        for node in self.nodes.values():
            if node.role not in (Role.THETA, Role.PHI, Role.LOCAL):
                continue
            if node.is_discrete and node.is_finite and node.role is not Role.THETA:
                continue
            if node.is_discrete:
                raise StructureError(
                    f"site '{node.name}' ({node.distribution}) is a discrete latent, but "
                    f"{strategy} works on continuous ones; {_instead_of_discrete(node)}"
                )
            if node.distribution == "Delta":
                raise StructureError(
                    f"site '{node.name}' is drawn from a Delta, so that it is a constant and no "
                    "latent; write pyro.deterministic"
                )
            if node.role is Role.LOCAL and needs_phi:
                raise StructureError(
                    f"site '{node.name}' is a latent in the plate 'data', one a datapoint, but "
                    f"{strategy} infers latents of tasks only; take phi=bm.Joint(), which infers "
                    "both, with theta=bm.NUTS(), bm.Gaussian() or bm.Point(), or draw the outcome "
                    "from its distribution with the latent integrated out, as dist.GammaPoisson is "
                    "for a rate"
                )
        if needs_phi and not self.phi:
            raise StructureError(
                "no continuous latent is in the plate 'tasks', so there is no phi, but "
                f"{strategy} infers one; put what differs between tasks inside it, or use "
                "phi=bm.Joint()"
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
                "parents": ", ".join(_parents_said(n)) or "-",
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


def _parents_said(node: Node) -> list[str]:
    """Its parents in words; those at other datapoints, or of other tasks, have "[:]"."""
    wide = (*node.elsewhere, *node.of_others)
    wide_columns = (*node.inputs_elsewhere, *node.inputs_of_others)
    return [
        *(n for n in node.parents if n not in wide),
        *(f"{n}[:]" for n in dict.fromkeys(wide)),
        *(f"x.{c}" for c in node.inputs if c not in wide_columns),
        *(f"x.{c}[:]" for c in dict.fromkeys(wide_columns)),
    ]


def _instead_of_discrete(node: Node) -> str:
    """What to write where a latent has values that can be counted."""
    if not node.is_finite:
        return (
            "there is no end of its values, or they cannot be listed, as of .to_event(1) (write a "
            "statement for each component), over which to sum it out; take a continuous latent in "
            "its place, or a distribution of the outcome that is summed already, as "
            "dist.GammaPoisson is"
        )
    return (
        "sum it out, where it chooses what another latent is drawn from, by drawing that from "
        "dist.MixtureSameFamily(dist.Categorical(probs), one component for each value); else fit "
        "the model once with each of its values, and bm.compare them"
    )
