"""The price of a pair: what theory says of points and of exact pairs, and refusals as rows."""

from __future__ import annotations

from pathlib import Path

import pyro
import pyro.distributions as dist
import pytest
import torch

import bayesmeta as bm

GRAMS = 1000.0


def weights(tasks: bm.Tasks) -> None:
    """Bags of flour, in grams."""
    mu = pyro.sample("mu", dist.Normal(GRAMS, 100.0))
    tau = pyro.sample("tau", dist.HalfNormal(50.0))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        phi = pyro.sample("phi", dist.Normal(mu, tau))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(phi, 20.0), obs=tasks.y)


@pytest.fixture(scope="module")
def bags() -> tuple[bm.Tasks, bm.Tasks]:
    generator = torch.Generator().manual_seed(0)
    means = GRAMS + 30 * torch.randn(8, 1, generator=generator).double()
    tasks = bm.Tasks.from_arrays(means + 20 * torch.randn(8, 6, generator=generator).double())
    return tasks.split(4)


@pytest.fixture(scope="module")
def found(bags: tuple[bm.Tasks, bm.Tasks]) -> bm.Price:
    support, query = bags
    pairs = {
        "again": (bm.Importance(draws=2000), bm.Exact()),
        "point": (bm.Point(), bm.Exact()),
        "gaussian": (bm.Gaussian(adam=bm.Adam(steps=300, compile=False)), bm.Exact()),
        "nothing": (bm.Fixed({}), bm.Joint()),
    }
    return bm.price(
        weights,
        support,
        pairs,
        reference=(bm.Importance(draws=4000), bm.Exact()),
        query=query,
        progress=False,
    )


def test_another_run_of_the_reference_is_as_near_as_its_own_halves(found: bm.Price) -> None:
    table = found.table
    for level in ("theta", "phi"):
        assert table.loc["again", f"{level} distance"] < 0.12
        assert table.iloc[0][f"{level} distance"] < 0.12
        assert abs(table.loc["again", f"{level} covers90"] - 0.9) < 0.04
    assert abs(table.loc["again", "behind"]) < 0.01


def test_a_point_is_narrow_at_both_levels_and_scores_less(found: bm.Price) -> None:
    row = found.table.loc["point"]
    assert row["theta sd"] == 0 and row["theta covers90"] == 0
    assert row["theta distance"] > 0.5
    assert row["phi sd"] < 0.985
    assert row["phi distance"] > found.table.loc["again", "phi distance"]


def test_a_point_is_not_sound_and_says_which_level_it_is(
    found: bm.Price, bags: tuple[bm.Tasks, bm.Tasks]
) -> None:
    assert found.table.loc[["again", "gaussian"], "is_sound"].all()
    assert not found.table.loc["point", "is_sound"]
    assert found.problems == {"point": ("Theta is a point, which has no width.",)}
    assert "point: Theta is a point" in str(found)
    pairs = {"both": (bm.Point(), bm.Mode()), "phi": (bm.Importance(draws=200), bm.Mode())}
    quick = bm.Importance(draws=200), bm.Exact()
    points = bm.price(weights, bags[0], pairs, reference=quick, progress=False)
    assert [p.split(",")[0] for p in points.problems["both"]] == [
        "Theta is a point",
        "Phi is a point",
    ]
    assert points.problems["phi"] == (
        "Phi is a point for each draw of theta, which is too narrow.",
    )


def test_a_pair_that_refuses_the_model_is_a_row_with_its_reason(found: bm.Price) -> None:
    assert found.table.loc["nothing"].isna().all()
    assert "nothing was not fitted" in str(found) and found.refused["nothing"]
    assert found.table["seconds"].iloc[:4].gt(0).all()


def test_it_is_drawn(found: bm.Price, tmp_path: Path) -> None:
    found.draw(tmp_path / "price.png")
    assert (tmp_path / "price.png").stat().st_size > 10_000


def test_pairs_have_the_names_of_their_strategies(bags: tuple[bm.Tasks, bm.Tasks]) -> None:
    quick = bm.Importance(draws=200)
    found = bm.price(
        weights,
        bags[0],
        [(bm.Point(), bm.Exact()), (bm.Point(), bm.Exact(draws=10))],
        reference=(quick, bm.Exact()),
        progress=False,
    )
    names = list(found.table.index)
    assert names[:2] == ["reference: Importance + Exact", "Point + Exact"]
    assert "draws=10" in names[2] and "log_score" not in found.table


@pytest.mark.parametrize(
    ("pairs", "error", "said"),
    [
        ("MAML", TypeError, "give a list"),
        ([bm.Point()], TypeError, "give two strategies"),
        ([(bm.Exact(), bm.Point())], TypeError, "is a strategy for"),
        ([], ValueError, "no pair"),
    ],
)
def test_what_is_no_pair_is_refused_before_any_fit(pairs, error, said, bags) -> None:
    with pytest.raises(error, match=said):
        bm.price(weights, bags[0], pairs, progress=False)
