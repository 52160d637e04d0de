#!/usr/bin/env bash
# arviz-stats 0.8.0 to 1.3.3: summary() fails where a posterior has a coordinate that is no dimension.
#
# Versions: arviz-stats 0.8.0, arviz-base 0.8.2 and xarray 2026.2.0 here, as they install on Python
# 3.11; the same was seen with arviz-stats 1.3.3, arviz-base 1.3.1 and xarray 2026.9.0 on Python 3.13.
#
# Seen, on draws of "mu" and of "effect" with a dimension "row", where a coordinate "school" says whose
# each row is, as xarray's coordinates are for:
#   without "school"   a table of 4 rows
#   with it            ValueError: coordinate 'school' not present in all datasets.
# The variables are stacked into one array by `Dataset.to_stacked_array`, which asks that all of them
# have the coordinate. Groups that summary() does not read, as log_likelihood, may have such ones.
#
# bayesmeta leaves such coordinates out of the posterior group (posterior/arviz.py).
# Exits 0 while this is so, 1 where it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet "arviz-stats[xarray]==0.8.0" "arviz-base==0.8.2" "xarray==2026.2.0"
"$folder/env/bin/python" - <<'PYTHON'
import sys

import arviz_stats
import numpy as np
import xarray as xr

random = np.random.default_rng(0)
posterior = xr.Dataset(
    {
        "mu": (("chain", "draw"), random.normal(size=(2, 50))),
        "effect": (("chain", "draw", "row"), random.normal(size=(2, 50, 3))),
    },
    {"chain": [0, 1], "draw": np.arange(50), "row": [0, 1, 2]},
)
named = posterior.assign_coords(school=("row", ["a", "a", "b"]))
plain = len(arviz_stats.summary(xr.DataTree.from_dict({"posterior": posterior})))
try:
    arviz_stats.summary(xr.DataTree.from_dict({"posterior": named}))
    complaint = ""
except ValueError as error:
    complaint = str(error)
print("rows without the coordinate:", plain)
print("with it:", complaint or "a table")
is_so = plain == 4 and "'school' not present in all datasets" in complaint
print("as described" if is_so else "CHANGED")
sys.exit(not is_so)
PYTHON
