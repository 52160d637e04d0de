"""What is wrong with a formula or its frame is said in words, before any inference."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest

import bayesmeta as bm
from tests.formula.made import made

F = bm.families
FRAME = made()


def changed(column: str, rows: list[int], value: Any) -> pd.DataFrame:
    frame = FRAME.copy()
    frame[column] = frame[column].astype(object if isinstance(value, str | None) else float)
    frame.loc[rows, column] = value
    return frame


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("y ~ x", {}, "has no grouping factor.*'\\+ \\(1 \\| county\\)'"),
    ("x + (1 | g)", {}, "has 0 '~'"),
    ("y ~ x ~ (1 | g)", {}, "more than one '~'"),
    ("y ~ x + 1 | g", {}, "a bar outside of brackets"),
    ("y ~ x * (1 | g)", {}, "a bar outside of brackets"),
    ("y ~ x + ((1 | g)", {}, "do not match"),
    ("y ~ x + ( | g)", {}, "says not what varies"),
    ("y ~ x + (0 | g)", {}, "'0' before a bar .* says not what varies"),
    ("y ~ x + (1 + offset(x) | g)", {}, "offsets outside of the brackets"),
    ("y ~ x + (1 | log(x))", {}, "after its bar what is no column"),
    ("y ~ x + (1 | g) + (x | g)", {}, "varies by 'g' twice"),
    ("y ~ x + (1 | g) + (1 | h) + (1 | c)", {}, "has 3 grouping factors.*by hand"),
    ("y ~ age + (1 | g)", {}, "reads 'age', but the frame has the columns 'g', 'h'"),
    ("y ~ x + (1 | school)", {}, "reads 'school'"),
    ("y ~ x + (age | g)", {}, "reads 'age'"),
    ("y ~ wrong(x) + (1 | g)", {}, "cannot be computed.*wrong.*make a column"),
    ("scale(y) ~ x + (1 | g)", {}, "computed by 'scale'.*make a column"),
    ("y ~ log(x - x) + (1 | g)", {}, "'log\\(x - x\\)' is -inf in 96 rows, at index 0, 1"),
    (
        "y ~ x + (1 | g)",
        {"frame": changed("x", [3, 5], np.nan)},
        "in 2 rows, at index 3, 5",
    ),
    ("y ~ x + (1 | g)", {"frame": changed("y", [3], np.nan)}, "'y' is missing in 1 rows"),
    ("y ~ x + (1 | g)", {"frame": changed("g", [7], None)}, "'g' is missing in 1 rows, at index 7"),
    ("y ~ x + (1 | g)", {"frame": changed("x", [4], np.inf)}, "'x' is inf in 1 rows, at index 4"),
    ("y ~ x + (1 | g)", {"frame": FRAME.assign(g="a")}, "'g' has one group, 'a'"),
    ("y ~ c + (1 | g)", {"frame": FRAME.assign(c="a")}, "factor 'c' has one level, 'a'"),
    ("y ~ x + (1 | g)", {"frame": FRAME.assign(x=3.0)}, "'x' is 3 in every row"),
    ("y ~ x + (1 | g)", {"frame": FRAME.assign(y=3.0)}, "'y' is 3 in every row"),
    ("y ~ x + (1 | g)", {"frame": FRAME.iloc[:0]}, "no rows"),
    ("y ~ x + (1 | g) + (1 | z)", {"frame": FRAME.assign(z=FRAME["g"])}, "are the same groups"),
    ("y ~ x + (1 | g)", {"task": "h"}, "task='h', but the grouping factors are 'g'"),
    ("y ~ x + (1 | g/c)", {"task": "g:c"}, "whose groups lie inside those of 'g'"),
    ("y ~ x + (1 | g)", {"weights": "w"}, "weights= reads 'w'"),
    ("y ~ x + (1 | g)", {"weights": "y"}, "weights 'y' are -"),
    ("y ~ x + (1 | g)", {"weights": "c"}, "weights= takes numbers from column 'c', which holds"),
    (
        "y ~ x + (1 | g)",
        {"frame": FRAME.assign(x=FRAME["x"].astype(object))},
        "'x', which is of obj",
    ),
    ("y ~ d + (1 | g)", {"frame": FRAME.assign(d=pd.Timestamp("2020"))}, "'d', which is of date"),
    ("y ~ . + (1 | g)", {}, "'\\.' of the formula cannot be read.*write each column out"),
    (
        "y ~ Intercept + (1 | g)",
        {"frame": FRAME.assign(Intercept=FRAME["x"])},
        "'Intercept', as the",
    ),
    (
        "y ~ I(x / 2) + `I(x per 2)` + (1 | g)",
        {"frame": FRAME.assign(**{"I(x per 2)": FRAME["y"]})},
        "'I\\(x per 2\\)' stands for two different columns",
    ),
    ("p(c, shots) ~ x + (1 | g)", {"family": F.Binomial()}, "takes numbers from column 'c'"),
    ("y ~ sigma + (1 | g)", {"frame": FRAME.rename(columns={"x": "sigma"})}, "rename the column"),
    ("y ~ x + (1 | g)", {"family": F.Poisson()}, "'y' is .* a whole number of at least 0"),
    ("y ~ x + (1 | g)", {"family": F.Bernoulli()}, "but 0 or 1 is expected"),
    ("c ~ x + (1 | g)", {}, "holds .*'a'.*a number a row is expected"),
    ("c ~ x + (1 | g)", {"family": F.Ordinal()}, "an ordered category"),
    (
        "rank ~ x + (1 | g)",
        {"frame": FRAME[FRAME["rank"] != "high"], "family": F.Ordinal()},
        "2 occur",
    ),
    (
        "count ~ x + (1 | g)",
        {"frame": FRAME.assign(count=2), "family": F.Poisson()},
        "2 in every row",
    ),
    ("hits ~ x + (1 | g)", {"family": F.Binomial()}, "write p\\(successes, trials\\)"),
    ("p(shots, hits) ~ x + (1 | g)", {"family": F.Binomial()}, "at least as many trials"),
    ("p(hits, shots) ~ x + (1 | g)", {}, "2 columns.*Binomial"),
]


@pytest.mark.parametrize(
    ("text", "given", "words"), REFUSED, ids=[f"{r[0]}: {r[2]}" for r in REFUSED]
)
def test_what_is_wrong_is_said(text: str, given: dict[str, Any], words: str) -> None:
    pytest.importorskip("formulae")
    with pytest.raises(bm.FormulaError, match=words):
        bm.formula(text, **{"frame": FRAME, **given})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"frame": [1, 2]}, "got a list as frame; give a pandas DataFrame"),
        ({"family": "poisson"}, "family='poisson'; give an object of bm.families"),
        ({"family": F.Poisson}, "give an object of bm.families"),
        ({"text": 3}, "got a int; give a string"),
        ({"weights": FRAME["x"]}, "give the name of a column"),
    ],
)
def test_other_kinds_are_refused(given: dict[str, Any], words: str) -> None:
    pytest.importorskip("formulae")
    with pytest.raises(TypeError, match=words):
        bm.formula(**{"text": "y ~ x + (1 | g)", "frame": FRAME, **given})


def test_without_formulae_there_are_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "formulae", None)
    with pytest.raises(ImportError, match=r"pip install 'bayesmeta\[formula\]'"):
        bm.formula("y ~ x + (1 | g)", FRAME)
