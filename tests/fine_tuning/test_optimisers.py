"""Every optimiser of torch.optim moves a task as a plain loop over it alone does, or is refused."""

from __future__ import annotations

import copy
import inspect
from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import bayesmeta as bm
from bayesmeta.fine_tuning.optimisers import is_elementwise
from bayesmeta.running.isolation import isolated

OPTIMISERS = [
    x
    for x in vars(torch.optim).values()
    if inspect.isclass(x) and torch.optim.Optimizer in x.__mro__[1:]
]
WHOLE = {"Adafactor", "Muon", "LBFGS", "SparseAdam"}
STEPS, LR = 4, 1e-2
FULL = bm.Full(steps=STEPS, lr=LR)


class Clipped(torch.optim.SGD):
    """SGD of gradients that are cut to one length, all of an optimiser's together."""

    def step(self, closure=None):
        with torch.enable_grad():
            loss = closure()
        nn.utils.clip_grad_norm_([p for g in self.param_groups for p in g["params"]], 0.1)
        super().step()
        return loss


class Trusted(torch.optim.SGD):
    """SGD with steps as long as each parameter is (LARS)."""

    def step(self, closure=None):
        with torch.enable_grad():
            loss = closure()
        for p in self.param_groups[0]["params"]:
            p.grad *= p.norm() / p.grad.norm()
        super().step()
        return loss


def network(bias=False):
    with isolated(0):
        module = nn.Sequential(nn.Linear(3, 5, bias=bias), nn.Tanh(), nn.Linear(5, 2, bias=bias))
    net = bm.nets.Net(module.double())

    def model(tasks):
        theta = pyro.param("theta", lambda: net.weights().to(tasks.dtype))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(theta, 1.0).to_event(1))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Categorical(logits=net(phi, tasks.x["x"])), obs=tasks.y)

    return model, net, module


def data():
    """Three tasks, of inputs of very different size."""
    generator = torch.Generator().manual_seed(1)
    x = (
        torch.randn(3, 8, 3, generator=generator).double()
        * torch.tensor([1.0, 9, 0.1])[:, None, None]
    )
    return bm.Tasks.from_arrays(
        torch.arange(24).remainder(2).reshape(3, 8).double(), {"x": x}, names=["a", "b", "c"]
    )


def tuned(make, tasks, bias=False, stage=FULL):
    model, net, _ = network(bias)
    phi = bm.FineTune([stage], optimiser=make, progress=False)
    known = bm.Fixed({"theta": net.weights()})
    return bm.fit(model, tasks, theta=known, phi=phi, progress=False).free_phi[0, 0]


def plain(make, tasks, bias=False):
    """A loop of torch for each task, with the module's own parameters."""
    _, net, module = network(bias)
    found = []
    for x, y in zip(tasks.x["x"], tasks.y.long(), strict=True):
        mine = copy.deepcopy(module)
        parameters = list(mine.parameters())
        optimiser = make(parameters, lr=LR)

        def closure(mine=mine, parameters=parameters, optimiser=optimiser, x=x, y=y):
            optimiser.zero_grad()
            away = nn.utils.parameters_to_vector(parameters) - net.weights()
            loss = nn.functional.cross_entropy(mine(x), y, reduction="sum")
            loss = (loss + 0.5 * away.square().sum()) / len(y)
            loss.backward()
            return loss

        for _ in range(STEPS):
            optimiser.step(closure)
        found.append(nn.utils.parameters_to_vector(parameters).detach())
    return torch.stack(found)


@pytest.mark.parametrize("make", [*OPTIMISERS, Clipped, Trusted], ids=lambda m: m.__name__)
def test_each_task_goes_where_a_plain_loop_takes_it(make):
    tasks = data()
    if make is torch.optim.SparseAdam:
        with pytest.raises(bm.StructureError, match=r"SparseAdam.*'phi.0.weight' \(5, 3\).*dense"):
            tuned(make, tasks)
        return
    found, expected = tuned(make, tasks), plain(make, tasks)
    _, net, _ = network()
    assert ((found - net.weights()).abs().amax(1) > 1e-5).all()
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=0)
    torch.testing.assert_close(tuned(make, tasks.select(torch.tensor([2])))[0], found[2])


@pytest.mark.parametrize("make", [*OPTIMISERS, Clipped, Trusted], ids=lambda m: m.__name__)
def test_what_looks_beyond_a_number_is_told_from_what_does_not(make):
    """The negative control: taken for elementwise, it would mix tasks."""
    assert is_elementwise(make) == (make.__name__ not in WHOLE | {"Clipped", "Trusted"})


def test_what_an_optimiser_refuses_is_named_and_the_others_move():
    with pytest.raises(
        bm.StructureError, match=r"Muon.*not take 'phi.0.bias' \(5,\), 'phi.2.bias'"
    ):
        tuned(torch.optim.Muon, data(), bias=True)
    stage = bm.Surgical("phi.0.weight", steps=1, lr=LR)
    assert tuned(torch.optim.Muon, data(), bias=True, stage=stage).isfinite().all()
    with pytest.raises(bm.StructureError, match=r"LBFGS.*different rates; take decay=1"):
        tuned(torch.optim.LBFGS, data(), stage=bm.Full(steps=1, decay=0.5))
    with pytest.raises(bm.StructureError, match="gives back a list, no optimiser"):
        tuned(lambda parameters, lr: parameters, data())


def test_an_optimiser_of_a_function_and_one_without_a_closure_run():
    class Old(torch.optim.SGD):
        def step(self):
            super().step()

    found = [tuned(m, data()) for m in (torch.optim.SGD, Old, partial(torch.optim.SGD, momentum=0))]
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])
