"""nutpie on a known Gaussian, compiled and as a Python function, with a planted bug."""

from __future__ import annotations

import numpy as np
import nutpie
import pytest
import torch

from bayesmeta.capturing.capture import capture, value_and_gradient
from bayesmeta.engine import native
from bayesmeta.engine.sampler import sample

PRECISION = torch.tensor([[2.0, 0.9], [0.9, 1.0]], dtype=torch.float64)
MEAN = torch.tensor([1.0, -3.0], dtype=torch.float64)


def log_density(q, precision):
    return -0.5 * (q - MEAN) @ precision @ (q - MEAN)


def python_density(precision):
    def density(q):
        offset = q - MEAN.numpy()
        return float(-0.5 * offset @ precision.numpy() @ offset), -precision.numpy() @ offset

    return density


def draw(density, seed=1, cores=2, draws=2000, low_rank=False):
    return sample(
        density,
        2,
        chains=2,
        tune=400,
        draws=draws,
        target_accept=0.8,
        max_depth=10,
        cores=cores,
        seed=seed,
        start=lambda s: np.random.default_rng(s).uniform(-1, 1, 2),
        progress=False,
        low_rank=low_rank,
    )


def worst(q):
    """Errors of means in standard errors (4,000 draws, ESS above 1,000), and of variances."""
    flat = q.reshape(-1, 2)
    covariance = np.linalg.inv(PRECISION.numpy())
    sd = np.sqrt(np.diag(covariance))
    return (
        np.abs((flat.mean(0) - MEAN.numpy()) / (sd / 1000**0.5)).max(),
        np.abs(np.cov(flat.T) / covariance - 1).max(),
    )


def test_a_python_density_is_sampled_rightly_and_the_check_catches_a_wrong_variance():
    mean, covariance = worst(draw(python_density(PRECISION)).q)
    assert mean < 4 and covariance < 0.2
    assert worst(draw(python_density(PRECISION / 2)).q)[1] > 0.2


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    if native.why_unavailable() is not None:
        pytest.skip("no C++ compiler is here")
    q = torch.zeros(2, dtype=torch.float64)
    graph = capture(value_and_gradient(log_density, 1), [q, PRECISION])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BAYESMETA_CACHE", str(tmp_path_factory.mktemp("cache")))
        return native.build(graph, q, [PRECISION], runners=2)


def test_a_compiled_density_is_sampled_rightly(compiled):
    """By its pointer: of another way there would be a warning, which is an error here."""
    found = draw(compiled)
    mean, covariance = worst(found.q)
    assert mean < 4 and covariance < 0.2
    assert np.array_equal(found.q, draw(compiled, cores=1).q)


@pytest.mark.parametrize("part", ["LogpFunc", "PyMcModel", "PySampler"])
def test_an_entry_that_nutpie_has_changed_is_gone_round_with_one_warning(
    compiled, part, monkeypatch
):
    expected = draw(compiled, draws=50).q
    entry = getattr(nutpie._lib, part)
    if part == "PySampler":
        # As 0.16.9 did: one argument more. The public way keeps its own constructor.
        changed = type(part, (), {"from_pymc": lambda one: one, "from_pyfunc": entry.from_pyfunc})
    else:
        changed = type(part, (), {})
    monkeypatch.setattr(nutpie._lib, part, changed)
    with pytest.warns(UserWarning, match=r"through Python.*nutpie 0\.\d+.*pip install") as told:
        found = draw(compiled, draws=50).q
    assert len(told) == 1
    # The same density from the same starts: no other noise, and no other draws.
    assert np.allclose(found, expected)


def test_same_seed_same_draws_and_another_seed_others():
    first = draw(python_density(PRECISION), draws=50)
    assert np.array_equal(first.q, draw(python_density(PRECISION), cores=1, draws=50).q)
    assert not np.array_equal(first.q, draw(python_density(PRECISION), seed=2, draws=50).q)


def test_statistics_have_arvizs_names_and_one_value_a_draw():
    found = draw(python_density(PRECISION), draws=50)
    assert {"diverging", "energy", "lp", "tree_depth", "acceptance_rate"} <= set(found.stats)
    assert all(values.shape == (2, 50) for values in found.stats.values())


def test_an_error_in_the_density_surfaces_as_itself():
    def broken(q):
        raise ZeroDivisionError("the model's own error")

    with pytest.raises(ZeroDivisionError, match="the model's own error"):
        draw(broken)


def test_a_density_that_is_nowhere_finite_says_what_to_check():
    with pytest.raises(RuntimeError, match="finite density"):
        draw(lambda q: (float("-inf"), np.zeros(2)))


def test_a_mass_matrix_of_low_rank_knows_of_a_correlation():
    narrow = torch.linalg.inv(torch.tensor([[1.0, 0.999], [0.999, 1.0]], dtype=torch.float64))
    steps = {}
    for low_rank in (False, True):
        chains = draw(python_density(narrow), draws=500, low_rank=low_rank)
        steps[low_rank] = chains.stats["n_steps"].mean()
        assert np.abs(np.corrcoef(chains.q.reshape(-1, 2).T)[0, 1] - 0.999) < 0.001
    assert steps[True] < steps[False] / 2
