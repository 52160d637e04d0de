#!/usr/bin/env bash
# arviz-stats 0.8.0 to 1.3.3: ess(method="tail") is of other tails where the width of intervals is another.
#
# Versions: arviz-stats 0.8.0 with arviz-base 0.8.2 here, as they install on Python 3.11; the same was seen
# with arviz-stats 1.3.3 on Python 3.13.
#
# Tail ESS is the smaller of the effective sample sizes of the 5% and 95% quantiles (Vehtari et al. 2021);
# ArviZ 0.x takes these. arviz-stats takes those of p and 1 - p for p = rcParams["stats.ci_prob"], which is
# meant for the table's intervals: by default (0.89) the 11% and 89% quantiles, and for a user who asks for
# 50% intervals the median, under the same name and with the same threshold of 100 a chain.
#
# Seen, on 4 chains of 1,000 draws of an autoregression with heavy tails:
#   ci_prob 0.5, 0.89, 0.95, 0.99    four different tail ESS; that of 0.95 is the one of Vehtari et al.
#
# bayesmeta computes tail ESS itself, always of the 5% and 95% quantiles (posterior/mixing.py).
# Exits 0 while this is so, 1 where it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet "arviz-stats[xarray]==0.8.0" "arviz-base==0.8.2"
"$folder/env/bin/python" - <<'PYTHON'
import sys

import arviz_base
import numpy as np
import xarray as xr
from arviz_base import rc_context

import arviz_stats  # registers the accessor

random = np.random.default_rng(0)
draws = np.zeros((4, 1000))
for t in range(1, 1000):
    draws[:, t] = 0.7 * draws[:, t - 1] + random.standard_t(3, size=4)
posterior = xr.Dataset({"x": (("chain", "draw"), draws)})


def tail(width: float) -> float:
    with rc_context({"stats.ci_prob": width}):
        return float(posterior.azstats.ess(method="tail")["x"])


found = {width: tail(width) for width in (0.5, 0.89, 0.95, 0.99)}
both = [float(posterior.azstats.ess(method="quantile", prob=p)["x"]) for p in (0.05, 0.95)]
print("tail ESS by rcParams['stats.ci_prob']:", {w: round(x, 1) for w, x in found.items()})
print("smaller one of the 5% and 95% quantiles:", round(min(both), 1))
is_so = len({round(x) for x in found.values()}) == 4 and abs(found[0.95] - min(both)) < 1e-6
print("as described" if is_so else "CHANGED")
sys.exit(not is_so)
PYTHON
