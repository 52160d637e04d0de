"""Trained networks in Net: eval mode's outputs, second derivatives, names, refusals."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

import bayesmeta as bm
from bayesmeta import nets
from bayesmeta.nets.pretrained import FixedNorm

F64 = torch.float64


class NormAct(nn.BatchNorm2d):
    """Normalisation with an activation of its own inside, as in timm."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.drop, self.act = nn.Dropout(0.2), nn.Tanh()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.drop(super().forward(x)))


class Half(nn.BatchNorm2d):
    """A forward that is something else."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) / 2


class Deep(nn.Module):
    """A residual block that is left out at random, as stochastic depth does it."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        keep = torch.rand(len(x), 1, dtype=x.dtype) < 0.5 if self.training else 1.0
        return x + keep * self.inner(x)


class DetachedSlope(torch.autograd.Function):
    """weight * x, whose derivative forgets that it depends on the weight."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor) -> Tensor:
        return x * weight

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        return slope * weight.detach(), (slope * x.detach()).sum((0, 2, 3), keepdim=True)[0]


class WrongNorm(nn.Module):
    """Right to first order, wrong to second."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(3)), nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        return DetachedSlope.apply(x, self.weight[:, None, None]) + self.bias[:, None, None]


LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "1d": (lambda: nn.BatchNorm1d(3), (3,)),
    "1d sequences": (lambda: nn.BatchNorm1d(3), (3, 4)),
    "2d": (lambda: nn.BatchNorm2d(3), (3, 2, 2)),
    "3d": (lambda: nn.BatchNorm3d(3), (3, 2, 1, 2)),
    "no affine": (lambda: nn.BatchNorm2d(3, affine=False), (3, 2, 2)),
    "instance": (lambda: nn.InstanceNorm2d(3, track_running_stats=True, affine=True), (3, 2, 2)),
    "norm and activation": (lambda: NormAct(3), (3, 2, 2)),
}


def trained(module: nn.Module) -> nn.Module:
    """As if it had been trained: no statistic and no weight is what it was at the start."""
    for part in module.modules():
        if getattr(part, "running_mean", None) is not None:
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2.0)
    for weight in module.parameters():
        weight.data.normal_()
    return module.to(F64)


def around(layer: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    """The layer between two others, so that it has a first derivative in its input as well."""
    into = nn.Linear(5, int(torch.tensor(shape).prod()))
    last = nn.Linear(into.out_features, 2)
    return trained(
        nn.Sequential(into, nn.Unflatten(1, shape), layer, nn.Tanh(), nn.Flatten(), last)
    )


def check_second_derivatives(module: nn.Module) -> None:
    """Hessian times a vector, over two tasks of weights of their own, by finite differences."""
    net, x = nets.Net(module), torch.randn(2, 4, 5, dtype=F64)
    start, toward = net.weights(), torch.randn(net.size, dtype=F64)

    def slope(w: Tensor) -> Tensor:
        w = w.expand(2, 1, -1)
        w = w if w.requires_grad else w.clone().requires_grad_()
        return torch.autograd.grad(net(w, x).sin().sum(), w, create_graph=True)[0].sum((0, 1))

    at = start.clone().requires_grad_()
    (found,) = torch.autograd.grad(slope(at) @ toward, at)
    step = 1e-5 * torch.eye(net.size, dtype=F64)
    expected = [(slope(start + s) - slope(start - s)).detach() @ toward / 2e-5 for s in step]
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("make", "shape"), LAYERS.values(), ids=LAYERS)
def test_outputs_are_those_of_eval_mode(make, shape) -> None:
    torch.manual_seed(0)
    module = around(make(), shape)
    x, before = torch.randn(3, 6, 5, dtype=F64), copy.deepcopy(module.state_dict())
    net = nets.Net(nets.pretrained(module))
    assert module.training and module.state_dict().keys() == before.keys()
    assert list(net.slices) == [name for name, _ in module.named_parameters()]
    expected = copy.deepcopy(module).eval()(x.flatten(0, 1)).view(3, 6, 2)
    w = net.weights()
    for own in (w, w.expand(3, 1, -1)):
        torch.testing.assert_close(net(own, x), expected)
    torch.testing.assert_close(net(w.expand(1, 1, -1), x[:1]), expected[:1])
    # Negative control: training mode normalises by the batch.
    with pytest.raises(AssertionError):
        torch.testing.assert_close(module(x.flatten(0, 1)).view(3, 6, 2), expected)


@pytest.mark.parametrize(("make", "shape"), LAYERS.values(), ids=LAYERS)
def test_second_derivatives_equal_finite_differences(make, shape) -> None:
    torch.manual_seed(1)
    check_second_derivatives(nets.pretrained(around(make(), shape)))


def test_wrong_second_derivatives_are_found() -> None:
    torch.manual_seed(1)
    message = r"layer '2' \(WrongNorm\) of a network has a wrong second derivative"
    with pytest.raises(nets.LayerError, match=message):
        check_second_derivatives(around(WrongNorm(), (3, 2, 2)))


def test_whatever_is_random_or_waits_for_the_mode_is_as_in_eval_mode() -> None:
    torch.manual_seed(2)
    encoder = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.5, batch_first=True)
    module = trained(nn.Sequential(nn.Linear(5, 4), nn.Dropout(0.5), Deep(), encoder))
    net, x = nets.Net(nets.pretrained(module)), torch.randn(2, 3, 5, 5, dtype=F64)
    flat = nn.Sequential(module[:2], Deep()).to(F64)
    assert not torch.equal(flat(x[0, 0]), flat(x[0, 0]))
    expected = torch.stack([module.eval()(part) for part in x])
    w = net.weights().expand(2, 1, -1).clone().requires_grad_()
    torch.testing.assert_close(net(w, x), expected)
    (slope,) = torch.autograd.grad(net(w, x).square().sum(), w)
    assert slope.isfinite().all()


def test_statistics_take_the_dtype_of_floating_inputs() -> None:
    torch.manual_seed(3)
    module = around(nn.BatchNorm2d(3), (3, 2, 2)).float()
    net, x = nets.Net(nets.pretrained(module)), torch.randn(2, 6, 5, dtype=F64)
    expected = nets.Net(nets.pretrained(module.double()))(net.weights().double(), x)
    for own in (net.weights(), net.weights().expand(2, 1, -1)):
        torch.testing.assert_close(net(own, x), expected)
        assert net(own, x.float()).dtype == torch.float32


def test_a_layer_that_stands_in_two_places_stays_one() -> None:
    norm = nn.BatchNorm1d(4)
    module = trained(nn.Sequential(norm, nn.Sequential(nn.Linear(4, 4), norm), norm))
    net = nets.Net(nets.pretrained(module))
    x = torch.randn(1, 6, 4, dtype=F64)
    assert list(net.slices) == [name for name, _ in module.named_parameters()]
    torch.testing.assert_close(net(net.weights(), x)[0], module.eval()(x[0]))
    assert isinstance(nets.pretrained(norm), FixedNorm)


def test_a_step_of_maml_is_the_step_of_the_module_in_eval_mode() -> None:
    torch.manual_seed(4)
    module = around(nn.BatchNorm2d(3), (3, 2, 2))
    net = nets.Net(nets.pretrained(module))

    def model(tasks: bm.Tasks) -> None:
        theta = pyro.param("theta", net.weights())
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(theta, 1.0).to_event(1))
            with pyro.plate("data", tasks.num_data, dim=-1):
                mean = net(phi, tasks.x["x"])
                pyro.sample("y", dist.Normal(mean, 1.0).to_event(1), obs=tasks.y)

    tasks = bm.Tasks.from_arrays(torch.randn(2, 6, 2).to(F64), {"x": torch.randn(2, 6, 5).to(F64)})
    pair = bm.MAML(1, 0.01, adam=bm.Adam(lr=1e-12, steps=1, compile=False))
    post = bm.fit(model, tasks, **pair, progress=False)
    module.eval()
    for i in range(2):
        loss = (module(tasks.x["x"][i]) - tasks.y[i]).square().sum() / 2
        slopes = torch.autograd.grad(loss, list(module.parameters()))
        step = net.weights() - 0.01 * torch.cat([slope.flatten() for slope in slopes])
        torch.testing.assert_close(post.phi["phi"][0, 0, i], step, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (
            nn.BatchNorm2d(3, track_running_stats=False),
            "layer 'a.1' .*no running statistics.*Trans",
        ),
        (Half(3), r"layer 'a.1' \(Half\) computes something else"),
    ],
)
def test_what_cannot_be_held_fixed_is_refused_by_name(layer, message) -> None:
    module = nn.Sequential()
    module.add_module("a", nn.Sequential(nn.Conv2d(1, 3, 3), layer))
    with pytest.raises(ValueError, match=message):
        nets.pretrained(module)


def test_what_is_no_module_is_refused() -> None:
    with pytest.raises(TypeError, match="give a torch module"):
        nets.pretrained({"weight": torch.ones(1)})
