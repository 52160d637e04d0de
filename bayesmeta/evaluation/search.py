"""search: hyperparameters by cross-validation, proposed by Optuna, and gone on with later."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from bayesmeta.data.arguments import check_seed, check_whole
from bayesmeta.data.tasks import Tasks
from bayesmeta.evaluation.cross_validate import cross_validate
from bayesmeta.posterior.posterior import Posterior
from bayesmeta.training.checkpoint import CheckpointError, digest

if TYPE_CHECKING:
    import optuna


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
            an interrupt, or with more trials. None keeps them in memory.
        sampler: proposes; None is Optuna's tree-structured Parzen estimator.
        seed: chooses the parts and what is proposed.
        progress: whether to show a progress bar.

    Returns:
        Optuna's study: best_params, best_value (nats a datapoint), trials_dataframe().

    Raises:
        ImportError: where Optuna is not installed.
        CheckpointError: where the storage is of other tasks or folds.
        TasksError: where a task has fewer datapoints than there are folds.
        ValueError: where no trial has a finite log score.
    """
    check_whole("search", "trials", trials)
    check_whole("search", "folds", folds, least=2)
    check_seed("search", seed)
    package = _optuna()
    with _quiet():
        study = _study(package, storage, sampler, seed)
    _check_same(study, digest(tasks.tensors(), f"{folds} folds, seed {seed}"), storage)

    def score(trial: optuna.Trial) -> float:
        def infer(support: Tasks) -> Posterior:
            return candidate(trial, support)

        found = cross_validate(infer, tasks, folds=folds, seed=seed, progress=False)
        value = float(found.nanmean())
        if not isfinite(value):
            # A score of -inf would be the best of those that are no better.
            raise package.TrialPruned(f"the log score is {value}")
        return value

    _optimise(study, score, trials, progress)
    if not _ended(study, "COMPLETE"):
        raise ValueError(
            f"none of {len(study.trials)} trials has a finite log score; propose other values, as "
            "a smaller lr"
        )
    return study


def _check_same(study: optuna.Study, about: str, storage: str | Path | None) -> None:
    """Refuse trials that were scored by other data; remember by which these are."""
    if study.user_attrs.get("about", about) != about:
        raise CheckpointError(
            f"the trials in {storage} are of other tasks, folds or seed; give another file, or "
            "delete it to start anew"
        )
    study.set_user_attr("about", about)


def _optimise(
    study: optuna.Study, score: Callable[[optuna.Trial], float], trials: int, progress: bool
) -> None:
    """The trials that are left; an interrupt keeps those that have ended."""
    try:
        left = max(0, trials - _ended(study, "COMPLETE", "PRUNED"))
        study.optimize(score, n_trials=left, show_progress_bar=progress)
    except KeyboardInterrupt:
        done = _ended(study, "COMPLETE", "PRUNED")
        if not done:
            raise
        warnings.warn(f"interrupted after {done} of {trials} trials, which are kept", stacklevel=3)


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


def _ended(study: optuna.Study, *states: str) -> int:
    return sum(trial.state.name in states for trial in study.trials)


def _optuna() -> ModuleType:
    try:
        import optuna
    except ImportError as error:
        raise ImportError(
            "bm.search proposes by Optuna, which is not installed: pip install optuna, or "
            "install bayesmeta with its extra 'search'"
        ) from error
    return optuna


def _study(
    package: ModuleType,
    storage: str | Path | None,
    sampler: optuna.samplers.BaseSampler | None,
    seed: int,
) -> optuna.Study:
    kept = None
    if storage is not None:
        from optuna.storages.journal import JournalFileBackend

        kept = package.storages.JournalStorage(JournalFileBackend(str(storage)))
    return package.create_study(
        study_name="bayesmeta",
        direction="maximize",
        storage=kept,
        sampler=sampler or package.samplers.TPESampler(seed=seed),
        load_if_exists=True,
    )
