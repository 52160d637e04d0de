"""ridge: tell classes apart by a ridge regression on shared features, as in R2-D2.

The label of image j is a vector of 0 and 1, regressed on the image's features z_ij (theta) by a
matrix W_i of the task (phi). With a normal prior and normal noise its mode is ridge regression:

    W_i ~ N(0, 1 / features),   onehot_ij ~ N(b + a W_i z_ij, sigma^2)

R2-D2 (Bertinetto, Henriques, Torr & Vedaldi 2019) trains features by the cross entropy of what the
ridge regression predicts; here it is by the density of the labels themselves, so that model and
objective are one. The class predicted is the one whose mean is highest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pyro
import pyro.distributions as dist
import torch
from torch import nn

import bayesmeta as bm

from .few_shot_classifier import Norm, features

_POSITIVE = dist.constraints.positive


def ridge(
    ways: int, filters: int = 64, norm: Norm = bm.nets.TransductiveBatchNorm2d, seed: int = 0
) -> Callable[[bm.Tasks], None]:
    """The model of `ways` classes; y is one-hot, (tasks, data, ways): see `onehot`."""
    with bm.nets.isolated(seed):
        embed = bm.nets.Net(nn.Sequential(*features(filters, norm)))
    width = 4 * filters

    def model(tasks: bm.Tasks) -> None:
        theta = pyro.param("theta", lambda: embed.weights().to(tasks.dtype))
        gain = pyro.param("gain", torch.tensor(1.0, dtype=tasks.dtype), constraint=_POSITIVE)
        level = pyro.param("level", torch.tensor(1.0 / ways, dtype=tasks.dtype))
        sigma = pyro.param("sigma", torch.tensor(0.3, dtype=tasks.dtype), constraint=_POSITIVE)
        z = embed(theta, tasks.x["image"])
        prior = dist.Normal(torch.zeros(ways, width, dtype=tasks.dtype), width**-0.5)
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            weights = pyro.sample("weights", prior.to_event(2))
            with pyro.plate("data", tasks.num_data, dim=-1):
                mean = level + gain * (weights @ z[..., None])[..., 0]
                pyro.sample("y", dist.Normal(mean, sigma).to_event(1), obs=tasks.y)

    return model


model = ridge(5)


def onehot(episodes: bm.Tasks, ways: int) -> bm.Tasks:
    """Episodes whose y, (tasks, data), are class numbers, with one-hot y, (tasks, data, ways)."""
    assert episodes.y is not None
    y = nn.functional.one_hot(episodes.y.long(), ways).to(episodes.dtype)
    query = None if episodes.query is None else onehot(episodes.query, ways)
    return replace(episodes, y=y, query=query)
