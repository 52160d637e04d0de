"""lynx_hare: predators and prey by Lotka's and Volterra's equations, a task per series.

du/dt = (alpha - beta v) u,   dv/dt = (-gamma + delta u) v      u hares, v lynx, in thousands
y_ij ~ N(log z_i(t_ij), sigma_i)                                log pelts of one kind in one year

The priors are those of Carpenter (2018), Predator-Prey Population Dynamics (Stan case studies), of
which posteriordb has reference draws. All tasks of the model are independent: there is no theta,
and what they share is the network that infers them. The source of the data is in data/README.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor

import bayesmeta as bm

SITES = ("alpha", "beta", "gamma", "delta", "z0", "sigma")
YEARS, STEPS = 21, 5
# Simulations from the prior may explode, as no population does: cut at e^12 thousand.
_LARGEST = 12.0
_FEWEST, _MOST, _AT_ONCE = math.log(0.1), math.log(1000.0), 2000
_DATA = Path(__file__).parent / "data"
REFERENCE = _DATA / "lynx_hare_reference.csv"


class Truncated(TorchDistribution):
    """A normal cut off below zero, N(loc, scale) given that x > 0.

    Args:
        loc: mean of the normal before the cut.
        scale: its standard deviation.
    """

    arg_constraints: ClassVar = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.positive
    has_rsample = True

    def __init__(self, loc: Tensor, scale: Tensor, validate_args: bool | None = None) -> None:
        self.loc, self.scale = torch.broadcast_tensors(loc, scale)
        self._normal = dist.Normal(self.loc, self.scale, validate_args=False)
        self._kept = torch.special.ndtr(self.loc / self.scale)
        super().__init__(self.loc.shape, validate_args=validate_args)

    def expand(self, batch_shape: torch.Size, _instance: object = None) -> Truncated:
        """The same, for more tasks."""
        return Truncated(self.loc.expand(batch_shape), self.scale.expand(batch_shape), False)

    @property
    def mean(self) -> Tensor:
        """loc + scale * density at the cut / probability of what is kept."""
        at_cut = (self._normal.log_prob(torch.zeros_like(self.loc))).exp()
        return self.loc + self.scale.square() * at_cut / self._kept

    def log_prob(self, value: Tensor) -> Tensor:
        """That of the normal, more by what was cut off."""
        return self._normal.log_prob(value) - self._kept.log()

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """By the inverse of the distribution function."""
        u = torch.rand(self._extended_shape(torch.Size(sample_shape)), dtype=self.loc.dtype)
        return self._normal.icdf(1 - self._kept * (1 - u))


def trajectory(rates: Tensor, start: Tensor) -> Tensor:
    """Log populations by years, (years, tasks, 2): hares, lynx.

    Leapfrog steps, which suit the equations: they conserve an energy that is separable in logs.

    Args:
        rates: alpha, beta, gamma and delta, a year, (4, tasks).
        start: populations in the first year, (tasks, 2).
    """
    alpha, beta, gamma, delta = rates / STEPS
    u, v = start.log().unbind(-1)
    found = [torch.stack([u, v], -1)]
    for _ in range(YEARS - 1):
        v = v + 0.5 * (delta * u.exp() - gamma)
        for step in range(STEPS):
            u = (u + alpha - beta * v.exp()).clamp(-_LARGEST, _LARGEST)
            share = 1.0 if step < STEPS - 1 else 0.5
            v = (v + share * (delta * u.exp() - gamma)).clamp(-_LARGEST, _LARGEST)
        found.append(torch.stack([u, v], -1))
    return torch.stack(found)


def model(tasks: bm.Tasks) -> None:
    """Rates, first populations and errors of each series; x holds "year", from 0, and "lynx"."""

    def constant(*values: float) -> Tensor:
        return torch.tensor(values, dtype=tasks.dtype, device=tasks.device)

    year, lynx = (tasks.x[name].long() for name in ("year", "lynx"))
    one, fast, slow = constant(1.0), constant(0.5), constant(0.05)
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        alpha = pyro.sample("alpha", Truncated(one, fast))
        beta = pyro.sample("beta", Truncated(slow, slow))
        gamma = pyro.sample("gamma", Truncated(one, fast))
        delta = pyro.sample("delta", Truncated(slow, slow))
        z0 = pyro.sample("z0", dist.LogNormal(constant(10.0, 10.0).log(), 1.0).to_event(1))
        sigma = pyro.sample("sigma", dist.LogNormal(constant(-1.0, -1.0), 1.0).to_event(1))
        z = trajectory(torch.stack([alpha, beta, gamma, delta])[..., 0], z0[:, 0])
        task = torch.arange(tasks.num_tasks, device=tasks.device)[:, None]
        spread = sigma[:, 0].gather(1, lynx)
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(z[year, task, lynx], spread), obs=tasks.y)


@dataclass(frozen=True)
class Series(bm.Encoder):
    """A network of all datapoints side by side, which sees their order, as `DeepSet` does not."""

    width: int = 256

    def start(self, inputs: int, seed: int = 0) -> list[Tensor]:
        """The network's weights."""
        return [self._net(inputs, seed).weights()]

    def __call__(self, weights: Sequence[Tensor], rows: Tensor, mask: Tensor) -> Tensor:
        """Of rows (tasks, 2 * YEARS, inputs), with 0 where there is no datapoint."""
        given = torch.where(mask[..., None], rows, 0.0).flatten(1)
        return self._net(rows.shape[-1])(weights[0], given[:, None])[:, 0]

    def _net(self, inputs: int, seed: int = 0) -> bm.nets.Net:
        sizes = 2 * YEARS * inputs, self.width, self.width, self.features
        return bm.nets.perceptron(*sizes, seed=seed)


def frame() -> pd.DataFrame:
    """Pelts of 1900 to 1920 in thousands: year, hare, lynx; REFERENCE has the posterior."""
    return pd.read_csv(_DATA / "lynx_hare.csv")


def tasks() -> bm.Tasks:
    """The series of the Hudson's Bay Company, one task of 42 datapoints."""
    table = frame()
    y = np.log(table[["hare", "lynx"]].to_numpy().T.reshape(1, -1))
    return _layout(torch.from_numpy(y), ["Hudson's Bay"])


def simulated(num_tasks: int = 1000, seed: int = 0) -> bm.Tasks:
    """Series of the same years from the model, parameters from their prior, if they are plausible.

    Of the prior's series two in five explode or die out; kept are those between 100 animals and a
    million at all times. What q(phi | D) should be is the same, whichever series it is trained on.
    The columns named as SITES hold what each was simulated from, for bm.Simulated().
    """
    empty = _layout(torch.zeros(_AT_ONCE, 2 * YEARS), range(_AT_ONCE))
    kept: dict[str, list[Tensor]] = {name: [] for name in ("y", *SITES)}
    with bm.nets.isolated(seed):
        while sum(map(len, kept["y"])) < num_tasks:
            trace = pyro.poutine.trace(pyro.poutine.uncondition(model)).get_trace(empty)
            y = trace.nodes["y"]["value"]
            plausible = ((y > _FEWEST) & (y < _MOST)).all(1)
            for name, found in kept.items():
                found.append(trace.nodes[name]["value"][plausible])
    columns = {name: torch.cat(found)[:num_tasks] for name, found in kept.items()}
    return _layout(columns.pop("y"), range(num_tasks), columns)


def _layout(
    y: Tensor, names: Sequence[object], truth: Mapping[str, Tensor] | None = None
) -> bm.Tasks:
    """Tasks of y (tasks, 2 * YEARS): the hares of all years, then the lynx."""
    shape = (len(y), 2, YEARS)
    year = torch.arange(YEARS).expand(shape).flatten(1)
    lynx = torch.arange(2)[:, None].expand(shape).flatten(1)
    return bm.Tasks.from_arrays(y, {"year": year, "lynx": lynx, **(truth or {})}, names=names)
