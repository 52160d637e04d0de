"""Where chains start: at values that are given, or where the density is not zero."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bayesmeta.data.tasks import Tasks
from bayesmeta.engine.sampler import LogDensity
from bayesmeta.model.checks import StructureError, check_value
from bayesmeta.model.density import Density, masked
from bayesmeta.model.prior import draw_prior, draw_prior_phi
from bayesmeta.model.structure import Role
from bayesmeta.running.isolation import isolated
from bayesmeta.theta.joint_vector import JointVector
from bayesmeta.theta.pilot import Pilot
from bayesmeta.theta.units import Rows, rows_of

Values = Mapping[str, Tensor]
Start = Values | Callable[[int], Values]

# Points near the pilot; draws of theta from its prior, and of each task's phi at each of them.
_NEAR, _THETAS, _PHIS = 10, 20, 50


def check_start(start: object) -> None:
    """Refuse what gives no values by site.

    Raises:
        TypeError: naming what to give.
    """
    if not (start is None or isinstance(start, Mapping) or callable(start)):
        raise TypeError(
            f"NUTS got start={start!r}; give values by site, {{'mu': torch.tensor(1.0)}}, or a "
            "function of a seed that returns them"
        )


@dataclass
class Starts:
    """A point (dim,) for each seed: within two sds of a pilot's mode, where that has a density.

    Without a pilot it is uniform on (-1, 1), unconstrained. Where few of these have a density, it
    is drawn from the prior, phi of each task until its data are possible. Sites that are given are
    at their values.

    A sampler asks from threads of its own while the fit's thread waits, so that no model may run
    then: what needs one is made before, by `prepare`.

    Attributes:
        vector: how the point is made of theta and phi.
        value: the log density and its gradient at a point.
        given: values by site, as the posterior holds them, or a function of a seed.
        pilot: of theta, if there is one.
        made: points that were made before.
        is_near: whether points near the pilot, or 0, have a density.
    """

    vector: JointVector
    value: LogDensity
    given: Start | None
    pilot: Pilot | None = None
    made: list[np.ndarray] = field(default_factory=list)
    is_near: bool = False

    @property
    def density(self) -> Density:
        """Whose theta and phi they are."""
        return self.vector.density

    @property
    def tasks(self) -> Tasks:
        """Whose phi is in the point, if it is."""
        return self.vector.tasks

    def prepare(self, seed: int, count: int) -> None:
        """Find points by which all that are asked for can be served.

        Raises:
            StructureError: where none has a finite density, naming the site.
        """
        random = np.random.default_rng(seed)
        near = [self._near(random) for _ in range(count)]
        if self.given is None:
            self.made = [point for point in near if self._is_possible(point)]
            self.is_near = 2 * len(self.made) >= count
        if not self.is_near:
            self.made = [self._found(point, seed + k) for k, point in enumerate(near)]

    def __call__(self, seed: int) -> np.ndarray:
        """The point."""
        random = np.random.default_rng(seed)
        for _ in range(_NEAR if self.is_near else 0):
            if self._is_possible(point := self._near(random)):
                return point
        return self.made[random.integers(len(self.made))]

    def _found(self, point: np.ndarray, seed: int) -> np.ndarray:
        with isolated(seed % 2**32), torch.no_grad():
            tried = self._given(point, seed) if self.given is not None else self._from_prior()
        if tried and self._is_possible(found := self._flat(*tried[-1])):
            return found
        raise StructureError(self._blame(tried))

    def _near(self, random: np.random.Generator) -> np.ndarray:
        u = random.uniform(-1, 1, self.vector.dim)
        if self.pilot is None:
            return u
        q = torch.from_numpy(2 * u)
        z, w = q[: self.density.d_theta], self.vector.phi(q)[:, : self._free]
        theta = self.pilot.theta + self.pilot.root @ z
        return self._flat(theta, self._rows.place(z, w))

    @cached_property
    def _rows(self) -> Rows:
        assert self.pilot is not None
        return rows_of(self.density, self.tasks, self.pilot.theta, self.pilot.root, self._free)

    @property
    def _free(self) -> int:
        return self.density.width(self.tasks) if self.vector.has_phi else 0

    def _is_possible(self, point: np.ndarray) -> bool:
        value, gradient = self.value(point)
        return bool(np.isfinite(value) and np.isfinite(gradient).all())

    def _flat(self, theta: Tensor, phi: Tensor) -> np.ndarray:
        flat: np.ndarray = self.vector.join(theta, phi).double().numpy()
        return flat

    def _given(self, point: np.ndarray, seed: int) -> list[tuple[Tensor, Tensor]]:
        """The values that are given, the others as they are at the point."""
        values = self.given(seed) if callable(self.given) else self.given
        segments, names = self.density.segments, self._names()
        assert values is not None
        if unknown := [name for name in values if name not in names]:
            raise StructureError(
                f"start= names {', '.join(unknown)}, but what is sampled are {', '.join(names)}"
            )
        q = torch.from_numpy(point)
        theta, phi = q[: self.density.d_theta], self.vector.phi(q)

        def value_of(name: str, fn: Any) -> Tensor:
            segment = segments[name]
            if name in values:
                return _checked(self.density, name, fn, values[name])
            u = segment.unflatten(phi if segment.is_phi else theta)
            return self.density.value(name, fn, u)

        return [self.density.collect(value_of, self.tasks)]

    def _from_prior(self) -> list[tuple[Tensor, Tensor]]:
        """Points that were tried; the last one is the first of finite density, if there is any."""
        tried = []
        for _ in range(_THETAS):
            theta, phi = draw_prior(self.density, self.tasks)
            phi, ways = self._phi_that_may_be(theta, phi)
            tried += ways
            if self._is_possible(self._flat(theta, phi)):
                return [*tried, (theta, phi)]
        return tried

    def _phi_that_may_be(
        self, theta: Tensor, phi: Tensor
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """phi of each task drawn until its density is finite, and some of what was drawn."""
        drawn, found = phi, torch.zeros(self.tasks.num_tasks, dtype=torch.bool)
        tried = []
        for k in range(_PHIS):
            terms = self.density.terms(theta, drawn, self.tasks)
            fits = torch.isfinite(terms.phi + terms.data) & ~found
            phi, found = torch.where(fits[:, None], drawn, phi), found | fits
            if k % 10 == 0:
                tried.append((theta, drawn))
            if found.all() or not self.vector.has_phi:
                break
            drawn = draw_prior_phi(self.density, theta, self.tasks)
        return phi, tried

    def _blame(self, tried: list[tuple[Tensor, Tensor]]) -> str:
        """Which site is without a finite density, where and why, in a sentence."""
        with isolated(seed=0), torch.no_grad():
            runs = [self.density.sites(*at, self.tasks, jacobian=True) for at in tried]
        how = (
            "give a start at which the model allows the data, "
            f"theta=bm.NUTS(start={{{', '.join(repr(n) + ': ...' for n in self._names())}}}), or "
            "check the priors"
        )
        for name, node in self.density.structure.nodes.items():
            if node.role is Role.DETERMINISTIC or not runs:
                continue
            densities = [run[name].log_prob for run in runs]
            if name in self.density.structure.data:
                densities = [masked(x, self.tasks) for x in densities]
            bad = ~torch.stack([torch.isfinite(x) for x in densities]).any(0)
            if bad.any():
                return f"{self._place(name, bad, runs[-1][name], densities[-1])}; {how}"
        return f"no start was found at which the density is finite; {how}"

    def _names(self) -> list[str]:
        sites = self.density.segments.items()
        return [n for n, s in sites if self.vector.has_phi or not s.is_phi]

    def _place(self, name: str, bad: Tensor, site: Any, log_prob: Tensor) -> str:
        at = tuple(bad.nonzero()[0].tolist())
        where = f"site '{name}'"
        if name in self.density.structure.data:
            where += f", task '{self.tasks.names[at[-2]]}', datapoint {at[-1]}"
            where += f": value {site.value[at].tolist()}"
        if log_prob[at] == -torch.inf:
            return f"{where} is outside of its support at every start that was tried"
        return f"{where} has a log density of {float(log_prob[at])} at every start that was tried"


def _checked(density: Density, name: str, fn: Any, given: Tensor) -> Tensor:
    """A value as the model holds it, of one given as the posterior holds it."""
    segment, value = density.segments[name], torch.as_tensor(given)
    whole = torch.empty(tuple(fn.batch_shape) + tuple(fn.event_shape))
    expected = tuple(segment.publish(whole).shape)
    if tuple(value.shape) != expected:
        raise StructureError(
            f"start= gives site '{name}' a value of shape {tuple(value.shape)}, but it has shape "
            f"{expected}; give one value of that shape, without dimensions for chain and draw"
        )
    value = segment.unpublish(value.to(whole.dtype))
    check_value(name, value, fn)
    return value
