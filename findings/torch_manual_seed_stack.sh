#!/usr/bin/env bash
# torch 2.13.0: torch.manual_seed takes longer the deeper it is called, on a machine without a GPU.
#
# Versions: torch 2.13.0 on Python 3.11, build for the CPU.
#
# Seeding takes 1.4 microseconds by torch.default_generator.manual_seed(0). torch.manual_seed(0)
# seeds CUDA as well, for later if that is not in use; for that it formats a trace of the stack at
# every call: 120 microseconds at the top of a script, 510 under 50 frames more, nearly a
# millisecond under a probabilistic program's handlers. Loops that seed each run, as replays of a
# model at fixed random numbers do, spend their time there, also within torch.random.fork_rng.
#
# bayesmeta seeds its own probes by the default generator (model/probes.py).
# Exits 0 while this is so, 1 where it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet "torch==2.13.0" "numpy<3"
"$folder/env/bin/python" - <<'PYTHON'
import sys
import time

import torch


def microseconds(seed, frames):
    if frames:
        return microseconds(seed, frames - 1)
    seed(0)
    began = time.perf_counter()
    for _ in range(300):
        seed(0)
    return (time.perf_counter() - began) / 300 * 1e6


if torch.cuda.is_initialized():
    sys.exit("CUDA is in use here, where the seed is set at once")
plain = microseconds(torch.default_generator.manual_seed, 50)
top, deep = (microseconds(torch.manual_seed, frames) for frames in (0, 50))
print(f"default generator {plain:.1f} us; torch.manual_seed {top:.0f} us, deeper {deep:.0f} us")
sys.exit(0 if deep > 2 * top and top > 10 * plain else 1)
PYTHON
