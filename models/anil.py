"""anil: features shared by all tasks and a linear head a task, as in ANIL.

ANIL (Raghu, Raghu, Bengio & Vinyals 2020) is MAML whose inner loop leaves all but the last layer
alone. Here that is a matter of the model, not of the algorithm: the features are theta, the head is
phi.
"""

from __future__ import annotations

from collections.abc import Callable

import pyro
import pyro.distributions as dist
from torch import nn

import bayesmeta as bm

from .few_shot_classifier import Norm, features


def anil(
    ways: int, filters: int = 64, norm: Norm = bm.nets.TransductiveBatchNorm2d, seed: int = 0
) -> Callable[[bm.Tasks], None]:
    """The model of `ways` classes: phi is the head's weights, normal around the shared ones."""
    with bm.nets.isolated(seed):
        embed = bm.nets.Net(nn.Sequential(*features(filters, norm)))
        linear = bm.nets.Net(nn.Linear(4 * filters, ways))

    def model(tasks: bm.Tasks) -> None:
        theta = pyro.param("theta", lambda: embed.weights().to(tasks.dtype))
        start = pyro.param("start", lambda: linear.weights().to(tasks.dtype))
        z = embed(theta, tasks.x["image"])
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            head = pyro.sample("head", dist.Normal(start, 1.0).to_event(1))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Categorical(logits=linear(head, z)), obs=tasks.y)

    return model


model = anil(5)
