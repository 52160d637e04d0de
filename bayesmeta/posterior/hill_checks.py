"""Hills of p(phi_i | D_i, theta) that a fit does not see, or has by other shares."""

from __future__ import annotations

import torch
from torch import Tensor

from bayesmeta.capturing.capture_errors import CaptureError
from bayesmeta.capturing.kept import captured
from bayesmeta.data.tasks import Tasks
from bayesmeta.draws.draws import Draws
from bayesmeta.engine.task_noise import TaskNoise
from bayesmeta.hills import Hills, by_states, masses_of, search_hills, states_of
from bayesmeta.model.checks import StructureError, first_few
from bayesmeta.model.density import Density
from bayesmeta.phi.hmc import HMC
from bayesmeta.phi.joint import Joint
from bayesmeta.phi.laplace import Laplace
from bayesmeta.phi.mode import Mode
from bayesmeta.task_level.curvature import Hessian
from bayesmeta.task_level.gauss_newton import choose

# Draws of theta at which it is looked, starts of searches at each, and numbers of phi and of cells
# that are treated.
_THETAS, _STARTS, _MOST_WIDTH, _CELLS = 8, 24, 16, 4_000_000
# Operations of a density that thousands of searches may take.
_LONG = 500
# Of mass: what matters of a task, on average over theta and at some theta.
_MISSED, _SOMEWHERE = 0.05, 0.05
# Draws that are compared with their conditional, of so many tasks with hills; in sds, beyond
# so many Monte Carlo errors of these; and how many of them searches start at, too, as they may be
# at hills that no draw of the prior leads to.
_DRAWS, _TASKS, _OFF, _ERRORS, _OWN = 150, 6, 0.25, 3.0, 8
# Of a point: the least share of the mass at its hill.
_LEAST = 0.5
_WHAT_TO_DO = (
    "tell the hills apart by a discrete latent of the task, as kind = pyro.sample('kind', "
    "dist.Bernoulli(0.5)), which phi=bm.Laplace() sums out, or break the symmetry, as by a "
    "positive phi where the model reads phi ** 2"
)


def _what_to_do(density: Density) -> str:
    if states_of(density) < 2:
        return _WHAT_TO_DO
    names = ", ".join(density.reading.summed.of_tasks) if density.reading.summed else ""
    return f"take phi=bm.Laplace(), which sums over the values of {names} one by one"


def about_hills(posterior: Draws) -> list[str]:
    """What further searches find of hills that the strategy misses, in words to act on.

    At a few draws of theta modes of phi are searched for from draws of its prior, and the masses
    around them measured by importance weights. It takes a fraction of a second where phi is of few
    numbers; of many tasks and datapoints some are looked at, and a phi of more than 16 numbers is
    not, nor a model of more than 500 operations.
    """
    if not _is_for_it(posterior):
        return []
    theta = posterior.fit.theta.flatten(0, 1).double()
    count = 1 if posterior.is_point else _THETAS
    places = _evenly(len(theta), count)
    tasks = _some(posterior.tasks.to(dtype=torch.float64), len(places))
    try:
        if _is_long(posterior.density, theta[0], tasks):
            return []
        if isinstance(posterior.strategy, Laplace):
            return _of_laplace(posterior.density, theta[places], tasks)
        return _of_draws(posterior, theta, tasks, places)
    except (CaptureError, StructureError, torch.linalg.LinAlgError):  # type: ignore[attr-defined]
        return []


def _is_for_it(posterior: Draws) -> bool:
    density, tasks, strategy = posterior.density, posterior.tasks, posterior.strategy
    if not isinstance(strategy, Laplace | Mode | Joint | HMC) or posterior.fit.is_prior:
        return False
    if tasks.are_episodes or not bool(tasks.mask.any()) or density.d_local:
        return False
    if not 1 <= density.d_phi <= _MOST_WIDTH:
        return False
    return isinstance(choose(None, density, tasks), Hessian)


def _is_long(density: Density, theta: Tensor, tasks: Tasks) -> bool:
    """Whether the density takes very many operations, as where a model solves equations."""

    def value(theta: Tensor, phi: Tensor, *data: Tensor) -> tuple[Tensor]:
        levels = density.terms(theta, phi, tasks.with_tensors(data))
        return (levels.phi + levels.data,)

    phi = theta.new_zeros(len(tasks), density.width(tasks))
    inputs = [theta, phi, *tasks.tensors()]
    graph = captured(density, "length", [tasks], value, inputs, is_last=True)
    return len(graph.graph.nodes) > _LONG


def _evenly(count: int, most: int) -> Tensor:
    return torch.linspace(0, count - 1, min(most, count)).long()


def _some(tasks: Tasks, draws: int) -> Tasks:
    """Tasks with data, as many as are looked at in a fraction of a second."""
    full = (tasks.sizes > 0).nonzero()[:, 0]
    most = max(1, _CELLS // (draws * (1 + _STARTS) ** 2 * tasks.num_data))
    return tasks.select(full[_evenly(len(full), most)].cpu())


def _noise(tasks: Tasks) -> TaskNoise:
    return TaskNoise(torch.Generator().manual_seed(0), tasks)


def _hills(density: Density, theta: Tensor, tasks: Tasks, more: Tensor | None = None) -> Hills:
    return search_hills(density, theta, tasks, _STARTS, seed=0, more=more)


def _of_laplace(density: Density, theta: Tensor, tasks: Tasks) -> list[str]:
    """Mass that is at no hill of those that Laplace's method expands at."""
    given, rows = by_states(density, tasks) or (density, tasks)
    hills = _hills(given, theta, rows)
    missed = masses_of(hills, theta, _noise(rows)).missed.nan_to_num(0.0)
    # Of hills of each value of discrete latents, by the values' own shares.
    of_row = hills.log_mass.logsumexp(1).unflatten(1, (-1, len(tasks)))
    share = of_row.softmax(1).nan_to_num(0.0)
    mean = (share * missed.unflatten(1, (-1, len(tasks)))).sum(1).mean(0)
    bad = (mean > _MISSED).nonzero()[:, 0].tolist()
    if not bad:
        return []
    named = first_few([f"{tasks.names[t]} ({mean[t]:.0%} of the mass)" for t in bad])
    return [
        f"p(phi_i | D_i, theta) has hills that phi=bm.Laplace() does not see in {len(bad)} of the "
        f"{len(tasks)} tasks looked at: {named}. log p(D_i | theta), and so theta, leaves them "
        f"out, and so may draws of phi: {_WHAT_TO_DO}."
    ]


def _of_draws(posterior: Draws, theta: Tensor, tasks: Tasks, places: Tensor) -> list[str]:
    """Draws of phi, or points, beside what the hills hold."""
    hills = _hills(posterior.density, theta[places], tasks)
    is_one = 1 - hills.share.nan_to_num(0.0).amax(1) < _SOMEWHERE
    which = (~is_one).any(0).nonzero()[:, 0][:_TASKS]
    if not len(which):
        return []
    some = tasks.select(which.cpu())
    position = {name: k for k, name in enumerate(posterior.tasks.names)}
    mine = torch.tensor([position[name] for name in some.names])
    phi = posterior.free_phi.flatten(0, 1)[:, mine].double()
    if isinstance(posterior.strategy, Mode) or len(phi) == 1:
        return _of_points(hills, which, phi[places[: len(phi)]], some)
    taken = _evenly(len(phi), _DRAWS)
    at = theta[:1] if posterior.is_point else theta[taken]
    own = phi[_evenly(len(phi), _OWN), None].expand(-1, len(at), -1, -1)
    found = masses_of(_hills(posterior.density, at, some, own), at, _noise(some))
    off = ((phi[taken] - found.mean) / found.sd).nan_to_num(0.0).mean(0).abs().amax(-1)
    bad = (off > _OFF + _ERRORS * len(taken) ** -0.5).nonzero()[:, 0].tolist()
    if not bad:
        return []
    named = first_few([f"{some.names[t]} ({off[t]:.2f} sd)" for t in bad])
    what_to_do = _what_to_do(posterior.density)
    return [
        f"p(phi_i | D_i, theta) has several hills, and the draws of phi have them by other shares "
        f"in {len(bad)} of {len(some)} such tasks looked at, by so much of the mean: {named}. Run "
        f"much longer, or {what_to_do}."
    ]


def _of_points(hills: Hills, which: Tensor, phi: Tensor, tasks: Tasks) -> list[str]:
    """Points at hills that hold less than others."""
    away = hills.precision.quadratic(_put(hills, which, phi))
    nearest = away.argmin(1, keepdim=True)
    share = hills.share.gather(1, nearest)[:, 0][:, which].mean(0)
    bad = (share < _LEAST).nonzero()[:, 0].tolist()
    if not bad:
        return []
    named = first_few([f"{tasks.names[t]} ({share[t]:.0%} of the mass)" for t in bad])
    what_to_do = _what_to_do(hills.conditional.density)
    return [
        f"p(phi_i | D_i, theta) has several hills, and phi is at one that holds less than the "
        f"others together in {len(bad)} of {len(tasks)} such tasks looked at: {named}. "
        f"{what_to_do[0].upper()}{what_to_do[1:]}."
    ]


def _put(hills: Hills, which: Tensor, phi: Tensor) -> Tensor:
    """How far hills are from points of some tasks, (draws, hills, tasks, d_phi)."""
    away = torch.zeros_like(hills.phi)
    away[:, :, which] = phi[:, None] - hills.phi[:, :, which]
    return away
