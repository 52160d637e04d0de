"""Whether a posterior can be trusted, in words to act on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from bayesmeta.draws.discrete_states import places_apart
from bayesmeta.draws.draws import Draws
from bayesmeta.model.enumeration import HOW_UNMIXED
from bayesmeta.phi.amortised import Amortised
from bayesmeta.phi.checks import PhiChecks, PhiDraws, check_phi, check_steps
from bayesmeta.phi.hmc import HMC
from bayesmeta.phi.laplace import Laplace
from bayesmeta.posterior.hill_checks import about_hills
from bayesmeta.posterior.sampler_checks import Extreme, check_sampler
from bayesmeta.posterior.support_check import about_supports
from bayesmeta.posterior.theta_beside import about_hills_of_kinds
from bayesmeta.posterior.theta_weights import doubts_about_theta
from bayesmeta.posterior.unlike_tasks import unlike_tasks

_FALL_A_TASK = 0.01


# In standard deviations: nearer places make one hill.
_FAR_APART = 2.5


@dataclass(frozen=True)
class Diagnosis:
    """What was checked and what was found; printing it gives the messages.

    Attributes:
        ok: whether nothing was found that needs action.
        messages: what was found, and what to do about it.
        max_rhat: rank-normalised split R-hat, at most 1.01 (Vehtari et al. 2021); samplers.
        min_ess_bulk, min_ess_tail: at least 100 a chain (Vehtari et al. 2021); samplers.
        divergences: transitions that diverged, where the sampler tells.
        ebfmi: energy fraction of each chain, at least 0.3 (Betancourt 2016), where it tells.
        pareto_k: by task, at most 0.7 (Yao et al. 2018; Vehtari et al. 2024); for variational fits
            and where phi is amortised or a Laplace approximation.
        pareto_k_theta: of p(theta, D) / q(theta), at most 0.7; for variational fits of at most 256
            numbers, and importance draws.
        p_unlike: by task, which share of the tasks that a network was trained on are as far from
            each other by their encodings; of new tasks where phi is amortised.
        rhat_phi: by task, of chains of phi begun at the mode, or at draws of a q that was refined,
            and at the prior; where phi is by HMC.
    """

    ok: bool
    messages: tuple[str, ...]
    max_rhat: Extreme | None = None
    min_ess_bulk: Extreme | None = None
    min_ess_tail: Extreme | None = None
    divergences: int | None = None
    ebfmi: tuple[float, ...] = ()
    pareto_k: Mapping[str, float] = field(default_factory=dict)
    pareto_k_theta: float | None = None
    rhat_phi: Mapping[str, float] = field(default_factory=dict)
    p_unlike: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        return "\n".join(self.messages)


def diagnose(posterior: Draws) -> Diagnosis:
    """Check the draws of a sampler, the fit of a variational family, or the end of training.

    A sampler is judged by R-hat and effective sample size over all entries of all sites, by
    divergences and by E-BFMI; a variational fit by the importance weights of theta, by the slopes
    of the ELBO where training ended, and by its loss. Of a point estimate it is checked that it is
    a maximum, or that the loss has settled. Draws of phi from a q are judged by the Pareto k of
    each task's importance weights p(phi_i, D_i | theta) / q(phi_i | D_i, theta), and by what of
    them is used: how far the draws are from what the weights ask for, or how many independent ones
    those picked by them are worth. Chains by R-hat of two kinds of starts; an amortised q beside
    such chains of a handful of tasks, as weights do not see a mode that q misses.
    Draws at which the outcomes are impossible are none of the posterior's; where phi is drawn from
    places far apart, by a discrete latent, draws may all be at one of them; where there is such a
    latent theta of chains of theta and phi is held against weighted draws with phi integrated out.
    """
    of_phi, (p_unlike, of_unlike) = _of_phi(posterior), unlike_tasks(posterior)
    found = replace(
        _by_kind(posterior, of_phi.pareto_k),
        pareto_k=of_phi.pareto_k,
        rhat_phi=of_phi.rhat,
        p_unlike=p_unlike,
    )
    more = [
        *of_unlike,
        *of_phi.messages,
        *_about_steps(posterior),
        *about_supports(posterior),
        *_about_latents(posterior),
        *about_hills_of_kinds(posterior),
        *about_hills(posterior),
    ]
    if not more:
        return found
    kept = () if found.ok and not posterior.is_point else found.messages
    return replace(found, ok=False, messages=(*more, *kept))


def problems_of_theta(posterior: Draws) -> tuple[str, ...]:
    """What `diagnose` has against the draws of theta alone."""
    if posterior.is_point:
        return ()
    found = _by_kind(posterior, {})
    return () if found.ok else found.messages


def _about_latents(posterior: Draws) -> list[str]:
    """What no figure tells: phi in places far apart, and a Gaussian of very many latents."""
    density, found = posterior.density, []
    middle = posterior.fit.theta.shape[1] // 2
    at = posterior.fit.theta[0, middle], posterior.free_phi[0, middle], posterior.tasks
    # Laplace's method takes each place by itself.
    is_summed = isinstance(posterior.strategy, Laplace)
    far = dict[str, float]() if is_summed else places_apart(density, *at)
    for name, distance in far.items():
        if distance > _FAR_APART:
            found.append(
                f"Site '{name}' is drawn from places {distance:.1f} of its standard deviations "
                f"apart, by {', '.join(density.structure.discrete)}: draws that all stay at the "
                "place where they began look settled, and are not; "
                f"{HOW_UNMIXED.format(name=name)}."
            )
    is_fitted = posterior.fit.log_q is not None and posterior.strategy.is_joint
    if density.structure.local and is_fitted:
        found.append(
            f"A Gaussian of theta and of what each datapoint has "
            f"({', '.join(density.structure.local)}) is too sure of scales, by factors of 2 to 5 "
            "where the data say little of them: sample with theta=bm.NUTS(), or integrate these "
            "latents out of the model."
        )
    return found


def _by_kind(posterior: Draws, k: Mapping[str, float]) -> Diagnosis:
    if posterior.is_point:
        return _point(posterior)
    if posterior.fit.pareto_k is not None:
        return _weighed(posterior.fit.doubts or (), posterior.fit.pareto_k)
    if posterior.fit.losses.numel():
        return _variational(posterior, k)
    if posterior.fit.stats:
        found = check_sampler(posterior)
        messages = found.problems or (found.fine,)
        rhat, bulk, tail = found.worst
        is_fine = not found.problems
        return Diagnosis(is_fine, messages, rhat, bulk, tail, found.divergences, found.ebfmi)
    return Diagnosis(True, ("The draws are independent; there is nothing to diagnose.",))


def _point(posterior: Draws) -> Diagnosis:
    falling = _still_falling(posterior.fit.losses)
    if falling and posterior.strategy.is_joint:
        instead = "phi=bm.Laplace(), or bm.Exact()"
        if posterior.structure.local:
            instead = "theta=bm.NUTS()"
        falling = [
            *falling,
            "If that does not end, a learned scale is shrinking to 0, where the joint density of "
            f"theta and phi has no maximum: take {instead}.",
        ]
    what = (
        "This is a point estimate: it carries no uncertainty about theta; theta=bm.NUTS() or "
        "theta=bm.Gaussian() does."
    )
    problems = [*_sentences(posterior.fit.doubts or ()), *falling]
    return Diagnosis(not problems, (what, *problems))


def _weighed(doubts: Sequence[str], k: float) -> Diagnosis:
    fine = f"No problem found: Pareto k of theta is {k:.2f}."
    return Diagnosis(not doubts, tuple(_sentences(doubts)) or (fine,), pareto_k_theta=k)


def _variational(posterior: Draws, k: Mapping[str, float]) -> Diagnosis:
    fit = posterior.fit
    doubts, of_theta = doubts_about_theta(posterior)
    problems = [
        *_sentences([*(fit.doubts or ()), *doubts]),
        # Where convergence itself was looked at, the loss falls with the noise of the steps.
        *(_still_falling(fit.losses) if fit.doubts is None or fit.state else ()),
    ]
    fine = "No problem found: the loss has settled"
    fine += f", Pareto k of theta is {of_theta:.2f}" if of_theta is not None else ""
    fine += f", and Pareto k of phi is at most {max(k.values()):.2f}." if k else "."
    fine += (
        " A Gaussian tends to be too sure of scales all the same; where they matter, compare with "
        "theta=bm.NUTS()."
    )
    return Diagnosis(not problems, tuple(problems) or (fine,), pareto_k_theta=of_theta)


def _sentences(doubts: Sequence[str]) -> list[str]:
    return [f"{doubt[0].upper()}{doubt[1:]}." for doubt in doubts]


def _of_phi(posterior: Draws) -> PhiChecks:
    """What is to be said of phi, but where it was sampled together with theta."""
    weights, strategy = posterior.log_weights, posterior.strategy
    if strategy.is_joint and posterior.fit.is_adapted and not posterior.is_point:
        # That is what it has new tasks' phi drawn by.
        strategy = HMC()
    is_joint = strategy.is_joint
    if is_joint and weights is None:
        return PhiChecks()
    if isinstance(strategy, Amortised) and not strategy.is_posterior:
        return check_phi(_phi_draws(posterior, None))
    flat = posterior.candidate_weights if weights is None else weights.flatten(0, 1)
    was_refined = not is_joint and posterior.fit.log_weights is not None
    given = _phi_draws(posterior, flat)
    is_picked = weights is None or was_refined
    return check_phi(replace(given, strategy=strategy, is_picked=is_picked))


def _phi_draws(posterior: Draws, log_weights: Tensor | None) -> PhiDraws:
    return PhiDraws(
        posterior.strategy,
        posterior.density,
        posterior.tasks,
        posterior.fit.theta.flatten(0, 1),
        posterior.free_phi.flatten(0, 1),
        posterior.is_point,
        log_weights,
        is_picked=False,
        state=posterior.fit.state,
    )


def _about_steps(posterior: Draws) -> list[str]:
    """Of phi that steps reached, but for tasks whose data are not there, as after loading."""
    if posterior.strategy.is_joint or not bool(posterior.tasks.mask.any()):
        return []
    losses = posterior.told.get("loss")
    return check_steps(_phi_draws(posterior, None), None if losses is None else losses[0, 0])


def _still_falling(losses: Tensor) -> list[str]:
    """Whether the last fifth of the losses is lower than the fifth before, beyond their noise."""
    width = len(losses) // 5
    if width < 2:
        return []
    first, old, new = (x.double() for x in (losses[:width], *losses[-2 * width :].split(width)))
    error = float(((first.var() + new.var()) / width).sqrt())
    rise = float(new.mean() - first.mean())
    if rise > max(3 * error, _FALL_A_TASK):
        return [
            f"The loss rose while training, from {float(first.mean()):.4g} a task to "
            f"{float(new.mean()):.4g}: take a smaller lr, or inputs and outcomes of unit variance."
        ]
    error = float(((old.var() + new.var()) / width).sqrt())
    fall = float(old.mean() - new.mean())
    if fall <= max(3 * error, _FALL_A_TASK):
        return []
    return [
        f"The loss was still falling when training ended, by {fall:.2g} a task over the last "
        f"{width} of {len(losses)} steps: train longer, adam=bm.Adam(steps={2 * len(losses)}, "
        "patience=0), where patience=0 takes all the steps."
    ]
