"""Who has seen what: theta its tasks and their query, phi its own, and nobody what is masked."""

from __future__ import annotations

from pathlib import Path

import pyro
import pyro.distributions as dist
import pytest
import torch

import bayesmeta as bm
from bayesmeta.evaluation.seen import may_be_seen, seen_by_phi, seen_by_theta
from bayesmeta.influence.left_out import tasks_seen
from bayesmeta.models import normal_means

TASKS = normal_means.tasks(num_tasks=6, num_data=6, ragged=False)
NEW = normal_means.tasks(num_tasks=4, num_data=6, seed=1, ragged=False)
OPTIONS = {"phi": bm.Exact(draws=5), "progress": False}


def fitted(tasks: bm.Tasks, query: bm.Tasks | None = None) -> bm.Posterior:
    return bm.fit(normal_means.model, tasks, query=query, theta=bm.Point(), **OPTIONS)


def test_theta_has_seen_what_it_was_fitted_to_and_phi_its_own() -> None:
    post = fitted(TASKS)
    assert seen_by_theta(post, TASKS).all() and seen_by_phi(post, TASKS).all()
    adapted = post.adapt(NEW)
    assert seen_by_theta(adapted, TASKS).all() and not seen_by_phi(adapted, TASKS).any()
    assert seen_by_phi(adapted, NEW).all() and not seen_by_theta(adapted, NEW).any()
    # Adapted once more, to a part.
    support, query = NEW.split(2)
    again = adapted.adapt(support)
    assert seen_by_theta(again, TASKS[:2]).all() and seen_by_phi(again, support).all()
    assert not seen_by_phi(again, query).any()


def test_the_query_of_a_fit_is_seen_by_theta_alone() -> None:
    support, query = TASKS.split(3)
    post = fitted(support, query)
    assert seen_by_theta(post, query).all() and not seen_by_phi(post, query).any()
    assert seen_by_theta(post, TASKS).equal(TASKS.mask)


def test_a_theta_that_was_given_has_seen_nothing() -> None:
    known = bm.Fixed({"mu": torch.tensor(0.0)})
    post = bm.fit(normal_means.model, TASKS, theta=known, **OPTIONS)
    assert not seen_by_theta(post, TASKS).any() and seen_by_phi(post, TASKS).all()
    assert not seen_by_theta(bm.prior(normal_means.model, TASKS, draws=3), TASKS).any()


def masked(tasks: bm.Tasks) -> None:
    mu = pyro.sample("mu", dist.Normal(torch.zeros((), dtype=tasks.dtype), 3.0))
    seen = pyro.poutine.mask(mask=tasks.x["seen"] > 0)
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        mean = pyro.sample("mean", dist.Normal(mu, 1.0))
        with pyro.plate("data", tasks.num_data, dim=-1), seen:
            pyro.sample("y", dist.Normal(mean, 1.0), obs=tasks.y)


def test_what_the_model_masks_was_not_seen() -> None:
    seen = torch.ones_like(TASKS.y)
    seen[:, ::2] = 0.0
    tasks = bm.Tasks.from_arrays(TASKS.y, {"seen": seen})
    post = bm.fit(masked, tasks, theta=bm.Point(), **OPTIONS)
    assert seen_by_theta(post, tasks).equal(seen > 0)
    assert seen_by_phi(post.adapt(tasks), tasks).equal(seen > 0)
    # What is masked is no part of a task that would have to be left out.
    assert tasks_seen(post).all() and tasks_seen(post.adapt(tasks[:2])).all()
    with pytest.raises(bm.TasksError, match="some are the same"):
        tasks_seen(post.adapt(tasks.split(3)[0]))


def test_of_a_file_names_alone_are_known(tmp_path: Path) -> None:
    named = bm.Tasks.from_arrays(TASKS.y, names="abcdef")
    fitted(named).adapt(TASKS).save(tmp_path / "named")
    fitted(TASKS).save(tmp_path / "numbered")
    post = bm.load(tmp_path / "named", normal_means.model)
    assert may_be_seen(post, named[["e", "b"]]) == ["e", "b"] and not may_be_seen(post, NEW)
    assert not seen_by_theta(post, named).any()
    # Numbers name no tasks; and what has data is known by them.
    assert not may_be_seen(bm.load(tmp_path / "numbered", normal_means.model), TASKS)
    assert not may_be_seen(fitted(named), named)


def test_a_search_by_a_theta_that_has_seen_the_tasks_is_refused_at_once() -> None:
    pytest.importorskip("optuna")
    post, calls = fitted(TASKS), []

    def candidate(trial: object, support: bm.Tasks) -> bm.Posterior:
        calls.append(trial)
        return post.adapt(support)

    with pytest.raises(bm.TasksError, match="theta has seen 18 of 18 datapoints that were held"):
        bm.search(candidate, TASKS, trials=3, folds=2, progress=False)
    assert len(calls) == 1
