"""transfer: the width of the prior, fixed by layer or learned; pre-training and fine-tuning."""

from __future__ import annotations

from dataclasses import replace

import pyro.distributions as dist
import pytest
import torch
from torch import nn

import bayesmeta as bm
from bayesmeta.models import fashion_mnist, transfer
from bayesmeta.running.isolation import isolated

WIDTHS = {"narrow": 0.2, "wide": 0.6}
SIZE, NOISE = 25, 0.3


class Sum(nn.Module):
    """Two linear layers, each of one half of the input; linear in all weights."""

    def __init__(self) -> None:
        super().__init__()
        self.narrow, self.wide = (nn.Linear(SIZE, 1, bias=False) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.narrow(x[..., :SIZE]) + self.wide(x[..., SIZE:])


def normal(mean: torch.Tensor) -> dist.Distribution:
    return dist.Normal(mean[..., 0], NOISE)


def simulated(seed: int, shots: int = 100) -> bm.Tasks:
    """Twenty tasks whose weights lie around shared ones by the widths of their layer."""
    with isolated(seed):
        torch.set_default_dtype(torch.float64)
        sd = torch.tensor(list(WIDTHS.values())).repeat_interleave(SIZE)
        weights = torch.randn(2 * SIZE) + sd * torch.randn(20, 2 * SIZE)
        x = torch.randn(20, shots, 2 * SIZE)
        y = (x * weights[:, None]).sum(-1) + NOISE * torch.randn(20, shots)
        torch.set_default_dtype(torch.float32)
    return bm.Tasks.from_arrays(y, {"image": x})


def check_learned_widths(tasks: bm.Tasks) -> None:
    net = bm.nets.Net(Sum())
    model = transfer.target(net, None, normal)
    point = bm.Point(adam=bm.Adam(lr=0.2, steps=400))
    post = bm.fit(model, tasks, theta=point, phi=bm.Exact(), progress=False)
    found = post.theta["tau"][0, 0]
    for value, truth in zip(found.tolist(), WIDTHS.values(), strict=True):
        assert abs(value / truth - 1) < 0.1


@pytest.mark.slow
def test_the_widths_learned_from_twenty_tasks_are_the_true_ones() -> None:
    check_learned_widths(simulated(seed=0))


@pytest.mark.slow
def test_the_widths_of_shuffled_outcomes_are_not() -> None:
    tasks = simulated(seed=0)
    mixed = bm.Tasks.from_arrays(tasks.y.roll(1, 0), dict(tasks.x))
    with pytest.raises(AssertionError):
        check_learned_widths(mixed)


def test_a_width_for_each_layer_is_that_of_its_weights() -> None:
    net = bm.nets.Net(nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 1)))
    model = transfer.target(net, {"0": 0.1, "2": 3.0}, normal, column="x")
    tasks = bm.Tasks.from_arrays(torch.zeros(2, 4), {"x": torch.zeros(2, 4, 3)})
    post = bm.prior(model, tasks, draws=2000, seed=0)
    spread = (post.phi["phi"] - post.theta["theta"][:, :, None]).flatten(0, 2).std(0)
    for name, place in net.slices.items():
        expected = 0.1 if name.startswith("0.") else 3.0
        assert (spread[place] / expected - 1).abs().max() < 0.1


def test_widths_of_other_layers_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"for \['fc'\], but the network's layers are \['1', '3'\]"
    ):
        transfer.target(transfer.perceptron(), {"fc": 0.1})


@pytest.mark.slow
def test_pre_training_on_photographs_helps_a_target_of_few() -> None:
    """Five images a class of ten: a network pre-trained on other labels of like images."""
    net = transfer.perceptron()
    point = bm.Point(batch_size=10, adam=bm.Adam(lr=1e-3, steps=600, compile=False))
    post = bm.fit(
        transfer.source(net), fashion_mnist.tasks(), theta=point, phi=bm.Joint(), progress=False
    )

    # Each target numbers the classes anew, so that the last layer starts anew, under a wide prior.
    target = transfer.tasks(num_tasks=10)
    model = transfer.target(net, {"1": 0.1, "3": 1.0})
    phi = bm.FineTune(fresh="phi.3", progress=False)
    right = []
    for weights in (post.theta["theta"][0, 0], net.weights()):
        known = bm.Fixed({"theta": weights})
        tuned = bm.fit(model, target, theta=known, phi=phi, progress=False)
        chosen = tuned.predict(target.query).mean.argmax(-1)
        right.append(float((chosen == target.query.y).double().mean()))
    assert right[0] > right[1] + 0.05, right


@pytest.mark.parametrize("tau", [0.0, -1.0, {"1": 0.1, "3": float("nan")}])
def test_a_tau_that_is_no_sd_is_refused(tau):
    with pytest.raises(ValueError, match=r"each sd must be above 0"):
        transfer.target(transfer.perceptron(), tau=tau)


def test_a_network_of_other_classes_starts_from_the_features_of_the_first():
    """A probe moves the new last layer alone, from zero, and leaves the features carried over."""
    old, new = transfer.perceptron(), transfer.perceptron(classes=3, seed=1)
    theta = new.carry(old.weights(), old, fresh="3")
    clothes = fashion_mnist.classes(fashion_mnist.Split.TEST)[[0, 5, 8]]
    target = clothes.episodes(2, ways=3, shots=10, queries=20)
    known = bm.Fixed({"theta": theta})
    tuning = bm.FineTune([bm.Probe()])
    model = transfer.target(new, tau={"1": 0.1, "3": 1.0})
    post = bm.fit(model, target, theta=known, phi=tuning, progress=False)
    first = new.slices["1.weight"]
    assert (post.phi["phi"][0, 0, :, first] - theta[first]).abs().max() < 1e-6
    right = (post.predict(target.query).mean.argmax(-1) == target.query.y).double().mean()
    assert right > 0.8


def test_a_class_that_the_model_does_not_have_is_named():
    few = transfer.tasks(1, shots=1)
    known = bm.Fixed({"theta": transfer.perceptron().weights()})
    model = transfer.target(transfer.perceptron(), tau={"phi.1": 0.1, "phi.3": 1.0})
    post = bm.fit(model, few, theta=known, phi=bm.FineTune([]), progress=False)
    assert post.log_score(few.query).isfinite().all()
    unseen = replace(few.query, y=few.query.y + 3)
    with pytest.raises(bm.StructureError, match="y has values from 3 to 12, but site 'y' takes"):
        post.log_score(unseen)
