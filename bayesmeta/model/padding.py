"""Padding that a model reads: found by changing what padded cells hold, and refused."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bayesmeta.data.real_rows import rows_to_pad_with
from bayesmeta.data.tasks import Tasks
from bayesmeta.model.checks import DATA, TASKS, StructureError, first_few, plate_names
from bayesmeta.running.handlers import Model, run
from bayesmeta.running.isolation import isolated
from bayesmeta.running.sites import Choice, Site


class _Moved(NamedTuple):
    """A site that noticed, and the task where it did; None where the site is of all tasks."""

    site: str
    task: str | None


def check_padding(model: Model, tasks: Tasks, sites: Mapping[str, Site] | None = None) -> None:
    """Refuse a model whose density depends on what padding holds, or on how much there is of it.

    At the same latents the model is run with other real rows in the padded cells, and with one
    more padded cell a task: nothing may change in the cells of datapoints, nor in the terms of
    theta and phi. Of tasks that are not ragged nothing is asked.

    Args:
        model: a Pyro function of the tasks.
        tasks: the data.
        sites: of a run of the model on them, where there is one.

    Raises:
        StructureError: naming the site, a task, the columns that are read, and the remedy.
    """
    if not tasks.ragged:
        return
    columns = [*tasks.x, *([] if tasks.y is None else ["y"])]
    if sites is None:
        try:
            sites = run(model, tasks)
        except Exception:  # What asks next for a run says why there is none.
            return
    replay = _Replay(model, tasks, sites)
    for more in (0, 1):
        if replay.moved(columns, more) is None:
            continue
        # A model that draws random numbers of its own drew others: compare at the same ones. With
        # another number of cells there are none.
        if (not replay.restart() and more) or not (moved := replay.moved(columns, more)):
            continue
        read = [name for name in columns if replay.moved([name], 0)]
        raise StructureError(_in_words(tasks, moved, read))


class _Replay:
    """The model run again at the same latents, with other padding."""

    def __init__(self, model: Model, tasks: Tasks, sites: Mapping[str, Site]) -> None:
        self.model, self.tasks, self.before = model, tasks, sites
        self.given = {n: s for n, s in sites.items() if not (s.is_observed or s.is_deterministic)}

    def restart(self) -> bool:
        """Compare with a run at known random numbers; whether others give the same."""
        self.before, other = (self._run(self.tasks, seed) for seed in (0, 1))
        return all(
            torch.equal(site.log_prob.nan_to_num(), other[name].log_prob.nan_to_num())
            for name, site in self.before.items()
        )

    def moved(self, columns: Collection[str], more: int) -> _Moved | None:
        """What notices first that padding holds other rows of some columns, in more cells."""
        try:
            after = self._run(_padded_anew(self.tasks, columns, more), seed=0)
        except Exception:  # It may hold data of its own, which are as wide as the tasks.
            return None
        # What is real is computed as before, but with more cells sums are taken in another order.
        eps = torch.finfo(self.tasks.dtype).eps
        tolerance = eps**0.5 if more else 32 * eps
        for name, site in self.before.items():
            if site.is_deterministic:
                continue
            changed = _changed(site, after[name].log_prob, self.tasks.mask, tolerance)
            if bool(changed.any()):
                of_task = TASKS in plate_names(site)
                at = int(changed.nonzero()[0][-2]) if of_task else 0
                return _Moved(name, self.tasks.names[at] if of_task else None)
        return None

    def _run(self, tasks: Tasks, seed: int) -> dict[str, Site]:
        def choose(name: str, fn: Any) -> Choice | None:
            site = self.given.get(name)
            return None if site is None else Choice(_widened(site, tasks.num_data))

        with isolated(seed), torch.no_grad():
            return run(self.model, tasks, choose)


def _padded_anew(tasks: Tasks, columns: Collection[str], more: int) -> Tasks:
    """The tasks with other real rows in the padded cells of some columns, and more such cells."""
    index = rows_to_pad_with(tasks.mask, more)
    return replace(
        tasks,
        x={
            name: column.flatten(0, 1)[index] if name in columns and column.shape[1] > 1 else column
            for name, column in tasks.x.items()
        },
        y=tasks.y.flatten(0, 1)[index] if tasks.y is not None and "y" in columns else tasks.y,
        mask=torch.cat([tasks.mask, tasks.mask.new_zeros(tasks.num_tasks, more)], 1),
        query=None,
    )


def _widened(site: Site, width: int) -> Tensor:
    """The value of a latent, which in the plate "data" has a number for each cell."""
    axis = site.value.dim() - len(site.fn.event_shape) - 1
    if DATA not in plate_names(site) or site.value.shape[axis] in (1, width):
        return site.value
    first = site.value.narrow(axis, 0, 1)
    return torch.cat([site.value, first], axis)


def _changed(site: Site, after: Tensor, mask: Tensor, tolerance: float) -> Tensor:
    """Where the log density of a site is another, padded cells left out."""
    before, is_of_data = site.log_prob, DATA in plate_names(site)
    after = after[..., : before.shape[-1]] if is_of_data else after
    if before.shape != after.shape:
        return torch.ones(1, 1, dtype=torch.bool)
    is_near = (before - after).abs() <= tolerance * (1 + before.abs())
    changed = ~(is_near | (before == after) | (before.isnan() & after.isnan()))
    return changed & mask if is_of_data else changed


def _in_words(tasks: Tasks, moved: _Moved, read: Collection[str]) -> str:
    where = "" if moved.task is None else f" of task '{moved.task}'"
    named = first_few([name if name == "y" else f"x['{name}']" for name in read])
    column = next((name for name in read if name != "y"), "x")
    what = (
        f"depends on what padded cells of {named} hold"
        if read
        else "depends on how many cells are padded (tasks.num_data is the padded width, no count)"
    )
    return (
        f"site '{moved.site}'{where} {what}: tasks of fewer datapoints than the largest are padded "
        "with copies of their first row, and what runs over a task's cells, as .mean(1), .sum(1), "
        ".flip(1), a softmax or a batch normalisation, takes these for data. Read "
        f"tasks.mean('{column}') or tasks.sum('{column}'), of shape (tasks, 1, ...), tasks.sizes "
        "as counts, or torch.where(tasks.mask, ..., 0); a mean over all tasks is taken out of the "
        "data before they are made; a layer that cannot leave cells out takes tasks of one size"
    )
