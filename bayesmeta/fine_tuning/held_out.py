"""Datapoints that are held out of fine-tuning, and what of it is best on them."""

from __future__ import annotations

import warnings
from dataclasses import replace

import torch
from torch import Tensor
from torch import distributions as d

from bayesmeta.data.selection import first_rows
from bayesmeta.data.tasks import Tasks
from bayesmeta.distributions.wrappers import base_distribution
from bayesmeta.engine.task_noise import TaskNoise
from bayesmeta.model.checks import StructureError, first_few
from bayesmeta.model.density import Density
from bayesmeta.model.outcomes import score, values
from bayesmeta.model.prior import prior_mean

# By which a block is chosen where no datapoints are held out.
_FOLDS = 3
_CLASSES = d.Categorical, d.OneHotCategorical, d.Bernoulli


def hold_out(
    density: Density, theta: Tensor, tasks: Tasks, share: float, noise: TaskNoise
) -> tuple[Tasks, Tasks | None]:
    """Each task's datapoints, less a random share of them, and that share.

    Of each class of a categorical outcome that share too, and never its last datapoint, nor that
    of a task: where classes have one each, nothing is held out.

    Args:
        density: the model's density.
        theta: unconstrained, (d_theta,).
        tasks: of which some datapoints are held out.
        share: of each task's, to the nearest whole number; 0 gives None.
        noise: chooses.
    """
    if not share:
        return replace(tasks, query=None), None
    order, rank, count = _ordered(density, theta, tasks, noise)
    real = tasks.mask.gather(1, order)
    # What comes first in its class is never held out, and of the others the share of each class.
    place = torch.where(real & (rank > 0), (rank + 0.5) / count, -1.0)
    most = (real & (rank > 0)).sum(1)
    away = torch.minimum((share * tasks.sizes).round().long(), most)
    by_place = place.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    return _parted(tasks, order, real, real & (by_place < away[:, None]))


def folds(
    density: Density, theta: Tensor, tasks: Tasks, number: int, noise: TaskNoise
) -> list[tuple[Tasks, Tasks]]:
    """So many ways to hold datapoints out, by which each is held out once, or never if alone.

    Alone is the single datapoint of a class, or of a task; the others as of `hold_out`.
    """
    order, rank, count = _ordered(density, theta, tasks, noise)
    real = tasks.mask.gather(1, order)
    judged = real & (count > 1)
    return [_parted(tasks, order, real, judged & (rank % number == k)) for k in range(number)]


def warn_of_none_held_out(tasks: Tasks, sizes: Tensor, share: float, then: str) -> None:
    """Name the tasks of which none could be held out where a share was due, by how many were.

    Args:
        tasks: of which a share was to be held out.
        sizes: how many of each are, (tasks,).
        share: of each task's datapoints.
        then: what is done without.
    """
    due = (share * tasks.sizes).round() > 0
    none = ((sizes == 0) & due).nonzero()[:, 0].tolist()
    if none:
        named = first_few([f"'{tasks.names[i]}'" for i in none])
        warnings.warn(
            f"held_out={share:g} leaves nothing to hold out in {len(none)} of {len(tasks)} tasks "
            f"({named}), where each class, or the task, has a single datapoint: {then}",
            stacklevel=2,
        )


def splits_to_choose_by(
    density: Density,
    theta: Tensor,
    tasks: Tasks,
    scored: Tasks | None,
    noise: TaskNoise,
    block: str,
) -> list[tuple[Tasks, Tasks]]:
    """The tasks with what is held out of them, or, where nothing is, their folds.

    Raises:
        StructureError: naming a task that has none to spare, with a block to name instead.
    """
    found = [(tasks, scored)] if scored is not None else folds(density, theta, tasks, _FOLDS, noise)
    sizes = torch.stack([judged.sizes for _, judged in found]).sum(0)
    none = ((sizes == 0) & (tasks.sizes > 0)).nonzero()[:, 0].tolist()
    if none:
        raise StructureError(
            f"bm.Surgical() chooses a block by held-out data, of which task "
            f"'{tasks.names[none[0]]}' has none to spare: it is too small, or each of its classes "
            f"has a single datapoint; name the block, as bm.Surgical('{block}'), or take bm.Full()"
        )
    return found


class Best:
    """For each task the phi that scores best on held-out data; without them the last.

    Args:
        density: the model's density.
        theta: unconstrained, (d_theta,).
        scored: the held-out data, or None.
        phi: the first, (tasks, d_phi).
        patience: how many phi without a better one end the search of a task; None goes on.
    """

    def __init__(
        self,
        density: Density,
        theta: Tensor,
        scored: Tasks | None,
        phi: Tensor,
        patience: int | None = None,
    ) -> None:
        self._density, self._theta, self._scored, self._patience = density, theta, scored, patience
        none = torch.zeros(len(phi), dtype=torch.long, device=phi.device)
        self._judged = (none if scored is None else scored.sizes) > 0
        self.phi, self.score, self._waited = phi.clone(), self.judge(phi), none

    def offer(self, phi: Tensor) -> Tensor:
        """Take it where it is better; for which tasks it was, (tasks,)."""
        found = self.judge(phi)
        better = found > self.score
        goes_on = self._waited < (self._patience or torch.inf)
        taken = ~self._judged | (better & goes_on)
        self.phi = torch.where(taken[:, None], phi.detach(), self.phi)
        self.score = torch.where(taken, found, self.score)
        self._waited = torch.where(better & goes_on, 0, self._waited + 1)
        return taken

    @property
    def is_over(self) -> bool:
        """Whether no task goes on."""
        over = self._judged & (self._waited >= (self._patience or torch.inf))
        return bool(over.all())

    def judge(self, phi: Tensor) -> Tensor:
        """The log score on held-out data, 0 without any, (tasks,)."""
        if self._scored is None:
            return phi.new_zeros(len(phi))
        with torch.no_grad():
            return score(self._density, self._theta, phi, self._scored)


def _ordered(
    density: Density, theta: Tensor, tasks: Tasks, noise: TaskNoise
) -> tuple[Tensor, Tensor, Tensor]:
    """Rows in random order, how many of its class come before each, and how many there are."""
    order = noise.shuffled_rows(tasks.mask)
    return order, *_within(_classes(density, theta, tasks).gather(1, order))


def _parted(tasks: Tasks, order: Tensor, real: Tensor, away: Tensor) -> tuple[Tasks, Tasks]:
    """The real rows of an order that are not away, and those that are."""

    def rows(chosen: Tensor) -> Tasks:
        first = order.gather(1, (~chosen).long().argsort(dim=1, stable=True))
        sizes = chosen.sum(1)
        return tasks.take_rows(*first_rows(first, 0, sizes, max(1, int(sizes.max()))))

    return rows(real & ~away), rows(away)


def _classes(density: Density, theta: Tensor, tasks: Tasks) -> Tensor:
    """A number for each combination of classes that outcomes have, (tasks, data)."""
    with torch.no_grad():
        phi = prior_mean(density, theta, tasks)
        sites = density.outcomes(theta, phi, tasks)
        found = torch.zeros_like(tasks.mask, dtype=torch.long)
        for name, value in values(density, theta, phi, tasks).items():
            if isinstance(base_distribution(sites[name].fn), _CLASSES):
                rows = value.reshape(found.numel(), -1)
                number = torch.unique(rows, dim=0, return_inverse=True)[1].reshape(found.shape)
                found = found * (int(number.max()) + 1) + number
    return torch.where(tasks.mask, found, found.max() + 1)


def _within(classes: Tensor) -> tuple[Tensor, Tensor]:
    """Of each entry, how many of its class stand before it in its row, and how many there are."""
    ordered, index = classes.sort(dim=1, stable=True)
    place = torch.arange(classes.shape[1], device=classes.device).expand_as(classes)
    changes = ordered[:, 1:] != ordered[:, :-1]
    edge = torch.ones_like(changes[:, :1])
    first = torch.where(torch.cat([edge, changes], 1), place, 0).cummax(1).values
    ends = torch.where(torch.cat([changes, edge], 1), place, classes.shape[1])
    last = ends.flip(1).cummin(1).values.flip(1)
    found = torch.empty_like(classes)
    return found.scatter(1, index, place - first), found.scatter(1, index, last - first + 1)
