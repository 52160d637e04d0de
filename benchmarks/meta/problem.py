"""What every peer computes: the outer loss of MAML on one batch of tasks, and a step of Adam on it.

phi_i = theta - lr * k gradient steps on the mean loss of task i's support; the outer loss is the
mean over tasks of the mean loss on the query; its gradient goes through the steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from bayesmeta.models import few_shot_classifier, omniglot, sinusoid
from bayesmeta.running.isolation import isolated

OUTER_LR = 1e-3


@dataclass(frozen=True)
class Problem:
    """Data with the tasks first, the network at its start, and how the inner loop goes.

    Attributes:
        x, y: support, (tasks, data, ...) and (tasks, data).
        query_x, query_y: query.
        steps: inner gradient steps.
        lr: their size, on the mean loss.
        classes: how many there are, or 0 for regression with squared error.
    """

    x: Tensor
    y: Tensor
    query_x: Tensor
    query_y: Tensor
    steps: int
    lr: float
    classes: int

    def network(self) -> nn.Sequential:
        """The network, the same for every peer."""
        with isolated(seed=0):
            if self.classes:
                layers = few_shot_classifier.features(64)
                return nn.Sequential(*layers, nn.Linear(256, self.classes))
            return nn.Sequential(
                nn.Linear(1, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 1)
            )

    def loss(self, output: Tensor, y: Tensor) -> Tensor:
        """The mean loss of one task."""
        if self.classes:
            return nn.functional.cross_entropy(output, y)
        return (output[..., 0] - y).square().mean()


def sinusoids() -> Problem:
    """25 sine waves, 10 shots, 5 steps, the network of MAML's paper."""
    support, query = sinusoid.tasks(25, 20, seed=0).split(10)
    assert support.y is not None and query.y is not None
    return Problem(support.x["x"], support.y, query.x["x"], query.y, 5, 0.01, 0)


def _characters(steps: int) -> Problem:
    train = omniglot.classes(omniglot.Split.TRAIN)
    support = train.episodes(32, ways=5, shots=1, queries=5)
    query = support.query
    assert query is not None and support.y is not None and query.y is not None
    images = support.x["image"], query.x["image"]
    return Problem(images[0], support.y.long(), images[1], query.y.long(), steps, 0.4, 5)


PROBLEMS = {
    "sinusoids, 5 steps": sinusoids,
    "Omniglot conv4, 1 step": lambda: _characters(1),
    "Omniglot conv4, 5 steps": lambda: _characters(5),
}


def numpy_parameters(network: nn.Module) -> list[np.ndarray]:
    """The parameters in the network's order, for peers that are not torch."""
    return [p.detach().numpy().copy() for p in network.parameters()]
