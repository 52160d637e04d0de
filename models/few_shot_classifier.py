"""few_shot_classifier: tell a few classes apart from a few images, by a network a task, as in MAML.

The network is that of MAML's Omniglot experiments (Finn, Abbeel & Levine 2017, section 5.2): four
times 3x3 convolution with stride 2, batch normalisation and rectification, then a linear layer.
"""

from __future__ import annotations

from collections.abc import Callable

import pyro
import pyro.distributions as dist
from torch import nn

import bayesmeta as bm

from . import omniglot

Norm = Callable[[int], nn.Module]


def features(filters: int = 64, norm: Norm = bm.nets.TransductiveBatchNorm2d) -> list[nn.Module]:
    """Layers that make of an image (1, 28, 28) its features (4 * filters,).

    Args:
        filters: channels of each convolution.
        norm: makes the normalisation of so many channels. The default is the transductive protocol,
            in which the images of a query help each other: say so beside the results.
    """
    layers: list[nn.Module] = []
    channels = 1
    for _ in range(4):
        convolution = nn.Conv2d(channels, filters, 3, stride=2, padding=1)
        layers += [convolution, norm(filters), nn.ReLU()]
        channels = filters
    return [*layers, nn.Flatten()]


def classifier(
    ways: int, filters: int = 64, norm: Norm = bm.nets.TransductiveBatchNorm2d, seed: int = 0
) -> Callable[[bm.Tasks], None]:
    """The model of `ways` classes: every weight is of the task, normal around the shared ones.

    A gradient step of size lr on the log likelihood is one of size lr * n on the mean cross entropy
    of n images.
    """
    with bm.nets.isolated(seed):
        net = bm.nets.Net(nn.Sequential(*features(filters, norm), nn.Linear(4 * filters, ways)))

    def model(tasks: bm.Tasks) -> None:
        theta = pyro.param("theta", lambda: net.weights().to(tasks.dtype))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(theta, 1.0).to_event(1))
            with pyro.plate("data", tasks.num_data, dim=-1):
                logits = net(phi, tasks.x["image"])
                pyro.sample("y", dist.Categorical(logits=logits), obs=tasks.y)

    return model


model = classifier(5)


def tasks(num_tasks: int = 100, seed: int = 0) -> bm.Tasks:
    """5-way 1-shot episodes of Omniglot's test characters, with 15 queries a class."""
    test = omniglot.classes(omniglot.Split.TEST)
    return test.episodes(num_tasks, ways=5, shots=1, queries=15, seed=seed)
