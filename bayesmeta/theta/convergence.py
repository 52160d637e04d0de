"""Whether a search ended where it should have, in posterior standard deviations and in words."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import torch
from torch import Tensor

from bayesmeta.distributions.supports import bijection
from bayesmeta.engine.newton import Minimum
from bayesmeta.model.checks import first_few
from bayesmeta.model.density import Density
from bayesmeta.model.location_scale import is_identity
from bayesmeta.theta.families import Family

# In posterior sds, beyond errors of the estimate.
_FAR, _ERRORS = 0.1, 4.0
# The same of a point estimate by noisy steps; and a slope in units of the prior, in nats.
_FAR_OFF, _STEEP = 0.5, 10.0
# Of the slope in log sds, which is 1 - (sd / right sd)^2 where the posterior is Gaussian.
_OFF = 0.3
# In units of a factor e: no scale that the data tell anything of is as little known.
_WIDE = 20.0


def doubts_about_mode(found: Minimum, density: Density, *, is_joint: bool) -> tuple[str, ...]:
    """What is wrong with a maximum of log p(theta, D): nothing where it is one.

    Args:
        found: the maximum, as a minimum of minus the density.
        density: the model's.
        is_joint: whether phi was maximised with theta.
    """
    names = coordinates(density)
    if found.distance < _FAR:
        sds = torch.linalg.inv(found.hessian).diagonal().sqrt()
        edge = [names[k] for k in (~_real(density) & (sds > _WIDE)).nonzero()[:, 0]]
        if not edge:
            return ()
        return (
            f"{first_few(edge)}: the best value is at the edge of the support, as a scale at 0, "
            "and is no summary of what the data say of it; average over it by theta=bm.NUTS() or "
            "bm.Gaussian(), or give it a prior that is 0 at the edge, as a Gamma(2, ...)",
        )
    flattest = _flattest(found.hessian)
    why = (
        "a learned scale shrinks to 0, where the joint density of theta and phi has no maximum: "
        "take phi=bm.Laplace(), or bm.Exact()"
        if is_joint
        else "the data and the priors leave it open: give it a prior that holds it, or drop it"
    )
    where = names[flattest]
    return (f"there is no best theta: the search went on along {where} to its end; {why}",)


def _flattest(hessian: Tensor) -> Tensor:
    """Which coordinate leads where it bends least; the first, where these are no such numbers."""
    if torch.isfinite(hessian).all():
        with suppress(torch.linalg.LinAlgError):  # type: ignore[attr-defined]
            return torch.linalg.eigh(hessian)[1][:, 0].abs().argmax()
    return hessian.diagonal().nan_to_num(torch.inf).argmin()


def doubts_about_gaussian(
    family: Family, shared: Sequence[Tensor], slopes: Sequence[Tensor], density: Density
) -> tuple[str, ...]:
    """What the slopes of the ELBO say against a Gaussian that was fitted: nothing at its maximum.

    A slope g in the mean is C g off, for covariance C (a step of the natural gradient). One in a
    log sd is 1 - (sd / right sd)^2.

    Args:
        family: of theta.
        shared: its parameters.
        slopes: of the ELBO in the first two of them, each (batches, ...).
        density: the model's.
    """
    sds = family.covariance(list(shared)).diagonal().sqrt()
    off, of = _beyond_noise(family.shift(list(shared), slopes[0]) / sds)
    wide, by = _beyond_noise(family.log_sds(slopes[1]))
    names, found = coordinates(density), []
    if off[of] > _FAR:
        found.append(f"the mean of {names[of]} is {off[of]:.2g} standard deviations off")
    if wide[by] > _OFF:
        found.append(f"the standard deviation of {names[by]} is off")
    if not found:
        return ()
    return (
        f"the Gaussian has not converged: {', and '.join(found)}; train longer, "
        "adam=bm.Adam(steps=..., patience=0), or sample with theta=bm.NUTS()",
    )


def doubts_about_point(slopes: Tensor, density: Density, *, is_known: bool) -> tuple[str, ...]:
    """What the slopes of the objective say against where training ended: nothing at a maximum.

    Args:
        slopes: of minus log p(theta, D) in z of theta = c + S z, (batches, d_theta).
        density: the model's.
        is_known: whether S S' is the posterior's covariance, so that a slope of 1 is an sd off;
            else units are the prior's, in which the posterior may be narrow.
    """
    off, of = _beyond_noise(slopes)
    name = coordinates(density)[of]
    if not off[of] > (_FAR_OFF if is_known else _STEEP):
        return ()
    how = (
        f"{name} is about {off[of]:.2g} posterior standard deviations off"
        if is_known
        else f"a prior standard deviation of {name} would change log p(theta, D) by {off[of]:.2g}"
    )
    return (
        f"theta has not converged: {how}; train longer, adam=bm.Adam(steps=..., patience=0), with "
        "a larger lr if the loss is smooth, or compare with theta=bm.NUTS(), phi=bm.Joint()",
    )


def coordinates(density: Density) -> list[str]:
    """Names of the numbers of theta: "tau", or "mu[2]"."""
    names = [""] * density.d_theta
    for name in density.structure.theta:
        segment = density.segments[name]
        for k in range(segment.size):
            names[segment.start + k] = name if segment.size == 1 else f"{name}[{k}]"
    return names


def _beyond_noise(found: Tensor) -> tuple[Tensor, int]:
    """|mean| of (batches, d) less its errors, (d,), and where it is largest."""
    mean, error = found.mean(0), found.std(0) / len(found) ** 0.5
    beyond = (mean.abs() - _ERRORS * error).nan_to_num(torch.inf)
    return beyond, int(beyond.argmax())


def _real(density: Density) -> Tensor:
    found = torch.zeros(density.d_theta, dtype=torch.bool)
    for name in density.structure.theta:
        segment = density.segments[name]
        onto = bijection(density.reading.drawn_from[name])
        found[segment.start : segment.stop] = is_identity(onto)
    return found
