#!/usr/bin/env bash
# torch 2.13.0: LKJCholesky.sample draws correlations of unequal variances; Beta and Dirichlet pile up.
#
# Versions: torch 2.13.0; the same was seen with 2.14.1. The densities are right: what is inferred by them
# is not affected. Pyro draws by these samplers.
#
# Under LKJ(dimension 3, concentration 1) each correlation r is that of the others, (r + 1) / 2 ~
# Beta(1.5, 1.5), of variance 1/4. Row i of the factor has a squared length left of the diagonal that is
# Beta(i / 2, ...), i = 1, ..., dimension - 1 (Lewandowski, Kurowicka & Joe 2009); torch draws
# Beta(i - 1 / 2, ...), which is the same for the second row alone.
#
# Seen, of 200,000 draws:
#   variances of r_21, r_31, r_32           0.250 0.300 0.300     (0.250 each)
#   share of Beta(.001, .001) that is 1/2   0.25                  (0: it has a density)
#   of Dirichlet(.001, .001, .001) all 1/3  0.12                  (0)
#   The latter come of gamma draws that underflow, all of them at once.
#
# bayesmeta draws by samplers of its own, distributions/samplers.py.
# Downloads torch with CUDA, some 3 GB. Exits 0 while this is so, 1 where it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet "torch==2.13.0" "numpy==2.4.6"
"$folder/env/bin/python" - <<'PYTHON'
import sys

import torch
from torch.distributions import Beta, Dirichlet, LKJCholesky

torch.manual_seed(0)
torch.set_default_dtype(torch.float64)
count = torch.Size([200_000])
factor = LKJCholesky(3, 1.0).sample(count)
matrix = factor @ factor.mT
variances = torch.stack([matrix[:, 1, 0], matrix[:, 2, 0], matrix[:, 2, 1]]).var(1)
halves = (Beta(0.001, 0.001).sample(count) == 0.5).double().mean()
thirds = ((Dirichlet(torch.full((3,), 0.001)).sample(count) - 1 / 3).abs() < 1e-9).all(1)
thirds = thirds.double().mean()
print("variances of the correlations:", [round(float(v), 3) for v in variances])
print("exactly 1/2:", float(halves), " all 1/3:", float(thirds))
expected = torch.tensor([0.25, 0.3, 0.3])
is_so = bool((variances - expected).abs().max() < 0.005 and halves > 0.2 and thirds > 0.1)
print("as described" if is_so else "CHANGED")
sys.exit(not is_so)
PYTHON
