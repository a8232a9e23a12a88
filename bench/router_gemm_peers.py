# SPDX-License-Identifier: Apache-2.0
"""The router's logits by cuBLAS through torch (bf16 in and out), by graph replay, over the cases of
router_norm_gpu_bench. Exit code 77 where torch or a GPU is missing."""

import json
import statistics
import sys

SKIPPED = 77
ROUNDS = 7
CALLS = 20

try:
    import torch
except ImportError as missing:
    print(f"peers: not measured: {missing}", file=sys.stderr)
    sys.exit(SKIPPED)
if not torch.cuda.is_available():
    print("peers: not measured: torch sees no GPU", file=sys.stderr)
    sys.exit(SKIPPED)


def time_us(call):
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(CALLS):
            call()
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    times = []
    for _ in range(ROUNDS + 1):
        first.record()
        graph.replay()
        last.record()
        torch.cuda.synchronize()
        times.append(first.elapsed_time(last) * 1e3 / CALLS)
    return statistics.median(times[1:])


def main():
    as_json = "--json" in sys.argv[1:]
    for experts, hidden in ((256, 7168), (384, 7168), (128, 2048)):
        w = torch.randn(experts, hidden, device="cuda", dtype=torch.bfloat16)
        for tokens in (1, 2, 4, 8, 16, 64, 256):
            a = torch.randn(tokens, hidden, device="cuda", dtype=torch.bfloat16)
            us = time_us(lambda: torch.nn.functional.linear(a, w))
            case = f"router_gemm N={experts} K={hidden} M={tokens}"
            if as_json:
                print(json.dumps({"bench": "router_norm_gpu", "case": case, "implementation":
                                  "torch linear (cuBLAS)", "graph_us": round(us, 2)}))
            else:
                print(f"{case:<52} {'torch linear (cuBLAS)':<26} {us:9.2f}")


main()
