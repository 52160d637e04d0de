"""Whether the draws of a sampler can be trusted: mixing, divergences and energies."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from torch import Tensor

from bayesmeta.draws.draws import Draws
from bayesmeta.engine.mixing import ess_bulk, ess_tail, rhat
from bayesmeta.model.location_scale import is_location_scale
from bayesmeta.posterior.arviz import flattened, values

_MAX_RHAT = 1.01
_MIN_ESS_A_CHAIN = 100
_MIN_EBFMI = 0.3
_MIN_DRAWS = 8


class Extreme(NamedTuple):
    """The worst value of a diagnostic, and the entry that has it, such as "effect[A]"."""

    value: float
    site: str


class SamplerChecks(NamedTuple):
    """What was found of a sampler's draws.

    Attributes:
        problems: sentences, with what to do.
        fine: what to say where there are none.
        worst: R-hat, bulk and tail effective sample size; None of too few draws.
        divergences: transitions that diverged, where the sampler tells.
        ebfmi: of each chain, where it tells.
    """

    problems: tuple[str, ...]
    fine: str
    worst: tuple[Extreme, Extreme, Extreme] | tuple[None, None, None]
    divergences: int | None
    ebfmi: tuple[float, ...]


def check_sampler(posterior: Draws) -> SamplerChecks:
    """R-hat and effective sample sizes of all entries of all sites, divergences and E-BFMI."""
    labels, draws = flattened(values(posterior))
    chains, count = draws.shape[:2]
    stats = posterior.fit.stats
    divergences = int(stats["diverging"].sum()) if "diverging" in stats else None
    ebfmi = tuple(_ebfmi(stats["energy"])) if "energy" in stats else ()
    problems = [*_about_divergences(posterior, divergences), *_about_ebfmi(ebfmi)]
    if count < _MIN_DRAWS:
        problems.append(
            f"With {count} draws a chain, R-hat and effective sample size say nothing: run longer, "
            "draws=1000."
        )
        return SamplerChecks((*problems,), "", (None, None, None), divergences, ebfmi)
    worst = _worst(labels, draws)
    problems = [*_about_mixing(worst, chains, count), *problems]
    fine = (
        f"No problem found: R-hat is at most {worst[0].value:.3f} ({worst[0].site}), the effective "
        f"sample size at least {min(worst[1:]).value:.0f} ({min(worst[1:]).site})"
        f"{'' if divergences is None else ', and no transition diverged'}."
    )
    return SamplerChecks((*problems,), fine, worst, divergences, ebfmi)


def _worst(labels: list[str], draws: np.ndarray) -> tuple[Extreme, Extreme, Extreme]:
    """The largest R-hat, and the smallest bulk and tail effective sample sizes."""
    # Entries that never vary, such as the zeros of a Cholesky factor, have no R-hat.
    varies = ~(draws == draws[:1, :1]).all((0, 1))
    if not varies.any():
        varies[:] = True
    names = [name for name, moves in zip(labels, varies, strict=True) if moves]
    kept = draws[..., varies]
    if len(kept) == 1:
        # R-hat needs two chains: a single one is compared with itself, half by half.
        half = kept.shape[1] // 2
        kept = kept[0, : 2 * half].reshape(2, half, -1)
    # NaN sorts last in both directions below: it is the worst there is.
    r = np.nan_to_num(rhat(kept), nan=np.inf, posinf=np.inf)
    bulk, tail = (np.nan_to_num(ess(kept), nan=0.0) for ess in (ess_bulk, ess_tail))
    return (
        Extreme(float(r.max()), names[int(r.argmax())]),
        Extreme(float(bulk.min()), names[int(bulk.argmin())]),
        Extreme(float(tail.min()), names[int(tail.argmin())]),
    )


def _about_mixing(worst: tuple[Extreme, Extreme, Extreme], chains: int, count: int) -> list[str]:
    found, (r, bulk, tail), least = [], worst, _MIN_ESS_A_CHAIN * chains
    if r.value > _MAX_RHAT:
        what = "the chains disagree; run longer"
        if chains == 1:
            what = (
                "the halves of the single chain disagree, which tells of drift alone, as there is "
                "no other chain to compare it with; use chains=4 and run longer"
            )
        found.append(
            f"R-hat of {r.site} is {r.value:.3f} (should be below {_MAX_RHAT}): {what}, "
            f"draws={2 * count}, tune={2 * count}."
        )
    for name, extreme in (("Bulk", bulk), ("Tail", tail)):
        if extreme.value < least:
            found.append(
                f"{name} effective sample size of {extreme.site} is {extreme.value:.0f} (should be "
                f"at least {least}, {_MIN_ESS_A_CHAIN} a chain): run longer, draws={2 * count}."
            )
    return found


def _about_divergences(posterior: Draws, divergences: int | None) -> list[str]:
    if not divergences:
        return []
    total = posterior.fit.stats["diverging"].numel()
    centred = _could_be_noncentred(posterior)
    instead = f", or noncentred={centred}" if centred else ""
    return [
        f"{divergences} of {total} transitions diverged: the sampler cannot follow the posterior "
        f"where it narrows, so the draws are biased; raise target_accept (0.95, 0.99){instead}."
    ]


def _could_be_noncentred(posterior: Draws) -> tuple[str, ...]:
    fit, done = posterior.fit, posterior.density.noncentred
    at = fit.theta[0, 0], posterior.free_phi[0, 0], fit.tasks
    sites, segments = fit.density.sites(*at, jacobian=False), fit.density.segments
    summed = fit.density.reading.summed
    groups = [n for n, s in segments.items() if n not in done and (s.is_phi or s.size > 1)]
    return tuple(
        n
        for n in groups
        if is_location_scale(sites[n].fn)
        and (summed is None or len(sites[n].fn.batch_shape) <= summed.plates)
    )


def _ebfmi(energy: Tensor) -> list[float]:
    """E[(E_n - E_{n-1})^2] / var(E) of each chain (Betancourt 2016)."""
    energy = energy.double()
    return (energy.diff(dim=1).square().mean(1) / energy.var(1)).tolist()


def _about_ebfmi(ebfmi: tuple[float, ...]) -> list[str]:
    low = [chain for chain, value in enumerate(ebfmi) if not value >= _MIN_EBFMI]
    if not low:
        return []
    return [
        f"E-BFMI is {min(ebfmi):.3f} in the worst of {len(low)} of {len(ebfmi)} chains (should be "
        f"above {_MIN_EBFMI}): heavy tails are explored too slowly; run longer, or noncentre the "
        "sites whose scale is learned."
    ]
