"""cross_validate: each datapoint is scored once, by a posterior that has not seen it."""

from __future__ import annotations

from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch

import bayesmeta as bm
from bayesmeta.evaluation.cross_validate import folds_of

TAU, SIGMA = 1.5, 0.7


def model(tasks, tau=TAU):
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        mean = pyro.sample("mean", dist.Normal(torch.zeros(()), tau))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(mean, SIGMA), obs=tasks.y)


def tasks(shots=7):
    generator = torch.Generator().manual_seed(0)
    y = torch.randn(3, shots, generator=generator, dtype=torch.float64)
    mask = torch.ones(3, shots, dtype=torch.bool)
    mask[1, 4:] = False
    return bm.Tasks.from_arrays(y, mask=mask, names=["a", "b", "c"])


def infer(support, tau=TAU):
    known = bm.Fixed({})
    return bm.fit(
        partial(model, tau=tau), support, theta=known, phi=bm.Exact(draws=4000), progress=False
    )


def check_score(fit):
    """Two folds of normal means: the predictive is normal, given what is in the other fold."""
    data = tasks()
    score = bm.cross_validate(fit, data, folds=2, progress=False)
    assert torch.equal(score.isnan(), ~data.mask)
    for support, query in folds_of(data, 2, seed=0):
        count = support.mask.sum(1)
        precision = count / SIGMA**2 + 1 / TAU**2
        mean = torch.where(support.mask, support.y, 0.0).sum(1) / SIGMA**2 / precision
        sd = (1 / precision + SIGMA**2).sqrt()
        exact = dist.Normal(mean[:, None], sd[:, None]).log_prob(data.y)
        error = (score - exact)[query.mask].abs().max()
        assert error < 0.15  # of 4,000 draws


def test_scores_are_those_of_the_exact_predictive():
    check_score(infer)


def test_another_prior_is_found_out():
    with pytest.raises(AssertionError):
        check_score(partial(infer, tau=0.3))


def test_a_posterior_that_has_seen_everything_is_refused():
    with pytest.raises(bm.TasksError, match="seen 18 datapoints where it was given 8"):
        bm.cross_validate(lambda support: infer(tasks()), tasks(), folds=2, progress=False)


@pytest.mark.parametrize("wrong", [infer(tasks()), lambda support: None])
def test_what_infers_nothing_is_refused(wrong):
    with pytest.raises(TypeError, match=r"a function that|must return the"):
        bm.cross_validate(wrong, tasks(), folds=2, progress=False)


def test_folds_are_disjoint_and_cover_each_task():
    data = tasks()
    seen = torch.zeros(data.mask.shape)
    for support, query in folds_of(data, 3, seed=1):
        assert not (support.mask & query.mask).any()
        assert torch.equal(support.mask | query.mask, data.mask)
        assert torch.equal(query.y[query.mask], data.y[query.mask])
        assert (query.sizes - data.sizes / 3).abs().max() < 1
        seen += query.mask
    assert torch.equal(seen.bool(), data.mask) and seen.max() == 1


def test_too_few_or_too_many_folds_are_refused():
    with pytest.raises(bm.TasksError, match=r"folds=5 .* the smallest task, 'b', has 4"):
        bm.cross_validate(infer, tasks(), folds=5)
    with pytest.raises(ValueError, match=r"folds=1; .* at least 2"):
        bm.cross_validate(infer, tasks(), folds=1)
