"""neural_process: functions by a shared decoder of x and a latent vector of the function's own.

    z_i ~ N(0, I),   y_ij ~ N(mean(x_ij, z_i; theta), sd(x_ij, z_i; theta)^2)

With phi=bm.Amortised() an encoder infers z_i from the points seen: a neural process (Garnelo et al.
2018). The data are functions drawn from a Gaussian process, whose exact predictive is known.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from torch import Tensor
from torch.nn.functional import softplus

import bayesmeta as bm

LENGTH, NOISE, LEAST_SD = 0.4, 0.1, 0.001


def neural_process(
    inputs: int = 1, latent: int = 32, hidden: int = 64, seed: int = 0
) -> Callable[[bm.Tasks], None]:
    """The model for x["x"] of shape (tasks, data, inputs) and y of shape (tasks, data)."""
    return functions(bm.nets.perceptron(inputs + latent, hidden, hidden, 2, seed=seed), latent)


def functions(decode: bm.nets.Net, latent: int) -> Callable[[bm.Tasks], None]:
    """The model by a network of (x, z), with `latent` numbers z, that gives a mean and a spread.

    What the network reads and gives is in units of the tasks that theta is fitted to, so that it
    trains alike on data in grams and in tonnes: `units` are means and sds, and do not move.
    """

    def model(tasks: bm.Tasks) -> None:
        theta = pyro.param("theta", lambda: decode.weights().to(tasks.dtype))
        # Of x, then of y.
        units = pyro.param("units", lambda: units_of(tasks)).detach()
        x = (tasks.x["x"] - units[0, :-1]) / units[1, :-1]
        zero = torch.zeros(latent, dtype=tasks.dtype)
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            z = pyro.sample("z", dist.Normal(zero, 1.0).to_event(1))
            with pyro.plate("data", tasks.num_data, dim=-1):
                given = torch.cat([x, z.expand(*x.shape[:2], latent)], -1)
                mean, spread = decode(theta, given).unbind(-1)
                sd = LEAST_SD + softplus(spread)
                loc, scale = units[0, -1], units[1, -1]
                pyro.sample("y", dist.Normal(loc + scale * mean, scale * sd), obs=tasks.y)

    return model


def units_of(tasks: bm.Tasks) -> Tensor:
    """Mean and sd of each number of x, and of y, over all datapoints, (2, inputs + 1)."""
    x = tasks.x["x"]
    y = torch.zeros(x.shape[:2]) if tasks.y is None else tasks.y
    rows = torch.cat([x, y[..., None].to(x)], -1)[tasks.mask]
    if len(rows) < 2:
        return torch.stack([rows.new_zeros(x.shape[-1] + 1), rows.new_ones(x.shape[-1] + 1)])
    sd, mean = torch.std_mean(rows, 0)
    return torch.stack([mean, torch.where(sd > 0, sd, 1.0)])


model = neural_process()


def covariance(x: Tensor, other: Tensor) -> Tensor:
    """exp(-|x - x'|^2 / (2 LENGTH^2)) between x (tasks, n, 1) and other (tasks, m, 1)."""
    return torch.exp(-0.5 * ((x - other.mT) / LENGTH).square())


def _draw(x: Tensor, noise: Tensor) -> Tensor:
    """y (tasks, data) of the process, with its observation noise."""
    k = covariance(x, x) + NOISE**2 * torch.eye(x.shape[1], dtype=x.dtype)
    return (torch.linalg.cholesky(k) @ noise)[..., 0]


def tasks(num_tasks: int = 100, shots: int = 10, queries: int = 50, seed: int = 0) -> bm.Tasks:
    """Functions of unit variance at x uniform in -2..2, with noise; a support with its query.

    Supports hold 3 to `shots` points, ragged where shots is more than 3.
    """
    rng = np.random.default_rng(seed)
    count = shots + queries
    x = torch.from_numpy(rng.uniform(-2.0, 2.0, (num_tasks, count, 1)))
    noise = torch.from_numpy(rng.standard_normal((num_tasks, count, 1)))
    y = torch.cat([_draw(*part) for part in zip(x.split(256), noise.split(256), strict=True)])
    sizes = torch.from_numpy(rng.integers(min(3, shots), shots + 1, (num_tasks, 1)))
    names = range(num_tasks)
    x, y = x.float(), y.float()
    support = bm.Tasks.from_arrays(
        y[:, :shots], {"x": x[:, :shots]}, torch.arange(shots) < sizes, names
    )
    return support.with_query(bm.Tasks.from_arrays(y[:, shots:], {"x": x[:, shots:]}, names=names))


def exact_predictive(support: bm.Tasks, x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and sd of y at x (tasks, data, 1) by the process itself, (tasks, data)."""
    assert support.y is not None
    seen = support.x["x"].double()
    # A padded row is a point of its own with infinite noise: it tells nothing.
    noise = torch.where(support.mask, NOISE**2, 1e12)
    inner = covariance(seen, seen) + torch.diag_embed(noise)
    cross = covariance(seen, x.double())
    weights = torch.linalg.solve(inner, cross)
    variance = 1.0 + NOISE**2 - (weights * cross).sum(1)
    return (weights * support.y.double()[..., None]).sum(1), variance.sqrt()


def exact_log_score(support: bm.Tasks) -> Tensor:
    """log p(y | x, support) of each point of the query by the process itself, (tasks, data)."""
    query = support.query
    assert query is not None and query.y is not None
    mean, sd = exact_predictive(support, query.x["x"])
    return dist.Normal(mean, sd).log_prob(query.y.double())
