"""What can be done with each site of a graph, and why not: said by the strategies themselves."""

from __future__ import annotations

from dataclasses import dataclass

from bayesmeta.diagram.diagram import Diagram
from bayesmeta.diagram.vertices import Vertex
from bayesmeta.model.checks import TASKS, StructureError
from bayesmeta.model.density import Density
from bayesmeta.model.structure import Role
from bayesmeta.phi import Amortised, Exact, Laplace, Phi
from bayesmeta.running.isolation import isolated, undisturbed

_INDENT = "\n    "


@dataclass(frozen=True)
class _Answers:
    """What holds for all phi together, as a strategy treats them together."""

    marginalised: str
    amortised: str


@undisturbed()
def roles(diagram: Diagram) -> str:
    """Of each site, in words: can it be minibatched, marginalised, amortised, and why not?

    A phi strategy is asked by its own check, on a few of the tasks. Sites of which the same is to
    be said stand together.
    """
    answers = _ask(diagram)
    names: dict[tuple[str, ...], list[str]] = {}
    for vertex in diagram.nodes.values():
        if vertex.role not in (Role.INPUT, Role.DETERMINISTIC):
            names.setdefault(_said(vertex, diagram, answers), []).append(vertex.name)
    return "\n".join(
        _INDENT.join((f"{', '.join(who)}: {kind}", *lines)) for (kind, *lines), who in names.items()
    )


def _ask(diagram: Diagram) -> _Answers:
    found = diagram.reading.structure
    if not found.phi:
        return _Answers("", "")
    exact, laplace, amortised = (
        _refusal(phi, diagram) for phi in (Exact(), Laplace(), Amortised())
    )
    if exact is None:
        marginalised = "yes, in closed form: phi=bm.Exact()"
    elif laplace is None:
        marginalised = f"to second order: phi=bm.Laplace(); not in closed form, as {exact}"
    else:
        marginalised = f"no, {laplace}"
    columns = (c for node in found.nodes.values() for c in node.inputs)
    reads = ", ".join(dict.fromkeys((*columns, *found.data)))
    network = f"yes, by a network that reads {reads}: phi=bm.Amortised()"
    return _Answers(marginalised, network if amortised is None else f"no, {amortised}")


def _refusal(phi: Phi, diagram: Diagram) -> str | None:
    """Why a strategy refuses the model, less its advice; None where it does not."""
    tasks = diagram.tasks.sample().to(diagram.tasks.device)
    try:
        diagram.reading.structure.check_treatable(f"phi=bm.{type(phi).__name__}()", needs_phi=True)
        with isolated(seed=0):
            phi.check(Density(diagram.reading), tasks)
    except StructureError as error:
        return str(error).split(";")[0]
    return None


def _said(vertex: Vertex, diagram: Diagram, answers: _Answers) -> tuple[str, ...]:
    if vertex.role is Role.THETA:
        by_draws = "by draws: theta=bm.NUTS() or bm.Gaussian(), whose predictions average over them"
        return (
            f"theta, shared by all tasks{', without a prior' if vertex.is_parameter else ''}",
            "minibatched: no, every task reads it; a step on some of the tasks moves it for all",
            f"marginalised: {'no, it has no prior' if vertex.is_parameter else by_draws}",
            "amortised: no, there is one of it, and one set of tasks to learn it from",
        )
    if vertex.name in diagram.reading.structure.discrete:
        where = "task" if vertex.role is Role.PHI else "datapoint"
        return (
            f"discrete, one a {where}",
            "minibatched: with its task",
            "marginalised: yes, summed over its values under every strategy, where they are finite",
            "amortised: no need: post.probabilities has the chances of its values",
        )
    if vertex.role is Role.PHI:
        return (
            "phi, one a task",
            f"minibatched: yes, tasks are independent given {_theta_above(diagram)}: "
            "theta=bm.Point(batch_size=...) or bm.Gaussian(batch_size=...)",
            f"marginalised: {answers.marginalised}",
            f"amortised: {answers.amortised}",
        )
    if vertex.role is Role.LOCAL:
        return (
            "local, one a datapoint",
            "minibatched: with its task",
            "marginalised: by draws of phi=bm.Joint() alone",
            "amortised: no, a network infers what is in the plate 'tasks' alone",
        )
    if vertex.role is Role.FACTOR:
        return ("a factor, a term of the density with nothing to infer",)
    when = "observed in training, predicted of new tasks" if vertex.is_predicted else "observed"
    return (f"data, {when}", "minibatched: with its task")


def _theta_above(diagram: Diagram) -> str:
    """The theta that any site of a task reads."""
    read = {p for v in diagram.nodes.values() if TASKS in v.plates for p in v.parents}
    names = [v.name for v in diagram.nodes.values() if v.role is Role.THETA and v.name in read]
    return " and ".join(names) or "nothing"
