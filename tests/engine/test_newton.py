"""Newton's method by differences: any units, saddles, edges, and functions without a minimum."""

from __future__ import annotations

import pytest
import torch
from scipy.optimize import rosen, rosen_der
from torch import Tensor

from bayesmeta.engine import newton
from bayesmeta.engine.newton import hessian, minimise


def slopes_of(function):
    """Values and gradients of a function of one point, at many."""

    def slopes(points: Tensor) -> tuple[Tensor, Tensor]:
        at = points.detach().requires_grad_()
        values = torch.stack([function(x) for x in at])
        (gradients,) = torch.autograd.grad(values.sum(), at)
        return values.detach(), gradients

    return slopes


def rosenbrock(points: Tensor) -> tuple[Tensor, Tensor]:
    values = [torch.tensor(rosen(p.numpy())) for p in points]
    return torch.stack(values), torch.stack(
        [torch.from_numpy(rosen_der(p.numpy())) for p in points]
    )


@pytest.mark.parametrize("unit", [1e-8, 1.0, 1e8])
@pytest.mark.parametrize("given", [1e-3, 1.0, 1e3])
def test_a_minimum_is_found_in_any_units_and_from_other_units(unit: float, given: float) -> None:
    """A normal with mean 3 units and log sd: -log density of five observations."""
    y = unit * torch.tensor([2.0, 2.5, 3.0, 3.5, 4.0], dtype=torch.float64)

    def minus(x: Tensor) -> Tensor:
        return -torch.distributions.Normal(x[0], x[1].exp()).log_prob(y).sum()

    start = torch.tensor([0.0, torch.tensor(unit).log()], dtype=torch.float64)
    units = torch.tensor([given * unit, 1.0], dtype=torch.float64)
    found = minimise(slopes_of(minus), start, units)
    assert found.distance < 1e-6
    sd = y.std(correction=0)
    scale = torch.tensor([unit, 1.0], dtype=torch.float64)
    assert torch.allclose((found.at - torch.stack([y.mean(), sd.log()])) / scale,
                          torch.zeros(2, dtype=torch.float64), atol=1e-6)  # fmt: skip
    exact = torch.tensor([10.0, 10.0], dtype=torch.float64).diag()
    assert torch.allclose(found.hessian * scale * scale[:, None], exact, atol=1e-4)


@pytest.mark.parametrize("count", [4, 24])
def test_a_curved_valley_is_followed_to_its_end(count: int) -> None:
    start = torch.tensor([-1.2, 1.0], dtype=torch.float64).repeat(count // 2)
    one = torch.ones(count, dtype=torch.float64)
    found = minimise(rosenbrock, start, one)
    assert torch.allclose(found.at, one, atol=1e-7)


def test_of_many_numbers_few_hessians_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Means and log sds of twelve columns of data, in units of 1e-3 to 1e3."""
    unit = torch.logspace(-3, 3, 12, dtype=torch.float64)
    y = unit * (3 + torch.randn(20, 12, generator=torch.Generator().manual_seed(0)).double())

    def minus(x: Tensor) -> Tensor:
        return -torch.distributions.Normal(x[:12], x[12:].exp()).log_prob(y).sum()

    one = torch.ones(12, dtype=torch.float64)
    start, units = torch.cat([0 * one, unit.log() + 2]), torch.cat([10 * unit, one])

    def hessians() -> int:
        sizes: list[int] = []

        def slopes(points: Tensor) -> tuple[Tensor, Tensor]:
            sizes.append(len(points))
            return slopes_of(minus)(points)

        found = minimise(slopes, start, units)
        assert found.distance < 1e-6
        assert torch.allclose(found.at[:12] / unit, y.mean(0) / unit, atol=1e-7)
        return sum(size > 1 for size in sizes)

    few = hessians()
    monkeypatch.setattr(newton, "_MANY", 100)
    many = hessians()
    assert 2 * few < many


def test_many_numbers_with_edges_and_without_a_minimum() -> None:
    """Beyond an edge values are no numbers; on a hill there is no way that BFGS could go."""
    start = torch.zeros(20, dtype=torch.float64)
    edge = slopes_of(lambda x: (x - 1).square().sum() - (2 - x).log().sum())
    found = minimise(edge, start, 30 * torch.ones(20, dtype=torch.float64))
    assert found.distance < 1e-6 and (found.at < 2).all()
    hill = slopes_of(lambda x: -x.square().sum())
    assert minimise(hill, start, start + 1).distance == float("inf")
    assert minimise(hill, start + 0.1, start + 1, steps=20).distance == float("inf")


def test_a_saddle_and_values_that_are_no_numbers_are_left() -> None:
    def well(x: Tensor) -> Tensor:
        return x[0].square() + (x[1].square() - 1).square() - 0.01 * x[1] - (2 - x[1]).log()

    start = torch.zeros(2, dtype=torch.float64)
    found = minimise(slopes_of(well), start, 10 * torch.ones(2, dtype=torch.float64))
    assert found.distance < 1e-6 and abs(float(found.at[1])) > 0.5


def test_a_start_on_the_top_of_a_hill_is_no_minimum_and_no_error() -> None:
    """SciPy 1.17 raises UnboundLocalError where a slope is zero and nothing bends upward."""
    start = torch.zeros(2, dtype=torch.float64)
    for bend in (0.0, -1.0):
        found = minimise(slopes_of(lambda x, b=bend: b * x.square().sum()), start, start + 1)
        assert found.distance == float("inf") and torch.equal(found.at, start)


def test_a_function_without_a_minimum_is_infinitely_far_from_one() -> None:
    found = minimise(
        slopes_of(lambda x: x[0].square() - x[1].square()),
        torch.tensor([1.0, 0.1], dtype=torch.float64),
        torch.ones(2, dtype=torch.float64),
    )
    assert found.distance == float("inf")


def test_the_hessian_is_that_of_autograd() -> None:
    def bend(x: Tensor) -> Tensor:
        return (x[0] * x[1]).exp() + x[2].square() * x[0] + x.square().sum()

    at = torch.tensor([0.3, -0.7, 1.1], dtype=torch.float64)
    found = hessian(slopes_of(bend), at, torch.ones(3, dtype=torch.float64))
    exact = torch.autograd.functional.hessian(bend, at)
    assert torch.allclose(found, exact, atol=1e-5)
