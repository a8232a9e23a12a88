# SPDX-License-Identifier: Apache-2.0
"""attention_decode's cases by FlashInfer (paged) and torch SDPA (dense), where they are installed:
microseconds of a replayed graph, caches in turn so that the L2 cache is cold. bf16."""
import json
import sys

CASES = [(1, 4096, 32, 8), (1, 32768, 32, 8), (8, 4096, 32, 8), (32, 4096, 32, 8),
         (128, 1024, 32, 8), (1, 4096, 32, 4), (32, 4096, 32, 4), (16, 4096, 32, 32)]
DIM, PAGE, ROUNDS = 128, 16, 7


def graph_us(torch, calls):
    for call in calls:
        call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    repeats = max(1, 8 // len(calls))
    with torch.cuda.graph(graph):
        for _ in range(repeats):
            for call in calls:
                call()
    times = []
    for _ in range(ROUNDS):
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        first.record()
        for _ in range(10):
            graph.replay()
        last.record()
        torch.cuda.synchronize()
        times.append(first.elapsed_time(last) * 1e3 / (10 * repeats * len(calls)))
    return sorted(times)[ROUNDS // 2]


def cache_count(torch, batch, length, kv_heads):
    size = 4 * batch * length * kv_heads * DIM
    l2 = torch.cuda.get_device_properties(0).L2_cache_size
    return max(1, -(-2 * l2 // size))


def sdpa(torch, batch, length, heads, kv_heads):
    def one():
        q = torch.randn(batch, heads, 1, DIM, device="cuda", dtype=torch.bfloat16)
        k, v = (torch.randn(batch, kv_heads, length, DIM, device="cuda", dtype=torch.bfloat16)
                for _ in range(2))
        attend = torch.nn.functional.scaled_dot_product_attention
        return lambda: attend(q, k, v, enable_gqa=heads != kv_heads)
    return graph_us(torch, [one() for _ in range(cache_count(torch, batch, length, kv_heads))])


def flashinfer_paged(torch, batch, length, heads, kv_heads):
    import flashinfer
    pages = -(-length // PAGE)
    int32 = {"device": "cuda", "dtype": torch.int32}
    indptr = torch.arange(batch + 1, **int32) * pages
    last = torch.full((batch,), (length - 1) % PAGE + 1, **int32)

    def one():
        indices = torch.randperm(batch * pages, device="cuda").to(torch.int32)
        wrapper = flashinfer.BatchDecodeWithPagedKVCacheWrapper(
            torch.empty(128 << 20, dtype=torch.uint8, device="cuda"), "NHD", use_cuda_graph=True,
            paged_kv_indptr_buffer=indptr.clone(), paged_kv_indices_buffer=indices,
            paged_kv_last_page_len_buffer=last.clone(), use_tensor_cores=heads // kv_heads >= 4)
        wrapper.plan(indptr, indices, last, heads, kv_heads, DIM, PAGE,
                     q_data_type=torch.bfloat16, kv_data_type=torch.bfloat16)
        q = torch.randn(batch, heads, DIM, device="cuda", dtype=torch.bfloat16)
        cache = torch.randn(batch * pages, 2, PAGE, kv_heads, DIM, device="cuda",
                            dtype=torch.bfloat16)
        return lambda: wrapper.run(q, cache)
    return graph_us(torch, [one() for _ in range(cache_count(torch, batch, length, kv_heads))])


def main():
    try:
        import torch
        if not torch.cuda.is_available():
            raise ImportError("torch finds no GPU")
    except ImportError as error:
        print(f"peers: none, {error}", file=sys.stderr)
        return
    for name, peer in (("flashinfer", flashinfer_paged), ("torch sdpa", sdpa)):
        for case in CASES:
            try:
                us = peer(torch, *case)
            except Exception as error:  # a peer that cannot do a case is no reason to stop
                print(f"peers: {name} {case}: {error}", file=sys.stderr)
                break
            batch, length, heads, kv_heads = case
            row = {"bench": "attention_decode_gpu", "peer": name, "batch": batch,
                   "length": length, "Hq": heads, "Hkv": kv_heads, "graph_cold_us": round(us, 2)}
            print(json.dumps(row) if "--json" in sys.argv else
                  f"{name:<12} batch={batch} length={length} Hq={heads} Hkv={kv_heads} {us:9.2f}")


main()
