"""Whether draws of phi are to be trusted: by their weights, by R-hat, and beside chains."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from bayesmeta.data.tasks import Tasks
from bayesmeta.model.checks import StructureError, first_few
from bayesmeta.model.density import Density
from bayesmeta.model.prior import prior_mean
from bayesmeta.phi.amortised import Amortised
from bayesmeta.phi.base import Phi
from bayesmeta.phi.fine_tune import FineTune
from bayesmeta.phi.gradient_steps import GradientSteps
from bayesmeta.phi.hmc import HMC
from bayesmeta.phi.reptile_steps import ReptileSteps
from bayesmeta.task_level.gauss_newton import MOST_DENSE
from bayesmeta.task_level.importance import FEWEST_DRAWS, TRUSTED_K, pareto_k, shift_of, worth
from bayesmeta.task_level.two_starts import apart, most_rhat, rhat_of_starts

# Of which tasks chains are run, and how many draws.
_TASKS, _DRAWS = 4, 400
# Of picked draws: fewer are mostly the same ones again.
_FEWEST_EFFECTIVE, _SHARE_EFFECTIVE = 100, 0.5
# In posterior sds, and as a factor, beyond chance.
_MEAN, _SD = 0.25, 1.25
# Of steps: nats a datapoint that matter, and how much slower a loss falls that comes to an end, of
# at least so many checks.
_FALL, _SLOWER, _CHECKS = 0.05, 0.6, 10


@dataclass(frozen=True)
class PhiDraws:
    """Draws of phi, with all that is known of how they came about.

    Attributes:
        strategy: what inferred them.
        density: the model's.
        tasks: the support.
        theta: unconstrained draws (draws, d_theta).
        phi: of them, (draws, tasks, width).
        is_point: whether all theta are the same.
        log_weights: p / q of the draws of q, (any, tasks); NaN for tasks that chains were run for.
        is_picked: whether the draws were picked by these weights, and are not those of q.
        state: what was trained of the strategy.
    """

    strategy: Phi
    density: Density
    tasks: Tasks
    theta: Tensor
    phi: Tensor
    is_point: bool
    log_weights: Tensor | None
    is_picked: bool
    state: Sequence[Tensor] = ()

    def select(self, which: Tensor) -> PhiDraws:
        """Those of some tasks."""
        weights = None if self.log_weights is None else self.log_weights[:, which]
        tasks = self.tasks.select(which)
        return replace(self, tasks=tasks, phi=self.phi[:, which], log_weights=weights)


@dataclass(frozen=True)
class PhiChecks:
    """What was found.

    Attributes:
        pareto_k: by task, of those whose draws have weights.
        rhat: by task, of those whose draws are chains'.
        messages: what is wrong, and what to do.
    """

    pareto_k: Mapping[str, float] = field(default_factory=dict)
    rhat: Mapping[str, float] = field(default_factory=dict)
    messages: tuple[str, ...] = ()


def check_phi(draws: PhiDraws) -> PhiChecks:
    """Judge draws by weights, where there are any, and by chains: their R-hat, or beside them."""
    weights = draws.log_weights
    is_chain = torch.full((len(draws.tasks),), isinstance(draws.strategy, HMC))
    if weights is not None:
        is_chain = weights.isnan().all(0).cpu()
    k, messages = dict[str, float](), list[str]()
    if weights is not None and not is_chain.all():
        k, messages = _by_weights(draws.select((~is_chain).nonzero()[:, 0]))
    found, more = dict[str, float](), list[str]()
    if is_chain.any() and len(draws.phi) >= FEWEST_DRAWS and draws.phi.shape[-1]:
        found, more = _by_starts(draws.select(is_chain.nonzero()[:, 0]))
    trusted = [name for name, value in k.items() if value <= TRUSTED_K]
    beside = _beside_chains(draws, trusted)
    return PhiChecks(k, found, (*_about_unlike(draws), *messages, *more, *beside))


def _about_unlike(draws: PhiDraws) -> list[str]:
    """Tasks whose data are outside of what the network was trained on."""
    if not isinstance(draws.strategy, Amortised):
        return []
    unlike = draws.strategy.unlike(draws.density, draws.tasks, draws.state)
    if not unlike:
        return []
    named = first_few([f"{name} ({what})" for name, what in unlike.items()])
    return [
        f"Data of {len(unlike)} of {len(draws.tasks)} tasks are outside of what the network was "
        f"trained on: {named}. There it says nothing: adapt with another strategy, as "
        "post.adapt(tasks, phi=bm.HMC()), or train on such tasks."
    ]


def check_steps(draws: PhiDraws, losses: Tensor | None) -> list[str]:
    """What is to be said of phi that steps reached: where they went down, or had far to go.

    Args:
        draws: of which the first of theta is looked at.
        losses: of fine-tuning on the way, (tasks, checks), NaN where a task's had ended.
    """
    if not isinstance(draws.strategy, GradientSteps | ReptileSteps | FineTune):
        return []
    theta, sizes, names = draws.theta[0], draws.tasks.sizes, draws.tasks.names
    with torch.no_grad():
        start = prior_mean(draws.density, theta, draws.tasks)
        before, after = (
            draws.density.log_likelihood(theta, at, draws.tasks) for at in (start, draws.phi[0])
        )
    rise = (after - before) / sizes.clamp(min=1)
    # "not >=" so that NaN counts as down.
    down = (~(rise >= -_FALL) & (sizes > 0)).nonzero()[:, 0].tolist()
    found = []
    if down:
        named = first_few([f"{names[t]} ({rise[t]:.2g} nats a datapoint)" for t in down])
        found.append(
            f"The steps that adapt phi left log p(D_i | phi_i) below where they began in "
            f"{len(down)} of {len(names)} tasks: {named}. Take a smaller lr, or inputs and "
            "outcomes of unit variance."
        )
    going = [] if losses is None else [t for t in _going_on(losses) if t not in set(down)]
    if going:
        found.append(
            f"The loss of fine-tuning fell as fast at its end as before in {len(going)} of "
            f"{len(names)} tasks ({first_few([names[t] for t in going])}): take more steps, a "
            "larger lr, or inputs and outcomes of unit variance."
        )
    return found


def _going_on(losses: Tensor) -> list[int]:
    """The tasks whose loss fell in the last fifth of the checks nearly as far as in the one before.

    It was far from an end, where it goes on ever slower.
    """
    found = []
    for task, trace in enumerate(losses):
        seen = trace[trace.isfinite()].double()
        if len(seen) >= _CHECKS:
            before, middle, end = seen[[-1 - 2 * (len(seen) // 5), -1 - len(seen) // 5, -1]]
            if middle - end > max(_SLOWER * float(before - middle), _FALL):
                found.append(task)
    return found


def _by_weights(draws: PhiDraws) -> tuple[dict[str, float], list[str]]:
    """Pareto k by task, and what it and the weights say."""
    weights = draws.log_weights
    assert weights is not None
    k = dict(zip(draws.tasks.names, pareto_k(weights).tolist(), strict=True))
    if len(weights) < FEWEST_DRAWS:
        return k, [
            f"There are {len(weights)} draws of phi, of whose importance weights nothing can be "
            f"told: take at least {FEWEST_DRAWS}."
        ]
    # "not <=" so that NaN counts as bad.
    bad = sorted((name for name in k if not k[name] <= TRUSTED_K), key=lambda name: -k[name])
    good = torch.tensor([value <= TRUSTED_K for value in k.values()]).nonzero()[:, 0]
    messages = _about_k(bad, k, draws.strategy)
    if not len(good):
        return k, messages
    about = _about_worth if draws.is_picked else _about_shift
    return k, [*messages, *about(draws.select(good))]


def _about_k(bad: Sequence[str], k: Mapping[str, float], strategy: Phi) -> list[str]:
    if not bad:
        return []
    named = first_few([f"{name} ({k[name]:.2f})" for name in bad])
    return [
        f"Pareto k is above {TRUSTED_K} in {len(bad)} of {len(k)} tasks: {named}. There q is "
        f"far from the posterior: {_remedy(strategy)}."
    ]


def _about_worth(draws: PhiDraws) -> list[str]:
    """Where draws were picked from candidates that are worth few."""
    assert draws.log_weights is not None
    effective = len(draws.log_weights) * worth(draws.log_weights)
    fewest = max(_FEWEST_EFFECTIVE, int(_SHARE_EFFECTIVE * len(draws.phi)))
    few = (effective < fewest).nonzero()[:, 0].tolist()
    if not few:
        return []
    named = first_few([f"{draws.tasks.names[t]} ({effective[t]:.0f})" for t in few])
    return [
        f"The draws of phi of {len(few)} of {len(effective)} tasks are worth fewer than "
        f"{fewest} independent ones: {named}. There q is far from the posterior: "
        f"{_remedy(draws.strategy)}."
    ]


def _about_shift(draws: PhiDraws) -> list[str]:
    """Where draws that are used as they are differ from what their weights ask for."""
    assert draws.log_weights is not None
    found = shift_of(draws.phi, draws.log_weights)
    off = (found.mean > _MEAN + found.error) | (found.sd.log() > math.log(_SD) + found.error)
    which = off.nonzero()[:, 0].tolist()
    if not which:
        return []
    named = first_few(
        [f"{draws.tasks.names[t]} ({found.mean[t]:.2f} sd, {found.sd[t]:.2f})" for t in which]
    )
    return [
        f"By their importance weights the draws of phi are off in {len(which)} of {len(off)} "
        f"tasks, by so many sds of the mean and such a factor of the sd: {named}. There q is near "
        f"the posterior, and is not it: {_remedy(draws.strategy)}."
    ]


def _by_starts(draws: PhiDraws) -> tuple[dict[str, float], list[str]]:
    """R-hat by task of what `HMC` drew."""
    count, entries = len(draws.phi), draws.phi[0].numel()
    found = rhat_of_starts(draws.phi)
    most = most_rhat(count, entries)
    by_task = dict(zip(draws.tasks.names, found.tolist(), strict=True))
    bad = sorted((n for n in by_task if not by_task[n] <= most), key=lambda n: -by_task[n])
    if not bad:
        return by_task, []
    named = first_few([f"{name} ({by_task[name]:.2f})" for name in bad])
    first = "at draws of q" if isinstance(draws.strategy, Amortised) else "at the mode"
    return by_task, [
        f"Chains of phi begun {first} and at the prior have not come to the same in {len(bad)} "
        f"of {len(by_task)} tasks, by R-hat above {most:.3f}: {named}. Take more transitions, as "
        "phi=bm.HMC(transitions=100); where that does not help there are several modes, and the "
        "draws have them by other shares than the posterior."
    ]


def _beside_chains(draws: PhiDraws, names: Sequence[str]) -> list[str]:
    """Chains from dispersed starts for a handful of the tasks that weights find nothing wrong with.

    Weights at draws of q see nothing of a mode that q has no draws of.
    """
    strategy, sizes = draws.strategy, draws.tasks.sizes.tolist()
    full = [t for t, name in enumerate(draws.tasks.names) if name in set(names) and sizes[t]]
    if not isinstance(strategy, Amortised) or not full or not _is_for_chains(draws):
        return []
    places = torch.linspace(0, len(full) - 1, min(_TASKS, len(full))).long()
    mine = draws.select(torch.tensor(full)[places])
    some = torch.linspace(0, len(mine.theta) - 1, min(_DRAWS, len(mine.theta))).long()
    theta = mine.theta[:1].expand(_DRAWS, -1) if mine.is_point else mine.theta[some]
    generator = torch.Generator().manual_seed(0)
    with warnings.catch_warnings():
        # What chains would say of themselves matters less than whether they agree.
        warnings.simplefilter("ignore")
        chains = HMC().infer(mine.density, theta, mine.tasks, generator, is_point=mine.is_point)
    found = apart(mine.phi if mine.is_point else mine.phi[some], chains)
    which = found.matters.nonzero()[:, 0].tolist()
    if not which:
        return []
    named = first_few(
        [f"{mine.tasks.names[t]} ({found.mean[t]:.2f} sd, {found.sd[t]:.2f})" for t in which]
    )
    return [
        f"Chains of phi from dispersed starts disagree with q in {len(which)} of the {len(places)} "
        f"tasks looked at, by so many sds of the mean and such a ratio of sds: {named}. Importance "
        "weights do not see a mode that q misses: take guide=bm.NormalMixture(), or "
        "post.adapt(tasks, phi=bm.HMC()), or break the symmetry in the model."
    ]


def _is_for_chains(draws: PhiDraws) -> bool:
    """Whether phi is of few numbers, and a Hessian is to be had."""
    if not 1 <= draws.density.width(draws.tasks) <= MOST_DENSE:
        return False
    try:
        HMC().check(draws.density, draws.tasks)
    except StructureError:
        return False
    return True


def _remedy(strategy: Phi) -> str:
    if strategy.is_joint:
        return (
            "train longer, take a richer family (bm.FullRank()), noncentre, or sample with "
            "theta=bm.NUTS()"
        )
    return strategy.remedy
