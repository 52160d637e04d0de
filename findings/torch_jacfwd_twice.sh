#!/usr/bin/env bash
# torch 2.13.0: torch.func.jacfwd(jacfwd(f)) silently drops second derivatives of common operations.
#
# Versions: torch 2.13.0 on Python 3.11.
#
# For logdet, det, solve, layer_norm, batch_norm and cholesky_inverse, second derivatives by forward
# over forward (and reverse over forward) are off by as much as they are large, without a word:
# torch's forward formulas of these are not themselves differentiated. torch.func.hessian, which is
# forward over reverse, is right for most of them and wrong for cholesky_inverse and scatter_reduce
# ("prod"). Two reverse passes are right for all of them, by differences of the gradient in float64.
#
# bayesmeta differentiates by reverse passes alone (docs/decisions/0022), and a test forbids the rest.
# Exits 0 while this is so, 1 where it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet "torch==2.13.0" "numpy<3"
"$folder/env/bin/python" - <<'PYTHON'
import sys
import warnings

import torch
from torch.func import grad, hessian, jacfwd, jacrev
from torch.nn import functional

warnings.simplefilter("ignore")
torch.manual_seed(0)
kind = torch.float64
base = torch.eye(3, dtype=kind) + 0.1 * torch.randn(3, 3, dtype=kind)
right = torch.randn(3, dtype=kind)
at = 0.3 * torch.randn(9, dtype=kind)
rows = torch.tensor([[0, 0, 0], [1, 1, 1], [0, 0, 0]])


def matrix(z):
    return base + z.reshape(3, 3)


def product(z):
    zero = torch.zeros(2, 3, dtype=kind)
    found = zero.scatter_reduce(0, rows, 1 + z.reshape(3, 3), "prod", include_self=False)
    return found.sin().sum()


FUNCTIONS = {
    "logdet": lambda z: matrix(z).logdet(),
    "det": lambda z: matrix(z).det(),
    "solve": lambda z: torch.linalg.solve(matrix(z), right).sin().sum(),
    "layer_norm": lambda z: functional.layer_norm(z.reshape(3, 3), (3,)).sin().sum(),
    "batch_norm": lambda z: functional.batch_norm(
        z.reshape(3, 3), None, None, training=True
    ).sin().sum(),
    "cholesky_inverse": lambda z: torch.cholesky_inverse(
        torch.linalg.cholesky(matrix(z) @ matrix(z).T)
    ).sum(),
    "scatter_reduce": product,
}
WAYS = {
    "jacfwd(jacfwd)": lambda f: jacfwd(jacfwd(f)),
    "hessian": hessian,
    "jacrev(jacrev)": lambda f: jacrev(jacrev(f)),
}
wrong = {way: set() for way in WAYS}
for name, f in FUNCTIONS.items():
    steps = 1e-5 * torch.eye(9, dtype=kind)
    true = torch.stack([(grad(f)(at + s) - grad(f)(at - s)) / 2e-5 for s in steps])
    off = {way: float((make(f)(at) - true).norm() / true.norm()) for way, make in WAYS.items()}
    print(name, {way: f"{value:.1e}" for way, value in off.items()})
    for way, value in off.items():
        if value > 0.01:
            wrong[way].add(name)
expected = {
    "jacfwd(jacfwd)": set(FUNCTIONS),
    "hessian": {"cholesky_inverse", "scatter_reduce"},
    "jacrev(jacrev)": set(),
}
sys.exit(0 if wrong == expected else 1)
PYTHON
