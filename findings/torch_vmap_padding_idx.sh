#!/usr/bin/env bash
# torch 2.13.0: under vmap, nn.functional.embedding obeys padding_idx for the first of a batch alone.
#
# Versions: torch 2.13.0 on Python 3.11.
#
# The row of a table that padding_idx names gets no gradient. With one table for each element of a
# batch, as networks of several tasks have under torch.func.vmap, only the first table's row is left
# without one: the others move with training, and a result depends on its place in the batch.
#
# bayesmeta holds these rows itself (nets/pretrained.py).
# Exits 0 while this is so, 1 where it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet "torch==2.13.0" "numpy<3"
"$folder/env/bin/python" - <<'PYTHON'
import sys

import torch
from torch.nn import functional

tables = torch.ones(3, 4, 2, requires_grad=True)
tokens = torch.tensor([[0, 1], [0, 2], [0, 3]])


def rows(table, token):
    return functional.embedding(token, table, padding_idx=0)


together = torch.autograd.grad(torch.func.vmap(rows)(tables, tokens).sum(), tables)[0]
loop = torch.stack([rows(a, b) for a, b in zip(tables, tokens)])
apart = torch.autograd.grad(loop.sum(), tables)[0]
print("gradient of the row that is padding: by vmap", together[:, 0, 0].tolist())
print("in a loop", apart[:, 0, 0].tolist())
changed = together[:, 0, 0].tolist() != [0.0, 1.0, 1.0] or apart[:, 0].any()
sys.exit(1 if changed else 0)
PYTHON
