"""Newton's method on a smooth function of some numbers, by differences of its gradient."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import scipy
import torch
from torch import Tensor

# Of a central difference, in units of the function's own curvature; it is off by its square.
_STEP = 1e-3
# In the units of the curvature: a thousandth of a posterior standard deviation, and far below.
_SMALL = 1e-6
# Curvature of the value over the squared units that counts for none, and a gain in its units.
_FLAT, _NO_GAIN = 1e-6, 1e-8
# Of so many numbers a Hessian, by differences, costs more than it saves far from the minimum; so
# many steps of BFGS that gain less than that, all together, end its part.
_MANY, _IDLE, _LITTLE = 16, 20, 1e-3

Slopes = Callable[[Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Minimum:
    """Where a search ended.

    Attributes:
        at: the point, (d,).
        value, gradient, hessian: there, (), (d,) and (d, d).
    """

    at: Tensor
    value: Tensor
    gradient: Tensor
    hessian: Tensor

    @property
    def distance(self) -> float:
        """What is left to go in units of the curvature, sqrt(g' H^{-1} g).

        It is infinite where the curvature is not positive definite, which no minimum has.
        """
        lower, failed = torch.linalg.cholesky_ex(self.hessian)
        if failed or not bool(torch.isfinite(lower).all()):
            return float("inf")
        left = torch.linalg.solve_triangular(lower, self.gradient[:, None], upper=False)
        return float(left.norm())


def minimise(slopes: Slopes, start: Tensor, units: Tensor, steps: int = 200) -> Minimum:
    """A minimum by trust-region Newton (Conn, Gould & Toint 2000, 7.3, as SciPy has it).

    A region keeps steps to where the second-order expansion holds, saddles are left along negative
    curvature, and a value that is no number is a step too far. Of many numbers BFGS comes near
    first, which needs no Hessian.

    Args:
        slopes: values (n,) and gradients (n, d) at n points (n, d).
        start: where to begin, (d,), in float64.
        units: of each coordinate, (d,): the first region has this size.
        steps: at most.
    """
    search = _Search(slopes, start, units)
    if len(start) >= _MANY:
        search.come_near(steps)
    while len(start) and torch.isfinite(search.here):
        was_central = search.is_central
        # By it SciPy 1.17 says that it knows no step to take.
        with suppress(UnboundLocalError):
            found = scipy.optimize.minimize(
                search.value,
                search.at.copy(),
                jac=search.gradient,
                hess=search.hessian,
                method="trust-exact",
                callback=search.watch,
                options={"maxiter": steps, "gtol": 0.0, "max_trust_radius": 1e4},
            )
            search.look(found.x)
        if was_central or search.is_central:
            break
        search.be_central()
    search.be_central()
    return search.minimum()


def hessian(slopes: Slopes, at: Tensor, units: Tensor, slope: Tensor | None = None) -> Tensor:
    """The second derivatives (d, d) by differences over a thousandth of `units`.

    They are central; or forward ones, by half as many gradients and a thousandth less exact, where
    the gradient here is given.
    """
    steps = torch.diag(_STEP * units)
    if slope is None:
        up, down = slopes(torch.cat([at + steps, at - steps]))[1].split(len(at))
        found = (up - down) / (2 * _STEP * units[:, None])
    else:
        found = (slopes(at + steps)[1] - slope) / (_STEP * units[:, None])
    return (found + found.mT) / 2


class _Search:
    """What SciPy asks for, in coordinates (theta - start) / units, each point computed once."""

    def __init__(self, slopes: Slopes, start: Tensor, units: Tensor) -> None:
        self.slopes, self.start, self.units = slopes, start, units
        self.steps = units.clone()
        self.at = np.full(len(start), np.nan)
        self.look(np.zeros(len(start)))
        self.bent: tuple[bytes, Tensor] | None = None
        self.is_central = False

    def look(self, z: np.ndarray) -> None:
        """Value and gradient at z."""
        if not np.array_equal(z, self.at):
            self.at = z.copy()
            self.point = self.start + self.units * torch.from_numpy(self.at)
            values, gradients = self.slopes(self.point[None])
            self.here, self.slope = values[0], gradients[0]

    def come_near(self, steps: int) -> None:
        """Go where BFGS leads (Nocedal & Wright 2006, 6.1), until it gains little."""
        values = [float(self.here)]

        def ends(intermediate_result: scipy.optimize.OptimizeResult) -> None:
            values.append(intermediate_result.fun)
            if len(values) > _IDLE and values[-1 - _IDLE] - values[-1] < _LITTLE:
                raise StopIteration

        found = scipy.optimize.minimize(
            self.value,
            np.zeros(len(self.start)),
            jac=self.gradient,
            method="BFGS",
            callback=ends,
            options={"maxiter": steps, "gtol": 0.0},
        )
        self.look(found.x if found.fun < values[0] else np.zeros(len(self.start)))

    def value(self, z: np.ndarray) -> float:
        """Infinite where it is no number, so that the region shrinks."""
        self.look(z)
        return float(self.here) if torch.isfinite(self.here) else float("inf")

    def gradient(self, z: np.ndarray) -> np.ndarray:
        """In the units of the search."""
        self.look(z)
        return (self.slope * self.units).numpy()

    def hessian(self, z: np.ndarray) -> np.ndarray:
        """In the units of the search."""
        self.look(z)
        found = (self.bend() * self.units[:, None] * self.units).numpy()
        # SciPy looks at the Hessian of a step that it is about to turn down, too.
        return found if np.isfinite(found).all() else np.eye(len(found))

    def bend(self) -> Tensor:
        """The Hessian, nearly, over steps that are small beside the curvature found before."""
        key = self.at.tobytes()
        if self.bent is None or self.bent[0] != key:
            for _ in range(6):
                slope = None if self.is_central else self.slope
                found = hessian(self.slopes, self.point, self.steps, slope)
                curved = found.diagonal().abs().rsqrt().nan_to_num(torch.inf, posinf=torch.inf)
                before, self.steps = self.steps, torch.minimum(curved, self.units)
                if (self.steps > 0.1 * before).all():
                    break
            self.bent = key, found
        return self.bent[1]

    def watch(self, z: np.ndarray) -> None:
        """End where what is left to go is nothing in the units of the curvature."""
        if self._is_there(z):
            self.be_central()
            if self._is_there(z):
                raise StopIteration

    def be_central(self) -> None:
        """Take central differences from here on: forward ones may hide that a way is flat."""
        if not self.is_central:
            self.is_central, self.bent = True, None

    def _is_there(self, z: np.ndarray) -> bool:
        self.look(z)
        found = self.minimum()
        return found.distance < _SMALL or self._is_flat(found)

    def _is_flat(self, found: Minimum) -> bool:
        """Whether there is no minimum to come near, but a way on that gains nothing more.

        So it is where a scale goes to 0, its logarithm without end.
        """
        if not (math.isinf(found.distance) and torch.isfinite(found.hessian).all()):
            return False
        bent, ways = torch.linalg.eigh(found.hessian * self.units[:, None] * self.units)
        along = ways.mT @ (found.gradient * self.units)
        return float((along**2 / bent.abs().clamp(min=_FLAT)).sum()) < 2 * _NO_GAIN

    def minimum(self) -> Minimum:
        """What is known where the search is."""
        return Minimum(self.point, self.here, self.slope, self.bend())
