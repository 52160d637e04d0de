"""search: the best of the candidates, kept in a file that a later call goes on from."""

from __future__ import annotations

import sys
from dataclasses import replace
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


@pytest.mark.slow
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


def slope(trial, support):
    return at(trial.suggest_float("tau", 0.1, 2.0), support)


def taus(study):
    return [trial.params["tau"] for trial in study.trials if trial.values or trial.user_attrs]


@pytest.mark.slow
def test_a_search_that_goes_on_proposes_what_it_would_have_without_a_break(tmp_path):
    options = {"folds": 2, "progress": False}
    whole = bm.search(slope, target(), trials=6, **options)
    bm.search(slope, target(), trials=3, storage=tmp_path / "some.log", **options)
    rest = bm.search(slope, target(), trials=6, storage=tmp_path / "some.log", **options)
    assert taus(rest) == taus(whole) and len(set(taus(rest))) == 6
    other = bm.search(slope, target(), trials=2, seed=1, **options)
    assert not set(taus(other)) & set(taus(whole))


@pytest.mark.parametrize("kind", ["another score", "an error"])
def test_a_candidate_that_breaks_in_some_tasks_is_none(kind):
    """The others would have been the better score."""

    def breaking(trial, support):
        breaks = trial.suggest_categorical("breaks", [True, False])
        post = at(1.0, support)
        if breaks and kind == "an error":
            raise torch.linalg.LinAlgError("singular")
        phi = post.free_phi.clone()
        phi[:, :, 1:] = torch.nan if breaks else phi[:, :, 1:]
        return bm.Posterior(replace(post.draws, fit=replace(post.fit, phi=phi)))

    with pytest.warns(UserWarning, match=r"failed and are no candidates; .*(no number|singular)"):
        study = bm.search(breaking, target(), trials=6, folds=2, progress=False)
    assert study.best_params == {"breaks": False} and len(study.trials) == 6
    states = {trial.params["breaks"]: trial.state.name for trial in study.trials}
    assert states == {True: "FAIL", False: "COMPLETE"}


def test_where_all_fail_the_first_is_told_and_mistakes_are_raised_at_once():
    def failing(trial, support):
        raise torch.linalg.LinAlgError(f"singular in trial {trial.number}")

    with pytest.raises(ValueError, match=r"none of 2 trials .* LinAlgError: singular in trial 0"):
        bm.search(failing, target(), trials=2, folds=2, progress=False)
    calls = []

    def mistaken(trial, support):
        calls.append(trial.number)
        return support.posterior

    with pytest.raises(AttributeError, match="posterior"):
        bm.search(mistaken, target(), trials=2, folds=2, progress=False)
    assert calls == [0]


def test_failures_count_as_tried(tmp_path):
    calls = []

    def flaky(trial, support):
        tau = trial.suggest_float("tau", 0.1, 2.0)
        calls.append(tau)
        if trial.number == 1:
            raise torch.linalg.LinAlgError("singular")
        return at(tau, support)

    options = {"folds": 2, "storage": tmp_path / "some.log", "progress": False}
    with pytest.warns(UserWarning, match="1 of 3 trials failed"):
        bm.search(flaky, target(), trials=3, **options)
    done = len(calls)
    with pytest.warns(UserWarning, match="1 of 3 trials failed"):
        bm.search(flaky, target(), trials=3, **options)
    assert len(calls) == done and len(set(calls)) == 3


SPACES = {
    "another range": lambda t: t.suggest_float("tau", 0.1, 1.0),
    "a logarithm": lambda t: t.suggest_float("tau", 0.1, 2.0, log=True),
    "another name": lambda t: t.suggest_float("width", 0.1, 2.0),
    "choices": lambda t: t.suggest_categorical("tau", [0.1, 2.0]),
}


@pytest.mark.parametrize("name", SPACES)
def test_another_space_is_refused_before_anything_is_fitted(tmp_path, name):
    options = {"folds": 2, "storage": tmp_path / "some.log", "progress": False}
    bm.search(slope, target(), trials=2, **options)
    fits = []

    def other(trial, support):
        tau = SPACES[name](trial)
        fits.append(tau)
        return at(tau, support)

    with pytest.raises(bm.CheckpointError, match=r"suggests '(tau|width)' as .* another file"):
        bm.search(other, target(), trials=3, **options)
    assert not fits
    # The control: the same space, which the refusal left as it was.
    assert len(taus(bm.search(slope, target(), trials=3, **options))) == 3


def test_other_choices_are_refused_and_a_branch_is_not(tmp_path):
    options = {"folds": 2, "storage": tmp_path / "some.log", "progress": False}

    def branching(trial, support):
        if trial.suggest_categorical("fixed", [True, False]):
            return at(1.0, support)
        return at(trial.suggest_float("tau", 0.1, 1.0 + 0.1 * trial.number), support)

    bm.search(branching, target(), trials=5, **options)
    bm.search(branching, target(), trials=8, **options)

    def more(trial, support):
        trial.suggest_categorical("fixed", [True, False, None])
        return at(1.0, support)

    with pytest.raises(bm.CheckpointError, match=r"'fixed' as Categorical.*None.* have 'fixed' as"):
        bm.search(more, target(), trials=9, **options)
