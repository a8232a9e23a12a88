# SPDX-License-Identifier: Apache-2.0
"""Attention is at most twice as far from fp64 as torch's own computation in the same type."""
import kiln
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: tools/fetch_python.sh")
from torch.nn.attention import SDPBackend, sdpa_kernel  # noqa: E402
from torch.nn.functional import scaled_dot_product_attention  # noqa: E402

# Queries, keys, causal (from the top left, as torch's is_causal), heads, size.
CASES = [(128, 128, True, 4, 64), (113, 203, False, 4, 128), (239, 1, False, 2, 64),
         (300, 300, True, 2, 256), (1, 512, False, 4, 128)]


def by_torch(q, k, v, causal):
    heads = [each.transpose(0, 1) for each in (q, k, v)]
    heads[1:] = [each.repeat_interleave(q.shape[1] // k.shape[1], 0) for each in heads[1:]]
    with sdpa_kernel(SDPBackend.MATH):
        return scaled_dot_product_attention(*heads, is_causal=causal).transpose(0, 1)


@pytest.mark.parametrize("arch", ["cpu", "simt"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("queries,keys,causal,heads,size", CASES)
def test_attention_prefill(arch, dtype, queries, keys, causal, heads, size):
    if arch == "simt" and queries * size > 20000:
        queries = keys = 64  # a GPU's threads take turns there
    torch.manual_seed(3)
    q, k, v = (torch.randn(count, of, size, dtype=dtype)
               for count, of in ((queries, heads), (keys, heads // 2), (keys, heads // 2)))
    ends = [torch.tensor([0, count], dtype=torch.int32) for count in (queries, keys)]
    out = kiln.attention_prefill(q, k, v, *ends, causal=causal, arch=arch)
    exact = by_torch(q.double(), k.double(), v.double(), causal)
    allowed = 2 * (by_torch(q, k, v, causal).double() - exact).abs().max()
    assert (out.double() - exact).abs().max() <= allowed


@pytest.mark.parametrize("arch", ["cpu", "simt"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("keys,size", [(512, 128), (77, 64)])
def test_attention_decode(arch, dtype, keys, size):
    torch.manual_seed(4)
    pages = -(-keys // 16)
    q = torch.randn(1, 8, size, dtype=dtype)
    k, v = (torch.randn(pages, 16, 2, size, dtype=dtype) for _ in range(2))
    table = torch.arange(pages, dtype=torch.int32)[None]
    out = kiln.attention_decode(q, k, v, table, torch.tensor([keys], dtype=torch.int32), arch=arch)
    k, v = (each.reshape(-1, 2, size)[:keys] for each in (k, v))
    exact = by_torch(q.double(), k.double(), v.double(), False)
    allowed = 2 * (by_torch(q, k, v, False).double() - exact).abs().max()
    assert (out.double() - exact).abs().max() <= allowed
