"""Radon: the shipped data are the published ones, the references complete and in order."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from bayesmeta.models import radon, radon_contextual

DATA = Path(radon.__file__).parent / "data"


def test_data_have_the_checksums_and_sizes_their_readme_states() -> None:
    readme = (DATA / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\S+\.csv) \| (\d+) \| ([0-9a-f]{64}) \|$", readme, re.MULTILINE)
    assert {name for name, _, _ in rows} == {path.name for path in DATA.glob("*.csv")}
    for name, size, digest in rows:
        content = (DATA / name).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (int(size), digest)


def test_919_houses_in_85_counties() -> None:
    tasks = radon.tasks()
    assert (tasks.num_tasks, tasks.num_data, int(tasks.sizes.sum())) == (85, 116, 919)
    assert len(set(tasks.names)) == 85
    assert list(tasks.names) == sorted(tasks.names)
    assert {"Lac qui Parle", "Lake of the Woods", "McLeod", "St. Louis"} < set(tasks.names)
    assert tasks.x["floor"].shape == (85, 116)
    assert tasks.x["log_uranium"].shape == (85, 1)
    assert tasks.dtype == tasks.y.dtype == tasks.x["floor"].dtype == torch.float64
    assert int(tasks.x["floor"][tasks.mask].sum()) == 153  # 766 basements


def test_radon_was_read_to_tenths_and_kept_exactly() -> None:
    level = np.exp(radon.frame()["log_radon"].to_numpy())
    np.testing.assert_allclose(level, level.round(1), rtol=0, atol=1e-12)
    assert level.min() == pytest.approx(0.1)
    # Aitkin's first house is 2.2 pCi/L, its soil 0.502054 ppm of uranium.
    first = radon.frame().iloc[0]
    assert (first["county"], first["log_radon"]) == ("Aitkin", np.log(2.2))
    assert first["log_uranium"] == pytest.approx(np.log(0.502054), abs=1e-6)


def test_contextual_tasks_add_the_mean_floor() -> None:
    tasks = radon_contextual.tasks()
    assert tasks.names == radon.tasks().names
    floor = torch.where(tasks.mask, tasks.x["floor"], 0.0).sum(1) / tasks.sizes
    torch.testing.assert_close(tasks.x["floor_by_county"][:, 0], floor, rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    "reference", [radon_contextual.REFERENCE, radon_contextual.REFERENCE_HALFNORMAL]
)
def test_reference_covers_every_parameter(reference: radon_contextual.Reference) -> None:
    shapes = {site: tuple(mean.shape) for site, (mean, _) in reference.items()}
    assert shapes == {
        "county_effect_mean": (),
        "county_effect_scale": (),
        "log_radon_scale": (),
        "weight": (3,),
        "county_effect": (85,),
    }
    assert all(mean.shape == sd.shape and (sd > 0).all() for mean, sd in reference.values())
    assert all(mean.dtype == sd.dtype == torch.float64 for mean, sd in reference.values())


def test_reference_counties_are_in_the_order_of_the_tasks() -> None:
    lines = (DATA / "radon_contextual_reference.csv").read_text(encoding="utf-8").splitlines()
    rows = [line.split(",") for line in lines]
    for scale_prior in ("uniform", "halfnormal"):
        counties = tuple(r[2] for r in rows if r[:2] == [scale_prior, "county_effect"])
        assert counties == radon_contextual.tasks().names
