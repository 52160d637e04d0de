"""same_space: trials that go on from those of a file are of the same ranges and choices."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from bayesmeta.training.checkpoint import CheckpointError

if TYPE_CHECKING:
    import optuna

_Space = Mapping[str, Any]


def same_space(
    package: ModuleType, study: optuna.Study, storage: str | Path | None
) -> Callable[[optuna.Trial], optuna.Trial]:
    """Makes trials refuse to suggest what is of another space than the trials of the file.

    The first suggestion has to be one of each of these; any other may depend on what came before.
    """
    earlier = [t.distributions for t in study.trials if has_ended(t) and t.distributions]
    kinds = package.distributions
    makes = {
        "suggest_float": kinds.FloatDistribution,
        "suggest_int": kinds.IntDistribution,
        "suggest_categorical": kinds.CategoricalDistribution,
    }

    def checked(trial: optuna.Trial, method: str) -> Callable[..., Any]:
        suggest, make = getattr(trial, method), makes[method]

        @wraps(suggest)
        def and_check(name: str, *args: Any, **options: Any) -> Any:
            asked = make(*args, **options)
            _check(name, asked, earlier, storage, is_first=not trial.params)
            return suggest(name, *args, **options)

        return and_check

    def watched(trial: optuna.Trial) -> optuna.Trial:
        for method in makes if earlier else ():
            if method not in vars(trial):
                setattr(trial, method, checked(trial, method))
        return trial

    return watched


def _check(
    name: str, asked: Any, earlier: Sequence[_Space], storage: str | Path | None, *, is_first: bool
) -> None:
    """Refuse what no earlier trial was suggested.

    Raises:
        CheckpointError: with what it is, and what it was.
    """
    found = [known[name] for known in earlier if name in known]
    # Those that differ among themselves depend on what came before.
    other = found and asked not in found and all(one == found[0] for one in found)
    if other or (is_first and len(found) < len(earlier)):
        of = f"'{name}' as {found[0]}" if found else f"{sorted(set().union(*earlier))}"
        raise CheckpointError(
            f"the candidate suggests '{name}' as {asked}, but the trials in {storage} have {of}: "
            "the best of them would be none of this search; give another file, or delete it to "
            "start anew"
        )


def has_ended(trial: optuna.trial.FrozenTrial) -> bool:
    """Whether it was tried: one that was interrupted is in state FAIL too, but says nothing."""
    return trial.state.name == "COMPLETE" or "failure" in trial.user_attrs
