#!/usr/bin/env bash
# torch 2.13.0: a gradient of a vector imports sympy, and the first call of a custom operation torch's compiler.
#
# Versions: torch 2.13.0 on Python 3.11.
#
# `import torch` takes about a second and leaves sympy and torch._dynamo out. Calls that compile nothing bring
# them in, in the middle of a program, each once a process:
#   torch.autograd.grad(y, x, grad_outputs=v)      sympy, .4 to .6 s; a scalar y brings nothing
#   torch.broadcast_shapes(...)                    sympy; torch.distributions.AffineTransform calls it
#   the first call of a torch.library.custom_op    torch._dynamo, 1.2 s, in order to be switched off in there
#
# Seen: "not imported" before each of these calls, "imported" after it, and "not imported" after the gradient
# of a sum. A first fit of a small model took 2.5 s with them and .7 without (docs/decisions/0026).
# Exits 0 while this is so, 1 where it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet "torch==2.13.0" "numpy<3"
cat > "$folder/call.py" <<'PYTHON'
import sys
import time

import torch


@torch.library.custom_op("finding::twice", mutates_args=())
def twice(x: torch.Tensor) -> torch.Tensor:
    return 2 * x


x = torch.tensor([1.0, 2.0], requires_grad=True)
calls = {
    "sum": ("sympy", lambda: torch.autograd.grad((x**2).sum(), x)),
    "vector": ("sympy", lambda: torch.autograd.grad(x**2, x, grad_outputs=torch.ones(2))),
    "shapes": ("sympy", lambda: torch.broadcast_shapes((2, 1), (1, 3))),
    "operation": ("torch._dynamo", lambda: twice(torch.ones(2))),
}
name, call = calls[sys.argv[1]]
before, began = name in sys.modules, time.perf_counter()
call()
seconds, after = time.perf_counter() - began, name in sys.modules
words = {False: "not imported", True: "imported"}
print(f"{sys.argv[1]}: {name} {words[before]} before, {words[after]} after {seconds:.2f} s")
sys.exit(0 if not before and after == (sys.argv[1] != "sum") else 1)
PYTHON
for call in sum vector shapes operation; do
    "$folder/env/bin/python" "$folder/call.py" "$call"
done
