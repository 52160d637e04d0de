"""Predictions for frames: the model's own where groups are known, else the population's."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

import bayesmeta as bm
from tests.formula.made import made

pytest.importorskip("formulae")

F = bm.families
FRAME = made()
ROUGH = bm.Point(adam=bm.Adam(steps=40, compile=False))
CASES: dict[str, bm.families.Family] = {
    "y ~ x + c + (1 + x | g)": F.Gaussian(),
    "y ~ x + (1 | g) + (1 + x | h)": F.StudentT(),
    "yes ~ x + (1 | g:c)": F.Bernoulli(),
    "p(hits, shots) ~ scale(x) + (1 | g/c)": F.Binomial(),
    "count ~ x + offset(log(exposure)) + (x || g)": F.Poisson(),
    "count ~ 0 + c + (0 + c | g)": F.NegativeBinomial(),
    "rank ~ x + (1 | g)": F.Ordinal(),
}


def fitted(text: str, family: bm.families.Family | None = None) -> tuple[bm.Formula, bm.Posterior]:
    f = bm.formula(text, FRAME, family=family)
    phi = bm.Laplace(draws=50)
    return f, bm.fit(f.model, f.tasks, theta=ROUGH, phi=phi, progress=False)


def sampled(text: str) -> tuple[bm.Formula, bm.Posterior]:
    f = bm.formula(text, FRAME)
    theta = bm.Importance(draws=2000)
    return f, bm.fit(f.model, f.tasks, theta=theta, phi=bm.Exact(), progress=False)


@pytest.mark.parametrize("text", CASES)
def test_rows_that_were_fitted_are_predicted_as_by_the_model(text: str) -> None:
    f, post = fitted(text, CASES[text])
    found, expected = f.predict(post, FRAME), post.predict()
    assert torch.allclose(found.means, expected.means, equal_nan=True)
    assert torch.allclose(found.variances, expected.variances, equal_nan=True)
    assert found.draws.shape == expected.draws.shape
    some = FRAME.sample(9, random_state=0).drop(columns=["y", "yes", "hits", "count", "rank"])
    row = f.predict(post, some).to_frame(())
    pd.testing.assert_frame_equal(row, expected.to_frame(()).loc[some.index])


def test_new_groups_are_of_the_population() -> None:
    """Their sd is that of noise and groups, sigma^2 + tau^2, and grows with x by the slopes' sd."""
    f, post = sampled("y ~ x + (1 + x | g)")
    new = pd.DataFrame({"g": ["new", "new", "g0"], "x": [0.0, 4.0, 4.0]})
    found = f.predict(post, new).to_frame()
    theta = {name: values.flatten(0, 1) for name, values in post.theta.items()}
    for row, x in enumerate([0.0, 4.0]):
        one, other = theta["sd(Intercept|g)"], x * theta["sd(x|g)"]
        both = one**2 + other**2 + 2 * theta["cor(Intercept, x|g)"] * one * other
        mean = theta["Intercept"] + x * theta["x"]
        sd = ((both + theta["sigma"] ** 2).mean() + mean.var()).sqrt()
        assert found.loc[row, "sd"] == pytest.approx(sd.item(), rel=0.05)
        assert found.loc[row, "mean"] == pytest.approx(mean.mean().item(), abs=0.05 * sd.item())
    assert found.loc[2, "sd"] < 0.9 * found.loc[1, "sd"]


@pytest.mark.parametrize("text", ["y ~ x + (1 | h) + (1 | g)", "y ~ x + (1 | g/c)"])
def test_new_groups_of_the_second_factor(text: str) -> None:
    f, post = fitted(text)
    name = f.plan.factors[1].name
    known = FRAME.iloc[[0, 0, 0]].reset_index(drop=True)
    column = "h" if name == "h" else "c"
    known.loc[1:, column] = ["never", "seen"]
    found = f.predict(post, known)
    sd = post.theta[f"sd(Intercept|{name})"].mean().item()
    means = found.means[0, :, 0]  # (draws, rows)
    spread = means - means[:, :1]
    assert spread[:, 1].std().item() > 0.6 * sd
    assert not torch.allclose(means[:, 1], means[:, 2])


def test_a_point_estimate_repeats_new_groups() -> None:
    f = bm.formula("y ~ x + (1 | g/c)", FRAME)
    post = bm.fit(f.model, f.tasks, theta=ROUGH, phi=bm.Joint(), progress=False)
    new = FRAME.iloc[[0, 0, 0]].assign(g=["g0", "g0", "new"], c=[FRAME["c"][0], "new", "a"])
    found = f.predict(post, new.reset_index(drop=True), repeats=4000)
    rows = found.means.std((0, 1))
    inside, sd = post.theta["sd(Intercept|g:c)"].item(), post.theta["sd(Intercept|g)"].item()
    assert rows[0, 0] == pytest.approx(0.0, abs=1e-6)  # a group that is known
    assert rows[0, 1].item() == pytest.approx(inside, rel=0.05)  # a new one in a known task
    assert rows[1, 0].item() == pytest.approx((inside**2 + sd**2) ** 0.5, rel=0.05)
    with pytest.raises(ValueError, match="repeats=0"):
        f.predict(post, new, repeats=0)


def test_tasks_that_were_adapted_to_are_known() -> None:
    f, post = fitted("y ~ x + (1 | g)")
    frame = FRAME[FRAME["g"] == "g3"].assign(g="new", y=lambda d: d["y"] + 5.0)
    adapted = post.adapt(f.data(frame))
    assert f.group_effects(adapted).loc[("g", "new", "Intercept"), "mean"] > 1.0
    one, other = (f.predict(p, frame).mean.mean() for p in (adapted, post))
    assert one > other + 1.0
    assert f.data(frame.drop(columns="y")).y is None


def test_outcomes_of_a_new_frame_are_read_as_those_of_the_first() -> None:
    f = bm.formula("rank ~ x + (1 | g)", FRAME, family=F.Ordinal())
    one = FRAME[FRAME["rank"] == "high"].iloc[[0]]
    for rank in (one["rank"], one["rank"].astype(str), pd.Categorical(["high"], ["high", "low"])):
        tasks = f.data(one.assign(rank=rank))
        assert tasks.y is not None and tasks.y.item() == 2
    with pytest.raises(bm.FormulaError, match=r"'rank' is top in 1 rows.*'low', 'middle'"):
        f.data(one.assign(rank="top"))
    single = bm.formula("y ~ x + (1 | g)", FRAME).data(FRAME.iloc[[5]])
    assert single.y is not None and single.y.item() == FRAME["y"][5]


def test_scale_is_that_of_the_first_frame() -> None:
    f, post = fitted("y ~ scale(x) + (1 | g)")
    rows = FRAME.iloc[[0]]
    one, all_rows = f.predict(post, rows).mean[0, 0], f.predict(post, FRAME).mean[0, 0]
    assert torch.allclose(one, all_rows)


@pytest.mark.parametrize(
    ("text", "change", "words"),
    [
        ("y ~ c + (1 | g)", {"c": "z"}, "column 'c' has the levels 'z'.*fitted to 'a', 'b', 'c'"),
        ("y ~ x + (1 | g)", {"x": float("nan")}, "'x' is missing in 96 rows"),
        ("y ~ x + (1 | g)", {"g": None}, "'g' is missing in 96 rows"),
        ("y ~ log(x + 9) + (1 | g)", {"x": -9.0}, "'log\\(x \\+ 9\\)' is -inf in 96 rows"),
    ],
)
def test_what_a_new_frame_lacks_is_said(text: str, change: dict[str, object], words: str) -> None:
    f, post = fitted(text)
    with pytest.raises(bm.FormulaError, match=words):
        f.predict(post, FRAME.assign(**change))
    for name in change:
        with pytest.raises(bm.FormulaError, match=f"reads '{name}'"):
            f.predict(post, FRAME.drop(columns=name))


def test_places_that_a_model_does_not_have_are_refused() -> None:
    f, post = fitted("y ~ x + (1 | h) + (1 | g)")
    with pytest.raises(bm.FormulaError, match=r"'h' has the groups 'new'.*f\.predict"):
        f.data(FRAME.assign(h="new"))
    inside, post_inside = fitted("y ~ x + (1 | g/c)")
    few = FRAME[(FRAME["g"] != "g0") | (FRAME["c"] == "a")].assign(c=lambda d: d["c"] + "2")
    with pytest.raises(bm.FormulaError, match="'g:c' has the groups"):
        inside.data(few)
    adapted = post_inside.adapt(inside.data(FRAME.assign(g=FRAME["g"] + "2")))
    with pytest.raises(bm.FormulaError, match="adapted to 'g02'"):
        inside.predict(adapted, FRAME.assign(g="g02"))
    other, _ = fitted("y ~ x + c + (1 | g)")
    with pytest.raises(bm.FormulaError, match=r"no site 'c\[b\]'"):
        other.coefficients(post)


def test_tables_are_of_the_draws() -> None:
    f, post = sampled("y ~ x + (1 + x | g)")
    table = f.coefficients(post)
    slope = post.theta["x"].flatten()
    assert list(table.index) == ["Intercept", "x"]
    assert table.loc["x", "mean"] == pytest.approx(slope.mean().item())
    assert table.loc["x", "97%"] == pytest.approx(slope.quantile(0.97).item())
    assert list(f.variation(post).index) == [
        *("sd(Intercept|g)", "sd(x|g)", "cor(Intercept, x|g)", "sigma"),
    ]
    effects = f.group_effects(post)
    assert len(effects) == 24 and list(effects.index.names) == ["factor", "group", "term"]
    shift = post.phi["x|g"][..., 3].flatten() - slope
    assert effects.loc[("g", "g3", "x"), "sd"] == pytest.approx(shift.std(correction=0).item())


@pytest.mark.parametrize("coding", ["Sum", "Treatment", "Treatment('b')"])
def test_codings_of_categories_are_no_columns_and_change_no_prediction(coding: str) -> None:
    """The same means at any coding, but for its priors."""
    frame = FRAME.assign(k=["abc"[i % 3] for i in range(len(FRAME))])
    means = []
    for text in ("y ~ k + (1 | g)", f"y ~ C(k, {coding}) + (1 | g)"):
        f = bm.formula(text, frame)
        post = bm.fit(f.model, f.tasks, theta=bm.Importance(), phi=bm.Exact(), progress=False)
        means.append(f.predict(post, frame.drop(columns="y")).mean)
    sd = float(FRAME["y"].std())
    assert (means[0] - means[1]).abs().max() < 0.1 * sd
