"""The plain Pyro model that a formula stands for, as text: what is run is this text and no more."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from keyword import iskeyword

import numpy as np

from bayesmeta.formula.design import INTERCEPT, Design, Effects
from bayesmeta.formula.families import OWN_SITES, Centre, Family, number
from bayesmeta.formula.grouping import Factor, Place
from bayesmeta.formula.outcome import Outcome

_INDENT, _WIDTH = "    ", 88


# Sites and plates of a model beside its columns.
RESERVED = {"tasks", "data", "centre", INTERCEPT, "cutpoints", *OWN_SITES, "shares"}


@dataclass(frozen=True, eq=False)
class Plan:
    """What the source is written of.

    Attributes:
        text: the formula.
        design: its columns.
        factors: its grouping factors, the task first.
        family: of the outcome.
        outcome: what is observed.
        y: the outcome, (rows,) or (rows, 2).
        weights: the column of weights, if any.
    """

    text: str
    design: Design
    factors: tuple[Factor, ...]
    family: Family
    outcome: Outcome
    y: np.ndarray
    weights: str | None

    @property
    def has_intercept(self) -> bool:
        """Whether the source has a site "Intercept"."""
        return self.design.has_intercept and self.family.has_level

    def of(self, place: Place) -> list[tuple[Factor, Effects]]:
        """What varies by the factors whose plates stand there."""
        known = {f.name: f for f in self.factors if f.place is place}
        return [(known[e.factor], e) for e in self.design.effects if e.factor in known]

    def is_own(self, term: str, factor: Factor) -> bool:
        """Whether a group's value is its own coefficient, around that of all groups."""
        known = self.has_intercept if term == INTERCEPT else term in self.design.predictors
        return factor.place is Place.TASK and known


def value_site(term: str, factor: Factor) -> str:
    """The site of what a group has: its own coefficient of a task, and else its shift."""
    name = f"{term}|{factor.name}"
    return name if factor.place is Place.TASK else f"shift({name})"


def sd_site(term: str, factor: Factor) -> str:
    """The site of the sd between groups."""
    return f"sd({term}|{factor.name})"


def cor_site(one: str, other: str, factor: Factor) -> str:
    """The site of a correlation between effects of a group."""
    return f"cor({one}, {other}|{factor.name})"


def write(plan: Plan) -> str:
    """The text of the plan, complete with imports."""
    names = _Names()
    lines = [*_shared(plan, names), *_crossed(plan, names), *_tasks(plan, names)]
    body = "\n".join(short for line in lines for short in _wrapped(_INDENT + line))
    imports = "import pyro\nimport pyro.distributions as dist\n"
    imports += "import torch\n" if "torch." in body else ""
    text = plan.text.replace("\\", "\\\\").replace('"""', "'''")
    title = f'"""{text}, {type(plan.family).__name__}."""'
    return f"{title}\n\n{imports}\n\ndef model(tasks):\n{body}\n"


def _wrapped(line: str) -> Iterator[str]:
    """A long statement on three lines, the middle one what its outermost brackets hold."""
    head, bracket, inner = line.partition("(")
    if len(line) <= _WIDTH or line.lstrip().startswith("#") or not line.endswith(")"):
        yield line
        return
    blank = line[: len(line) - len(line.lstrip())]
    yield from (head + bracket, f"{blank}{_INDENT}{inner[:-1]}", f"{blank})")


class _Names:
    """Python names for the labels of a formula, each another."""

    def __init__(self) -> None:
        self._taken = {"pyro", "dist", "torch", "tasks", "model", "eta", "task"}
        self._taken |= {
            "sigma",
            "nu",
            "dispersion",
            "shares",
            "cutpoints",
            "centre",
            "intercept",
            "at_means",
        }
        self._of: dict[str, str] = {}

    def of(self, prefix: str, label: str) -> str:
        """The name of a label, the same at every call."""
        key = f"{prefix} {label}"
        if key not in self._of:
            stem = re.sub(r"[^0-9a-zA-Z]+", "_", key).strip("_").lower()
            stem = f"of_{stem}" if stem[:1].isdigit() or iskeyword(stem) else stem
            name, count = stem, 2
            while name in self._taken:
                name, count = f"{stem}_{count}", count + 1
            self._taken.add(name)
            self._of[key] = name
        return self._of[key]


def _said(term: str, factor: Factor) -> str:
    """What a group has, in words: the factor alone stands for the level."""
    return factor.name if term == INTERCEPT else f"{factor.name} {term}"


def _together(effects: Effects, factor: Factor) -> str:
    """Correlated effects in words; the level is not named, being there but in odd cases."""
    return " ".join([factor.name, *(t for t in effects.terms if t != INTERCEPT)])


def _quoted(label: str) -> str:
    return json.dumps(label)


def _column(label: str) -> str:
    return f"tasks.x[{_quoted(label)}]"


def _sample(variable: str, site: str, fn: str) -> str:
    return f"{variable} = pyro.sample({_quoted(site)}, {fn})"


def _deterministic(variable: str, site: str, value: str) -> str:
    return f"{variable} = pyro.deterministic({_quoted(site)}, {value})"


def _spread(values: np.ndarray, has_level: bool) -> float:
    """The unit of a predictor: its sd, or without an intercept its root mean square."""
    spread = values.std(ddof=1) if has_level else np.sqrt((values**2).mean())
    return float(spread) if spread > 0 else 1.0


def _shared(plan: Plan, names: _Names) -> Iterator[str]:
    """Theta: coefficients, sds between groups, correlations, and the family's own."""
    design, centre = plan.design, centre_of(plan)
    centred = design.has_intercept or not plan.family.has_level
    unit = centre.unit if centred else float(np.hypot(centre.at, centre.unit))
    word = centre.word if centred else f"{unit:.3g}"
    wide = "2.5" if word == "1" else f"2.5 {word}"
    over = "sd" if centred else "rms"
    yield f"# Priors, in the data's units: {centre.why}."
    if design.predictors:
        yield f"# Coefficients: Normal(0, {wide} / {over}(x)), of the formula's own columns."
    for label in design.predictors:
        scale = 2.5 * unit / _spread(design.columns[label], centred)
        fn = f"dist.Normal(0.0, {number(scale)})"
        yield _sample(names.of("b", label), label, fn)
    at_means = [
        f"{number(mean)} * {names.of('b', label)}" for label, mean in _means(design).items()
    ]
    if plan.has_intercept:
        fn = f"dist.Normal({number(centre.at)}, {number(2.5 * centre.unit)})"
        yield from _level(fn, at_means, wide)
    yield from plan.family.own(plan.y, centre.unit)
    if not plan.family.has_level:
        yield "# Cutpoints at the predictors' means are those of the shares; then where they are 0."
        cut = "torch.logit(shares.cumsum(-1)[..., :-1])"
        if at_means:
            yield from _sum("at_means", at_means)
            cut += " + at_means"
        yield _deterministic("cutpoints", "cutpoints", cut)
    yield f"# Sds between groups: HalfNormal({centre.word} / sd(x)), x = 1 for the level."
    for place in Place:
        for factor, effects in plan.of(place):
            yield from _sds(effects, factor, centre.unit, design, names)


def _level(fn: str, at_means: Sequence[str], wide: str) -> Iterator[str]:
    """The intercept; its prior is that of the outcome where predictors are at their means."""
    yield f"# The level at the predictors' means: {wide} around the outcome's."
    if not at_means:
        yield _sample("intercept", INTERCEPT, fn)
        return
    yield _sample("centre", "centre", fn)
    yield from _sum("at_means", at_means)
    yield _deterministic("intercept", INTERCEPT, "centre - at_means")


def _means(design: Design) -> dict[str, float]:
    """The means of predictors, but where they are 0 up to rounding."""
    means = {label: float(design.columns[label].mean()) for label in design.predictors}
    return {x: m for x, m in means.items() if abs(m) > 1e-9 * np.abs(design.columns[x]).max()}


def _sum(variable: str, summands: Sequence[str]) -> Iterator[str]:
    """A sum, one summand a line."""
    if len(summands) < 2:
        yield f"{variable} = {summands[0] if summands else '0.0'}"
        return
    yield f"{variable} = ("
    yield from (f"{_INDENT}{'+ ' if at else ''}{s}" for at, s in enumerate(summands))
    yield ")"


def _sds(
    effects: Effects, factor: Factor, unit: float, design: Design, names: _Names
) -> Iterator[str]:
    for term in effects.terms:
        size = 1.0 if term == INTERCEPT else _spread(design.columns[term], True)
        site = sd_site(term, factor)
        name = names.of("sd", _said(term, factor))
        yield _sample(name, site, f"dist.HalfNormal({number(unit / size)})")
    if effects.correlated:
        root, size_of = _root(effects, factor, names), len(effects.terms)
        yield "# Correlations of a group's effects: LKJ(2), which shuns -1 and 1."
        site = f"factor({', '.join(effects.terms)}|{factor.name})"
        yield _sample(root, site, f"dist.LKJCholesky({size_of}, 2.0)")
        for i, j in combinations(range(size_of), 2):
            one, other = effects.terms[i], effects.terms[j]
            value = f"({root} @ {root}.mT)[..., {i}, {j}]"
            yield f"pyro.deterministic({_quoted(cor_site(one, other, factor))}, {value})"


def _root(effects: Effects, factor: Factor, names: _Names) -> str:
    return names.of("factor", _together(effects, factor))


def _crossed(plan: Plan, names: _Names) -> Iterator[str]:
    """The plate of a factor that crosses tasks."""
    for factor in plan.factors:
        if factor.place is Place.CROSSED:
            yield f"with pyro.plate({_quoted(factor.plate)}, {factor.size}):"
            for _, effects in plan.of(Place.CROSSED):
                yield from (_INDENT + line for line in _values(plan, effects, factor, names))


def _values(plan: Plan, effects: Effects, factor: Factor, names: _Names) -> Iterator[str]:
    """Statements inside a factor's plate on what its groups have."""
    around = {
        term: ("intercept" if term == INTERCEPT else names.of("b", term))
        if plan.is_own(term, factor)
        else "0.0"
        for term in effects.terms
    }
    own = {term: names.of("", _said(term, factor)) for term in effects.terms}
    sds = {term: names.of("sd", _said(term, factor)) for term in effects.terms}
    if not effects.correlated:
        (term,) = effects.terms
        fn = f"dist.Normal({around[term]}, {sds[term]})"
        yield _sample(own[term], value_site(term, factor), fn)
        return
    site = f"z({', '.join(effects.terms)}|{factor.name})"
    z = names.of("z", _together(effects, factor))
    standard = f"dist.Normal(0.0, 1.0).expand([{len(effects.terms)}]).to_event(1)"
    yield _sample(z, site, standard)
    yield f"{z} = {z} @ {_root(effects, factor, names)}.mT"
    for at, term in enumerate(effects.terms):
        start = "" if around[term] == "0.0" else f"{around[term]} + "
        value = f"{start}{sds[term]} * {z}[..., {at}]"
        yield _deterministic(own[term], value_site(term, factor), value)


def _tasks(plan: Plan, names: _Names) -> Iterator[str]:
    """The plates "tasks" and "data", with a plate inside tasks where a factor is nested."""
    yield 'with pyro.plate("tasks", tasks.num_tasks, dim=-2):'
    for factor, effects in plan.of(Place.TASK):
        yield from (_INDENT + line for line in _values(plan, effects, factor, names))
    for factor in plan.factors:
        if factor.place is Place.NESTED:
            yield f"{_INDENT}with pyro.plate({_quoted(factor.plate)}, {factor.size}, dim=-3):"
            for _, effects in plan.of(Place.NESTED):
                values = _values(plan, effects, factor, names)
                yield from (2 * _INDENT + line for line in values)
    yield f'{_INDENT}with pyro.plate("data", tasks.num_data, dim=-1):'
    yield from (2 * _INDENT + line for line in _data(plan, names))


def _data(plan: Plan, names: _Names) -> Iterator[str]:
    """The predictor and the outcome."""
    summands = list(_summands(plan, names))
    for factor in plan.factors:
        if factor.place is not Place.TASK:
            yield f"{names.of('at', factor.name)} = {_column(factor.column)}.long()"
        if factor.place is Place.NESTED:
            yield "task = torch.arange(tasks.num_tasks)[:, None]"
    yield from _sum("eta", summands)
    outcome = f"pyro.sample({_quoted(plan.outcome.name)}, {plan.family.outcome}, obs=tasks.y)"
    if plan.weights is None:
        yield outcome
    else:
        yield f"with pyro.poutine.scale(scale={_column(plan.weights)}):"
        yield _INDENT + outcome


def _summands(plan: Plan, names: _Names) -> Iterator[str]:
    design = plan.design
    by_task = {term for _, effects in plan.of(Place.TASK) for term in effects.terms}
    if plan.has_intercept and INTERCEPT not in by_task:
        yield "intercept"
    for label in design.predictors:
        if label not in by_task:
            yield f"{names.of('b', label)} * {_column(label)}"
    for factor in plan.factors:
        at = names.of("at", factor.name)
        index = {Place.TASK: "", Place.CROSSED: f"[{at}]", Place.NESTED: f"[{at}, task, 0]"}
        for _, effects in ((f, e) for f, e in plan.of(factor.place) if f is factor):
            for term in effects.terms:
                value = names.of("", _said(term, factor)) + index[factor.place]
                yield value if term == INTERCEPT else f"{value} * {_column(term)}"
    yield from (_column(label) for label in design.offsets)


def centre_of(plan: Plan) -> Centre:
    """Where the predictor lies on average, and its unit."""
    offset = np.zeros(len(plan.y))
    for label in plan.design.offsets:
        offset = offset + plan.design.columns[label]
    return plan.family.centre(plan.y, offset)


def run_of(source: str, name: str) -> Mapping[str, object]:
    """What the source defines when it is executed, with tracebacks that show its lines."""
    import linecache

    namespace: dict[str, object] = {"__name__": "bayesmeta_formula"}
    exec(compile(source, name, "exec"), namespace)
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    return namespace
