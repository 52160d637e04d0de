"""R-hat and effective sample sizes of all entries at once: ArviZ's figures, entry by entry."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr

from bayesmeta.engine import mixing
from bayesmeta.task_level.importance import classic

# With arviz-stats the tails are of another interval unless told, and errors of sds changed.
FIGURES = {
    "rhat": (mixing.rhat, lambda az, x, tail: az.rhat(x)),
    "bulk": (mixing.ess_bulk, lambda az, x, tail: az.ess(x, method="bulk")),
    "tail": (mixing.ess_tail, lambda az, x, tail: az.ess(x, method="tail", **tail)),
    "mean": (mixing.ess_mean, lambda az, x, tail: az.ess(x, method="mean")),
    "mcse": (mixing.mcse_mean, lambda az, x, tail: az.mcse(x)),
}


def hard_draws(chains: int, draws: int) -> np.ndarray:
    """(chain, draw, 20): chains that mix and that do not, ties, constants and no numbers."""
    rng = np.random.default_rng([chains, draws])
    shape = (chains, draws, 20)
    x = rng.normal(size=shape).cumsum(1) * rng.uniform(0, 1, 20) + rng.normal(size=shape)
    x[..., 0] = 3.0
    x[0, 0, 1] = np.nan
    x[..., 2] = np.sign(x[..., 2])
    x[..., 3] = rng.poisson(0.3, size=(chains, draws))
    x[0, 0, 4] = np.inf
    x[..., 5] = np.arange(draws)
    x[..., 6] = (-1.0) ** np.arange(draws)
    x[..., 7] *= 1e-8
    x[..., 8] = np.arange(chains)[:, None]
    return x


def arviz_says(figure: Callable[..., xr.Dataset], draws: np.ndarray) -> np.ndarray:
    data, az = xr.Dataset({"q": (("chain", "draw", "entry"), draws)}), classic()
    tail = {}
    if az is None:
        import arviz_stats as az

        tail = {"prob": (0.05, 0.95)}
    with np.errstate(all="ignore"):
        return figure(az, data, tail)["q"].values


@pytest.mark.parametrize("draws", [3, 4, 5, 6, 7, 8, 9, 13, 50, 150, 203])
@pytest.mark.parametrize("chains", [1, 2, 4])
@pytest.mark.parametrize("name", FIGURES)
def test_the_figures_are_arvizs(name: str, chains: int, draws: int) -> None:
    ours, theirs = FIGURES[name]
    x = hard_draws(chains, draws)
    np.testing.assert_allclose(ours(x), arviz_says(theirs, x), rtol=1e-10, atol=0)


@pytest.mark.parametrize("name", FIGURES)
def test_other_figures_are_found_out(name: str) -> None:
    """Negative control: of the same draws in another order, whose chains mix."""
    ours, theirs = FIGURES[name]
    x = hard_draws(4, 150)[..., 9:]
    mixed = np.random.default_rng(0).permuted(x.reshape(600, -1), axis=0).reshape(x.shape)
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(ours(mixed), arviz_says(theirs, x), rtol=1e-10, atol=0)


@pytest.mark.parametrize("name", FIGURES)
def test_blocks_change_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    figure, x = FIGURES[name][0], hard_draws(2, 50)
    whole = figure(x)
    monkeypatch.setattr(mixing, "_AT_ONCE", 300)
    np.testing.assert_array_equal(figure(x), whole)


def test_the_error_of_an_sd_is_its_spread() -> None:
    """Of 400 normal draws, independent: 1 / sqrt(800)."""
    x = np.random.default_rng(0).normal(size=(2, 200, 300))
    assert abs(mixing.mcse_sd(x).mean() * np.sqrt(800) - 1) < 0.03
    assert abs(x.std((0, 1), ddof=1).std() * np.sqrt(800) - 1) < 0.1


def test_a_quantile_that_is_a_draw_counts_as_below_itself() -> None:
    """Of 101 draws the 6th is the 5% quantile, so 6 are below or at it: 5 are another figure."""
    x = np.random.default_rng(0).normal(size=(1, 101, 1)).cumsum(1)
    ordered = np.sort(x[0, :, 0])

    def of_tails(low: int, high: int) -> float:
        ends = ordered[low - 1], ordered[high - 1]
        return min(float(mixing.ess_mean((x <= end).astype(float))[0]) for end in ends)

    assert mixing.ess_tail(x)[0] == of_tails(6, 96) != of_tails(5, 95)
