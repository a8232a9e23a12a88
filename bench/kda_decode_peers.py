# SPDX-License-Identifier: Apache-2.0
"""kda_decode by flash-linear-attention's Triton kernel, over some cases of kda_decode_gpu_bench and
measured as there: cold over rotating states, warm on one, as replayed graphs. Exit code 77 where
torch, a GPU or fla is missing."""

import json
import statistics
import sys

SKIPPED = 77
SIZE = 128
ROUNDS = 7

try:
    import torch
    from fla.ops.kda import fused_recurrent_kda
except ImportError as missing:
    print(f"peers: not measured: {missing}", file=sys.stderr)
    sys.exit(SKIPPED)
if not torch.cuda.is_available():
    print("peers: not measured: torch sees no GPU", file=sys.stderr)
    sys.exit(SKIPPED)


def graph_of(call, states):
    """A graph that calls once on each of the states."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for state in states[:2]:
            call(state)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for state in states:
            call(state)
    return graph


def time_us(graph, calls):
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    times = []
    for _ in range(ROUNDS + 1):
        first.record()
        for _ in range(10):
            graph.replay()
        last.record()
        torch.cuda.synchronize()
        times.append(first.elapsed_time(last) * 1e3 / (10 * calls))
    return statistics.median(times[1:])


def bench(heads, value_heads, batch, l2_bytes):
    def random(*shape, dtype=torch.bfloat16):
        return torch.randn(*shape, device="cuda", dtype=dtype)

    q, k = (random(batch, 1, heads, SIZE) for _ in range(2))
    v, a = (random(batch, 1, value_heads, SIZE) for _ in range(2))
    b = random(batch, 1, value_heads)
    a_log = random(value_heads, dtype=torch.float32)
    dt_bias = random(value_heads * SIZE, dtype=torch.float32)
    state_bytes = batch * value_heads * SIZE * SIZE * 4
    count = max(8, 1 + 2 * l2_bytes // state_bytes)
    states = [random(batch, value_heads, SIZE, SIZE, dtype=torch.float32) for _ in range(count)]

    def call(state):
        # It returns the new state and leaves the old one: the same bytes as an update in place.
        fused_recurrent_kda(q, k, v, a, b, A_log=a_log, dt_bias=dt_bias, initial_state=state,
                            output_final_state=True, use_qk_l2norm_in_kernel=True,
                            use_gate_in_kernel=True, use_beta_sigmoid_in_kernel=True)

    cold = time_us(graph_of(call, states), count)
    warm = time_us(graph_of(call, states[:1] * count), count)
    return 2 * state_bytes, cold, warm


def main():
    as_json = "--json" in sys.argv[1:]
    l2_bytes = torch.cuda.get_device_properties(0).L2_cache_size
    for heads, value_heads in ((32, 32), (8, 16)):  # a compile each
        for batch in (1, 8, 32, 128, 256):
            with torch.inference_mode():
                state_bytes, cold, warm = bench(heads, value_heads, batch, l2_bytes)
            case = f"H={heads} HV={value_heads} batch={batch} state=f32"
            if as_json:
                print(json.dumps({"bench": "kda_decode_gpu", "case": case, "implementation":
                                  "fla fused_recurrent_kda", "bytes": state_bytes,
                                  "graph_cold_us": round(cold, 2),
                                  "graph_warm_us": round(warm, 2)}), flush=True)
            else:
                print(f"{case:<38} {'fla fused_recurrent_kda':<24} {state_bytes / 1e6:8.1f} "
                      f"{'':9} {cold:9.2f} {warm:9.2f}", flush=True)


main()
