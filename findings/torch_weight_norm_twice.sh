#!/usr/bin/env bash
# torch 2.13.0: the second derivative of weight normalisation is wrong, in plain autograd too.
#
# Versions: torch 2.13.0 on Python 3.11.
#
# torch.nn.utils.parametrizations.weight_norm computes g v / |v| by one fused operation. Its gradient
# is right; the gradient of that gradient, as MAML's outer step takes it, is not, and nothing is said.
# The same formula in plain operations is right by differences of the gradient in float64, so that a
# plain torch loop is no oracle for second derivatives of a network that has it.
#
# bayesmeta's networks compute it in plain operations (nets/operations.py).
# Exits 0 while this is so, 1 where it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet "torch==2.13.0" "numpy<3"
"$folder/env/bin/python" - <<'PYTHON'
import sys

import torch
from torch import nn
from torch.func import functional_call

torch.manual_seed(0)
layer = nn.utils.parametrizations.weight_norm(nn.Linear(3, 2, bias=False)).double()
x = torch.randn(4, 3, dtype=torch.float64)
(g, v) = (p.detach() for p in layer.parameters())
names = [name for name, _ in layer.named_parameters()]
toward = torch.randn_like(v)


def fused(v):
    return functional_call(layer, dict(zip(names, (g, v))), (x,)).sin().sum()


def plain(v):
    return (x @ (g * v / v.norm(dim=1, keepdim=True)).T).sin().sum()


def slope(f, v, again=False):
    v = v.clone().requires_grad_()
    return v, torch.autograd.grad(f(v), v, create_graph=again)[0]


off = {}
for f in (fused, plain):
    at, first = slope(f, v, again=True)
    (bent,) = torch.autograd.grad((first * toward).sum(), at)
    ahead, behind = (slope(f, v + step * toward)[1] for step in (1e-6, -1e-6))
    true = (ahead - behind) / 2e-6
    off[f.__name__] = float((bent - true).norm() / true.norm())
same = torch.allclose(slope(fused, v)[1], slope(plain, v)[1])
print("first derivatives agree:", same, "second derivatives are off by", off)
sys.exit(0 if same and off["fused"] > 0.01 and off["plain"] < 1e-5 else 1)
PYTHON
