"""cross_validate: each datapoint is scored once, by a posterior that has not seen it."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch

import bayesmeta as bm
from bayesmeta.evaluation.cross_validate import _are_classes, folds_of

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


def shared(tasks):
    """y ~ N(mean_i, SIGMA^2), mean_i ~ N(mu, TAU^2)."""
    mu = pyro.sample("mu", dist.Normal(torch.zeros((), dtype=tasks.dtype), 3.0))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        mean = pyro.sample("mean", dist.Normal(mu, TAU))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(mean, SIGMA), obs=tasks.y)


def learned(data):
    return bm.fit(shared, data, theta=bm.Point(), phi=bm.Exact(), progress=False)


@pytest.mark.parametrize("again", [False, True], ids=["the same", "read twice"])
def test_theta_that_has_seen_what_is_held_out_is_refused(again):
    data = tasks()
    post = learned(data)
    given = bm.Tasks.from_arrays(data.y.clone(), mask=data.mask, names="abc") if again else data
    match = r"theta has seen 10 of 10 datapoints that were held out \(tasks 'a', 'b', 'c'\).*anew"
    with pytest.raises(bm.TasksError, match=match):
        bm.cross_validate(post.adapt, given, folds=2, progress=False)


def test_theta_that_has_seen_others_is_not():
    """Fitted anew, fitted to other tasks of these names, and given."""
    data = tasks()
    other = bm.Tasks.from_arrays(data.y + 1, mask=data.mask, names="abc")
    known = bm.fit(
        shared, data, theta=bm.Fixed({"mu": torch.tensor(0.0)}), phi=bm.Exact(), progress=False
    )
    for fit in (learned, learned(other).adapt, known.adapt):
        score = bm.cross_validate(fit, data, folds=2, progress=False)
        assert torch.equal(score.isnan(), ~data.mask)


def test_of_a_posterior_that_was_loaded_names_alone_are_known(tmp_path):
    learned(tasks()).save(tmp_path)
    post, data = bm.load(tmp_path, shared), tasks()
    with pytest.warns(UserWarning, match="tasks of the same names .'a', 'b', 'c'. and then loaded"):
        bm.cross_validate(post.adapt, data, folds=2, progress=False)
    # No warning, which would be an error, for other names.
    renamed = bm.Tasks.from_arrays(data.y, mask=data.mask, names="def")
    bm.cross_validate(post.adapt, renamed, folds=2, progress=False)


def test_a_score_that_is_no_number_is_no_padding():
    def broken(support):
        post = infer(support)
        phi = post.free_phi.clone()
        phi[:, :, 1:] = torch.nan
        return bm.Posterior(replace(post.draws, fit=replace(post.fit, phi=phi)))

    with pytest.raises(bm.TrainingError, match=r"no number in 2 of 3 tasks \('b', 'c'\)"):
        bm.cross_validate(broken, tasks(), folds=2, progress=False)


def test_what_the_model_masks_is_none():
    def masked(tasks):
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            mean = pyro.sample("mean", dist.Normal(torch.zeros((), dtype=tasks.dtype), TAU))
            seen = pyro.poutine.mask(mask=tasks.x["seen"] > 0)
            with pyro.plate("data", tasks.num_data, dim=-1), seen:
                pyro.sample("y", dist.Normal(mean, SIGMA), obs=tasks.y)

    seen = torch.ones(3, 7, dtype=torch.float64)
    seen[0, ::2] = 0.0
    data = bm.Tasks.from_arrays(tasks().y, {"seen": seen})
    score = bm.cross_validate(
        lambda s: bm.fit(masked, s, theta=bm.Fixed({}), phi=bm.Exact(), progress=False),
        data,
        folds=2,
        progress=False,
    )
    assert torch.equal(score.isnan(), seen == 0)


def test_a_query_is_refused():
    support, query = tasks().split(2)
    with pytest.raises(bm.TasksError, match="have a query, which is left out of no fold"):
        bm.cross_validate(infer, support.with_query(query), folds=2, progress=False)


def lost(data, folds):
    """Classes with as many rows as folds that some support of their task lacks."""
    found = 0
    for support, _ in folds_of(data, folds, seed=1):
        for i in range(len(data)):
            own = data.y[i][data.mask[i]].tolist()
            left = support.y[i][support.mask[i]].tolist()
            found += sum(own.count(c) >= folds and c not in left for c in set(own))
    return found


def test_no_support_lacks_a_class(monkeypatch):
    y = torch.tensor([[0.0] * 6 + [1] * 4 + [2] * 2, [0] * 9 + [1] * 2 + [2]])
    mask = torch.ones(2, 12, dtype=torch.bool)
    mask[1, 8] = False
    data = bm.Tasks.from_arrays(y, mask=mask)
    assert lost(data, 2) == 0
    for _, query in folds_of(data, 2, seed=1):
        assert (query.sizes - data.sizes / 2).abs().max() < 1
    counts = [q.y[0][q.mask[0]].unique(return_counts=True)[1] for _, q in folds_of(data, 2, 0)]
    assert [c.tolist() for c in counts] == [[3, 2, 1], [3, 2, 1]]
    # The control: parts at random.
    module = sys.modules["bayesmeta.evaluation.cross_validate"]
    monkeypatch.setattr(module, "_are_classes", lambda y, mask: False)
    assert any(lost(bm.Tasks.from_arrays(y.roll(k, 1)), 2) for k in range(12))


def test_numbers_are_left_in_random_parts():
    whole = torch.arange(6.0).reshape(2, 3)
    everywhere = torch.ones(2, 3, dtype=torch.bool)
    assert not _are_classes(whole, everywhere) and not _are_classes(whole[..., None], everywhere)
    assert not _are_classes(-(whole % 2), everywhere) and _are_classes(whole % 2, everywhere)
