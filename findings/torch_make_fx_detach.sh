#!/usr/bin/env bash
# torch 2.14: make_fx writes `x.detach()` down as an alias, and gradients flow through the graph there.
#
# Versions: torch 2.14.1. With torch 2.13.0 the graph holds aten.detach, and its gradient is the function's.
# The docstring of make_fx in 2.14 says so ("rewrite detach to alias"); nothing warns, and the values are the
# same: what differs is the gradient of whoever differentiates the graph.
#
# Seen, for f(x) = sum(x.detach() * x) at x = (2, 3):
#   gradient of f                                     (2, 3)
#   gradient of make_fx(f)(x)                         (4, 6)   nodes: alias, mul, sum
#   gradient of make_fx(f, decomposition_table={})(x) (2, 3)   nodes: detach, mul, sum
# An empty table is another thing than none: only None brings the rewriting.
#
# What is meant to stay constant, as in first-order methods and implicit derivatives, no longer does.
# bayesmeta gives the empty table; tests/engine/test_capture.py holds that what is detached stays so.
# Downloads torch with CUDA, some 3 GB. Exits 0 while this is so, 1 where it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet "torch==2.14.1" "numpy==2.4.6"
"$folder/env/bin/python" - <<'PYTHON'
import sys

import torch
from torch.fx.experimental.proxy_tensor import make_fx


def function(x):
    return (x.detach() * x).sum()


def gradient(value):
    at = torch.tensor([2.0, 3.0], requires_grad=True)
    return torch.autograd.grad(value(at), at)[0].tolist()


def nodes(graph):
    return [str(node.target) for node in graph.graph.nodes if node.op == "call_function"]


x = torch.tensor([2.0, 3.0])
graph, kept = make_fx(function)(x), make_fx(function, decomposition_table={})(x)
print("eager:      ", gradient(function))
print("make_fx:    ", gradient(graph), nodes(graph))
print("empty table:", gradient(kept), nodes(kept))
is_so = gradient(function) == gradient(kept) == [2.0, 3.0] and gradient(graph) == [4.0, 6.0]
print("as described" if is_so else "CHANGED")
sys.exit(not is_so)
PYTHON
