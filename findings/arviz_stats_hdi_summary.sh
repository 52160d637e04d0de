#!/usr/bin/env bash
# arviz-stats 0.8.0 to 1.3.1: summary(ci_kind="hdi") returns the equal-tailed interval, named "hdi".
#
# Versions: arviz-stats 0.8.0 with arviz-base 0.8.2 here, as they install on Python 3.11; the same was
# seen with arviz-stats 1.0.0, 1.1.0, 1.2.0, 1.3.0 and 1.3.1 on Python 3.13. From 1.3.2 on it is right.
#
# Seen, on 1,000 draws of a standard exponential, with ci_prob=0.94:
#   summary(ci_kind="hdi")   hdi94_lb 0.0229, hdi94_ub 3.3619   (the 3% and 97% quantiles)
#   the narrowest interval            0.0005           2.8277   (what `.azstats.hdi` of the same gives)
# For a skewed posterior, as of a scale, the upper end is a fifth too high, and 0 lies outside.
#
# bayesmeta asks for equal-tailed intervals, which every version computes as they are named.
# Exits 0 while this is so, 1 where it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet "arviz-stats[xarray]==0.8.0" "arviz-base==0.8.2"
"$folder/env/bin/python" - <<'PYTHON'
import sys

import arviz_stats
import numpy as np
import xarray as xr

draws = np.random.default_rng(0).exponential(size=(2, 500))
posterior = xr.Dataset({"tau": (("chain", "draw"), draws)})
table = arviz_stats.summary(
    xr.DataTree.from_dict({"posterior": posterior}),
    kind="stats",
    ci_kind="hdi",
    ci_prob=0.94,
    round_to="none",
)
named_hdi = table.loc["tau", ["hdi94_lb", "hdi94_ub"]].to_numpy(dtype=float)
equal_tailed = np.quantile(draws, [0.03, 0.97])
narrowest = posterior.azstats.hdi(prob=0.94)["tau"].values
print("summary(ci_kind='hdi'):", named_hdi)
print("equal-tailed:          ", equal_tailed)
print("narrowest:             ", narrowest)
is_so = np.allclose(named_hdi, equal_tailed) and not np.allclose(named_hdi, narrowest, atol=0.01)
print("as described" if is_so else "CHANGED")
sys.exit(not is_so)
PYTHON
