"""What a posterior makes of a query: log scores, mistakes, and what it says was observed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from bayesmeta.data.tasks import Tasks
from bayesmeta.draws.predict import observed, outcome_values
from bayesmeta.posterior.posterior import Posterior


class Mistakes(NamedTuple):
    """Squared errors, or whether a class is wrong, of an outcome; and how many there are."""

    total: Tensor
    counts: Tensor
    are_classes: bool

    def error(self) -> Tensor:
        """Root mean square, or the share of mistakes."""
        mean = self.total / self.counts
        return mean if self.are_classes else mean.sqrt()


@dataclass(frozen=True)
class Scores:
    """Log scores, how many there are, and mistakes by column: of cells (tasks, data), or sums.

    Attributes:
        log_score: NaN where the posterior gives no number for what was observed.
        counts: how many datapoints were observed.
        mistakes: by outcome, as "error", or "error height" where there are several.
        outcomes: of cells alone, the numbers that were observed, (tasks, data, numbers), in order
            of size; NaN where an outcome was not.
    """

    log_score: Tensor
    counts: Tensor
    mistakes: dict[str, Mistakes]
    outcomes: Tensor

    @classmethod
    def of(cls, posterior: Posterior, query: Tasks) -> Scores:
        """What the posterior makes of the query."""
        names = posterior.structure.data
        labels = ["error"] if len(names) == 1 else [f"error {name}" for name in names]
        there = observed(posterior.draws, query).cpu()
        score = posterior.log_score(query).cpu().double().masked_fill(~there, 0.0)
        failed = bool(score.isnan().any())
        mistakes = {
            label: _mistakes(posterior, query, name, failed)
            for label, name in zip(labels, names, strict=True)
        }
        return cls(score, there.double(), mistakes, _outcomes(posterior, query))

    @property
    def failed(self) -> bool:
        """Whether some score is no number."""
        return bool(self.log_score.isnan().any())

    def by_task(self) -> Scores:
        """Sums over each task's datapoints, (tasks,)."""
        return self._each(lambda cells: cells.sum(1))

    def by_datapoint(self) -> Scores:
        """Without what was not observed, (datapoints,)."""
        there = self.counts > 0
        return self._each(lambda cells: cells[there])

    def total(self) -> Scores:
        """Sums over all that is left."""
        return self._each(lambda cells: cells.sum())

    def errors(self) -> dict[str, Tensor]:
        """By column."""
        return {label: mistakes.error() for label, mistakes in self.mistakes.items()}

    def without_errors(self) -> Scores:
        """With NaN for errors, which are of other numbers than those of other models."""
        none = {
            label: m._replace(total=torch.full_like(m.total, torch.nan))
            for label, m in self.mistakes.items()
        }
        return replace(self, mistakes=none)

    def _each(self, part: Callable[[Tensor], Tensor]) -> Scores:
        mistakes = {
            label: Mistakes(part(m.total), part(m.counts), m.are_classes)
            for label, m in self.mistakes.items()
        }
        return Scores(part(self.log_score), part(self.counts), mistakes, self.outcomes)


def is_binary(posterior: Posterior, outcome: str, y: Tensor) -> bool:
    """Whether an outcome (tasks, data) is a Bernoulli variable: the classes 0 and 1."""
    return posterior.structure.nodes[outcome].distribution == "Bernoulli" and y.dim() == 2


def _mistakes(posterior: Posterior, query: Tasks, outcome: str, failed: bool) -> Mistakes:
    y = outcome_values(posterior.draws, query, outcome=outcome)
    seen = observed(posterior.draws, query, outcome=outcome).cpu().double()
    if failed:
        # Some draws are no numbers: of such chances no outcome can be drawn.
        return Mistakes(torch.full_like(seen, torch.nan), seen, False)
    mean = posterior.predict(query, outcome=outcome).mean
    y = y.to(mean)
    if is_binary(posterior, outcome, y):
        mean = torch.stack([1 - mean, mean], -1)
    are_classes = mean.dim() == y.dim() + 1
    wrong = (mean.argmax(-1) != y).to(y) if are_classes else (mean - y).square()
    each = wrong.reshape(*wrong.shape[:2], -1).sum(-1).cpu().double()
    return Mistakes(torch.where(seen > 0, each, 0.0), seen, are_classes)


def _outcomes(posterior: Posterior, query: Tasks) -> Tensor:
    """The numbers that were observed of each datapoint, in order of size."""
    found = []
    for name in posterior.structure.data:
        values = outcome_values(posterior.draws, query, outcome=name).cpu().double()
        seen = observed(posterior.draws, query, outcome=name).cpu()
        flat = values.reshape(*values.shape[:2], -1)
        found.append(flat.masked_fill(~seen[..., None], torch.nan))
    return torch.cat(found, -1).sort(-1).values
