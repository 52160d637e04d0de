#!/usr/bin/env bash
# torch 2.13.0: torch.special.ndtr has no lower tail: 0 below -5.5 in float32, off by 2% at -8 and 0
# below -8.3 in float64, where SciPy's function of the same name has all digits.
#
# Versions: torch 2.13.0 (CPU), numpy, scipy 1.15.3 as a reference.
#
# Seen, P(Z < z) of a standard normal:
#   z            -5             -6.77         -8            -12
#   ndtr f32     2.9802e-07     0             0             0
#   ndtr f64     2.8665e-07     6.4391e-12    6.1062e-16    0
#   SciPy        2.8665e-07     6.4391e-12    6.2210e-16    1.7765e-33
# torch's log_ndtr, erfc(-z / sqrt(2)) / 2 and ndtri are right there: by ndtr alone quantiles of heavy
# tails, which divide by it, become infinite some five standard deviations out.
#
# bayesmeta computes it by erfc (distributions/normal_scores.py).
# Exits 0 while this is so, 1 where it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet "torch==2.13.0" "numpy<3" "scipy==1.15.3"
"$folder/env/bin/python" - <<'PYTHON'
import sys

import numpy as np
import torch
from scipy.special import ndtr

z = np.array([-5.0, -6.77, -8.0, -12.0])
right = ndtr(z)
found = {kind: torch.special.ndtr(torch.tensor(z, dtype=kind)).double().numpy()
         for kind in (torch.float32, torch.float64)}
by_erfc = (0.5 * torch.erfc(-torch.tensor(z) / 2**0.5)).numpy()
print("SciPy          ", right)
for kind, values in found.items():
    print(kind, values)
print("erfc, float64  ", by_erfc)
is_so = (
    (found[torch.float32][1:] == 0).all()
    and found[torch.float64][3] == 0
    and 0.01 < abs(found[torch.float64][2] / right[2] - 1) < 0.05
    and np.allclose(by_erfc, right, rtol=1e-12, atol=0)
)
print("as described" if is_so else "CHANGED")
sys.exit(not is_so)
PYTHON
