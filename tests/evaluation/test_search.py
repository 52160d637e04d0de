"""search: the best of the candidates, kept in a file that a later call goes on from."""

from __future__ import annotations

import sys
from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch

import bayesmeta as bm

optuna = pytest.importorskip("optuna")
TAUS = [0.01, 1.0, 100.0]


def ridge(tasks):
    """y = x w + noise with w ~ N(0, tau^2)."""
    tau = pyro.param("tau", torch.tensor(1.0), constraint=dist.constraints.positive)
    zero = torch.zeros(15, dtype=tasks.dtype)
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        w = pyro.sample("w", dist.Normal(zero, tau).to_event(1))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal((w * tasks.x["x"]).sum(-1), 1.0), obs=tasks.y)


def target(sd=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(4, 20, 15, generator=generator, dtype=torch.float64)
    w = sd * torch.randn(4, 15, 1, generator=generator, dtype=torch.float64)
    noise = torch.randn(4, 20, generator=generator, dtype=torch.float64)
    return bm.Tasks.from_arrays((x @ w)[..., 0] + noise, {"x": x})


def at(tau, support):
    known = bm.Fixed({"tau": torch.tensor(tau)})
    return bm.fit(ridge, support, theta=known, phi=bm.Exact(draws=200), progress=False)


def candidate(trial, support):
    return at(trial.suggest_categorical("tau", TAUS), support)


def every_tau():
    return optuna.samplers.GridSampler({"tau": TAUS}, seed=0)


@pytest.mark.parametrize("sd", [1.0, 0.02])
def test_the_prior_width_found_is_the_best_by_hand(sd):
    tasks = target(sd)
    study = bm.search(
        candidate, tasks, trials=len(TAUS), folds=2, sampler=every_tau(), progress=False
    )
    by_hand = {
        tau: float(bm.cross_validate(partial(at, tau), tasks, folds=2, progress=False).nanmean())
        for tau in TAUS
    }
    best = max(by_hand, key=by_hand.__getitem__)
    assert study.best_params == {"tau": best}
    assert study.best_value == pytest.approx(by_hand[best])
    assert (best == 1.0) == (sd == 1.0)


def test_a_search_goes_on_from_its_file(tmp_path):
    file, calls = tmp_path / "search.log", []

    def counted(trial, support):
        calls.append(trial.number)
        if trial.number == 1 and len(set(calls)) == 2:
            raise KeyboardInterrupt
        return candidate(trial, support)

    def go(trials):
        return bm.search(
            counted,
            target(),
            trials=trials,
            folds=2,
            storage=file,
            progress=False,
        )

    with pytest.warns(UserWarning, match="interrupted after 1 of 3 trials"):
        first = go(3)
    before = [t.value for t in first.trials if t.value is not None]
    after = [t.value for t in go(3).trials if t.value is not None]
    assert len(before) == 1 and len(after) == 3 and after[:1] == before
    done = len(calls)
    go(3)
    assert len(calls) == done


def test_a_file_of_other_tasks_is_refused(tmp_path):
    file = tmp_path / "search.log"
    bm.search(candidate, target(), trials=1, folds=2, storage=file, progress=False)
    with pytest.raises(bm.CheckpointError, match="other tasks, folds or seed"):
        bm.search(candidate, target(seed=1), trials=2, folds=2, storage=file, progress=False)


@pytest.mark.parametrize("finite", [{100.0}, set()])
def test_trials_without_a_finite_score_are_no_best(monkeypatch, finite):
    def score(infer, tasks, **options):
        tau = round(float(infer(tasks).theta["tau"].mean()), 6)
        return torch.tensor([-tau if tau in finite else -torch.inf])

    monkeypatch.setattr(sys.modules["bayesmeta.evaluation.search"], "cross_validate", score)
    settings = {"trials": 3, "sampler": every_tau(), "progress": False}
    if finite:
        study = bm.search(candidate, target(), **settings)
        assert study.best_params == {"tau": 100.0} and study.best_value == -100.0
        return
    with pytest.raises(ValueError, match="none of 3 trials has a finite log score"):
        bm.search(candidate, target(), **settings)


def test_without_optuna_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ImportError, match="pip install optuna"):
        bm.search(candidate, target())
