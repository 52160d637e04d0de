"""The plain Pyro model that a formula stands for, as text: what is run is this text and no more."""

from __future__ import annotations

import linecache
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np

from bayesmeta.formula.design import INTERCEPT, Effects
from bayesmeta.formula.families import Centre, number
from bayesmeta.formula.grouping import Factor, Place
from bayesmeta.formula.plan import (
    Plan,
    centre_of,
    check_sites,
    cor_site,
    factor_site,
    means_of,
    sd_site,
    spread_between,
    spread_of,
    value_site,
)
from bayesmeta.formula.statements import (
    INDENT,
    Names,
    column,
    deterministic,
    quoted,
    said,
    sample,
    summed,
    together,
    wrapped,
)


def write(plan: Plan) -> str:
    """The text of the model, complete with imports.

    Raises:
        FormulaError: as `check_sites`.
    """
    check_sites(plan)
    names = Names()
    lines = [*_shared(plan, names), *_crossed(plan, names), *_tasks(plan, names)]
    body = "\n".join(short for line in lines for short in wrapped(INDENT + line))
    imports = "import pyro\nimport pyro.distributions as dist\n"
    imports += "import torch\n" if "torch." in body else ""
    text = plan.text.replace("\\", "\\\\").replace('"""', "'''")
    title = f'"""{text}, {type(plan.family).__name__}."""'
    return f"{title}\n\n{imports}\n\ndef model(tasks):\n{body}\n"


def _shared(plan: Plan, names: Names) -> Iterator[str]:
    """Theta: coefficients, sds between groups, correlations, and the family's own."""
    centre = centre_of(plan)
    yield f"# Priors, in the data's units: {centre.why}."
    yield from _coefficients(plan, centre, names)
    yield from plan.family.own(plan.y, centre.unit)
    at_means = [
        f"{number(mean)} * {names.of('b', label)}" for label, mean in means_of(plan.design).items()
    ]
    if plan.has_intercept:
        yield from _level(centre, at_means)
    elif not plan.family.has_level:
        yield from _cutpoints(at_means)
    yield f"# Sds between groups: HalfNormal({centre.word} / sd(x)), x = 1 for the level, which is"
    yield "# that at x = 0, and is wider where x of the same groups lies far from it."
    for place in Place:
        for factor, effects in plan.of(place):
            yield from _sds(plan, effects, factor, centre.unit, names)


def _coefficients(plan: Plan, centre: Centre, names: Names) -> Iterator[str]:
    """Slopes; without an intercept they make up the level too, and are as wide as it is far."""
    centred = plan.design.has_intercept or not plan.family.has_level
    unit = centre.unit if centred else float(np.hypot(centre.at, centre.unit))
    word = centre.word if centred else f"{unit:.3g}"
    wide = "2.5" if word == "1" else f"2.5 {word}"
    if plan.design.predictors:
        over = "sd" if centred else "rms"
        yield f"# Coefficients: Normal(0, {wide} / {over}(x)), of the formula's own columns."
    for label in plan.design.predictors:
        scale = 2.5 * unit / spread_of(plan.design.columns[label], centred)
        yield sample(names.of("b", label), label, f"dist.Normal(0.0, {number(scale)})")


def _level(centre: Centre, at_means: Sequence[str]) -> Iterator[str]:
    """The intercept; its prior is that of the outcome where predictors are at their means."""
    wide = "2.5" if centre.word == "1" else f"2.5 {centre.word}"
    fn = f"dist.Normal({number(centre.at)}, {number(2.5 * centre.unit)})"
    yield f"# The level at the predictors' means: {wide} around the outcome's."
    if not at_means:
        yield sample("intercept", INTERCEPT, fn)
        return
    yield sample("centre", "centre", fn)
    yield from summed("at_means", at_means)
    yield deterministic("intercept", INTERCEPT, "centre - at_means")


def _cutpoints(at_means: Sequence[str]) -> Iterator[str]:
    """The cutpoints, of the shares of categories where predictors are at their means."""
    yield "# The cutpoints at the predictors' means are those of the shares."
    cut = "torch.logit(shares.cumsum(-1)[..., :-1])"
    if at_means:
        yield from summed("at_means", at_means)
        cut += " + at_means"
    yield deterministic("cutpoints", "cutpoints", cut)


def _sds(plan: Plan, effects: Effects, factor: Factor, unit: float, names: Names) -> Iterator[str]:
    """Sds of what a factor's groups have, and their correlations."""
    for term in effects.terms:
        name = names.of("sd", said(term, factor))
        scale = unit * spread_between(plan, term, factor)
        yield sample(name, sd_site(term, factor), f"dist.HalfNormal({number(scale)})")
    if effects.correlated:
        root, size = _root(effects, factor, names), len(effects.terms)
        yield "# Correlations of a group's effects: LKJ(2), which shuns -1 and 1."
        yield sample(root, factor_site(effects), f"dist.LKJCholesky({size}, 2.0)")
        for i, j in combinations(range(size), 2):
            one, other = effects.terms[i], effects.terms[j]
            value = f"({root} @ {root}.mT)[..., {i}, {j}]"
            yield f"pyro.deterministic({quoted(cor_site(one, other, factor))}, {value})"


def _root(effects: Effects, factor: Factor, names: Names) -> str:
    return names.of("factor", together(effects, factor))


def _crossed(plan: Plan, names: Names) -> Iterator[str]:
    """The plate of a factor that crosses tasks."""
    for factor in plan.factors:
        if factor.place is Place.CROSSED:
            yield f"with pyro.plate({quoted(factor.plate)}, {factor.size}):"
            for _, effects in plan.of(Place.CROSSED):
                yield from (INDENT + line for line in _values(plan, effects, factor, names))


def _values(plan: Plan, effects: Effects, factor: Factor, names: Names) -> Iterator[str]:
    """Statements inside a factor's plate on what its groups have."""
    around = {
        term: ("intercept" if term == INTERCEPT else names.of("b", term))
        if plan.is_own(term, factor)
        else "0.0"
        for term in effects.terms
    }
    own = {term: names.of("", said(term, factor)) for term in effects.terms}
    sds = {term: names.of("sd", said(term, factor)) for term in effects.terms}
    if not effects.correlated:
        (term,) = effects.terms
        fn = f"dist.Normal({around[term]}, {sds[term]})"
        yield sample(own[term], value_site(term, factor), fn)
        return
    site = f"z({', '.join(effects.terms)}|{factor.name})"
    z = names.of("z", together(effects, factor))
    standard = f"dist.Normal(0.0, 1.0).expand([{len(effects.terms)}]).to_event(1)"
    yield sample(z, site, standard)
    yield f"{z} = {z} @ {_root(effects, factor, names)}.mT"
    for at, term in enumerate(effects.terms):
        start = "" if around[term] == "0.0" else f"{around[term]} + "
        value = f"{start}{sds[term]} * {z}[..., {at}]"
        yield deterministic(own[term], value_site(term, factor), value)


def _tasks(plan: Plan, names: Names) -> Iterator[str]:
    """The plates "tasks" and "data", with a plate inside tasks where a factor is nested."""
    yield 'with pyro.plate("tasks", tasks.num_tasks, dim=-2):'
    for factor, effects in plan.of(Place.TASK):
        yield from (INDENT + line for line in _values(plan, effects, factor, names))
    for factor in plan.factors:
        if factor.place is Place.NESTED:
            yield f"{INDENT}with pyro.plate({quoted(factor.plate)}, {factor.size}, dim=-3):"
            for _, effects in plan.of(Place.NESTED):
                values = _values(plan, effects, factor, names)
                yield from (2 * INDENT + line for line in values)
    yield f'{INDENT}with pyro.plate("data", tasks.num_data, dim=-1):'
    yield from (2 * INDENT + line for line in _data(plan, names))


def _data(plan: Plan, names: Names) -> Iterator[str]:
    """The predictor and the outcome."""
    summands = list(_summands(plan, names))
    for factor in plan.factors:
        if factor.place is not Place.TASK:
            yield f"{names.of('at', factor.name)} = {column(factor.column)}.long()"
        if factor.place is Place.NESTED:
            yield "task = torch.arange(tasks.num_tasks)[:, None]"
    yield from summed("eta", summands)
    outcome = f"pyro.sample({quoted(plan.outcome.name)}, {plan.family.outcome}, obs=tasks.y)"
    if plan.weights is None:
        yield outcome
    else:
        yield f"with pyro.poutine.scale(scale={column(plan.weights)}):"
        yield INDENT + outcome


def _summands(plan: Plan, names: Names) -> Iterator[str]:
    design = plan.design
    by_task = {term for _, effects in plan.of(Place.TASK) for term in effects.terms}
    if plan.has_intercept and INTERCEPT not in by_task:
        yield "intercept"
    for label in design.predictors:
        if label not in by_task:
            yield f"{names.of('b', label)} * {column(label)}"
    for factor in plan.factors:
        at = names.of("at", factor.name)
        index = {Place.TASK: "", Place.CROSSED: f"[{at}]", Place.NESTED: f"[{at}, task, 0]"}
        for _, effects in ((f, e) for f, e in plan.of(factor.place) if f is factor):
            for term in effects.terms:
                value = names.of("", said(term, factor)) + index[factor.place]
                yield value if term == INTERCEPT else f"{value} * {column(term)}"
    yield from (column(label) for label in design.offsets)


def run_of(source: str, name: str) -> Mapping[str, object]:
    """What the source defines when it is executed, with tracebacks that show its lines."""
    namespace: dict[str, object] = {"__name__": "bayesmeta_formula"}
    exec(compile(source, name, "exec"), namespace)
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    return namespace
