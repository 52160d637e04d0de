"""A frame of every kind of outcome, made by a known model."""

from __future__ import annotations

import numpy as np
import pandas as pd


def made(groups: int = 12, rows: int = 8, seed: int = 0) -> pd.DataFrame:
    """Rows of groups `g` that `h` crosses, with a slope .4 of x and an sd of .8 between groups."""
    random, size = np.random.default_rng(seed), groups * rows
    group = np.repeat(np.arange(groups), rows)
    frame = pd.DataFrame(
        {
            "g": [f"g{i}" for i in group],
            "h": random.choice(list("pqrst"), size),
            "c": random.choice(list("abc"), size),
            "x": random.normal(2.0, 1.0, size),
            "exposure": random.uniform(1.0, 5.0, size),
        }
    )
    eta = 0.5 + 0.4 * (frame["x"] - 2.0) + random.normal(0.0, 0.8, groups)[group]
    chance = 1 / (1 + np.exp(-eta))
    frame["y"] = eta + random.normal(0.0, 0.5, size)
    frame["yes"] = random.random(size) < chance
    frame["hits"] = random.binomial(12, chance)
    frame["shots"] = 12
    frame["count"] = random.poisson(np.exp(eta) * frame["exposure"])
    place = np.digitize(eta + random.logistic(size=size), [-0.5, 1.0])
    names = ["low", "middle", "high"]
    frame["rank"] = pd.Categorical(np.array(names)[place], categories=names, ordered=True)
    return frame
