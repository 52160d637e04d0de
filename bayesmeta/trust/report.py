"""SBC: what simulation-based calibration found, as a table, in words and as a picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bayesmeta.trust.direction import direction
from bayesmeta.trust.quantities import LOG_LIKELIHOOD
from bayesmeta.trust.uniformity import p_value

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

# Cells of 0..1 in which places of the truth are counted.
CELLS = 100
# Of all quantities together, of which each is held to its share (Bonferroni).
_LEVEL = 0.05
# Simulations by which nothing but the grossest is seen.
_FEWEST = 20


@dataclass(frozen=True, eq=False, repr=False)
class SBC:
    """Simulation-based calibration of a pair of strategies (Talts et al. 2018).

    Where studies are drawn from the model and fitted, the truth is one more draw of the posterior,
    so that its place among the draws is uniform, for each number and for the log likelihood. What
    fails is wrong in the fit; what passes may be wrong by as little as so many simulations do not
    see, or for data that the prior does not give.

    Attributes:
        pair: the strategies, in words.
        places: of the truth among the draws, in 0..1, by quantity, (simulations,); NaN where there
            is none. Of a rank r among L draws it is (r + u) / (L + 1), u uniform.
        z: (posterior mean - truth) / posterior sd, in the same way.
        truths, sds: the truth, and the posterior's sd, in the same way.
        draws: how many draws were looked at in each, thinned to about independent ones.
        doubted: how many fits did not pass their own `diagnose`.
        failures: what was said by simulations that raised, which are in no figure, by number.
        warned: the first warning of simulations that gave some, by number.
        asked: how many simulations there were to be.
        copies: numbers that are others under a second name, as of a `pyro.deterministic` that
            copies a site, with the name that they have here.
    """

    pair: str
    places: Mapping[str, np.ndarray]
    z: Mapping[str, np.ndarray]
    truths: Mapping[str, np.ndarray]
    sds: Mapping[str, np.ndarray]
    draws: np.ndarray
    doubted: int
    failures: Mapping[int, str]
    warned: Mapping[int, str]
    asked: int
    copies: Mapping[str, str] = field(default_factory=dict)

    @property
    def simulations(self) -> int:
        """How many ended with draws."""
        return len(self.draws)

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row a quantity, without `copies`.

        Its columns are

            p: how often uniform places stray as far at any cut, all cuts together: the p value of
                the gamma statistic of their ECDF (Saeilynoja, Buerkner & Vehtari 2022), of this
                quantity alone;
            covers50, covers90: the share of central intervals that hold the truth, 0.5 and 0.9
                where all is well;
            bias: the mean of z = (posterior mean - truth) / posterior sd, above 0 where the
                posterior is too high; of heavy tails z is of small meaning, and p is the judge;
            spread: the sd of z, above 1 where the posterior is too narrow. A point has no z: its
                bias and contraction are NaN, and its spread inf;
            contraction: 1 - mean posterior variance / variance of the truth: 1 where the data tell
                all, 0 where they tell nothing, below 0 where the posterior is wider than the truth;
            count: of simulations that have the quantity.
        """
        import pandas as pd

        rows = {name: self._row(name) for name in self.places}
        columns = ["p", "covers50", "covers90", "bias", "spread", "contraction", "count"]
        table = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
        table.index.name = "quantity"
        return table.astype({"count": int})

    def _row(self, name: str) -> list[float]:
        place, z = self.known(name), self._known_z(name)
        bias, spread = (float(z.mean()), float(z.std())) if len(z) else (np.nan, np.inf)
        covers = [float((np.abs(place - 0.5) < level / 2).mean()) for level in (0.5, 0.9)]
        return [self._p_values[name], *covers, bias, spread, self._contraction(name), len(place)]

    def _known_z(self, name: str) -> np.ndarray:
        """z of the simulations whose draws are not all the same number: none of a point."""
        z, sd = self.z[name], self.sds[name]
        found: np.ndarray = z[np.isfinite(self.places[name]) & (sd > 0)]
        return found

    def _contraction(self, name: str) -> float:
        there = np.isfinite(self.places[name])
        if not len(self._known_z(name)):
            return float("nan")
        with np.errstate(invalid="ignore", divide="ignore"):
            return float(
                1 - np.square(self.sds[name][there]).mean() / self.truths[name][there].var()
            )

    @cached_property
    def _p_values(self) -> dict[str, float]:
        return {name: p_value(self.cells(name), CELLS - 1) for name in self.places}

    def known(self, name: str) -> np.ndarray:
        """The places of a quantity, without simulations that do not have it."""
        found = self.places[name]
        return found[np.isfinite(found)]

    def cells(self, name: str) -> np.ndarray:
        """In which of a hundred equal cells they are."""
        return np.minimum((self.known(name) * CELLS).astype(int), CELLS - 1)

    @property
    def failing(self) -> dict[str, str]:
        """Quantities that are not uniform, and how: at 5% of all of them together."""
        level = _LEVEL / max(1, len(self.places))
        return {n: self._how(n) for n, p in self._p_values.items() if p < level}

    def _how(self, name: str) -> str:
        if not len(self._known_z(name)):
            return "too narrow, a point: no width"
        return direction(self.known(name), is_fit=name == LOG_LIKELIHOOD)

    def __str__(self) -> str:
        lines = [f"Calibration of {self.pair} by {self.simulations} simulations: {self._verdict()}"]
        for name, how in self.failing.items():
            p, half, most, bias, spread, *_ = self._row(name)
            z = f", bias {bias:+.2f} and spread {spread:.2f} posterior sds"
            lines.append(
                f"- {name}: {how}; intervals of 50% and 90% hold {half:.0%} and {most:.0%}"
                f"{z if np.isfinite(spread) else ''} (p {p:.1g})"
            )
        for copy, name in self.copies.items():
            lines.append(f"{copy} is {name} by another name, and has no row.")
        return "\n".join([*lines, *self._caveats()])

    def _verdict(self) -> str:
        if not self.simulations:
            return "none ended with draws, so that nothing is known."
        if not self.failing and self.simulations < _FEWEST:
            return f"too few to say anything, from {_FEWEST} on failures of some size are seen."
        if not self.failing:
            lowest = min(self._p_values, key=lambda n: self._p_values[n])
            return (
                f"no failure was found in {len(self.places)} quantities (smallest p = "
                f"{self._p_values[lowest]:.2g}, {lowest})."
            )
        return (
            f"{len(self.failing)} of {len(self.places)} quantities are not calibrated; take "
            "another pair, or other settings, or widen what is said by what is lacking here."
        )

    def _caveats(self) -> list[str]:
        error = 100 * np.sqrt(0.25 / max(1, self.simulations))
        found = [
            f"What {self.simulations} simulations see: coverage of 50% is known to +- {error:.0f} "
            "points (1 standard error); smaller failures pass, and of data that the prior does not "
            "give nothing is said."
        ]
        if self.doubted:
            found.append(
                f"{self.doubted} of {self.simulations} fits did not pass their own diagnose(), and "
                "are counted all the same: where these are many see what diagnose() says of one, "
                "as bm.fit(model, bm.simulate(model, tasks)[0].tasks, ...).diagnose()."
            )
        if len(self.draws) and np.median(self.draws) < CELLS / 4:
            found.append(
                f"Of half of the fits {np.median(self.draws):.0f} independent draws or fewer were "
                "left: run longer, and intervals are seen more sharply."
            )
        found += self._told("raised, and are in no figure", self.failures)
        found += self._told("gave warnings", self.warned)
        done = self.simulations + len(self.failures)
        if done < self.asked:
            found.append(f"{self.asked - done} of {self.asked} simulations are left to do.")
        return found

    def _told(self, what: str, messages: Mapping[int, str]) -> Sequence[str]:
        if not messages:
            return []
        (message, _), k = Counter(messages.values()).most_common(1)[0], next(iter(messages))
        kinds = len(set(messages.values()))
        also = "" if kinds == 1 else f" ({kinds} kinds, the most common)"
        return [f"{len(messages)} simulations {what}, the first number {k}{also}: {message}"]

    def draw_recovery(self, path: str | Path | None = None) -> Figure:
        """Posterior means against truths, and what is left: z against contraction.

        The first are on the diagonal where a quantity is found; in the second z is within -2 and 2
        where all is well, and at the right where data tell much (Betancourt 2018).

        Args:
            path: where to save it, as "recovery.png"; None does not.
        """
        from bayesmeta.trust.recovery_picture import drawn

        return drawn(self, path)

    def draw(self, path: str | Path | None = None) -> Figure:
        """How far ECDFs are from uniform, within what all is well, and coverage beside them.

        Args:
            path: where to save it, as "sbc.png"; None does not.
        """
        from bayesmeta.trust.picture import drawn

        return drawn(self, path)
