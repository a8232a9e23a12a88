# SPDX-License-Identifier: Apache-2.0
"""With torch, against torch."""
import gc

import kiln
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: tools/fetch_python.sh")
functional = torch.nn.functional
kiln.register_torch_ops()


def bf16(*sizes):
    return torch.randn(*sizes, dtype=torch.bfloat16)


def test_attention_prefill_as_torch():
    torch.manual_seed(1)
    lengths = [5, 33]
    q, k, v = bf16(38, 4, 64), bf16(38, 2, 64), bf16(38, 2, 64)
    ends = torch.tensor([0, 5, 38], dtype=torch.int32)
    out, lse = kiln.attention_prefill(q, k, v, ends, ends, lse=True)
    assert out.dtype is torch.bfloat16 and lse.shape == (38, 4)
    begin = 0
    for length in lengths:
        rows = slice(begin, begin + length)
        begin += length
        heads = [each[rows].float().transpose(0, 1) for each in (q, k, v)]
        heads[1:] = [each.repeat_interleave(2, 0) for each in heads[1:]]
        expected = functional.scaled_dot_product_attention(*heads, is_causal=True).transpose(0, 1)
        torch.testing.assert_close(out[rows].float(), expected, atol=1e-2, rtol=1.6e-2)


def test_attention_decode_as_torch():
    torch.manual_seed(2)
    q, cache = bf16(2, 4, 64), bf16(6, 16, 2, 64)
    table = torch.tensor([[3, 0, 5], [1, 2, 4]], dtype=torch.int32)
    lengths = torch.tensor([40, 7], dtype=torch.int32)
    values = cache.flip(0).contiguous()
    out = kiln.attention_decode(q, cache, values, table, lengths)
    for n in range(2):
        k, v = (each[table[n].long()].reshape(-1, 2, 64)[:lengths[n]].float().transpose(0, 1)
                .repeat_interleave(2, 0) for each in (cache, values))
        expected = functional.scaled_dot_product_attention(q[n].float()[:, None], k, v)[:, 0]
        torch.testing.assert_close(out[n].float(), expected, atol=1e-2, rtol=1.6e-2)


def test_rmsnorm_as_torch():
    torch.manual_seed(3)
    q, k, w = bf16(7, 3, 128), bf16(7, 64), torch.randn(128)
    got_q, got_k = kiln.qk_rmsnorm(q, k, w, w[:64].contiguous(), q_eps=1e-5)
    for got, x, weight, eps in [(got_q, q, w, 1e-5), (got_k, k, w[:64], 1e-6)]:
        expected = functional.rms_norm(x.float(), x.shape[-1:], weight, eps)
        torch.testing.assert_close(got.float(), expected, atol=1e-6, rtol=2**-8)


def test_weights_that_require_grad_pass_and_nothing_else():
    x, w = bf16(2, 64), torch.nn.Parameter(torch.rand(64))
    plain = kiln.qk_rmsnorm(x, x, w.detach(), w.detach())[0]
    got = kiln.qk_rmsnorm(x, x, w, w)[0]
    assert torch.equal(got, plain) and not got.requires_grad
    with torch.no_grad():
        w[:] = 0
    assert not kiln.qk_rmsnorm(x, x, w, w)[0].any(), "its memory is read where it lies"

    wants = x.clone().requires_grad_()
    for changed in (dict(q=wants), dict(k=wants), dict(q_out=wants), dict(k_out=wants * 1)):
        name = next(iter(changed))
        with pytest.raises(kiln.InvalidArgument, match=f"argument '{name}' requires grad.*detach"):
            kiln.qk_rmsnorm(**{**dict(q=x, k=x, q_weight=w, k_weight=w), **changed})
    before = x.clone()
    kiln.qk_rmsnorm(wants.detach(), x, w, w, q_out=wants.detach())
    assert not wants.any() and torch.equal(x, before)


@pytest.mark.parametrize("make, message", [
    (lambda x: x.to("meta"), "no plain memory"),
    (lambda x: x.to_sparse(), "no plain memory"),
    (lambda x: torch._neg_view(x), "negated view"),
    (lambda x: x.cfloat(), "holds"),
    (lambda x: torch.empty(64, 4, dtype=x.dtype).t(), "stride"),
    (lambda x: x.to(torch.float8_e4m3fn), "holds"),
    (lambda x: x.bool(), "holds"),
])
def test_tensors_that_are_refused(make, message):
    x, w = bf16(4, 64), torch.ones(64)
    with pytest.raises(kiln.InvalidArgument, match=f"'k'.*{message}"):
        kiln.qk_rmsnorm(x, make(x), w, w)


def test_the_exchange_table_and_dlpack_say_the_same():
    """A type that hides torch's C table goes by __dlpack__, as with a torch that has none."""

    class Plain:

        def __init__(self, tensor):
            self.tensor = tensor
            self.requires_grad = tensor.requires_grad

        def detach(self):
            return Plain(self.tensor.detach())

        def __dlpack_device__(self):
            return self.tensor.__dlpack_device__()

        def __dlpack__(self, **words):
            return self.tensor.__dlpack__(**words)

    x, w = bf16(3, 3, 64)[:, 1], torch.rand(64, requires_grad=True)
    expected = kiln.qk_rmsnorm(x, x, w, w)[0]
    out = torch.empty(3, 64, dtype=torch.bfloat16)
    kiln.qk_rmsnorm(Plain(x), Plain(x), Plain(w), Plain(w), q_out=Plain(out), k_out=Plain(out))
    assert torch.equal(out, expected)


def test_calls_leak_nothing():
    x, w = bf16(2, 64), torch.ones(64)
    kiln.qk_rmsnorm(x, x, w, w)
    gc.collect()
    before = sum(isinstance(each, torch.Tensor) for each in gc.get_objects())
    import sys
    references = sys.getrefcount(x), sys.getrefcount(w)
    for _ in range(50):
        kiln.qk_rmsnorm(x, x, w, w)
        with pytest.raises(ValueError):
            kiln.qk_rmsnorm(x, x, w, w[:3])
    gc.collect()
    assert (sys.getrefcount(x), sys.getrefcount(w)) == references
    assert sum(isinstance(each, torch.Tensor) for each in gc.get_objects()) == before


def test_compiled_by_torch():
    x, w = bf16(3, 64), torch.rand(64)
    state = torch.zeros(4, 1, 64, 64)
    head, gate = bf16(3, 1, 64), bf16(3, 1, 64)
    slots = torch.tensor([2, 0, -1])

    def model(x, w, state):
        q, k = torch.ops.kiln.qk_rmsnorm(x + 1, x * 2, w, w, q_eps=1e-5)
        out = torch.empty(3, 3)
        torch.ops.kiln.router_gemm.out(q, k, out=out)
        y = torch.ops.kiln.kda_decode(head, head, head, gate, gate[..., 0], None, None, state, slots,
                                      gate="precomputed")
        return out.sum() + torch.ops.kiln.router_gemm(q, k).sum() + y.float().sum()

    plain_state = state.clone()
    expected = model(x, w, plain_state)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, w, state), expected)
    assert torch.equal(state, plain_state) and state[2].any() and not state[1].any()


def test_operators_keep_torchs_rules():
    x, w = bf16(3, 64), torch.rand(64)
    torch.library.opcheck(torch.ops.kiln.qk_rmsnorm.default, (x, x, w, w))
    with torch.device("meta"):
        q = torch.empty(5, 8, 128, dtype=torch.bfloat16)
        ends = torch.empty(2, dtype=torch.int32)
    out = torch.ops.kiln.attention_prefill(q, q[:, :2], q[:, :2, :64], ends, ends)
    assert out.shape == (5, 8, 64) and out.is_meta
