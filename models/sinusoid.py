"""sinusoid: regression on sine waves by a network whose weights are phi, as in MAML's paper.

y = amplitude * sin(x - phase), amplitude ~ U(0.1, 5), phase ~ U(0, pi), x ~ U(-5, 5), without noise
(Finn, Abbeel & Levine 2017, section 5.1).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

import bayesmeta as bm


def _network(seed: int = 0) -> nn.Module:
    """The paper's: two hidden layers of 40 rectified units."""
    with bm.nets.isolated(seed):
        return nn.Sequential(
            nn.Linear(1, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 1)
        )


NET = bm.nets.Net(_network())


def sinusoid(sigma: float = 1.0, tau: float = 1.0) -> Callable[[bm.Tasks], None]:
    """A network a task, its weights normal around the shared ones, and normal noise.

    With sigma = 1, that of the paper's squared error, a gradient step of size lr on the log
    likelihood of n datapoints is one of size lr * n / 2 on their mean squared error; with another
    sigma it is 1 / sigma^2 times as long.

    Args:
        sigma: standard deviation of y around the network.
        tau: standard deviation of a task's weights around the shared ones.
    """

    def model(tasks: bm.Tasks) -> None:
        theta = pyro.param("theta", lambda: NET.weights().to(tasks.dtype))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(theta, tau).to_event(1))
            with pyro.plate("data", tasks.num_data, dim=-1):
                mean = NET(phi, tasks.x["x"]).squeeze(-1)
                pyro.sample("y", dist.Normal(mean, sigma), obs=tasks.y)

    return model


model = sinusoid()


def truth(num_tasks: int = 100, seed: int = 0) -> dict[str, Tensor]:
    """Amplitude and phase of each task, (tasks,)."""
    rng = np.random.default_rng([seed, 0])
    return {
        "amplitude": torch.from_numpy(rng.uniform(0.1, 5.0, num_tasks)),
        "phase": torch.from_numpy(rng.uniform(0.0, np.pi, num_tasks)),
    }


def tasks(num_tasks: int = 100, num_data: int = 10, seed: int = 0, noise: float = 0.0) -> bm.Tasks:
    """Data of `truth(num_tasks, seed)`, float32: y (tasks, data), x["x"] (tasks, data, 1).

    Noise is the standard deviation of what is added to y; the paper adds none.
    """
    waves = truth(num_tasks, seed)
    amplitude, phase = (waves[name].numpy()[:, None] for name in ("amplitude", "phase"))
    x = np.random.default_rng([seed, 1]).uniform(-5.0, 5.0, (num_tasks, num_data))
    y = amplitude * np.sin(x - phase)
    y += noise * np.random.default_rng([seed, 2]).standard_normal(y.shape)
    return bm.Tasks.from_arrays(y.astype("float32"), x={"x": x[..., None].astype("float32")})
