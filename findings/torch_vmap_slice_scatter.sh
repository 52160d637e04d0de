#!/usr/bin/env bash
# torch 2.13.0 and 2.14.1: torch.slice_scatter with an end counted from the back fails under vmap.
#
# Versions: torch 2.13.0 on Python 3.11; the same was seen with torch 2.14.1 on Python 3.13.
#
# torch.slice_scatter(x, y, dim, 1, -1) is right for one tensor, and so is a loop over several. Under
# torch.vmap it raises "upper bound and lower bound inconsistent with step sign": the batched version
# does not count an end below zero from the back. torch.func.functionalize writes x[1:-1] = y in that
# way, so that what ran before it was made functional does not run after; the same end counted from
# the front does.
#
# Pyro's OrderedLogistic (probabilities of ordered classes) is written with such an assignment.
# bayesmeta counts ends from the front in the graphs it batches (capturing/capture.py).
# Exits 0 while this is so, 1 where it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet "torch==2.13.0" "numpy<3"
"$folder/env/bin/python" - <<'PYTHON'
import sys

import torch

x, y = torch.zeros(3, 5), torch.arange(9.0).reshape(3, 3)
loop = torch.stack([torch.slice_scatter(a, b, 0, 1, -1) for a, b in zip(x, y)])
front = torch.vmap(lambda a, b: torch.slice_scatter(a, b, 0, 1, 4))(x, y)
try:
    torch.vmap(lambda a, b: torch.slice_scatter(a, b, 0, 1, -1))(x, y)
    complaint = ""
except RuntimeError as error:
    complaint = str(error)
print("a loop and an end from the front agree:", torch.equal(loop, front))
print("an end from the back under vmap:", complaint or "runs")
sys.exit(0 if torch.equal(loop, front) and "inconsistent with step sign" in complaint else 1)
PYTHON
