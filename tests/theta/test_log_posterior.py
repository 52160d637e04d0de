"""log p(theta, D) is one function of theta, however its searches start and whatever runs it."""

from __future__ import annotations

import pytest
import torch

import bayesmeta as bm
from bayesmeta.model.density import Density
from bayesmeta.model.reading import read
from bayesmeta.models import logistic_regression
from bayesmeta.task_level.conditional_graphs import Conditional
from bayesmeta.theta.log_posterior import LogPosterior
from bayesmeta.theta.pilot import Pilot
from bayesmeta.theta.units import Rows, Tangent, tangent

TASKS = logistic_regression.tasks().to(dtype=torch.float64)


def target() -> LogPosterior:
    return LogPosterior(
        Density(read(logistic_regression.model, TASKS)), bm.Laplace(), TASKS, jacobian=True
    )


def about(mode: Pilot, count: int, seed: int, scale: float = 1.0) -> torch.Tensor:
    """Draws of theta around a mode."""
    z = torch.randn(
        count, len(mode.theta), generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    return mode.theta + scale * z @ mode.root.mT


@pytest.fixture
def searched() -> tuple[LogPosterior, Pilot]:
    found = target()
    mode = found.maximum()
    return found, Pilot(mode.at, mode.hessian)


def looks(found: LogPosterior, theta: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> int:
    """How often the density of phi is looked at for values one by one."""
    count, at = [0], Conditional.at

    def counted(self, *given, **named):
        count[0] += 1
        return at(self, *given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(Conditional, "at", counted)
        for one in theta:
            found.values(one[None])
    return count[0]


def test_searches_on_a_tangent_find_the_same_in_half_the_looks(searched, monkeypatch) -> None:
    found, mode = searched
    near, far = about(mode, 20, 0), about(mode, 20, 1, scale=8.0)
    expected, before = [found.values(x) for x in (near, far)], looks(found, near, monkeypatch)
    line = tangent(found.density, found.tasks, mode)
    with found.along(line):
        for theta, values in zip((near, far), expected, strict=True):
            torch.testing.assert_close(found.values(theta), values, rtol=1e-10, atol=1e-10)
        assert looks(found, near, monkeypatch) < 0.6 * before
    assert looks(found, near, monkeypatch) == before


def test_a_tangent_goes_no_farther_than_modes_move_with_theta() -> None:
    slope = torch.ones(1, 2, 2, dtype=torch.float64)
    rows = Rows(torch.zeros(1, 2, dtype=torch.float64), slope, torch.zeros(1, 2, 2))
    centre = torch.tensor([1.0, 2.0], dtype=torch.float64)
    line = Tangent(centre, 0.1 * torch.eye(2, dtype=torch.float64), rows)
    z = torch.tensor([[0.0, 0.0], [1.0, 2.0], [40.0, 4.0]], dtype=torch.float64)
    found = line(centre + 0.1 * z)[:, 0, 0]
    torch.testing.assert_close(found, torch.tensor([0.0, 3.0, 4.4], dtype=torch.float64))


@pytest.mark.slow
def test_compiled_values_are_the_same(searched) -> None:
    found, mode = searched
    theta = about(mode, 5, 2)
    expected = found.values(theta)
    found.compile()
    with found.along(tangent(found.density, found.tasks, mode)):
        torch.testing.assert_close(found.values(theta), expected, rtol=1e-10, atol=1e-10)
