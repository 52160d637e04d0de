"""prototypes: prototypical networks, as the model of Gaussian class means that they are.

An image's embedding z_ij = f(x_ij; theta) is drawn from one of K classes with equal chances, around
that class's mean, and its label says which (Snell, Swersky & Zemel 2017, section 2.3):

    prototype_ik ~ N(0, s^2 I)                       class k of task i
    z_ij ~ mean over k of N(prototype_ik, I)
    P(y_ij = k | z_ij) = N(z_ij; prototype_ik, I) / sum over l of N(z_ij; prototype_il, I)

The product of both is N(z_ij; prototype_i,y, I), a linear-Gaussian model of the support, in which
the mode of a prototype is (but for the wide prior) the mean of its class's embeddings. A gradient
step from 0 lands on that mean, where its size is 1 / n_k for a class of n_k examples, as that of
bm.ProtoNet() and bm.GradientSteps(1, lr=None) is. A class without examples stays at 0, with a
warning.
"""

from __future__ import annotations

from collections.abc import Callable

import pyro
import pyro.distributions as dist
import torch
from torch import nn

import bayesmeta as bm

from .few_shot_classifier import Norm, features

PRIOR_SD = 100.0


def prototypes(
    ways: int, filters: int = 64, norm: Norm = bm.nets.TransductiveBatchNorm2d, seed: int = 0
) -> Callable[[bm.Tasks], None]:
    """The model of `ways` classes; theta is the embedding's weights, phi the prototypes."""
    with bm.nets.isolated(seed):
        embed = bm.nets.Net(nn.Sequential(*features(filters, norm)))
    return of(embed, 4 * filters, ways)


def of(
    embed: bm.nets.Net, width: int, ways: int, column: str = "image"
) -> Callable[[bm.Tasks], None]:
    """The model of `ways` classes for any embedding.

    Args:
        embed: makes an embedding (width,) of each example.
        width: its size.
        ways: the number of classes.
        column: of x that is embedded.
    """
    origin = torch.zeros(ways, width)

    def model(tasks: bm.Tasks) -> None:
        theta = pyro.param("theta", lambda: embed.weights().to(tasks.dtype))
        z = embed(theta, tasks.x[column])
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            around = dist.Normal(origin.to(tasks.dtype), PRIOR_SD).to_event(2)
            prototype = pyro.sample("prototype", around)
            with pyro.plate("data", tasks.num_data, dim=-1):
                log_joint = -0.5 * (z[..., None, :] - prototype).square().sum(-1)
                pyro.factor("embedding", log_joint.logsumexp(-1))
                pyro.sample("y", dist.Categorical(logits=log_joint), obs=tasks.y)

    return model


model = prototypes(5)
