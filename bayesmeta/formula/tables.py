"""Tables of a posterior by a formula's words: coefficients, what groups have, and how they vary."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from bayesmeta.formula.design import INTERCEPT
from bayesmeta.formula.errors import FormulaError, named
from bayesmeta.formula.families import OWN_SITES
from bayesmeta.formula.grouping import Factor, Place
from bayesmeta.formula.plan import Plan, cor_site, sd_site, value_site

if TYPE_CHECKING:
    import pandas as pd

    from bayesmeta.posterior.posterior import Posterior

_QUANTILES = {"3%": 0.03, "97%": 0.97}


def site(values: Mapping[str, Tensor], name: str) -> Tensor:
    """The draws of a site, flat, (chain * draw, ...).

    Raises:
        FormulaError: where the posterior has no such site, as that of an edited source.
    """
    if name not in values:
        raise FormulaError(
            f"the posterior has no site '{name}', but {named(values)}; give that of a fit of "
            "f.model, and read an edited model's sites from post.theta and post.phi"
        )
    return values[name].detach().cpu().flatten(0, 1)


def coefficients(plan: Plan, post: Posterior) -> pd.DataFrame:
    """Means, sds and quantiles of what all groups share, by name."""
    rows = {INTERCEPT: site(post.theta, INTERCEPT)} if plan.has_intercept else {}
    if not plan.family.has_level:
        cut = site(post.theta, "cutpoints").reshape(-1, int(plan.y.max()))
        rows |= {f"cutpoints[{k}]": values for k, values in enumerate(cut.mT)}
    rows |= {label: site(post.theta, label) for label in plan.design.predictors}
    return _table({(name,): values for name, values in rows.items()}, ("coefficient",))


def variation(plan: Plan, post: Posterior) -> pd.DataFrame:
    """Means, sds and quantiles of sds between groups, correlations, and the family's own."""
    known = {factor.name: factor for factor in plan.factors}
    names = []
    for effects in plan.design.effects:
        factor = known[effects.factor]
        names += [sd_site(term, factor) for term in effects.terms]
        if effects.correlated:
            names += [cor_site(*pair, factor) for pair in combinations(effects.terms, 2)]
    names += [name for name in OWN_SITES if name in post.theta]
    return _table({(name,): site(post.theta, name) for name in names}, ("parameter",))


def group_effects(plan: Plan, post: Posterior) -> pd.DataFrame:
    """Means, sds and quantiles of what each group adds to the coefficients of all."""
    rows: dict[tuple[str, ...], Tensor] = {}
    for place in Place:
        for factor, effects in plan.of(place):
            for term in effects.terms:
                shifts = shift(plan, post, factor, term)
                rows |= {
                    (factor.name, group, term): values
                    for group, values in _by_group(shifts, factor, post)
                }
    return _table(rows, ("factor", "group", "term"))


def shift(plan: Plan, post: Posterior, factor: Factor, term: str) -> Tensor:
    """What each group adds to a coefficient, (draws, groups), or (draws, tasks, groups) inside."""
    known = post.theta if factor.place is Place.CROSSED else post.phi
    values = site(known, value_site(term, factor))
    if plan.is_own(term, factor):
        values = values - site(post.theta, term)[:, None]
    return values


def _by_group(shifts: Tensor, factor: Factor, post: Posterior) -> list[tuple[str, Tensor]]:
    if factor.place is Place.TASK:
        return list(zip(post.tasks.names, shifts.mT, strict=True))
    if factor.place is Place.CROSSED:
        return [
            (str(g), shifts[:, at]) for g, at in zip(factor.groups, factor.numbers, strict=True)
        ]
    at_task = {name: at for at, name in enumerate(post.tasks.names)}
    return [
        (pair[1], shifts[:, at_task[pair[0]], at])
        for pair, at in zip(factor.groups, factor.numbers, strict=True)
        if pair[0] in at_task
    ]


def _table(rows: Mapping[tuple[str, ...], Tensor], names: tuple[str, ...]) -> pd.DataFrame:
    import pandas as pd

    columns: dict[str, list[float]] = {"mean": [], "sd": [], **{q: [] for q in _QUANTILES}}
    for values in rows.values():
        draws = values.double().numpy().reshape(-1)
        columns["mean"].append(float(draws.mean()))
        columns["sd"].append(float(draws.std()))
        for name, q in _QUANTILES.items():
            columns[name].append(float(np.quantile(draws, q)))
    keys = list(rows)
    if len(names) == 1:
        return pd.DataFrame(columns, pd.Index([key[0] for key in keys], name=names[0]))
    return pd.DataFrame(columns, pd.MultiIndex.from_tuples(keys, names=names))
