# SPDX-License-Identifier: Apache-2.0
"""A warm call from Python beside the same call from C++ in the same process, and beside ops of torch
of the same size: what Python and DLPack add. The limit: what torch.add takes, which also takes its
tensors from Python. And what `import kiln` takes.
    PYTHONPATH=build/release/python build/python-venv/bin/python bench/python_call_bench.py [--json]
"""
import ctypes
import json
import pathlib
import statistics
import subprocess
import sys
import timeit

import kiln
import numpy as np
import torch

ROUNDS, CALLS = 15, 2000
torch.set_num_threads(1)
x = torch.randn(1, 64, dtype=torch.bfloat16)
w = torch.ones(64, dtype=torch.bfloat16)
q_out, k_out = torch.empty_like(x), torch.empty_like(x)
a, b = x.view(torch.int16).numpy().view(np.float16), np.ones(64, np.float16)
a_out = np.empty_like(a)
bare = ctypes.CDLL(pathlib.Path(kiln.__file__).parent / "lib" / "libkiln_python_bare_call.so")
bare.kiln_bare_qk_rmsnorm_us.restype = ctypes.c_double
contestants = {
    "torch.add, out given": lambda: torch.add(x, x, out=q_out),
    "torch rms_norm, twice": lambda: (torch.nn.functional.rms_norm(x, (64,), w),
                                      torch.nn.functional.rms_norm(x, (64,), w)),
    "torch.empty_like, twice": lambda: (torch.empty_like(x), torch.empty_like(x)),
    "kiln.qk_rmsnorm, outputs given": lambda: kiln.qk_rmsnorm(x, x, w, w, q_out=q_out, k_out=k_out),
    "kiln.qk_rmsnorm, allocates": lambda: kiln.qk_rmsnorm(x, x, w, w),
    "kiln.qk_rmsnorm, NumPy": lambda: kiln.qk_rmsnorm(a, a, b, b, q_out=a_out, k_out=a_out),
}
times = {name: [] for name in ("the same in C++", *contestants)}
for _ in range(ROUNDS):
    times["the same in C++"].append(bare.kiln_bare_qk_rmsnorm_us(CALLS))
    for name, contestant in contestants.items():
        times[name].append(timeit.timeit(contestant, number=CALLS) / CALLS * 1e6)
times["import kiln"] = [
    float(subprocess.check_output([sys.executable, "-c", "import time; t = time.perf_counter(); "
                                   "import kiln; print((time.perf_counter() - t) * 1e6)"]))
    for _ in range(ROUNDS)]
for name, each in times.items():
    row = {"case": name, "us": round(statistics.median(each), 3)}
    print(json.dumps(row) if "--json" in sys.argv else f"{row['case']:34} {row['us']:8.2f} us")
