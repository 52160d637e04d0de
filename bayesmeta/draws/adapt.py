"""adapt: the posterior of phi for tasks never seen, by the theta that was learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from bayesmeta.data.tasks import Tasks
from bayesmeta.draws.draws import Draws, where_the_tasks_are
from bayesmeta.draws.refine import Refine, check_refinable, refined
from bayesmeta.model.checks import StructureError
from bayesmeta.phi.base import Phi
from bayesmeta.theta.levels import infer_phi, repeated


@where_the_tasks_are
def adapt(
    draws: Draws, tasks: Tasks, *, phi: Phi | None, refine: Refine | None, seed: int | None
) -> Draws:
    """Draws for new tasks; see `Posterior.adapt`."""
    _check_given(tasks, phi)
    tasks = tasks.to(draws.tasks.device, draws.tasks.dtype)
    draws.density.reading.check(tasks)
    strategy = draws.strategy if phi is None else phi
    if refine is not None:
        check_refinable(refine, strategy)
    seed = draws.seeds[0] if seed is None else seed
    state = _state(draws, tasks, strategy)
    strategy.check(draws.centred, tasks.sample())
    strategy.check_new(draws.centred, draws.tasks, tasks)
    theta = repeated(draws.fit.theta, strategy) if draws.is_point else draws.fit.theta
    fit = replace(
        draws.fit,
        density=draws.centred,
        tasks=tasks,
        theta=theta,
        phi=None,
        states=None,
        state=tuple(state),
        log_weights=None,
        told={},
        notes=(),
        is_adapted=True,
        is_prior=False,
    )
    if refine is not None:
        fit = refined(refine, strategy, fit, seed, is_point=draws.is_point)
    else:
        found, told = infer_phi(
            fit.density, strategy, theta, tasks, seed, is_point=draws.is_point, state=state
        )
        fit = replace(fit, phi=found, told=told)
    return Draws(fit, strategy, draws.is_point, seed)


def _check_given(tasks: object, phi: object) -> None:
    if not isinstance(tasks, Tasks) or not isinstance(phi, Phi | None):
        raise TypeError(
            f"adapt got a {type(tasks).__name__} and phi={phi!r}; give bm.Tasks, made by "
            "from_frame, from_arrays or from_list, and a strategy, such as phi=bm.Laplace()"
        )
    if tasks.y is None:
        raise StructureError(
            "adapt got tasks without y, so there is nothing to adapt to; for their prior given "
            "theta give adapt(tasks.without_data()), and predict(tasks) of what it returns"
        )


def _state(draws: Draws, tasks: Tasks, strategy: Phi) -> Sequence[Tensor]:
    """What was trained of the strategy; another strategy than the fit's may have no such part."""
    same = type(strategy) is type(draws.strategy)
    is_trained = same and strategy.trained_part == draws.strategy.trained_part
    state = draws.fit.state if is_trained else ()
    if len(state) != len(strategy.start(draws.centred, tasks)):
        raise ValueError(
            f"adapt got phi={strategy!r}, a part of which is trained with theta, but this "
            f"posterior was fitted with phi={draws.strategy!r}; give it to bm.fit"
        )
    return state
