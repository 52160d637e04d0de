"""NUTS: exact inference by nutpie's sampler on the captured density."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.fx import GraphModule

from bayesmeta.capturing.capture import compile_graph, value_and_gradient
from bayesmeta.capturing.kept import captured, kept, key_of
from bayesmeta.data.arguments import check_number, check_whole, check_wholes
from bayesmeta.data.size_groups import lay_out
from bayesmeta.data.tasks import Tasks
from bayesmeta.engine.native import NativeDensity, build, has_c_entries, why_unavailable
from bayesmeta.engine.noise import seeds
from bayesmeta.engine.sampler import Chains, LogDensity, import_nutpie, sample
from bayesmeta.model.density import Density
from bayesmeta.phi.base import Phi
from bayesmeta.task_level.implicit_mode import (
    compile_searches,
    has_searches,
    searches_along,
)
from bayesmeta.theta.base import Fit, Theta
from bayesmeta.theta.joint_vector import JointVector
from bayesmeta.theta.levels import holds_at_draws, level_terms
from bayesmeta.theta.noncentring import check_names, noncentre
from bayesmeta.theta.pilot import Pilot, find_pilot
from bayesmeta.theta.starts import Start, Starts, check_start
from bayesmeta.theta.units import tangent
from bayesmeta.training.fit_options import FitOptions

# What a gradient of one draw costs on average: trajectories of 2^3 to 2^4 steps.
_GRADIENTS_PER_DRAW = 12
# What a cold compilation costs at least; below it the graph is interpreted.
_COMPILE_SECONDS = 15.0
# A run of fewer gradients is compiled in this process: 20 s sooner, 40 us slower a gradient.
_SHORT_RUN = 50_000
_STARTS_A_CHAIN = 4
# Up to how many numbers correlations are adapted to: radon's 177 take 10 s and more for it, and are
# sampled in .5 s without.
_MOST_CORRELATED = 100
_CORRELATED = (
    "theta is correlated, so the mass matrix is of low rank beside its diagonal; low_rank=False "
    "leaves it diagonal"
)


@dataclass(frozen=True)
class NUTS(Theta):
    """The No-U-Turn sampler (Hoffman & Gelman 2014) as nutpie runs it, in float64.

    With phi=Joint() it samples theta and phi together; with another phi strategy only theta, under
    log p(theta) + sum_i log_evidence_i.

    Attributes:
        chains, tune, draws: chains, and warm-up and kept draws of each.
        target_accept: mean acceptance rate to adapt the step size to.
        max_depth: trajectories have at most 2^max_depth steps.
        noncentred: location-scale sites to treat as loc + scale * u; None chooses, and says
            why in the posterior's notes; () centres all.
        low_rank: whether the mass matrix knows of correlations, as of collinear predictors: it is
            diagonal and of low rank then, which takes longer to adapt where there are many numbers.
            None decides by the correlations of a pilot's theta, for up to 100 numbers.
        cores: chains at once; None takes all cores.
        compile: whether to compile the density; None decides by what it would save.
        start: where chains start: values by site, as the posterior holds them without (chain,
            draw), of some sites or all, or a function of a seed that returns them; None takes
            places within two sds of a pilot's mode, or of 0, at which the density is not zero.
    """

    chains: int = 4
    tune: int = 1000
    draws: int = 1000
    target_accept: float = 0.8
    max_depth: int = 10
    noncentred: tuple[str, ...] | None = None
    low_rank: bool | None = None
    cores: int | None = None
    compile: bool | None = None
    start: Start | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        check_wholes(self, "chains", "tune", "draws", "max_depth")
        if self.low_rank is not None and not isinstance(self.low_rank, bool):
            raise TypeError(f"NUTS got low_rank={self.low_rank!r}; give True, False or None")
        check_whole(self, "cores", self.cores, or_none=True)
        check_number(self, "target_accept", self.target_accept, above=0, below=1)
        check_names(self.noncentred)
        check_start(self.start)

    def fit(self, density: Density, tasks: Tasks, phi: Phi, options: FitOptions) -> Fit:
        """Sample theta, and phi with it or given it."""
        began, tasks = time.perf_counter(), tasks.to(dtype=torch.float64)
        _check_phi(density, phi, tasks)
        pilot_seed, chain_seed = seeds(options.seed, 2)
        pilot = find_pilot(density, tasks, phi, pilot_seed)
        given = self.noncentred, density, tasks, phi, pilot_seed, pilot
        density, notes, pilot = noncentre(*given)
        less, by, few = phi.shortened(density, tasks) or (density, phi, tasks)
        seconds = {"pilot": time.perf_counter() - began}
        found = self._run(less, few, by, pilot, chain_seed, options)
        if less is not density and not holds_at_draws(found, density, tasks):
            found = self._run(density, tasks, phi, pilot, chain_seed, options)
        notes, seconds = (*notes, *found.notes), seconds | dict(found.seconds)
        return replace(found, density=density, tasks=tasks, notes=notes, seconds=seconds)

    def _run(
        self,
        density: Density,
        tasks: Tasks,
        phi: Phi,
        pilot: Pilot | None,
        chain_seed: int,
        options: FitOptions,
    ) -> Fit:
        """Chains of theta, and of phi where it is joint, on a density as it is."""
        began, vector = time.perf_counter(), JointVector.of(density, tasks, phi)
        data = [lay_out(t) for group in vector.groups for t in group.tensors()]
        inputs = [torch.zeros(vector.dim, dtype=torch.float64), *data]
        function = value_and_gradient(_target(vector, phi), 1)
        graph = captured(density, ("nuts", phi), vector.groups, function, inputs)
        starts = Starts(vector, _by_callback(graph, data), self.start, pilot)
        starts.prepare(chain_seed, _STARTS_A_CHAIN * self.chains)
        line: AbstractContextManager[None] = nullcontext()
        if pilot is not None and has_searches(graph):
            line = searches_along(graph, tangent(*phi.searched(density, tasks), pilot))
        seconds = {"capture": time.perf_counter() - began}
        key = key_of(("machine code", phi, self._runners), vector.groups, inputs)
        engine, compiling = self._engine(_Target(density, key, graph, inputs), options.repeats)
        seconds["compile"] = compiling
        with line:
            draws, took = self._sample(engine, starts, chain_seed, options.progress)
        seconds["sample"] = took
        is_told = self.low_rank is None and self._is_low_rank(starts)
        notes = (_CORRELATED,) if is_told else ()
        q = torch.from_numpy(draws.q)
        stats = {name: torch.from_numpy(np.asarray(s)) for name, s in draws.stats.items()}
        theta, found = q[..., : density.d_theta], vector.phi(q) if vector.has_phi else None
        return Fit(density, tasks, theta, found, stats=stats, seconds=seconds, notes=notes)

    def _sample(
        self,
        engine: LogDensity | NativeDensity,
        starts: Starts,
        seed: int,
        progress: bool,
    ) -> tuple[Chains, float]:
        import_nutpie()  # It takes a second, and is not sampling.
        began = time.perf_counter()
        draws = sample(
            engine,
            starts.vector.dim,
            chains=self.chains,
            tune=self.tune,
            draws=self.draws,
            target_accept=self.target_accept,
            max_depth=self.max_depth,
            cores=self._cores,
            seed=seed,
            start=starts,
            progress=progress,
            low_rank=self._is_low_rank(starts),
        )
        return draws, time.perf_counter() - began

    def _is_low_rank(self, starts: Starts) -> bool:
        if self.low_rank is not None:
            return self.low_rank
        is_quick = starts.vector.dim <= _MOST_CORRELATED
        return is_quick and starts.pilot is not None and starts.pilot.is_correlated

    def _engine(self, target: _Target, repeats: int) -> tuple[LogDensity | NativeDensity, float]:
        """The graph compiled where that saves time and a compiler is there, else interpreted.

        Returns:
            log density and gradient, and what compiling took in seconds.
        """
        gradients = repeats * self._gradients
        wanted = self.compile
        if wanted is None:
            wanted = target.seconds() * gradients > _COMPILE_SECONDS
        interpreted = _by_callback(target.graph, target.data), 0.0
        if not wanted:
            return interpreted
        reason = why_unavailable()
        if reason is None:
            is_short = self.compile is None and gradients < _SHORT_RUN
            try:
                if not is_short and has_c_entries(target.graph):
                    return target.native(self._runners)
                return target.compiled()
            except Exception as error:  # a compiler may fail in any way; sampling goes on
                reason = f"the density did not compile ({error}), so sampling is slower"
        warnings.warn(reason, stacklevel=2)
        return interpreted

    @property
    def _gradients(self) -> int:
        """How many gradients the run may take."""
        return _GRADIENTS_PER_DRAW * self.chains * (self.tune + self.draws)

    @property
    def _cores(self) -> int:
        return self.cores or os.cpu_count() or 1

    @property
    def _runners(self) -> int:
        return min(self.chains, self._cores)


class _Target(NamedTuple):
    """What is sampled, as a graph of (q, *data), and what of it the density keeps compiled."""

    density: Density
    key: Hashable
    graph: GraphModule
    inputs: list[Tensor]

    @property
    def data(self) -> list[Tensor]:
        """The inputs beside q."""
        return self.inputs[1:]

    def seconds(self) -> float:
        """What one call takes, interpreted."""
        began = time.perf_counter()
        for _ in range(3):
            self.graph(*self.inputs)
        return (time.perf_counter() - began) / 3

    def native(self, runners: int) -> tuple[NativeDensity, float]:
        """As a C function with these data, and what compiling took."""
        took = []

        def make() -> NativeDensity:
            made = build(self.graph, self.inputs[0], self.data, runners)
            took.append(made.compile_seconds)
            return made

        found = kept(self.density, self.key, make)
        found.bind(self.data)
        return found, sum(took, 0.0)

    def compiled(self) -> tuple[LogDensity, float]:
        """Compiled in this process, and what that took."""
        began = time.perf_counter()

        def make() -> Callable[..., tuple[Tensor, ...]]:
            compile_searches(self.graph)
            return compile_graph(self.graph, self.inputs, threads=1)

        key = None if self.key is None else ("in process", self.key)
        called = _by_callback(kept(self.density, key, make), self.data)
        called(self.inputs[0].numpy())
        return called, time.perf_counter() - began


def _by_callback(graph: Callable[..., tuple[Tensor, ...]], data: list[Tensor]) -> LogDensity:
    def log_density(point: np.ndarray) -> tuple[float, np.ndarray]:
        with torch.no_grad():
            value, gradient = graph(torch.from_numpy(np.array(point)), *data)
        return float(value), gradient.numpy()

    return log_density


def _check_phi(density: Density, phi: Phi, tasks: Tasks) -> None:
    """Refuse a phi whose log evidence is no function of theta alone."""
    why = ""
    if phi.start(density, tasks):
        why = "NUTS samples theta and trains nothing, but this phi has a part to train"
    elif phi.noise(density, 1, tasks.dtype, torch.Generator().manual_seed(0)):
        why = "NUTS asks for the same value at the same theta, but this phi's is by random draws"
    if why:
        raise ValueError(f"phi={phi!r}: {why}; fit with theta=bm.Point() or bm.Gaussian()")


def _target(vector: JointVector, phi: Phi) -> Callable[..., Tensor]:
    """log p(theta) + the tasks' terms, as a function of (q, *data of all groups)."""
    terms = [level_terms(vector.density, phi, group, jacobian=True) for group in vector.groups]
    counts = [len(group.tensors()) for group in vector.groups]

    def target(q: Tensor, *data: Tensor) -> Tensor:
        theta, blocks = vector.split(q)
        total, at = torch.zeros((), dtype=q.dtype), 0
        for k, block in enumerate(blocks):
            prior, values = terms[k](theta, block, *data[at : at + counts[k]])
            total = total + values.sum() + (prior if k == 0 else 0.0)
            at = at + counts[k]
        return total

    return target
