"""Curvature and MAML's gradient through layers whose second derivatives torch has wrong."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor
from torch.func import functional_call

import bayesmeta as bm
from bayesmeta.model.density import Density
from bayesmeta.model.reading import read
from bayesmeta.task_level.curvature import Hessian, bend, log_density
from tests.nets.layers import CASES, F64

# Forward over reverse is off for all but the last three; those are wrong in reverse mode, too.
LAYERS = [
    "LayerNorm", "batch_norm", "logdet", "det", "solve", "inv", "cholesky_inverse",
    "scatter_reduce", "cdist", "weight_norm", "GRU", "MultiheadAttention False 0.0",
]  # fmt: skip


@cache
def problem(name: str) -> tuple[Density, bm.Tasks, Tensor, Tensor]:
    """A network a task, its data, theta and a phi near it."""
    case = CASES[name]
    with bm.nets.isolated(0):
        net = bm.nets.Net(case.make().to(F64))
    x = case.inputs(3)
    y = net(net.weights(), x).detach().reshape(3, 4, -1).sum(-1).roll(1, 0)
    tasks = bm.Tasks.from_arrays(y, {"x": x})

    def model(tasks: bm.Tasks) -> None:
        theta = pyro.param("theta", lambda: net.weights())
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(theta, 1.0).to_event(1))
            loc = net(phi, tasks.x["x"]).reshape(tasks.num_tasks, tasks.num_data, -1).sum(-1)
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(loc, 1.0), obs=tasks.y)

    noise = torch.Generator().manual_seed(1)
    theta = net.weights()
    size = 0.1 * theta.abs().mean()
    phi = theta + size * torch.randn(3, net.size, generator=noise, dtype=F64)
    return Density(read(model, tasks)), tasks, theta, phi


def second_difference(value: Tensor, ahead: Tensor, behind: Tensor, step: float) -> Tensor:
    return (ahead - 2 * value + behind) / step**2


@pytest.mark.parametrize("name", LAYERS)
def test_curvature_is_that_of_second_differences(name: str) -> None:
    density, tasks, theta, phi = problem(name)
    noise = torch.Generator().manual_seed(2)
    step, toward = 1e-3, 0.1 * torch.randn(phi.shape, generator=noise, dtype=F64)

    def height(at: Tensor) -> Tensor:
        with torch.no_grad():
            return log_density(density, theta, at, [tasks], jacobian=True)

    values = height(phi), height(phi + step * toward), height(phi - step * toward)
    expected = -second_difference(*values, step)
    product = bend(density, theta, phi, [tasks], toward, jacobian=True)
    torch.testing.assert_close((product * toward).sum(1), expected, rtol=1e-4, atol=1e-4)
    found = Hessian().expand(density, theta, phi, [tasks], jacobian=True).precision
    (matrix,) = found.tensors()
    by_matrix = torch.einsum("ti,tij,tj->t", toward, matrix, toward)
    torch.testing.assert_close(by_matrix.detach(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", LAYERS)
def test_the_gradient_of_maml_is_that_of_differences(name: str) -> None:
    density, tasks, theta, _ = problem(name)
    steps = bm.GradientSteps(2, 1e-3)
    noise = torch.Generator().manual_seed(3)
    step, toward = 1e-5, 0.1 * torch.randn(theta.shape, generator=noise, dtype=F64)

    def score(at: Tensor) -> Tensor:
        return steps.log_evidence(density, at, tasks).sum()

    at = theta.clone().requires_grad_()
    (slope,) = torch.autograd.grad(score(at), at)
    ahead, behind = (score(theta + k * step * toward).detach() for k in (1, -1))
    expected = (ahead - behind) / (2 * step)
    torch.testing.assert_close((slope * toward).sum(), expected, rtol=1e-5, atol=1e-6)


def test_negative_control_a_plain_torch_loop_is_no_oracle() -> None:
    with bm.nets.isolated(0):
        module = CASES["weight_norm"].make().to(F64)
    x = CASES["weight_norm"].inputs(1)[0]
    start = {name: p.detach() for name, p in module.named_parameters()}
    noise = torch.Generator().manual_seed(4)
    toward = {n: torch.randn(p.shape, generator=noise, dtype=F64) for n, p in start.items()}

    def value(step: Tensor) -> Tensor:
        moved = {name: p + step * toward[name] for name, p in start.items()}
        return functional_call(module, moved, (x,)).sin().sum()

    at = torch.zeros((), dtype=F64, requires_grad=True)
    (slope,) = torch.autograd.grad(value(at), at, create_graph=True)
    (bent,) = torch.autograd.grad(slope, at)
    step = torch.tensor(1e-4, dtype=F64)
    values = value(at).detach(), value(step).detach(), value(-step).detach()
    right = float(second_difference(*values, 1e-4))
    assert abs(float(bent) - right) > 0.01 * abs(right), "torch has mended weight_norm"


def test_no_derivative_is_by_forward_mode() -> None:
    """Of which torch has second derivatives wrong that it has right by two backward passes."""
    forward = re.compile(r"\b(jvp|jacfwd|hessian|linearize)\(|forward_ad|func\.hessian")
    ours = re.compile(r"def hessian\(|[^.]\bhessian\(|self\.hessian")
    package = Path(bm.__file__).parent
    lines = [
        f"{path.relative_to(package)}: {line.strip()}"
        for path in sorted(package.rglob("*.py"))
        for line in path.read_text().splitlines()
        if forward.search(line) and not ours.search(line)
    ]
    assert not lines
    assert forward.search("torch.func.jvp(f, (x,), (v,))") and forward.search("func.hessian(f)")
