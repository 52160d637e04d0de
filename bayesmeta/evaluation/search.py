"""search: hyperparameters by cross-validation, proposed by Optuna, and gone on with later."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from bayesmeta.data.arguments import check_seed, check_whole
from bayesmeta.data.columns import TasksError
from bayesmeta.data.tasks import Tasks
from bayesmeta.engine.noise import seeds
from bayesmeta.evaluation.cross_validate import cross_validate
from bayesmeta.evaluation.search_space import has_ended, same_space
from bayesmeta.posterior.posterior import Posterior
from bayesmeta.training.checkpoint import CheckpointError, digest

if TYPE_CHECKING:
    import optuna

# No other hyperparameters would mend these.
_MISTAKES = (TypeError, NameError, AttributeError, ImportError, TasksError, CheckpointError)


def search(
    candidate: Callable[[optuna.Trial, Tasks], Posterior],
    tasks: Tasks,
    *,
    trials: int = 20,
    folds: int = 5,
    storage: str | Path | None = None,
    sampler: optuna.samplers.BaseSampler | None = None,
    seed: int = 0,
    progress: bool = True,
) -> optuna.Study:
    """The hyperparameters whose cross-validated log score is highest (Akiba et al. 2019).

        def candidate(trial, support):
            lr = trial.suggest_float("lr", 1e-4, 1e-1, log=True)
            return post.adapt(support, phi=bm.FineTune([bm.Full(lr=lr)], progress=False))

        bm.search(candidate, target, storage="search.log").best_params

    Args:
        candidate: a posterior of the tasks from a part of their datapoints, with what the trial
            suggests.
        tasks: the target tasks.
        trials: how many candidates, those in the storage included.
        folds: of the cross-validation; the parts are the same for all candidates.
        storage: a file in which trials are kept as they end: the same call goes on from it after
            an interrupt, or with more trials, to the trials that there would have been without one.
            None keeps them in memory.
        sampler: proposes; None is Optuna's tree-structured Parzen estimator, seeded anew for each
            trial by `seed` and its number. One that is given has its own seed, and may repeat
            itself where a search goes on.
        seed: chooses the parts and what is proposed.
        progress: whether to show a progress bar.

    Returns:
        Optuna's study: best_params, best_value (nats a datapoint), trials_dataframe(). A trial that
        raises, or whose score is no number in some task, is in state FAIL, with what was said in
        its user_attrs["failure"], and is no candidate; one with a score of -inf is PRUNED.

    Raises:
        ImportError: where Optuna is not installed.
        CheckpointError: where the storage is of other tasks or folds, or of other ranges or choices
            of what is suggested, before anything is fitted.
        TasksError: as of `cross_validate`, such as where the posterior's theta has seen the tasks.
        ValueError: where no trial has a finite log score; it says why the first has none.
    """
    check_whole("search", "trials", trials)
    check_whole("search", "folds", folds, least=2)
    check_seed("search", seed)
    package = _optuna()
    with _quiet():
        study = _study(package, storage, sampler or _seeded(package, seed))
    _check_same(study, digest(tasks.tensors(), f"{folds} folds, seed {seed}"), storage)

    check_space = same_space(package, study, storage)

    def score(trial: optuna.Trial) -> float:
        def infer(support: Tasks) -> Posterior:
            return candidate(check_space(trial), support)

        found = cross_validate(infer, tasks, folds=folds, seed=seed, progress=False)
        return float(found.nanmean())

    with _quiet():
        _optimise(study, _watched(score, package), trials, progress)
    _tell_of_failures(study)
    return study


def _check_same(study: optuna.Study, about: str, storage: str | Path | None) -> None:
    """Refuse trials that were scored by other data; remember by which these are."""
    if study.user_attrs.get("about", about) != about:
        raise CheckpointError(
            f"the trials in {storage} are of other tasks, folds or seed; give another file, or "
            "delete it to start anew"
        )
    study.set_user_attr("about", about)


def _watched(
    score: Callable[[optuna.Trial], float], package: ModuleType
) -> Callable[[optuna.Trial], float]:
    """The score of a trial; why one fails is written down, but for mistakes of who wrote it."""

    def objective(trial: optuna.Trial) -> float:
        try:
            value = score(trial)
        except _MISTAKES:
            raise
        except Exception as error:
            kind = type(error).__name__.removeprefix("_")
            trial.set_user_attr("failure", f"{kind}: {error}")
            raise _TrialFailed from error
        if not isfinite(value):
            # A score of -inf would be the best of those that are no better.
            trial.set_user_attr("failure", f"the log score is {value}")
            raise package.TrialPruned(f"the log score is {value}")
        return value

    return objective


class _TrialFailed(Exception):
    """A trial that raised, after which the search goes on."""


def _optimise(
    study: optuna.Study, objective: Callable[[optuna.Trial], float], trials: int, progress: bool
) -> None:
    """The trials that are left; an interrupt keeps those that have ended."""
    left = max(0, trials - sum(map(has_ended, study.trials)))
    try:
        study.optimize(objective, n_trials=left, catch=(_TrialFailed,), show_progress_bar=progress)
    except KeyboardInterrupt:
        done = sum(map(has_ended, study.trials))
        if not done:
            raise
        warnings.warn(f"interrupted after {done} of {trials} trials, which are kept", stacklevel=3)


def _tell_of_failures(study: optuna.Study) -> None:
    """Raise where no trial has a score, and warn where some have none as they raised.

    Raises:
        ValueError: with what the first one said.
    """
    ended = [trial for trial in study.trials if has_ended(trial)]
    failures = [trial.user_attrs["failure"] for trial in ended if "failure" in trial.user_attrs]
    if len(failures) == len(ended):
        raise ValueError(
            f"none of {len(ended)} trials has a finite log score; propose other values, as a "
            f"smaller lr. The first: {''.join(failures[:1])}"
        )
    raised = [t for t in ended if t.state.name == "FAIL"]
    if raised:
        warnings.warn(
            f"{len(raised)} of {len(ended)} trials failed and are no candidates; the first with "
            f"{raised[0].params}: {raised[0].user_attrs['failure']}",
            stacklevel=3,
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's line a trial, and its traceback at an interrupt."""
    log = logging.getLogger("optuna")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


def _optuna() -> ModuleType:
    try:
        import optuna
    except ImportError as error:
        raise ImportError(
            "bm.search proposes by Optuna, which is not installed: pip install optuna, or "
            "install bayesmeta with its extra 'search'"
        ) from error
    return optuna


def _seeded(package: ModuleType, seed: int) -> optuna.samplers.BaseSampler:
    """Parzen estimators that start anew at each trial, seeded by how many there were.

    One that goes on from a file would else repeat its first proposals.
    """
    base: Any = package.samplers.BaseSampler

    class Seeded(base):
        def before_trial(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
            number = sum(map(has_ended, study.trials))
            self.own = package.samplers.TPESampler(seed=seeds(seed, number + 1)[number])
            self.own.before_trial(study, trial)

        def infer_relative_search_space(self, *about: Any) -> Any:
            return self.own.infer_relative_search_space(*about)

        def sample_relative(self, *about: Any) -> Any:
            return self.own.sample_relative(*about)

        def sample_independent(self, *about: Any) -> Any:
            return self.own.sample_independent(*about)

        def after_trial(self, *about: Any) -> None:
            self.own.after_trial(*about)

    found: optuna.samplers.BaseSampler = Seeded()
    return found


def _study(
    package: ModuleType, storage: str | Path | None, sampler: optuna.samplers.BaseSampler
) -> optuna.Study:
    kept = None
    if storage is not None:
        from optuna.storages.journal import JournalFileBackend

        kept = package.storages.JournalStorage(JournalFileBackend(str(storage)))
    return package.create_study(
        study_name="bayesmeta",
        direction="maximize",
        storage=kept,
        sampler=sampler,
        load_if_exists=True,
    )
