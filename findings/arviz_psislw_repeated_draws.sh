#!/usr/bin/env bash
# arviz 0.23.4: psislw gives NaN for all weights, and a Pareto k that is fine, where draws stand there often.
#
# Versions: arviz 0.23.4 with numpy 2.3 and scipy 1.16 on Python 3.11.
#
# Draws that were picked by weights, as by sampling importance resampling, stand there several times. 4,000 draws of 40
# distinct ones, 100 times each, have log weights with a standard deviation of .1: nearly even ones. The tail that is
# smoothed is then one value, to which a generalised Pareto distribution of scale 0 is fitted: all 4,000 weights are
# NaN, beside k = .045, by which weights are judged (at most .7). With 200 of each k is infinite and the weights are
# numbers; with 20 of each both are fine.
#
# Seen: "20 -1.07 0", "100 0.05 4000", "200 inf 0": draws of each, k, and how many weights are NaN.
# Exits 0 while this is so, 1 where it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet "arviz==0.23.4" "numpy==2.3.*" "scipy==1.16.*" "matplotlib<3.11"
cat > "$folder/weigh.py" <<'PYTHON'
import warnings

import numpy as np

warnings.simplefilter("ignore")
import arviz as az

for each in (20, 100, 200):
    distinct = 0.1 * np.random.default_rng(0).normal(size=4000 // each)
    weights, k = az.psislw(np.repeat(distinct, each))
    print(each, round(float(k), 2), int(np.isnan(weights).sum()))
PYTHON
seen=$("$folder/env/bin/python" "$folder/weigh.py")
echo "$seen"
[ "$seen" = "20 -1.07 0
100 0.05 4000
200 inf 0" ]
