"""Repeats go out of a graph, and its results stay what they are to the last bit."""

from __future__ import annotations

import torch
from torch import Tensor

from bayesmeta.capturing.capture import capture, value_and_gradient
from bayesmeta.capturing.repeats import without_repeats


def _loss(theta: Tensor, x: Tensor) -> Tensor:
    wide = theta.view(2, 2).expand(2, 2)
    # The same twice, once through a detached tensor of its own shape.
    return (wide.exp() @ x).sum() + (wide.exp() @ x).square().sum() + wide.detach().sum()


def test_the_same_bits_by_fewer_operations() -> None:
    inputs = [torch.randn(4), torch.randn(2, 3)]
    graph = capture(value_and_gradient(_loss, 1), inputs)
    fewer = without_repeats(capture(value_and_gradient(_loss, 1), inputs))
    for theta in (inputs[0], torch.randn(4)):
        for before, after in zip(graph(theta, inputs[1]), fewer(theta, inputs[1]), strict=True):
            assert torch.equal(before, after)
    targets = [str(node.target) for node in fewer.graph.nodes]
    assert targets.count("aten.exp.default") == 1
    assert not any("detach" in target for target in targets)
    assert len(targets) < len(list(graph.graph.nodes))


def test_random_numbers_are_not_taken_for_repeats() -> None:
    graph = capture(lambda x: (torch.rand_like(x), torch.rand_like(x)), [torch.zeros(3)])
    one, other = without_repeats(graph)(torch.zeros(3))
    assert not torch.equal(one, other)
