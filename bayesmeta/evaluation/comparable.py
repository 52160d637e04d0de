"""Whether scores of several models are of the same datapoints and numbers, and on one scale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from bayesmeta.data.columns import TasksError, place
from bayesmeta.data.tasks import Tasks
from bayesmeta.evaluation.scores import Scores

# Models compute in other dtypes.
_SAME = 1e-5


def check_same_datapoints(found: Mapping[str, Scores]) -> None:
    """Refuse models of which some mask what others score.

    Raises:
        TasksError: with how many each scores.
    """
    (first, known), *others = found.items()
    for name, scores in others:
        if not torch.equal(scores.counts, known.counts):
            counts = [f"'{n}' {int(found[n].counts.sum())}" for n in (first, name)]
            raise TasksError(
                f"the models score other datapoints of the query ({' and '.join(counts)}), as they "
                "mask them in other places; give a query in which all of them see the same"
            )


def on_one_scale(
    found: Mapping[str, Scores], query: Tasks, log_jacobian: Mapping[str, Tensor]
) -> tuple[dict[str, Scores], tuple[str, ...]]:
    """The scores as of densities of the same numbers, and a sentence on errors that are not.

    Args:
        found: by model.
        query: whose datapoints were scored.
        log_jacobian: by model, log |dz/dy| of each datapoint, (tasks, data), where it is of z(y).

    Raises:
        TasksError: where outcomes are other numbers, and there is none; and where it has no model,
            another shape, or NaN or inf.
    """
    for name, given in log_jacobian.items():
        _check_jacobian(name, given, found, query)
    plain = [name for name in found if name not in log_jacobian]
    scaled: dict[str, Scores] = {}
    others: list[str] = []
    for name, scores in found.items():
        at = None if not plain else _first_difference(scores, found[plain[0]])
        if name in log_jacobian:
            more = torch.as_tensor(log_jacobian[name]).detach().cpu().double()
            added = torch.where(scores.counts > 0, more, 0.0)
            scores = replace(scores, log_score=scores.log_score + added)
            if at is not None:
                scores, others = scores.without_errors(), [*others, name]
        elif at is not None:
            raise TasksError(_told(name, plain[0], found, at, query))
        scaled[name] = scores
    note = f"errors of {', '.join(others)} are left out, as they are of other numbers than y"
    return scaled, (note,) if others else ()


def _check_jacobian(name: str, given: object, found: Mapping[str, Scores], query: Tasks) -> None:
    if name not in found:
        raise TasksError(f"log_jacobian names '{name}', but the models are {list(found)}")
    values = torch.as_tensor(given)
    there = found[name].counts > 0
    if values.shape != there.shape or not bool(values.cpu()[there].isfinite().all()):
        raise TasksError(
            f"log_jacobian['{name}'] has shape {tuple(values.shape)}, or is not finite; give "
            f"log |dz/dy| of each datapoint, {tuple(there.shape)}: for z = log y it is "
            "-query.y.log()"
        )


def _first_difference(scores: Scores, known: Scores) -> tuple[int, int] | None:
    """Task and row of the first datapoint of which both observed all, and other numbers."""
    ours, theirs = scores.outcomes, known.outcomes
    if not ours.shape[-1] or not theirs.shape[-1]:
        return None
    if ours.shape != theirs.shape:
        other = known.counts > 0
    else:
        near = (ours - theirs).abs() <= _SAME * torch.maximum(ours.abs(), theirs.abs())
        other = (~near & ~(ours.isnan() | theirs.isnan())).any(-1)
    places = (other & (known.counts > 0)).nonzero()
    return (int(places[0, 0]), int(places[0, 1])) if len(places) else None


def _told(
    name: str, first: str, found: Mapping[str, Scores], at: tuple[int, int], query: Tasks
) -> str:
    ours, theirs = (found[n].outcomes[at].tolist() for n in (name, first))
    numbers = [x[0] if len(x) == 1 else x for x in (ours, theirs)]
    return (
        f"the models have other numbers as outcomes: '{name}' observes {numbers[0]!r} "
        f"{place(at, query.names)}, and '{first}' {numbers[1]!r}, so that their densities are of "
        f"other things and cannot be compared; where '{name}' is of z(y), such as log y, give "
        f'log |dz/dy| of each datapoint: log_jacobian={{"{name}": -query.y.log()}}'
    )


def with_kinds(found: Mapping[str, Scores]) -> dict[str, Scores]:
    """With errors of other kinds under other names, where some models have classes."""
    kinds: dict[str, set[bool]] = {}
    for scores in found.values():
        if not scores.failed:
            for label, mistakes in scores.mistakes.items():
                kinds.setdefault(label, set()).add(mistakes.are_classes)
    both = {label for label, each in kinds.items() if len(each) > 1}

    def named(label: str, are_classes: bool) -> str:
        kind = "share wrong" if are_classes else "root mean square"
        return f"{label} ({kind})" if label in both else label

    return {
        name: replace(
            scores, mistakes={named(n, m.are_classes): m for n, m in scores.mistakes.items()}
        )
        for name, scores in found.items()
    }
