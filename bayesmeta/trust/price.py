"""price: what it costs to infer theta or phi in another way, beside a reference."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from bayesmeta.capturing.capture_errors import CaptureError
from bayesmeta.data.arguments import check_seed
from bayesmeta.data.columns import TasksError
from bayesmeta.data.tasks import Tasks, check_tasks
from bayesmeta.fit import fit
from bayesmeta.model.checks import StructureError
from bayesmeta.phi import Joint, Phi
from bayesmeta.posterior.posterior import Posterior
from bayesmeta.running.handlers import Model
from bayesmeta.theta import NUTS, Theta
from bayesmeta.theta.pair_checks import check_pair
from bayesmeta.training import TrainingError
from bayesmeta.trust.distances import Distance, between, between_halves
from bayesmeta.trust.price_picture import drawn

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

# As a preset gives it, or as two strategies.
PairLike = Mapping[str, object] | tuple[Theta, Phi]
_REFERENCE = "reference"
_REFUSALS = (StructureError, TasksError, TrainingError, CaptureError, ValueError)


@dataclass(frozen=True)
class Price:
    """What each pair costs, and how far its posterior is from the reference; printing shows all.

    Attributes:
        table: by pair, the reference first. Of theta and of phi, where both have it: "mean", how
            far means are off, root mean square over numbers; "sd", the sd over the reference's,
            their geometric mean, 0 of a point; "distance", Wasserstein's, mean over numbers, of
            the distributions of single numbers; all in sds of the reference; and "covers90", the
            share of the reference's draws in the pair's central 90% interval. Columns are pairs,
            as ("theta", "distance"). The row of the reference tells two parts of its draws from
            each other: what is not above it is Monte Carlo error. Then "log_score", nats a
            datapoint of the query, with "behind", how far it is behind the reference, and
            "behind_error" over tasks; "seconds", of the fit and of phi; "is_sound", whether
            `diagnose` has nothing against it and no level is a point, which has no width.
        refused: by pair, why it could not be fitted.
        problems: by pair, what `diagnose` has against it, and which level is a point.
    """

    table: pd.DataFrame
    refused: Mapping[str, str]
    problems: Mapping[str, tuple[str, ...]]

    def __str__(self) -> str:
        told = [f"{name}: {what}" for name, all in self.problems.items() for what in all]
        told += [f"{name} was not fitted: {why}" for name, why in self.refused.items()]
        return "\n".join([self.table.round(3).to_string(), *told])

    def draw(self, path: str | Path | None = None) -> Figure:
        """Distance from the reference against seconds, of theta and of phi; saved to a path."""
        return drawn(self.table, path)


def price(
    model: Model,
    tasks: Tasks,
    pairs: Sequence[PairLike] | Mapping[str, PairLike],
    *,
    reference: PairLike | None = None,
    query: Tasks | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Price:
    """What replacing the way theta or phi is inferred costs, pair by pair, on the same tasks.

        bm.price(model, tasks, [(bm.Importance(), bm.Exact()), (bm.Point(), bm.Laplace()),
                                bm.MAML()])

    Each pair is fitted to the tasks, and its draws of every number of theta and of phi are held
    against those of a reference that is taken to be right: exact inference by default. A pair that
    refuses the model is a row without figures, with the reason.

    Args:
        model, tasks: as of `fit`.
        pairs: strategies for theta and phi, or presets; with names of your own where they are a
            mapping.
        reference: another pair than NUTS and Joint.
        query: datapoints of the same tasks that are scored; they are not fitted to.
        seed: of every fit.
        progress: whether to show a progress bar over pairs.

    Raises:
        TypeError: for pairs of another kind.
        ValueError: for no pair.
        StructureError, TasksError: as of `fit`, where the reference does not fit the model.
    """
    check_tasks("tasks", tasks, hint="after the model")
    check_seed("price", seed)
    named = _named(pairs)
    right = _pair(reference if reference is not None else (NUTS(), Joint()))
    rows, refused, problems = dict[str, dict[str, object]](), {}, {}
    with tqdm(total=1 + len(named), desc="price", disable=not progress) as bar:
        bar.set_postfix_str(_REFERENCE)
        base = _Fitted.of(model, tasks, right, query, seed)
        label = f"{_REFERENCE}: {_label(right)}"
        rows[label] = base.row(between_halves(base.posterior), base)
        problems[label] = base.problems
        bar.update()
        for name, pair in named.items():
            bar.set_postfix_str(name)
            try:
                found = _Fitted.of(model, tasks, pair, query, seed)
            except _REFUSALS as error:
                refused[name], rows[name] = str(error), {}
            else:
                rows[name] = found.row(between(found.posterior, base.posterior), base)
                problems[name] = found.problems
            bar.update()
    return Price(_table(rows), refused, {n: p for n, p in problems.items() if p})


@dataclass(frozen=True)
class _Fitted:
    """A pair's posterior, the seconds for it, and its scores by task where there is a query."""

    posterior: Posterior
    seconds: float
    scores: pd.DataFrame | None

    @classmethod
    def of(
        cls, model: Model, tasks: Tasks, pair: tuple[Theta, Phi], query: Tasks | None, seed: int
    ) -> _Fitted:
        import pandas as pd

        began = time.perf_counter()
        post = fit(model, tasks, theta=pair[0], phi=pair[1], seed=seed, progress=False)
        _ = post.phi  # Most pairs infer it when it is first asked for.
        seconds = time.perf_counter() - began
        if query is None:
            return cls(post, seconds, None)
        found = post.log_score(query)
        sums, counts = found.nansum(1), found.isfinite().sum(1)
        table = {"sum": sums.cpu().numpy(), "count": counts.cpu().numpy()}
        return cls(post, seconds, pd.DataFrame(table, pd.Index(query.names)))

    @cached_property
    def problems(self) -> tuple[str, ...]:
        found = self.posterior.diagnose()
        return (*_points(self.posterior), *(() if found.ok else found.messages))

    def row(self, apart: Mapping[str, Distance], base: _Fitted) -> dict[str, object]:
        """Its figures beside the reference's."""
        row: dict[str, object] = {
            f"{level} {name}": value
            for level, distance in apart.items()
            for name, value in distance.columns().items()
        }
        if self.scores is not None and base.scores is not None:
            own, other = self.scores, base.scores
            total = float(other["count"].sum())
            behind = other["sum"] - own["sum"]
            row["log_score"] = float(own["sum"].sum()) / total
            row["behind"] = float(behind.sum()) / total
            row["behind_error"] = float(behind.std() * len(behind) ** 0.5) / total
        return row | {"seconds": self.seconds, "is_sound": not self.problems}


def _points(posterior: Posterior) -> list[str]:
    """Of which level there is a point alone: the best one may be sound, and is no posterior."""
    found = []
    if posterior.is_point and posterior.structure.theta:
        found.append("Theta is a point, which has no width.")
    if not posterior.structure.phi:
        return found
    phi, strategy = posterior.draws.free_phi, posterior.strategy
    if posterior.is_point and bool((phi == phi[:, :1]).all()):
        found.append("Phi is a point, which has no width.")
    if not (posterior.is_point or strategy.is_joint or strategy.draws_at_point > 1):
        found.append("Phi is a point for each draw of theta, which is too narrow.")
    return found


def _table(rows: Mapping[str, Mapping[str, object]]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame.from_dict(dict(rows), orient="index").rename_axis("pair")


def _named(pairs: object) -> dict[str, tuple[Theta, Phi]]:
    """Pairs by their names, or by those of their strategies."""
    if isinstance(pairs, Mapping):
        named = {str(name): _pair(pair) for name, pair in pairs.items()}
    elif isinstance(pairs, Sequence) and not isinstance(pairs, str):
        named = {}
        for pair in map(_pair, pairs):
            short, whole = _label(pair), f"{pair[0]!r} + {pair[1]!r}"
            named[whole if short in named else short] = pair
    else:
        raise TypeError(
            f"price got pairs={pairs!r}; give a list, as [(bm.Point(), bm.Laplace()), bm.MAML()], "
            "or pairs by name"
        )
    if not named:
        raise ValueError("price got no pair; give some, as [(bm.Point(), bm.Laplace())]")
    return named


def _pair(given: object) -> tuple[Theta, Phi]:
    """Theta and phi of a preset or of two strategies."""
    if isinstance(given, Mapping) and set(given) == {"theta", "phi"}:
        given = given["theta"], given["phi"]
    if not (isinstance(given, tuple) and len(given) == 2):
        raise TypeError(
            f"price got {given!r} as a pair; give two strategies, (bm.Point(), bm.Laplace()), or a "
            "preset, bm.MAML()"
        )
    check_pair(*given)
    return given


def _label(pair: tuple[Theta, Phi]) -> str:
    return " + ".join(part.label for part in pair)
