"""A model run on tasks, with errors in words: what of it does not fit which part of the tasks."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bayesmeta.data.tasks import Tasks, check_tasks
from bayesmeta.distributions.supports import edges
from bayesmeta.model.checks import (
    DATA,
    HOW,
    StructureError,
    check_finite_density,
    check_sites,
    is_factor,
    plate_names,
)
from bayesmeta.model.enumeration import Summed
from bayesmeta.running.handlers import Model, run
from bayesmeta.running.sites import Choice, PlateError, Site, SiteNameError

_TRIES = 5
_HOW_SUMMED = (
    "all values of a discrete latent stand on a dimension of their own, to the left of the plates, "
    "as in Pyro's parallel enumeration: choose by torch.where(z > 0, a, b) or by values[z.long()] "
    "out of a vector, and not by if, .item(), torch.cat or sums over z; what runs over the rows of "
    "a task, as z.mean(-1) or a lag, is not treated"
)


def check_types(model: Model, tasks: Tasks) -> None:
    """Refuse what are no tasks, and what is no function of them.

    Raises:
        TypeError: naming what was given.
    """
    check_tasks("tasks", tasks, hint="after the model")
    try:
        inspect.signature(model).bind(tasks)
    except TypeError as error:
        raise TypeError(
            f"model={model!r} must be a function of one argument, the tasks: def model(tasks): ... "
            f"({error})"
        ) from error


class Runs(NamedTuple):
    """The sites of one draw of the model, by name: as they ran, and with what each value reads.

    Values are drawn without provenance: torch's Cauchy has another shape with it.
    """

    drawn: dict[str, Site]
    followed: dict[str, Site]


def run_followed(model: Model, tasks: Tasks) -> Runs:
    """Run the model, and once more at the same values with provenance."""
    drawn = run(model, tasks)
    again = run(model, tasks, lambda name, fn: Choice(drawn[name].value), provenance=True)
    return Runs(drawn, again)


def run_checked(model: Model, tasks: Tasks) -> Runs:
    """Run the model, with errors that say what does not fit the tasks.

    Raises:
        StructureError: naming site, plate, task and remedy.
    """
    with _in_words(model, tasks):
        found = run_followed(model, tasks)
    check_sites(found.followed, tasks)
    check_finite_density(found.followed, tasks)
    return found


def check_runs(model: Model, tasks: Tasks) -> None:
    """As `run_checked`, in half the time where there is nothing to refuse.

    Raises:
        StructureError: naming site, plate, task and remedy.
    """
    with _in_words(model, tasks):
        sites = run(model, tasks)
    try:
        check_sites(sites, tasks)
        check_finite_density(sites, tasks)
    except StructureError:
        # Only a run with provenance knows of a bound that it is drawn, and refuses no outcome.
        run_checked(model, tasks)


def check_predicts(model: Model, tasks: Tasks) -> None:
    """Refuse a model that runs on these tasks, but not without their y, and so predicts nothing.

    Raises:
        StructureError: with the remedy.
    """
    try:
        run(model, tasks.without_y())
    except Exception as error:
        raise StructureError(
            "the model runs with tasks.y, but not where it is None, as in predict and in bm.prior "
            f"({type(error).__name__}: {error}). What it reads of earlier outcomes, as a lag, is a "
            'column: x={"lag": ...}; a part of y is written y = None if tasks.y is None else '
            "tasks.y[..., 0], and a factor of y goes under if tasks.y is not None"
        ) from error


def check_sums(model: Model, tasks: Tasks, summed: Summed) -> None:
    """Refuse a model whose densities at all values of its discrete latents are not those at each.

    Raises:
        StructureError: naming the site, and how discrete latents are used.
    """
    drawn = run(model, tasks)
    values = {s.name: s.value for s in drawn.values() if not (s.is_observed or s.is_deterministic)}

    def at(joint: Sequence[Tensor | None]) -> dict[str, Site]:
        def choose(name: str, fn: Any) -> Choice | None:
            if name not in summed.names:
                return Choice(values[name]) if name in values else None
            return summed.choose(name, fn, joint[name in summed.of_rows])

        return run(model, tasks, choose)

    try:
        whole = at([None, None])
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        raise StructureError(
            "the model does not run on all values of its discrete latents at once "
            f"({type(error).__name__}: {error}): {_HOW_SUMMED}"
        ) from error
    moving = [n for n in values if any(x.dim() > summed.plates + 1 for x in edges(whole[n].fn))]
    if moving:
        raise StructureError(
            f"the support of site '{moving[0]}' depends on the discrete "
            f"{', '.join(summed.names)}; give it one that does not, and transform its value"
        )
    shapes = (tasks.num_tasks, 1), tuple(tasks.mask.shape)
    for _ in range(_TRIES):
        # Each task and row has a value of its own, so that one that reads another's is seen.
        mine, rows = (
            torch.randint(n, shape) for n, shape in zip(summed.sizes, shapes, strict=True)
        )
        one = at([mine, rows])
        for name, site in whole.items():
            if not summed.agree(site, one[name], mine, rows):
                raise StructureError(
                    f"site '{name}' has another density where all values of "
                    f"{', '.join(summed.names)} are tried at once than at each, or reads those of "
                    f"another task or row: {_HOW_SUMMED}"
                )


@contextlib.contextmanager
def _in_words(model: Model, tasks: Tasks) -> Iterator[None]:
    """What the model raises as errors that say what does not fit the tasks."""
    try:
        yield
    except (SiteNameError, PlateError) as error:
        raise StructureError(str(error)) from error
    except StructureError:
        raise
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
