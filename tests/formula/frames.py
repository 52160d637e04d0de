"""Frames that lme4's documentation fits, and the estimates of lme4 1.1-31 and glmmTMB 1.1.5.

Made by R 4.2.2, with REML=FALSE; glmmTMB's are Laplace's method, as those of glmer.

Sources: Lesnoff et al. (2004), herds with pleuropneumonia; Davies and Goldsmith (1972), casks of
paste and samples of penicillin; by the package lme4.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

# herd:period:incidence:size
_CBPP = """
1:1:2:14 1:2:3:12 1:3:4:9 1:4:0:5 2:1:3:22 2:2:1:18 2:3:1:21 3:1:8:22 3:2:2:16 3:3:0:16 3:4:2:20
4:1:2:10 4:2:0:10 4:3:2:9 4:4:0:6 5:1:5:18 5:2:0:25 5:3:0:24 5:4:1:4 6:1:3:17 6:2:0:17 6:3:0:18
6:4:1:20 7:1:8:16 7:2:1:10 7:3:3:9 7:4:0:5 8:1:12:34 9:1:2:9 9:2:0:6 9:3:0:8 9:4:0:6 10:1:1:22
10:2:1:22 10:3:0:18 10:4:2:22 11:1:0:25 11:2:5:27 11:3:3:22 11:4:1:22 12:1:2:10 12:2:1:8
12:3:0:6 12:4:0:5 13:1:1:21 13:2:2:24 13:3:0:19 13:4:0:23 14:1:11:19 14:2:0:2 14:3:0:3 14:4:0:2
15:1:1:19 15:2:1:15 15:3:1:15 15:4:0:15
"""
# Batches A to J of casks a, b, c, two measurements of each.
_PASTES = """
62.8 62.6 60.1 62.3 62.7 63.1 60 61.4 57.5 56.9 61.1 58.9 58.7 57.5 63.9 63.1 65.4 63.7 57.1
56.4 56.9 58.6 64.7 64.5 55.1 55.1 54.7 54.2 58.8 57.5 63.4 64.9 59.3 58.1 60.5 60 62.5 62.6 61
58.7 56.9 57.7 59.2 59.4 65.2 66 64.8 64.1 54.8 54.8 64 64 57.7 56.8 58.3 59.3 59.2 59.2 58.9
56.6
"""
# Plates a to x with samples A to F on each.
_PENICILLIN = """
27 23 26 23 23 21 27 23 26 23 23 21 25 21 25 24 24 20 26 23 25 23 23 20 25 22 26 22 23 20 24 22
25 23 22 19 24 20 23 21 22 19 26 22 26 24 24 21 24 21 24 22 22 20 24 21 24 23 22 19 26 23 26 24
24 21 25 22 26 24 24 20 26 24 26 24 25 22 26 23 26 23 23 20 26 23 25 24 24 22 25 22 25 23 23 20
25 21 24 23 23 20 25 22 24 23 23 19 24 21 23 21 21 19 26 23 26 24 24 21 25 21 24 22 22 18 25 22
25 22 22 20 24 21 24 22 24 19 24 21 24 22 21 18
"""


def cbpp() -> pd.DataFrame:
    """56 rows: cases in herds over four periods."""
    columns = zip(*(cell.split(":") for cell in _CBPP.split()), strict=True)
    frame = pd.DataFrame(dict(zip(["herd", "period", "incidence", "size"], columns, strict=True)))
    return frame.astype({"incidence": float, "size": float})


def pastes() -> pd.DataFrame:
    """60 rows: the strength of paste from three casks of each of ten batches."""
    return pd.DataFrame(
        {
            "batch": np.repeat(list("ABCDEFGHIJ"), 6),
            "cask": np.tile(np.repeat(list("abc"), 2), 10),
            "strength": np.array(_PASTES.split(), dtype=float),
        }
    )


def penicillin() -> pd.DataFrame:
    """144 rows: six samples on each of 24 plates."""
    return pd.DataFrame(
        {
            "plate": np.repeat(list("abcdefghijklmnopqrstuvwx"), 6),
            "sample": np.tile(list("ABCDEF"), 24),
            "diameter": np.array(_PENICILLIN.split(), dtype=float),
        }
    )
