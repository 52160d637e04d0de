"""sensitivity: what would change if the prior, or what tasks say, counted a little more or less."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from bayesmeta.data.arguments import check_number
from bayesmeta.posterior.posterior import Posterior
from bayesmeta.task_level.importance import TRUSTED_K
from bayesmeta.trust.factors import (
    EVIDENCE,
    HYPERPRIOR,
    LIKELIHOOD,
    check_scalable,
    factors,
)
from bayesmeta.trust.power_scaling import Scaled
from bayesmeta.trust.quantities import Numbers, numbers_of, shared_numbers

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

# Above which a posterior moves by more than a detail (Kallioinen et al. 2024): the normal
# distribution by some .3 of its sd for each doubling.
THRESHOLD = 0.05
CONFLICT, STRONG = "prior-data conflict", "strong prior / weak likelihood"
UNKNOWN = "not known"


@dataclass(frozen=True, eq=False, repr=False)
class Sensitivity:
    """How far each number moves where a factor of the density is raised to a power.

    Attributes:
        table: by number of theta, and of the mean of each site of phi over tasks: "hyperprior",
            "evidence", "population", "likelihood", the distance by which it moves a doubling of
            the power (see `sensitivity`), of what the model has, NaN where weights have no mean
            (Pareto k of 1 and more); and "diagnosis", "prior-data conflict", "strong prior / weak
            likelihood", "not known", or nothing.
        moments: by number and role, its mean and sd as they are, and under both powers: columns
            are pairs, as ("mean", 1.25).
        pareto_k: of the weights, by role: above `trusted_k` draws are too few where they would be
            needed, and figures may be too small.
        draws: how many there are, by role.
        alpha: the larger power; the smaller is 1 / alpha.
    """

    table: pd.DataFrame
    moments: pd.DataFrame
    pareto_k: Mapping[str, float]
    draws: Mapping[str, int]
    alpha: float

    def trusted_k(self, role: str) -> float:
        """The largest Pareto k at which so many draws do (Vehtari et al. 2024), 0.7 at most."""
        return min(TRUSTED_K, 1 - 1 / float(np.log10(max(self.draws[role], 2))))

    @cached_property
    def doubtful(self) -> list[str]:
        """Roles whose weights are not to be trusted."""
        return [role for role, k in self.pareto_k.items() if not k <= self.trusted_k(role)]

    def __str__(self) -> str:
        return "\n".join([self._verdict(), *self._advice(), *self._doubts(), self._shown()])

    def _verdict(self) -> str:
        found = self.table["diagnosis"]
        if not (found != "").any():
            return f"None of {len(found)} numbers depends on the hyperprior: all below {THRESHOLD}."
        known = found[found != UNKNOWN]
        return f"{(known != '').sum()} of {len(known)} numbers depend on the hyperprior."

    def _advice(self) -> list[str]:
        return [
            f"- {', '.join(names)}: {kind}; {what}"
            for kind, what in (
                (CONFLICT, "the prior pulls away from where the tasks are: is it what is known?"),
                (STRONG, "the tasks say little of it: report the prior beside it, or widen that"),
                (UNKNOWN, "draws are too few to tell"),
            )
            if (names := [str(n) for n in self.table.index[self.table["diagnosis"] == kind]])
        ]

    def _doubts(self) -> list[str]:
        lower = 1 + (self.alpha - 1) / 5
        return [
            f"Draws are too few where another power of the {role} would need them (Pareto k "
            f"{self.pareto_k[role]:.2f}, to trust {self.trusted_k(role):.2f}): its column is NaN, "
            f"or too small; give alpha={lower:.2f}, or take more draws"
            for role in self.doubtful
        ]

    def _shown(self) -> str:
        return self.table.round(3).to_string()

    def draw(self, path: str | Path | None = None) -> Figure:
        """Means and sds under both powers, number by number and role by role.

        Args:
            path: where to save it, as "sensitivity.png"; None does not.
        """
        from bayesmeta.trust.sensitivity_picture import drawn

        return drawn(self, path)


def sensitivity(posterior: Posterior, *, alpha: float = 1.25) -> Sensitivity:
    """Whether answers rest on the hyperprior, or on the data, by power-scaling, without a refit.

        p_alpha(theta, phi | D)  is  p(theta, phi | D) f^(alpha - 1), normalised

    A factor f of the joint density is raised to the powers alpha and 1 / alpha; draws are weighed
    by f^(alpha - 1), Pareto-smoothed. Figures are the distance between the distribution functions
    of a number with and without it (cumulative Jensen-Shannon, between 0 and 1) over
    log2(alpha), the mean of both (Kallioinen, Paananen, Buerkner & Vehtari 2024). Above 0.05 the
    number depends on f. Which f there are is read off the plates:

    - "hyperprior", p(theta): the priors of all sites outside the plate "tasks", of densities of
      the values. p(phi | theta), a part of the model, stays as it is.
    - "evidence", prod_i p(D_i | theta), phi integrated out in closed form or by importance
      weights: all that the tasks say of theta. It is not there where neither is possible.
    - "population", prod_i p(phi_i | theta), with latents of datapoints given phi. A power of it
      also changes its normalisation by theta, and a scale that may be 0 goes there.
    - "likelihood", prod_ij p(y_ij | x_ij, phi_i, theta), as weighted in the model, at the draws of
      theta and phi together, so that it is the same thing for every pair whose phi is drawn from
      p(phi_i | theta, D_i). Of a theta that the data reach through phi alone, as a population's
      mean, it says little: a phi known exactly does not move with it.

    A number that moves with the hyperprior has a diagnosis by the evidence, or the likelihood
    where there is none: with both at 0.05 it is "prior-data conflict", else "strong prior / weak
    likelihood". The result is as right as the draws are: those of a Gaussian keep its error.

    Args:
        posterior: of a fit, with draws of theta and phi.
        alpha: how much more, and less, it counts; above 1. Near 1 the figures are derivatives,
            and weights are more even.

    Raises:
        StructureError: where theta or phi is a point, there is no theta, or none with a prior.
        TasksError: for a posterior without its data, of other tasks than theta was fitted to, or
            fitted to a query.
        ValueError: where alpha is not above 1.
    """
    check_number("sensitivity", "alpha", alpha, above=1)
    check_scalable(posterior)
    numbers = _numbers(posterior)
    flat = torch.stack(list(numbers.values()), 1).double().cpu()
    scaled, draws = {}, {}
    for role, found in factors(posterior).items():
        scaled[role] = Scaled.of(found.log_density, flat[found.places], alpha)
        draws[role] = len(found.places)
    return Sensitivity(
        _table(list(numbers), scaled),
        _moments(list(numbers), scaled, alpha),
        {role: found.pareto_k for role, found in scaled.items()},
        draws,
        alpha,
    )


def _numbers(posterior: Posterior) -> Numbers:
    """Each number of theta, and the means of phi over tasks."""
    found = shared_numbers(posterior, most=None)
    for name in posterior.structure.phi:
        mean = posterior.phi[name].flatten(0, 1).mean(1)
        found |= numbers_of(f"mean of {name}", mean)
    return found


def _table(names: list[str], scaled: Mapping[str, Scaled]) -> pd.DataFrame:
    import pandas as pd

    columns = {r: x.gradient.numpy() if x.pareto_k < 1 else np.nan for r, x in scaled.items()}
    table = pd.DataFrame(columns, pd.Index(names, name="number"))
    prior, judge = table[HYPERPRIOR], table[EVIDENCE if EVIDENCE in table else LIKELIHOOD]
    said = np.where(judge >= THRESHOLD, CONFLICT, STRONG)
    said = np.where((prior + judge).isna(), UNKNOWN, said)
    return table.assign(diagnosis=np.where(prior < THRESHOLD, "", said))


def _moments(names: list[str], scaled: Mapping[str, Scaled], alpha: float) -> pd.DataFrame:
    import pandas as pd

    blocks = [np.concatenate([x.mean.numpy(), x.sd.numpy()]).T for x in scaled.values()]
    by_number = np.stack(blocks, 1).reshape(-1, 6)
    index = pd.MultiIndex.from_product([names, scaled], names=["number", "role"])
    powers = (1 / alpha, 1.0, alpha)
    columns = pd.MultiIndex.from_product([("mean", "sd"), powers], names=["", "alpha"])
    return pd.DataFrame(by_number, index, columns)
