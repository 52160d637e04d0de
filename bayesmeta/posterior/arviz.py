"""What ArviZ works on: a posterior as named arrays, for ArviZ 0.23 and for ArviZ 1.x."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from bayesmeta.data.row_index import RowIndex
from bayesmeta.data.tasks import Tasks
from bayesmeta.draws.draws import Draws
from bayesmeta.draws.own_tasks import Own
from bayesmeta.draws.predict import log_likelihood, observed, outcome_values, predictions
from bayesmeta.draws.prior_draws import prior_draws
from bayesmeta.model.checks import TASKS
from bayesmeta.model.structure import Node, Role
from bayesmeta.posterior.log_priors import FLAT, log_priors, unconstrained
from bayesmeta.task_level.importance import classic

if TYPE_CHECKING:
    import arviz
    import xarray as xr

Variable = tuple[tuple[str, ...], np.ndarray]

_OBSERVATION = "observation"
_SAMPLE = ("chain", "draw")
_PRIOR_DRAWS = 500


def to_arviz(posterior: Draws) -> arviz.InferenceData | xr.DataTree:
    """The posterior as the installed ArviZ takes it: InferenceData for 0.23, DataTree for 1.x.

    The groups are those of `groups`.
    """
    found = groups(posterior)
    return to_datatree(found) if classic() is None else to_inference_data(found)


def to_inference_data(groups: dict[str, xr.Dataset]) -> arviz.InferenceData:
    """The groups for ArviZ 0.23.

    Raises:
        ImportError: where no ArviZ before 1.0 is installed.
    """
    az = classic()
    if az is None:
        raise ImportError("InferenceData needs ArviZ before 1.0 (arviz==0.23.*); use to_datatree")
    return az.InferenceData(**groups)


def to_datatree(groups: dict[str, xr.Dataset]) -> xr.DataTree:
    """The groups for ArviZ 1.x and its parts, arviz-base and arviz-stats."""
    import xarray as xr

    return xr.DataTree.from_dict(groups)


def groups(posterior: Draws) -> dict[str, xr.Dataset]:
    """The posterior, its predictions and its data as ArviZ's groups of named arrays.

    A theta site has dims (chain, draw, ...) and a phi site (chain, draw, tasks, ...), further
    plates under their names; deterministic sites of either kind likewise. What is one a datapoint
    has the dim "observation": the real rows in the order of the tasks, without padding, with the
    coordinate "observation_task" saying whose each is, and, where they came from a data frame,
    "observation_index" with its label there. An outcome that the model masks in some rows has a dim
    of its own, "y_observation", without them. The log likelihood of an only outcome has the model's
    factors in the plate "data" in it; beside several outcomes they stand under their own names.
    The log prior of a theta site has dims (chain, draw), that of a phi site (chain, draw, tasks);
    see `log_priors`. The unconstrained posterior has theta and phi as free real numbers.
    Columns that are constant within a task have the dim "tasks". The prior's groups are
    left out where the model has a parameter, whose prior is flat. Of tasks without data, as a
    posterior holds them that was loaded, there are draws alone.
    """
    tasks, nodes = posterior.tasks, posterior.structure.nodes
    found = {
        "posterior": with_computed(posterior),
        "unconstrained_posterior": _dataset(
            {n: _named(nodes[n], u.cpu().numpy()) for n, u in unconstrained(posterior).items()},
            tasks,
        ),
        "sample_stats": _dataset(
            {
                n: (_dims(n, s.dim(), _SAMPLE), s.cpu().numpy())
                for n, s in posterior.fit.stats.items()
            },
            tasks,
        ),
    }
    if not bool(tasks.mask.any()):
        return {name: dataset for name, dataset in found.items() if dataset.data_vars}
    found["log_prior"] = _dataset(
        {
            name: ((*_SAMPLE, TASKS)[: value.dim()], value.cpu().numpy())
            for name, value in log_priors(posterior).items()
        },
        tasks,
    )
    rows = _Rows.of(posterior)
    found["log_likelihood"] = rows.dataset(
        {n: log_likelihood(posterior, outcome=o) for n, o in rows.scored.items()}, _SAMPLE
    )
    found["posterior_predictive"] = rows.dataset(_predicted(posterior), _SAMPLE)
    if all(node.distribution != FLAT for node in nodes.values()):
        drawn = prior_draws(posterior.centred, tasks, _PRIOR_DRAWS, posterior.seed)
        found["prior"] = with_computed(drawn)
        found["prior_predictive"] = rows.dataset(_predicted(drawn), _SAMPLE)
    found["observed_data"] = rows.dataset(
        {name: outcome_values(posterior, outcome=name) for name in posterior.structure.data}
    )
    found["constant_data"] = _constant(tasks)
    return {name: dataset for name, dataset in found.items() if dataset.data_vars}


def values(posterior: Draws) -> xr.Dataset:
    """Draws of theta (chain, draw, ...) and phi (chain, draw, tasks, ...), under named dims.

    Latents that are one a datapoint are packed as observations are; whose each is stands in the
    other groups, as ArviZ 1.x summarises no posterior with such a coordinate.
    """
    nodes, tasks, named = posterior.structure.nodes, posterior.tasks, {}
    for name, value in posterior.values.items():
        if nodes[name].role is not Role.LOCAL:
            named[name] = _named(nodes[name], value.cpu().numpy())
        elif bool(tasks.mask.any()):
            there = ~value[0, 0].isnan().reshape(*tasks.mask.shape, -1).any(-1)
            dim = _OBSERVATION if torch.equal(there, tasks.mask) else f"{name}_{_OBSERVATION}"
            named[name] = _packed(value, name, there, dim, _SAMPLE)
    return _dataset(named, tasks)


def with_computed(posterior: Draws) -> xr.Dataset:
    """`values`, and those of deterministic sites, at the rows of the posterior's own tasks."""
    nodes, found = posterior.structure.nodes, {}
    for name, value in (posterior.computed_theta | posterior.computed_phi).items():
        if nodes[name].is_by_datapoint:
            found[name] = _packed(value, name, posterior.tasks.mask, lead=_SAMPLE)
            continue
        lead = (*_SAMPLE, TASKS) if nodes[name].is_by_task else _SAMPLE
        found[name] = _dims(name, value.dim(), lead), value.cpu().numpy()
    return values(posterior).merge(_dataset(found, posterior.tasks))


def _predicted(posterior: Draws) -> dict[str, Tensor]:
    found = predictions(posterior, Own.TASKS, posterior.structure.data)
    return {name: prediction.draws for name, prediction in found.items()}


@dataclass(frozen=True)
class _Rows:
    """Which datapoints have which outcome.

    Attributes:
        tasks: whose they are.
        scored: what stands under each name in the log likelihood: an outcome, or None for all.
        seen: bool (tasks, data) by name.
    """

    tasks: Tasks
    scored: dict[str, str | None]
    seen: dict[str, Tensor]

    @classmethod
    def of(cls, posterior: Draws) -> _Rows:
        """Those of the posterior's own tasks."""
        outcomes = posterior.structure.data
        is_only = len(outcomes) == 1
        names = outcomes if is_only else posterior.density.reading.scored
        scored = {name: None if is_only else name for name in names}
        seen = {name: observed(posterior, outcome=given) for name, given in scored.items()}
        return cls(posterior.tasks, scored, seen)

    def dataset(self, values: dict[str, Tensor], lead: tuple[str, ...] = ()) -> xr.Dataset:
        """Values (..., tasks, data, *rest) with observed cells alone, (..., observation, *rest)."""
        variables: dict[str, Variable] = {}
        for name, value in values.items():
            seen, dim = self.seen[name], _OBSERVATION
            if not torch.equal(seen, self.tasks.mask):
                dim = f"{name}_{_OBSERVATION}"
            variables[name] = _packed(value, name, seen, dim, lead)
        owners = {variables[n][0][len(lead)]: self.seen[n] for n in variables}
        return _dataset(variables, self.tasks, owners)


def flattened(dataset: xr.Dataset) -> tuple[list[str], np.ndarray]:
    """All entries of (chain, draw, ...) variables: labels such as "effect[A]", (chain, draw, k)."""
    labels, blocks = [], []
    for name, value in dataset.data_vars.items():
        along = [[str(label) for label in value[dim].values] for dim in value.dims[2:]]
        entries = [", ".join(at) for at in itertools.product(*along)]
        labels += [f"{name}[{at}]" if at else str(name) for at in entries]
        blocks.append(value.values.reshape(*value.shape[:2], -1))
    return labels, np.concatenate(blocks, axis=-1)


def _dataset(
    variables: dict[str, Variable], tasks: Tasks, rows: Mapping[str, Tensor] | None = None
) -> xr.Dataset:
    """Variables with coordinates for their dims: task names, and 0, 1, ... for all others.

    Args:
        variables: by name.
        tasks: whose they are.
        rows: which cells (tasks, data) a dim of datapoints is made of.
    """
    import xarray as xr

    sizes = {d: n for dims, v in variables.values() for d, n in zip(dims, v.shape, strict=True)}
    coords: dict[str, Any] = {dim: np.arange(size) for dim, size in sizes.items()}
    if TASKS in sizes:
        coords[TASKS] = np.array(tasks.names)
    for dim, seen in (rows or {}).items():
        owner = np.repeat(np.array(tasks.names), seen.sum(-1).cpu().numpy())
        coords[f"{dim}_task"] = (dim, owner)
        if tasks.index is not None:
            coords[f"{dim}_index"] = (dim, _labels(tasks.index, seen))
    return xr.Dataset(variables, coords, {"inference_library": "bayesmeta"})


def _labels(index: RowIndex, mask: Tensor) -> np.ndarray:
    """The labels of a frame's rows, as text where NetCDF has no type for them."""
    labels = index.of(mask)[0].to_numpy()
    return labels if labels.dtype != object else np.array([str(label) for label in labels])


def _dims(name: str, count: int, known: tuple[str, ...]) -> tuple[str, ...]:
    """The known dims, then ArviZ's default names up to `count`."""
    return (*known, *(f"{name}_dim_{k}" for k in range(count - len(known))))


def _named(node: Node, value: np.ndarray) -> Variable:
    """Draws of a site with its plates as dims, less the size-1 dims to the right of a plate."""
    batch = len(node.shape) - node.event_dim
    plates = {batch + plate.dim: plate.name for plate in node.plates}
    names = [plates.get(k) for k in range(batch)]
    if node.role is Role.PHI:
        names = [TASKS, *names[:-2]]
    void = [
        k
        for k, name in enumerate(names, start=len(_SAMPLE))
        if node.plates and name is None and value.shape[k] == 1
    ]
    names += [None] * (value.ndim - len(_SAMPLE) - len(names))
    fresh = (f"{node.name}_dim_{k}" for k in itertools.count())
    kept = [name for k, name in enumerate(names, start=len(_SAMPLE)) if k not in void]
    return (*_SAMPLE, *(name or next(fresh) for name in kept)), value.squeeze(tuple(void))


def _packed(
    value: Tensor, name: str, seen: Tensor, dim: str = _OBSERVATION, lead: tuple[str, ...] = ()
) -> Variable:
    """A value (..., tasks, data, *rest) with the cells that were seen: (..., dim, *rest)."""
    cells = value.flatten(len(lead), len(lead) + 1)
    real = cells.index_select(len(lead), seen.flatten().nonzero()[:, 0])
    return _dims(name, real.dim(), (*lead, dim)), real.cpu().numpy()


def _constant(tasks: Tasks) -> xr.Dataset:
    variables: dict[str, Variable] = {}
    for name, column in tasks.x.items():
        if column.shape[1] == tasks.num_data:
            variables[name] = _packed(column, name, tasks.mask)
        else:
            variables[name] = (_dims(name, column.dim() - 1, (TASKS,)), column[:, 0].cpu().numpy())
    is_there = any(_OBSERVATION in dims for dims, _ in variables.values())
    return _dataset(variables, tasks, {_OBSERVATION: tasks.mask} if is_there else None)
