"""The posterior of theta in a second: its mode by nested Laplace, and its curvature as units."""

from __future__ import annotations

import warnings
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from bayesmeta.capturing.capture_errors import CaptureError
from bayesmeta.data.tasks import Tasks
from bayesmeta.engine.newton import Minimum
from bayesmeta.model.checks import StructureError
from bayesmeta.model.density import Density
from bayesmeta.model.prior import prior_mean, theta_start
from bayesmeta.nets import calls
from bayesmeta.phi.base import Phi
from bayesmeta.phi.exact import Exact
from bayesmeta.phi.laplace import Laplace
from bayesmeta.running.isolation import isolated
from bayesmeta.task_level.curvature import Hessian
from bayesmeta.task_level.gauss_newton import choose
from bayesmeta.theta.log_posterior import LogPosterior

_MOST_TASKS, _FEWEST_TASKS, _CELLS = 256, 16, 200_000
# Of those cells, where training goes on from the pilot for thousands of steps.
_SHARE_BEFORE_TRAINING = 0.25
# By how much variances of directions differ where they are told to be correlated.
_CORRELATED = 50.0
# In posterior standard deviations: what is farther from its mode is no mode.
_FAR, _STEPS, _FLAT = 0.1, 50, 1e-6
# Each second derivative of theta is by differences. Phi that is no smooth function of theta is most
# often a network's, or inferred by one.
_MOST_THETA, _MOST_OF_NETWORKS, _SMALL_NETWORK = 256, 32, 16
# Of numbers a task with those of its datapoints, all of which a Hessian is made of.
_MOST_ROWS = 128


@dataclass(frozen=True)
class Pilot:
    """p(theta | D) as the Gaussian N(theta, P^{-1}) at its mode, unconstrained.

    Strategies start there, and take its standard deviations as units: what they do is then the
    same for data in grams and in tonnes.

    Attributes:
        theta: the mode, (d_theta,).
        precision: P, (d_theta, d_theta), positive definite.
    """

    theta: Tensor
    precision: Tensor

    @cached_property
    def root(self) -> Tensor:
        """The lower S with S S' = P^{-1}: that of U S' = 1 for P = U U', U upper."""
        upper = torch.linalg.cholesky(self.precision.flip(0, 1)).flip(0, 1)
        one = torch.eye(len(upper), dtype=upper.dtype)
        found: Tensor = torch.linalg.solve_triangular(upper, one, upper=True).mT
        return found

    @property
    def sd(self) -> Tensor:
        """Of each coordinate, (d_theta,)."""
        return self.root.square().sum(1).sqrt()

    @property
    def is_correlated(self) -> bool:
        """Whether some direction is far narrower than others, in units of each number's sd."""
        whitened = self.root / self.sd[:, None]
        spread = torch.linalg.eigvalsh(whitened @ whitened.mT)
        return bool(spread[-1] > _CORRELATED * spread[0])


def find_pilot(density: Density, tasks: Tasks, phi: Phi, seed: int) -> Pilot | None:
    """The pilot by at most 256 tasks, which stand for all.

    None where nested Laplace does not apply, as to networks or models without second derivatives,
    and where its search ends at no maximum.

    Args:
        density, tasks, phi: what is fitted.
        seed: by which tasks are picked out of many.
    """
    if tasks.are_episodes or not is_for_newton(density, tasks, phi):
        return None
    is_last = phi.is_joint or phi.is_smooth
    if are_networks(density, tasks, phi):
        return None
    cells = _CELLS if is_last else int(_SHARE_BEFORE_TRAINING * _CELLS)
    some = _some(tasks, density.width(tasks), cells, seed)
    weight = tasks.num_tasks / some.num_tasks
    try:
        with warnings.catch_warnings():
            by = phi if isinstance(phi, Exact) else _evidence(density, some)
            # What Laplace's method warns of does not matter to a place to start from.
            warnings.simplefilter("ignore")
            target = LogPosterior(density, by, some, jacobian=True, weight=weight)
            found = target.maximum(steps=_STEPS)
    except (CaptureError, StructureError, torch.linalg.LinAlgError):  # type: ignore[attr-defined]
        return None
    return Pilot(found.at, found.hessian) if _is_clear(found) else None


def _evidence(density: Density, tasks: Tasks) -> Phi:
    """Laplace's, without a search where it is the closed form."""
    with suppress(StructureError):
        if density.d_phi:
            Exact().check(density, tasks)
            return Exact()
    return Laplace()


def _is_clear(found: Minimum) -> bool:
    """Whether it is a minimum, with no direction that is all but flat beside the coordinates."""
    if not found.distance < _FAR:
        return False
    unit = found.hessian.diagonal().rsqrt()
    return bool(torch.linalg.eigvalsh(found.hessian * unit * unit[:, None])[0] > _FLAT)


def is_for_newton(density: Density, tasks: Tasks, phi: Phi) -> bool:
    """Whether theta is of few numbers, and phi no network's weights."""
    most = _MOST_THETA if phi.is_smooth else _MOST_OF_NETWORKS
    if not 1 <= density.d_theta <= most:
        return False
    if isinstance(phi, Exact) or not density.width(tasks):
        return True
    if density.d_local and density.width(tasks) > _MOST_ROWS:
        return False
    return isinstance(choose(None, density, tasks), Hessian)


def are_networks(density: Density, tasks: Tasks, phi: Phi) -> bool:
    """Whether phi is weights of networks, on which Newton for theta takes minutes.

    Those that are sampled or integrated out exactly are not, nor, of a phi that is smooth in theta,
    the smallest, as linear layers are.
    """
    if phi.is_joint or isinstance(phi, Exact):
        return False
    if density.d_phi <= (_SMALL_NETWORK if phi.is_smooth else 0):
        return False
    some, theta = tasks.select(torch.arange(1)), theta_start(density, tasks)
    with isolated(seed=0), torch.no_grad(), calls.watch() as called:
        density.log_likelihood(theta, prior_mean(density, theta, some), some)
    return any(call.weights.dim() > 1 for call in called)


def _some(tasks: Tasks, width: int, cells: int, seed: int) -> Tasks:
    """So many of the tasks that a gradient takes milliseconds."""
    most = cells // (tasks.num_data * (1 + width) ** 2)
    count = min(tasks.num_tasks, _MOST_TASKS, max(_FEWEST_TASKS, most))
    if count == tasks.num_tasks:
        return tasks
    generator = torch.Generator().manual_seed(seed)
    return tasks.select(torch.randperm(tasks.num_tasks, generator=generator)[:count].sort().values)
