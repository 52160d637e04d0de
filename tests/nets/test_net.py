"""Networks as functions of flat weights: the same outputs, gradients to second order, refusals."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from bayesmeta import nets
from bayesmeta.data.real_rows import real_rows_are
from bayesmeta.nets.convolution import stands_for
from bayesmeta.nets.one_task import of_one_task

F64 = torch.float64


class Residual(nn.Module):
    """A block that adds its input: modules need not be sequential."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.tanh(self.inner(x))


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), Residual(), nn.Linear(4, 2)).to(F64)


def conv() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1),
        nets.TransductiveBatchNorm2d(3),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Conv2d(3, 4, 2),
        nn.GroupNorm(2, 4),
        nn.Flatten(),
        nn.Linear(4, 2),
    ).to(F64)


CASES = [(mlp, (3,)), (conv, (1, 4, 4))]


@pytest.mark.parametrize(("make", "shape"), CASES, ids=["mlp", "conv"])
def test_each_task_has_its_own_network(make, shape):
    torch.manual_seed(0)
    modules = [make() for _ in range(3)]
    x = torch.randn(3, 5, *shape, dtype=F64)
    net = nets.Net(modules[0])
    w = torch.stack([nets.Net(m).weights() for m in modules])
    expected = torch.stack([m(x[i]) for i, m in enumerate(modules)])
    torch.testing.assert_close(net(w[:, None], x), expected)
    together = torch.stack([modules[0](x[i]) for i in range(3)])
    torch.testing.assert_close(net(w[0], x), together)


@pytest.mark.parametrize(("make", "shape"), CASES, ids=["mlp", "conv"])
def test_second_derivatives_equal_finite_differences(make, shape):
    torch.manual_seed(1)
    net = nets.Net(make())
    x = torch.randn(2, 3, *shape, dtype=F64)
    start = net.weights()

    def slope(direction: Tensor) -> Tensor:
        w = (start + direction).expand(2, 1, -1)
        w = w if w.requires_grad else w.clone().requires_grad_()
        return torch.autograd.grad(net(w, x).sin().sum(), w, create_graph=True)[0].sum((0, 1))

    at = torch.zeros(net.size, dtype=F64, requires_grad=True)
    toward = torch.randn(net.size, dtype=F64)
    (found,) = torch.autograd.grad(slope(at) @ toward, at)
    eps = 1e-5
    for k in torch.randperm(net.size)[:12]:
        step = eps * torch.eye(net.size, dtype=F64)[k]
        expected = ((slope(step) - slope(-step)) @ toward / (2 * eps)).detach()
        torch.testing.assert_close(found[k], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(2, 3, 3, stride=2, padding=1),
        nn.Conv2d(2, 3, (3, 1), padding=(0, 2), bias=False),
        nn.Conv2d(2, 3, (2, 5), stride=(3, 1), padding=1),
    ],
)
def test_convolution_of_one_task_is_the_convolution_to_second_order(layer):
    layer, x = layer.to(F64), torch.randn(4, 2, 7, 6, dtype=F64, requires_grad=True)
    assert stands_for(layer)
    other = of_one_task(copy.deepcopy(layer))
    found = []
    for module in (layer, other):
        out = module(x)
        weights = [x, *module.parameters()]
        slopes = torch.autograd.grad(out.sin().sum(), weights, create_graph=True)
        bend = torch.autograd.grad(sum(s.square().sum() for s in slopes), weights)
        found.append([out, *slopes, *bend])
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(2, 4, 3, groups=2),
        nn.Conv2d(2, 4, 3, dilation=2),
        nn.Conv2d(2, 4, 3, padding="same"),
        nn.Conv2d(2, 4, 3, padding=1, padding_mode="reflect"),
        nn.Conv1d(2, 4, 3),
    ],
)
def test_other_convolutions_are_left_alone(layer):
    assert not stands_for(layer) and of_one_task(layer) is layer


class Viewing(nn.Module):
    """A forward that takes for granted how the convolution's output lies in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = conv()[:3]

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).view(len(x), -1)


@pytest.mark.parametrize("make", [conv, Viewing], ids=["standard", "views"])
def test_one_task_is_as_one_of_many(make):
    torch.manual_seed(2)
    net, x = nets.Net(make()), torch.randn(2, 3, 1, 4, 4, dtype=F64)
    w = torch.stack([net.weights(), net.weights() + 0.1])[:, None].requires_grad_()
    together = net(w, x)
    apart = torch.cat([net(w[i : i + 1], x[i : i + 1]) for i in range(2)])
    torch.testing.assert_close(apart, together)
    slopes = [torch.autograd.grad(y.sin().sum(), w)[0] for y in (together, apart)]
    torch.testing.assert_close(*slopes)
    # And over draws of the weights, where a single task is batched after all.
    draws = torch.func.vmap(lambda v: net(v, x[:1]))(w[:, None])
    torch.testing.assert_close(draws[0], together[:1])


def test_weights_are_named():
    module = mlp()
    net = nets.Net(module)
    assert list(net.slices) == [name for name, _ in module.named_parameters()]
    assert torch.equal(net.weights()[net.slices["3.bias"]], module[3].bias.detach())
    assert net.size == sum(p.numel() for p in module.parameters())
    net.weights().zero_()
    assert net.weights().abs().sum() > 0


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.BatchNorm2d(3), "running statistics.*TransductiveBatchNorm2d"),
        (nn.InstanceNorm2d(3, track_running_stats=True), "running statistics"),
        (nn.Dropout(0.5), "random"),
    ],
)
def test_layers_that_leak_or_are_random_are_refused(layer, message):
    with pytest.raises(ValueError, match=message):
        nets.Net(nn.Sequential(nn.Conv2d(1, 3, 3), layer))


@pytest.mark.parametrize(
    "layer",
    [
        nn.BatchNorm2d(3),
        nn.InstanceNorm2d(3, track_running_stats=True),
        nn.Dropout(0.5),
        nn.RReLU(),
        nn.utils.parametrizations.spectral_norm(nn.Conv2d(3, 2, 1)),
    ],
)
def test_in_eval_mode_they_are_what_they_are(layer):
    torch.manual_seed(9)
    module = nn.Sequential(nn.Conv2d(1, 3, 3), layer).to(F64)
    module(torch.randn(8, 1, 5, 5, dtype=F64))
    net, x = nets.Net(module.eval()), torch.randn(2, 4, 1, 5, 5, dtype=F64)
    expected = torch.stack([module(part) for part in x])
    torch.testing.assert_close(net(net.weights().expand(2, 1, -1), x), expected)


def test_a_wrong_shape_says_what_is_expected():
    net = nets.Net(mlp())
    with pytest.raises(ValueError, match=rf"must be \({net.size},\), or \(4, 1, {net.size}\)"):
        net(torch.zeros(4, net.size, dtype=F64), torch.zeros(4, 5, 3, dtype=F64))


def test_weights_take_the_dtype_of_floating_inputs():
    torch.manual_seed(3)
    net, x = nets.Net(mlp().float()), torch.randn(2, 5, 3, dtype=F64)
    for w in (net.weights(), net.weights().expand(2, 1, -1), net.weights().expand(1, 1, -1)):
        given = x[: len(w)] if w.dim() == 3 else x
        assert torch.equal(net(w, given), net(w.double(), given))
        assert net(w, given).dtype == F64 and net(w.double(), given.float()).dtype == torch.float32
    table = nets.Net(nn.Embedding(4, 2))
    assert table(table.weights(), torch.zeros(2, 5, dtype=torch.int64)).dtype == torch.float32


def test_a_parameter_may_be_a_single_number():
    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.by = nn.Parameter(torch.tensor(3.0))

        def forward(self, x):
            return self.by * x

    net, x = nets.Net(Scale()), torch.ones(2, 5, 3)
    assert torch.equal(net(net.weights(), x), 3 * x)
    assert torch.equal(net(torch.tensor([[[1.0]], [[2.0]]]), x)[1], 2 * x[1])


def frozen() -> nn.Module:
    module = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).to(F64)
    module[0].requires_grad_(False)
    return module


def test_what_is_frozen_is_no_weight_of_the_network():
    torch.manual_seed(4)
    module = frozen()
    net = nets.Net(module)
    assert list(net.slices) == ["2.weight", "2.bias"] and net.size == 10
    assert dict(net.frozen) == {"0.weight": 12, "0.bias": 4}
    x = torch.randn(2, 5, 3, dtype=F64)
    torch.testing.assert_close(net(net.weights(), x), module(x))
    with pytest.raises(ValueError, match=r"no trainable parameters.*requires_grad_\(True\)"):
        nets.Net(module.requires_grad_(False))
    with pytest.raises(ValueError, match=r"'0.weight' has no shape before the module"):
        nets.Net(nn.Sequential(nn.LazyLinear(3)))


def test_a_network_takes_over_what_is_frozen():
    torch.manual_seed(5)
    old, x = nets.Net(nn.Sequential(*mlp())), torch.randn(1, 5, 3, dtype=F64)
    module = mlp()
    module[0].requires_grad_(False)
    new = nets.Net(module)
    torch.testing.assert_close(new(new.carry(old.weights(), old), x), old(old.weights(), x))
    # And back, from one that has it frozen to one that has it free.
    back = nets.Net(mlp())
    w = back.carry(new.weights(), new)
    torch.testing.assert_close(back(w, x), new(new.weights(), x))


def with_statistics(mean: float, classes: int = 2) -> nets.Net:
    layer = nn.BatchNorm1d(4)
    layer.running_mean.fill_(mean)
    module = nn.Sequential(nn.Linear(3, 4), layer, nn.Linear(4, classes))
    return nets.Net(nets.pretrained(module))


def test_buffers_are_carried_with_the_weights():
    old, new, x = with_statistics(3.0), with_statistics(0.0), torch.randn(1, 5, 3)
    w = new.carry(old.weights(), old)
    assert torch.equal(new(w, x), old(w, x))
    used = with_statistics(0.0)
    used(w, x)
    with pytest.raises(ValueError, match=r"would change '1.running_mean' of a network"):
        used.carry(old.weights(), old)
    same = with_statistics(3.0)
    same(w, x)
    assert torch.equal(same.carry(old.weights(), old), old.weights())
    head = with_statistics(0.0, classes=5)
    assert not head.carry(old.weights(), old, fresh="2")[-25:].any()
    assert float(head.constants["1.running_mean"][0]) == 3.0
    with pytest.raises(ValueError, match=r"'1\.\w+' has shape \(4,\) here, .*none;"):
        with_statistics(0.0).carry(perceptron(2).weights(), perceptron(2))


@pytest.mark.parametrize("hooked", [False, True])
def test_a_layer_with_a_hook_is_not_replaced(hooked):
    torch.manual_seed(6)
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 1)).to(F64)
    if hooked:
        module[0].register_forward_hook(lambda layer, args, output: 3 * output)
    net, x = nets.Net(module), torch.randn(1, 5, 1, 4, 4, dtype=F64)
    torch.testing.assert_close(net(net.weights().expand(1, 1, -1), x)[0], module(x[0]))
    assert (net._of_one_task is net._module) == hooked


@pytest.mark.parametrize("own", [False, True], ids=["shared", "own"])
@pytest.mark.parametrize("tasks", [1, 2])
def test_padding_is_no_part_of_a_tasks_statistics(tasks, own):
    torch.manual_seed(7)
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nets.TransductiveBatchNorm2d(2), nn.Flatten())
    net, x = nets.Net(module.to(F64)), torch.randn(tasks, 5, 1, 4, 4, dtype=F64)
    w = net.weights().expand(tasks, 1, -1) if own else net.weights()
    mask = torch.arange(5).expand(tasks, 5) < torch.tensor([[3], [5]])[:tasks]
    with real_rows_are(mask):
        found = net(w, x)
    torch.testing.assert_close(found[0, :3], module(x[0, :3]))
    assert not torch.allclose(found[0, :3], net(w, x)[0, :3])


def test_the_row_of_a_table_that_is_padding_stays_in_every_task():
    torch.manual_seed(8)

    def table():
        return nn.Sequential(nn.Embedding(5, 2, padding_idx=1), nn.Flatten(), nn.Linear(6, 1))

    net, x = nets.Net(table()), torch.randint(5, (3, 4, 3))
    w = (net.weights() + 1).expand(3, 1, -1).clone().requires_grad_()
    (slope,) = torch.autograd.grad(net(w, x).sum(), w)
    rows = slope[:, 0, net.slices["0.weight"]].view(3, 5, 2)
    assert not rows[:, 1].any() and rows[:, [0, 2, 3, 4]].any((1, 2)).all()
    other, new = nets.Net(table()), nets.Net(table())
    other.hold({"0.padding": torch.ones(2)})
    assert torch.equal(new(new.carry(w[0, 0].detach(), other), x), other(w[0, 0].detach(), x))


def perceptron(classes: int) -> nets.Net:
    return nets.Net(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, classes)))


def test_weights_are_carried_to_a_network_with_another_last_layer():
    old, new = perceptron(5), perceptron(2)
    carried = new.carry(old.weights(), old, fresh="2")
    assert torch.equal(carried[:16], old.weights()[:16]) and not carried[16:].any()
    assert carried.shape == (new.size,)
    same = perceptron(5)
    assert torch.equal(same.carry(old.weights(), old), old.weights())
    with pytest.raises(ValueError, match=r"'2.weight' has shape \(2, 4\) here.*\(5, 4\); name the"):
        new.carry(old.weights(), old)
    with pytest.raises(ValueError, match="fresh='3' is no layer; parameters are"):
        new.carry(old.weights(), old, fresh="3")
    with pytest.raises(ValueError, match=r"shape \(3,\), not"):
        new.carry(torch.zeros(3), old, fresh="2")


@pytest.mark.parametrize("given", [[nn.Linear(1, 1)], nn.Linear])
def test_what_is_no_module_is_refused(given):
    with pytest.raises(TypeError, match=r"give a torch module, as .*nn\.Sequential\("):
        nets.Net(given)


class Scaled(nn.Module):
    """A layer with a parameter of its own that nothing draws, and one of torch's that has parts."""

    def __init__(self) -> None:
        super().__init__()
        self.attend = nn.MultiheadAttention(4, 1, batch_first=True)
        self.last = nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 2))
        self.scale = nn.Parameter(torch.full((2,), 7.0))

    def forward(self, x):
        return self.last(self.attend(x[:, None], x[:, None], x[:, None])[0][:, 0]) * self.scale


@pytest.mark.parametrize("prefix", ["attend", "attend.in_proj_weight", "last.1", "last.1.bias"])
def test_what_is_redrawn_is_as_in_a_new_module_and_the_others_stay(prefix):
    with nets.isolated(0):
        module = Scaled()
        with torch.no_grad():
            for p in module.parameters():
                p.fill_(3.0)
        net = nets.Net(module)
        found = net.redrawn(prefix)
    new = dict(Scaled().named_parameters())
    for name, place in net.slices.items():
        inside = name == prefix or name.startswith(prefix + ".")
        assert (found[place] == 3.0).all() != inside, name
        if inside:
            # Of the size that a new one has: attention starts with biases of 0.
            size = new[name].detach().abs().max()
            assert (found[place].abs().max() == 0) == (size == 0), name
            assert found[place].abs().max() <= 1.5 * size or found[place].abs().max() < 0.5, name


@pytest.mark.parametrize(
    ("make", "prefix", "name"),
    [
        (Scaled, "scale", "scale"),
        (Scaled, "", "scale"),
        (
            lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 2))),
            "0",
            "0.parametrizations.weight.original0",
        ),
    ],
)
def test_a_parameter_that_nothing_draws_is_refused_as_fresh(make, prefix, name):
    net = nets.Net(make())
    with pytest.raises(ValueError, match=rf"fresh='{prefix}': .* parameter '{name}' anew; give"):
        net.redrawn(prefix)
