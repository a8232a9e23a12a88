# SPDX-License-Identifier: Apache-2.0
"""attention_prefill's cases by torch SDPA (its FlashAttention and cuDNN backends), where torch is
installed, beside torch's own matrix product. bf16, random numbers."""
import json
import sys

# tokens, batch, query heads, key/value heads, elements of a head, causal
CASES = [(16384, 1, 32, 8, 128, True), (4096, 4, 32, 8, 128, True), (2048, 8, 32, 8, 128, True),
         (8192, 1, 32, 8, 128, False), (2048, 8, 32, 8, 128, False), (8192, 1, 32, 8, 64, True),
         (8192, 1, 16, 4, 256, True)]
ROUNDS = 5


def call_us(torch, call):
    call()
    torch.cuda.synchronize()
    times = []
    for _ in range(ROUNDS):
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        first.record()
        for _ in range(3):
            call()
        last.record()
        torch.cuda.synchronize()
        times.append(first.elapsed_time(last) * 1e3 / 3)
    return sorted(times)[ROUNDS // 2]


def report(name, case, us, operations):
    row = {"bench": "attention_prefill_gpu", "peer": name, "case": case, "us": round(us, 1),
           "tflops": round(operations / us / 1e6, 1)}
    print(json.dumps(row) if "--json" in sys.argv else
          f"{case:<48} {name:<26} {us:10.1f} {operations / us / 1e6:8.1f}", flush=True)


def bench_sdpa(torch, case, name, backend):
    from torch.nn.attention import sdpa_kernel
    tokens, batch, heads, kv_heads, size, causal = case

    def tensor(count):  # as [batch, tokens, heads, size] in memory
        return torch.randn(batch, tokens, count, size, device="cuda",
                           dtype=torch.bfloat16).transpose(1, 2)
    q, k, v = tensor(heads), tensor(kv_heads), tensor(kv_heads)
    attend = torch.nn.functional.scaled_dot_product_attention
    with sdpa_kernel([backend]):
        us = call_us(torch, lambda: attend(q, k, v, is_causal=causal, enable_gqa=True))
    pairs = tokens * (tokens + 1) / 2 if causal else tokens * tokens
    text = f"q_len={tokens} batch={batch} d={size} {'causal' if causal else 'all'}"
    report(name, text, us, 4.0 * batch * heads * size * pairs)


def main():
    try:
        import torch
        if not torch.cuda.is_available():
            raise ImportError("torch finds no GPU")
    except ImportError as error:
        print(f"peers: none, {error}", file=sys.stderr)
        return
    from torch.nn.attention import SDPBackend
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    report("torch matmul", "8192 x 8192 x 8192", call_us(torch, lambda: a @ b), 2.0 * 8192 ** 3)
    for case in CASES:
        for name, backend in (("torch flash", SDPBackend.FLASH_ATTENTION),
                              ("torch cudnn", SDPBackend.CUDNN_ATTENTION)):
            try:
                bench_sdpa(torch, case, name, backend)
            except Exception as error:  # a peer that cannot do a case is no reason to stop
                text = str(error).strip().splitlines()
                print(f"peers: {name} {case}: {text[0] if text else error!r}", file=sys.stderr)


main()
