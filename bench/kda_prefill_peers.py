# SPDX-License-Identifier: Apache-2.0
"""kda_prefill's cases by flash-linear-attention's chunk_kda (Triton), with gates, norms and beta in
its kernels, tuned as its own autotuner does. Worker processes compile the kernels first, each a
part of the autotuner's choices. Exit code 77 where torch, a GPU or fla is missing."""

import json
import multiprocessing
import statistics
import sys

SKIPPED = 77
SIZE = 128
ROUNDS = 7
CALLS = 4
WORKERS = 7  # for each case
ONE = (8192,)
UNEVEN = (1300, 547, 2048, 963, 271, 3063)
CASES = ((32, ONE, "softplus"), (96, ONE, "lower_bound"))
MORE = ((32, UNEVEN, "softplus"),)

try:
    import torch
    from fla.ops.kda import chunk_kda
    from triton.runtime.autotuner import Autotuner
    from triton.testing import do_bench
except ImportError as missing:
    print(f"peers: not measured: {missing}", file=sys.stderr)
    sys.exit(SKIPPED)


def make_call(heads, lengths, gate):
    tokens = sum(lengths)

    def uniform(*shape, low=-1.0, high=1.0, dtype=torch.bfloat16):
        return (torch.rand(*shape, device="cuda") * (high - low) + low).to(dtype)

    q, k, v = (uniform(1, tokens, heads, SIZE) for _ in range(3))
    g = uniform(1, tokens, heads, SIZE, low=-4, high=4)
    beta = uniform(1, tokens, heads, low=-3, high=3)
    options = {
        "A_log": uniform(heads, low=0, high=2, dtype=torch.float32),
        "dt_bias": uniform(heads * SIZE, low=-4, high=1, dtype=torch.float32),
        "initial_state": uniform(len(lengths), heads, SIZE, SIZE, low=-0.5, high=0.5,
                                 dtype=torch.float32),
    }
    if gate == "lower_bound":
        options |= {"safe_gate": True, "lower_bound": -5.0}
    if len(lengths) > 1:
        starts = [sum(lengths[:n]) for n in range(len(lengths) + 1)]
        options["cu_seqlens"] = torch.tensor(starts, device="cuda", dtype=torch.long)
        options["cu_seqlens_cpu"] = torch.tensor(starts, dtype=torch.long)
    return lambda: chunk_kda(q, k, v, g, beta, output_final_state=True, use_gate_in_kernel=True,
                             use_qk_l2norm_in_kernel=True, use_beta_sigmoid_in_kernel=True,
                             **options)


def tune_briefly(repeats_ms):
    """Each choice of an autotuner is measured for so long, not for triton's 100 ms."""
    Autotuner.do_bench = staticmethod(
        lambda call, quantiles: do_bench(call, warmup=repeats_ms // 4, rep=repeats_ms,
                                         quantiles=quantiles))


def compile_part(case, part):
    """Runs the case with every WORKERS-th choice of each autotuner: what it compiles is cached."""
    tune_briefly(1)
    whole = Autotuner.prune_configs

    def prune(self, kwargs):
        configs = whole(self, kwargs)
        return configs[part::WORKERS] or configs[:1]

    Autotuner.prune_configs = prune
    with torch.inference_mode():
        make_call(*case)()


def time_us(call):
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    times = []
    for _ in range(ROUNDS + 1):
        torch.cuda.synchronize()
        first.record()
        for _ in range(CALLS):
            call()
        last.record()
        torch.cuda.synchronize()
        times.append(first.elapsed_time(last) * 1e3 / CALLS)
    return statistics.median(times[1:])


def main():
    if not torch.cuda.is_available():
        print("peers: not measured: torch sees no GPU", file=sys.stderr)
        sys.exit(SKIPPED)
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=compile_part, args=(case, part))
               for case in CASES for part in range(WORKERS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    tune_briefly(20)
    for case in CASES + MORE:
        heads, lengths, gate = case
        with torch.inference_mode():
            call = make_call(*case)
            call()
            us = time_us(call)
        name = f"H={heads} T={sum(lengths)} sequences={len(lengths)} state=f32 gate={gate}"
        if "--json" in sys.argv[1:]:
            print(json.dumps({"bench": "kda_prefill_gpu", "case": name,
                              "implementation": "fla chunk_kda", "us": round(us, 1)}), flush=True)
        else:
            print(f"{name:<58} {'fla chunk_kda':<24} {us:9.1f}", flush=True)


if __name__ == "__main__":
    main()
