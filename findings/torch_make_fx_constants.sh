#!/usr/bin/env bash
# torch 2.13.0 and 2.14.1: make_fx freezes what is read by tolist, numpy or torch.tensor, without a word.
#
# Versions: torch 2.13.0 on Python 3.11; the same was seen with torch 2.14.1 on Python 3.13.
#
# make_fx records a function of tensors as a graph that is to hold for other inputs of the same shapes.
# A number read out by x[0].item() raises. Read out by x.tolist() or x.detach().numpy(), or put into a new
# tensor by torch.tensor([x[0], 1.0]), it becomes a constant of the graph, and the graph is wrong at every
# other input.
#
# Seen, on x = (2, 5) while recording and x = (7, 9) later:
#   torch.tensor([x[0], 1.0]).sum() * x    (21, 27) where (56, 72) is right
#   x.tolist()[0] * x                      (14, 18) where (49, 63) is right
#   x.detach().numpy()[0] * x              (14, 18) where (49, 63) is right
#
# bayesmeta records models with such calls refused, where they read an input (capturing/capture_errors.py).
# Exits 0 while this is so, 1 where it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet "torch==2.13.0" "numpy<3"
"$folder/env/bin/python" - <<'PYTHON'
import sys

import torch
from torch.fx.experimental.proxy_tensor import make_fx

one, other = torch.tensor([2.0, 5.0]), torch.tensor([7.0, 9.0])
functions = {
    "torch.tensor([x[0], 1.0])": lambda x: torch.tensor([x[0], 1.0]).sum() * x,
    "x.tolist()[0]": lambda x: x.tolist()[0] * x,
    "x.numpy()[0]": lambda x: float(x.detach().numpy()[0]) * x,
}
frozen = []
for name, function in functions.items():
    graph = make_fx(function)(one)
    right = torch.equal(graph(other), function(other))
    frozen.append(not right)
    print(f"{name}: at another input {graph(other).tolist()}, right is {function(other).tolist()}")
try:
    make_fx(lambda x: x[0].item() * x)(one)
    complaint = ""
except RuntimeError as error:
    complaint = str(error)
print("x[0].item():", complaint[:70] or "runs")
sys.exit(0 if all(frozen) and "tracing tensor" in complaint else 1)
PYTHON
