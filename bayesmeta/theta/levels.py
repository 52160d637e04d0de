"""What theta strategies share: log p(theta) and one value a task, and phi at draws of theta."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bayesmeta.data.arguments import check_whole
from bayesmeta.data.tasks import Tasks
from bayesmeta.model.density import Density
from bayesmeta.model.prior import draw_prior_phi
from bayesmeta.phi.base import Phi, listen
from bayesmeta.running.isolation import isolated
from bayesmeta.sufficiency import SufficientDensity, agree
from bayesmeta.theta.base import Fit
from bayesmeta.training.adam import Adam
from bayesmeta.training.fit_options import FitOptions

LevelTerms = Callable[..., tuple[Tensor, Tensor]]
_DRAWS_TRIED = 8


def level_terms(
    density: Density, phi: Phi, tasks: Tasks, *, jacobian: bool, n_state: int = 0, n_noise: int = 0
) -> LevelTerms:
    """The two levels as a function (theta, phi, *state, *noise, *data).

    It gives log p(theta) and one value a task: log p(phi_i, D_i | theta) for a joint strategy, and
    otherwise the strategy's estimate of log p(D_i | theta), which does not read the phi given.
    """

    def terms(theta: Tensor, free: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor]:
        state, noise = rest[:n_state], rest[n_state : n_state + n_noise]
        given = tasks.with_tensors(rest[n_state + n_noise :])
        if not phi.is_joint:
            free = theta.new_zeros(given.num_tasks, density.width(given))
        levels = density.terms(theta, free, given, jacobian=jacobian)
        if phi.is_joint:
            return levels.theta, levels.phi + levels.data
        return levels.theta, phi.log_evidence(density, theta, given, state, noise)

    return terms


def check_training(strategy: object, batch_size: object, adam: object) -> None:
    """Refuse settings of training that are of another kind or size."""
    check_whole(strategy, "batch_size", batch_size, or_none=True)
    if not isinstance(adam, Adam | None):
        raise TypeError(
            f"{type(strategy).__name__} got adam={adam!r}; give bm.Adam(...), as bm.Adam(lr=0.01)"
        )


def d_free(density: Density, phi: Phi, tasks: Tasks) -> int:
    """How many numbers a task the theta strategy treats itself."""
    return density.width(tasks) if phi.is_joint else 0


def held_out(
    density: Density, phi: Phi, options: FitOptions, theta_of: Callable[[Sequence[Tensor]], Tensor]
) -> Callable[[Sequence[Tensor]], float] | None:
    """Minus the mean log evidence of the validation tasks, by the shared parameters.

    Args:
        density: the model's density.
        phi: what infers phi of the validation tasks, and estimates their evidence.
        options: which may have validation tasks.
        theta_of: theta, out of the shared parameters, among which the strategy's state is last.
    """
    tasks = options.validation
    if tasks is None:
        return None
    count = len(phi.start(density, tasks.sample()))

    def loss(shared: Sequence[Tensor]) -> float:
        given = [x.detach() for x in shared]
        state, theta = given[len(given) - count :], theta_of(given)
        # The same random numbers each time, so that what differs is what was trained.
        generator = torch.Generator().manual_seed(options.seed)
        values = []
        for chunk in tasks.chunks(density.d_phi):
            part = tasks.select(chunk)
            noise = phi.noise(density, part.num_tasks, tasks.dtype, generator)
            values.append(phi.log_evidence(density, theta, part, state, noise).detach())
        return -float(torch.cat(values).mean())

    return loss


def repeated(theta: Tensor, phi: Phi) -> Tensor:
    """A point estimate (1, any, d_theta) once for each draw of phi that goes with it."""
    return theta[:, :1].expand(-1, phi.draws_at_point, -1)


def infer_phi(
    density: Density,
    phi: Phi,
    theta: Tensor,
    tasks: Tasks,
    seed: int,
    *,
    is_point: bool,
    state: Sequence[Tensor] = (),
) -> tuple[Tensor, dict[str, Tensor]]:
    """phi for each draw of theta (chain, draw, d_theta), and what the strategy tells of it.

    They are (chain, draw, tasks, d_phi) and (chain, draw, tasks, ...).
    """
    generator = torch.Generator().manual_seed(seed)
    draws = theta.flatten(0, 1)
    with listen() as told:
        flat = phi.infer(density, draws, tasks, generator, is_point=is_point, state=state)

    def by_chain(x: Tensor) -> Tensor:
        return x.expand(len(draws), *x.shape[1:]).reshape(*theta.shape[:2], *x.shape[1:])

    return by_chain(flat), {name: by_chain(x) for name, x in told.items()}


def holds_at_draws(found: Fit, density: Density, tasks: Tasks) -> bool:
    """Whether densities on fewer and on all datapoints are the same at some of the draws."""
    assert isinstance(found.density, SufficientDensity)
    theta = found.theta.flatten(0, 1)
    chosen = torch.linspace(0, len(theta) - 1, _DRAWS_TRIED).long()
    with isolated(seed=0), torch.no_grad():
        if found.phi is None:
            phi = [draw_prior_phi(density, theta[k], tasks) for k in chosen]
        else:
            phi = list(found.phi.flatten(0, 1)[chosen])
        places = zip(theta[chosen], phi, strict=True)
        return agree(density, tasks, found.density, found.tasks, places)
