"""transfer: a network trained on a source, and the same network fine-tuned on targets (L2-SP).

    source:  y_ij ~ outcome(f(x_ij; theta))
    target:  phi_i ~ N(theta, tau^2),   y_ij ~ outcome(f(x_ij; phi_i))

The prior of the target is L2-SP (Li, Grandvalet & Davoine 2018): a penalty |phi - theta|^2 / (2
tau^2). With theta from the source, bm.Fixed or `posterior.adapt`, it is fine-tuning; with several
source tasks tau can be learned, and the target's model alone is the hierarchical one.

    net = bm.nets.Net(module)
    post = bm.fit(source(net), data, theta=bm.Point(batch_size=8), phi=bm.Joint())
    known = bm.Fixed({"theta": post.theta["theta"][0, 0]})
    tuned = bm.fit(target(net, tau=0.1), few, theta=known, phi=bm.FineTune())
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

import bayesmeta as bm

from . import fashion_mnist

Outcome = Callable[[Tensor], dist.Distribution]


def classes(logits: Tensor) -> dist.Distribution:
    """What a classifier's outputs (..., classes) say of the class."""
    return dist.Categorical(logits=logits)


def source(
    net: bm.nets.Net, outcome: Outcome = classes, column: str = "image"
) -> Callable[[bm.Tasks], None]:
    """The model of pre-training: all weights are theta, and tasks only say what is read together.

    Args:
        net: f.
        outcome: the distribution of y given f's output.
        column: of x that f reads.
    """

    def model(tasks: bm.Tasks) -> None:
        theta = pyro.param("theta", lambda: net.weights().to(tasks.dtype))
        output = net(theta, tasks.x[column])
        with (
            pyro.plate("tasks", tasks.num_tasks, dim=-2),
            pyro.plate("data", tasks.num_data, dim=-1),
        ):
            pyro.sample("y", outcome(output), obs=tasks.y)

    return model


def target(
    net: bm.nets.Net,
    tau: float | Mapping[str, float] | None = 0.1,
    outcome: Outcome = classes,
    column: str = "image",
) -> Callable[[bm.Tasks], None]:
    """The model of fine-tuning: each task's weights are its own, around theta.

    Args:
        net: f.
        tau: the sd of phi around theta: one for all weights, or one for each child of the module by
            its name, "3" or, as in FineTune, "phi.3"; None makes it a parameter with one value for
            each child, in their order.
        outcome: the distribution of y given f's output.
        column: of x that f reads.

    Raises:
        ValueError: where tau does not name each child once, or is not above 0.
    """
    if isinstance(tau, Mapping):
        tau = {name.removeprefix("phi."): sd for name, sd in tau.items()}
    child = [name.partition(".")[0] for name in net.slices]
    children = list(dict.fromkeys(child))
    sizes = torch.tensor([place.stop - place.start for place in net.slices.values()])
    which = torch.tensor([children.index(name) for name in child]).repeat_interleave(sizes)
    if isinstance(tau, Mapping) and set(tau) != set(children):
        raise ValueError(f"tau is given for {list(tau)}, but the network's layers are {children}")

    each = None if tau is None else [tau[n] if isinstance(tau, Mapping) else tau for n in children]
    if each is not None and not all(sd > 0 for sd in each):
        raise ValueError(f"tau={tau} was given, but each sd must be above 0")

    def width(tasks: bm.Tasks) -> Tensor:
        if each is None:
            start = torch.full((len(children),), 0.1, dtype=tasks.dtype)
            values = pyro.param("tau", start, constraint=dist.constraints.positive)
        else:
            values = torch.tensor(each, dtype=tasks.dtype)
        return values[which.to(tasks.device)]

    def model(tasks: bm.Tasks) -> None:
        theta = pyro.param("theta", lambda: net.weights().to(tasks.dtype))
        tau = width(tasks)
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(theta, tau).to_event(1))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", outcome(net(phi, tasks.x[column])), obs=tasks.y)

    return model


def perceptron(classes: int = 10, hidden: int = 64, seed: int = 0) -> bm.nets.Net:
    """A network of images of clothes with one hidden layer."""
    with bm.nets.isolated(seed):
        layers = [nn.Flatten(), nn.Linear(784, hidden), nn.ReLU(), nn.Linear(hidden, classes)]
        return bm.nets.Net(nn.Sequential(*layers))


model = target(perceptron())


def tasks(num_tasks: int = 2, shots: int = 5, seed: int = 0) -> bm.Tasks:
    """Fashion-MNIST in ten classes, `shots` images of each, as targets."""
    test = fashion_mnist.classes(fashion_mnist.Split.TEST)
    return test.episodes(num_tasks, ways=10, shots=shots, queries=5, seed=seed)
