# SPDX-License-Identifier: Apache-2.0
"""What the ops take beyond the plain case, each against its formula (kiln/*.h) in fp64."""
import kiln
import numpy as np
import pytest

RNG = np.random.default_rng(11)


def normal(*sizes):
    return RNG.standard_normal(sizes).astype(np.float32)


def attend(q, keys, values, seen, scale=None, softcap=0, sinks=None, slopes=None, back=0):
    """One sequence: q [T, Hq, D] over keys [L, Hkv, D]; `seen` [T, L]; gives out and lse."""
    q, keys, values = (each.astype(np.float64) for each in (q, keys, values))
    group = q.shape[1] // keys.shape[1]
    keys, values = keys.repeat(group, 1), values.repeat(group, 1)
    s = np.einsum("thd,lhd->htl", q, keys) * (q.shape[2]**-0.5 if scale is None else scale)
    if slopes is not None:
        place = np.arange(len(q))[:, None] + len(keys) - len(q)
        s += slopes[:, None, None] * (np.arange(len(keys)) - place)
    if softcap:
        s = softcap * np.tanh(s / softcap)
    e = np.where(seen, np.exp(s), 0)
    total = e.sum(-1) + (0 if sinks is None else np.exp(sinks.astype(np.float64))[:, None])
    out = np.einsum("htl,lhd->thd", e / np.where(total > 0, total, 1)[..., None], values)
    with np.errstate(divide="ignore"):
        return out, np.log(total).T


def causal(queries, keys, left=None, right=0):
    ahead = np.arange(keys) - (np.arange(queries)[:, None] + keys - queries)
    return (ahead <= right) & ((left is None) | (ahead >= -(left or 0)))


LENGTHS, PAGE, TOKENS = [37, 5, 0], 16, 2


@pytest.mark.parametrize("how", ["table", "csr"])
@pytest.mark.parametrize("parts", [dict(splits=3), dict(split_tokens=64), {}])
def test_attention_decode(how, parts):
    q = normal(3, TOKENS, 4, 64)
    k, v = normal(6, PAGE, 2, 64).astype(np.float16), normal(6, PAGE, 2, 64).astype(np.float16)
    pages = [[4, 1, 3], [0], []]
    if how == "csr":
        where = dict(indptr=np.array([0, 3, 4, 4], np.int32), pages_max=3,
                     indices=np.array(sum(pages, []), np.int32),
                     last_page_lens=np.array([5, 5, 0], np.int32))
    else:
        table = np.full((3, 3), 1 << 30, np.int32)
        for n, row in enumerate(pages):
            table[n, :len(row)] = row
        where = dict(block_table=table, seq_lens=np.array(LENGTHS, np.int32))
    sinks, slopes = normal(4), -np.abs(normal(4)) / 4
    k_scale, v_scale = np.array([0.5, 2], np.float32), np.abs(normal(3, 2)) + 1
    out, lse = kiln.attention_decode(
        q, k, v, **where, **parts, lse=True, softcap=3.0, window_left=19, sinks=sinks,
        alibi_slopes=slopes, k_scale=k_scale, v_scale=v_scale, scale=0.2)
    assert out.shape == (3, TOKENS, 4, 64) and lse.shape == (3, TOKENS, 4)
    for n, length in enumerate(LENGTHS):
        keys = k[pages[n]].reshape(-1, 2, 64)[:length] * k_scale[:, None]
        values = v[pages[n]].reshape(-1, 2, 64)[:length] * v_scale[n][:, None]
        expected, sum_ = attend(q[n], keys, values, causal(TOKENS, length, 19), 0.2, 3.0, sinks,
                                slopes)
        np.testing.assert_allclose(out[n], expected, atol=2e-5)
        np.testing.assert_allclose(lse[n], sum_, atol=2e-5)


def test_attention_prefill_windows_and_pages():
    half = lambda *sizes: normal(*sizes).astype(np.float16)
    q, k, v = half(2, 7, 4, 64), half(5, PAGE, 2, 64), half(5, PAGE, 2, 64)
    table = np.array([[3, 0], [2, 4]], np.int32)
    lengths, sinks = np.array([30, 9], np.int32), normal(4)
    out, lse = kiln.attention_prefill(q, k, v, block_table=table, kv_lens=lengths, causal=False,
                                      window_left=6, window_right=2, softcap=4.0, sinks=sinks,
                                      lse=True)
    for n, length in enumerate(lengths):
        keys, values = (each[table[n]].reshape(-1, 2, 64)[:length] for each in (k, v))
        expected, sum_ = attend(q[n], keys, values, causal(7, length, 6, 2), None, 4.0, sinks)
        np.testing.assert_allclose(out[n], expected, atol=4e-3)
        np.testing.assert_allclose(lse[n], sum_, atol=4e-3)


def test_attention_prefill_bit_mask():
    half = lambda *sizes: normal(*sizes).astype(np.float16)
    ends_q, ends_kv = np.array([0, 5, 12], np.int32), np.array([0, 11, 30], np.int32)
    q, k, v = half(12, 2, 64), half(30, 2, 64), half(30, 2, 64)
    seen = [RNG.random((5, 11)) < 0.5, RNG.random((7, 19)) < 0.5]
    seen[1][3] = False  # sees nothing
    bits = [np.packbits(each.reshape(-1), bitorder="little") for each in seen]
    out, lse = kiln.attention_prefill(q, k, v, ends_q, ends_kv, causal=False, lse=True,
                                      mask=np.concatenate(bits),
                                      mask_offsets=np.array([0, len(bits[0])]))
    for n in range(2):
        queries, keys = slice(*ends_q[n:n + 2]), slice(*ends_kv[n:n + 2])
        expected, sum_ = attend(q[queries], k[keys], v[keys], seen[n])
        np.testing.assert_allclose(out[queries], expected, atol=4e-3)
        np.testing.assert_allclose(lse[queries], sum_, atol=4e-3)


ALIBI = dict(logits="logit + slopes[qo_head_idx] * (kv_idx - qo_idx - (kv_len - qo_len))",
             tensors={"slopes": "f32"})
SLOPES = -np.arange(1, 5, dtype=np.float32)


def test_attention_variants():
    half = lambda *sizes: normal(*sizes).astype(np.float16)
    q, k, v = half(1, 5, 4, 64), half(1, 9, 2, 64), half(1, 9, 2, 64)
    alibi = kiln.AttentionVariant("alibi", **ALIBI)
    assert alibi.word == kiln.AttentionVariant("alibi", **ALIBI).word and alibi.name == "alibi"
    expected, _ = attend(q[0], k[0], v[0], causal(5, 9), slopes=SLOPES)
    for each in (alibi, "alibi", alibi.word):
        out = kiln.attention_prefill(q, k, v, variant=each, variant_tensors=[SLOPES])
        np.testing.assert_allclose(out[0], expected, atol=4e-3)

    near = kiln.AttentionVariant("near", mask="kv_idx - (kv_len - qo_len) > qo_idx - reach",
                                 scalars={"reach": "i32"})
    out = kiln.attention_prefill(q, k, v, variant=near, variant_scalars=(3,))
    np.testing.assert_allclose(out[0], attend(q[0], k[0], v[0], causal(5, 9, 2))[0], atol=4e-3)

    table, lengths = np.array([[2, 1, 0]], np.int32), np.array([9], np.int32)
    pages = lambda x: np.concatenate([x[0], x[0, :3]]).reshape(3, 4, 2, 64)[[2, 1, 0]]
    for words, slopes, seen in ((dict(variant=alibi, variant_tensors=[SLOPES]), SLOPES, causal(5, 9)),
                                (dict(variant=near, variant_scalars=[3]), None, causal(5, 9, 2))):
        out = kiln.attention_decode(q, pages(k), pages(v), table, lengths, **words)
        expected, _ = attend(q[0], k[0], v[0], seen, slopes=slopes)
        np.testing.assert_allclose(out[0], expected, atol=4e-3)

    scores = np.full((5, 4, 9), np.nan, np.float32)
    kiln.attention_prefill(q, k, v, causal=False, variant="logits_dump", variant_tensors=(scores,),
                           variant_scalars=[9])
    exact = np.einsum("thd,lhd->thl", *(each[0].astype(np.float64) for each in
                                        (q, k.repeat(2, 2)))) / 8
    np.testing.assert_allclose(scores, exact, atol=2e-3)
    scores.flags.writeable = False
    with pytest.raises(kiln.InvalidArgument, match=r"'variant_tensors\[0\]' is read-only"):
        kiln.attention_prefill(q, k, v, variant="logits_dump", variant_tensors=[scores],
                               variant_scalars=[9])


@pytest.mark.parametrize("changed, kind, message", [
    (dict(variant="nothing"), ValueError, "'variant' is 'nothing'; expected a kiln.AttentionVariant"),
    (dict(variant=3), ValueError, "'variant' is 3; expected"),
    (dict(variant_tensors=SLOPES), TypeError, "'variant_tensors' is of type numpy.ndarray"),
    (dict(variant_tensors=[3]), TypeError, r"'variant_tensors\[0\]' is of type int"),
    (dict(variant_tensors=[np.ones(4)]), ValueError, "'slopes' holds DLPack code 2, 64 bits"),
    (dict(variant_tensors=[np.stack([SLOPES] * 4)[:, 1]]), ValueError, "'slopes' .*stride 4"),
    (dict(variant_tensors=[]), ValueError, "'alibi' takes 1 tensors and 0 scalars; 0 and 0"),
    (dict(variant_tensors=[SLOPES] * 9), ValueError, "has 9 tensors; no variant"),
    (dict(variant_scalars=[1, "x"]), ValueError, "'variant_scalars' is .* a sequence of numbers"),
    (dict(variant=None), ValueError, "takes 0 tensors and 0 scalars; 1 and 0"),
])
def test_attention_variants_refuse(changed, kind, message):
    q = np.ones((1, 3, 4, 64), np.float16)
    with pytest.raises(kind, match=message):
        kiln.attention_prefill(**{**dict(q=q, k=q, v=q, variant_tensors=[SLOPES],
                                         variant=kiln.AttentionVariant("alibi", **ALIBI)), **changed})


@pytest.mark.parametrize("words, kind, message", [
    (dict(name="a b"), kiln.InvalidArgument, "letters, digits and _"),
    (dict(name="x", mask="1; 2"), kiln.InvalidArgument, "x.mask:1:2"),
    (dict(name="x", tensors={"t": "f64"}), kiln.InvalidArgument, "f64"),
    (dict(name="x", tensors={"t": 3}), TypeError, "'tensors' holds what is no str"),
    (dict(name="x", scalars=["f32"]), TypeError, "incompatible"),
])
def test_attention_variants_are_defined_well(words, kind, message):
    with pytest.raises(kind, match=message):
        kiln.AttentionVariant(**words)


def test_a_kernel_that_does_not_compile_tells_the_compilers_words():
    broken = kiln.AttentionVariant("broken", mask="\n kv_idx < nothing")
    q = np.ones((1, 3, 4, 64), np.float16)
    with pytest.raises(kiln.CompileFailed, match="broken.mask:2:11: use of undeclared") as caught:
        kiln.attention_prefill(q, q, q, variant=broken)
    assert "error: use of undeclared identifier 'nothing'" in caught.value.log
    notes = getattr(caught.value, "__notes__", [caught.value.log])  # Python 3.11
    assert notes == [caught.value.log]


def rotate(y, positions, cos, sin, interleaved):
    pairs = cos.shape[1]
    first, second = ((slice(0, 2 * pairs, 2), slice(1, 2 * pairs, 2)) if interleaved else
                     (slice(0, pairs), slice(pairs, 2 * pairs)))
    out = y.copy()
    for row, at in enumerate(positions):
        if not 0 <= at < len(cos):
            out[row] = 0
            continue
        a, b = y[row][..., first], y[row][..., second]
        out[row][..., first] = a * cos[at] - b * sin[at]
        out[row][..., second] = b * cos[at] + a * sin[at]
    return out


def normed(x, weight):
    x = x.astype(np.float64)
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6) * weight


@pytest.mark.parametrize("interleaved", [False, True])
def test_qk_rmsnorm_rope(interleaved):
    q, k = normal(4, 3, 64).astype(np.float16), normal(4, 64).astype(np.float16)
    weight, angles = normal(64), RNG.random((9, 16)) * 6
    cos, sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
    positions = np.array([8, 0, 9, 3])  # 9 is outside
    got = kiln.qk_rmsnorm(q, k, weight, weight, positions=positions, cos=cos, sin=sin,
                          interleaved=interleaved)
    for out, x in zip(got, (q, k)):
        expected = rotate(normed(x, weight), positions, cos, sin, interleaved)
        np.testing.assert_allclose(out, expected, atol=1e-6, rtol=2**-10)
    with pytest.raises(kiln.InvalidArgument, match="positions"):
        kiln.qk_rmsnorm(q, k, weight, weight, interleaved=True)


@pytest.mark.parametrize("parts", [1, 4])
def test_qk_rmsnorm_quantised(parts):
    torch = pytest.importorskip("torch", reason="NumPy has no 8-bit floats")
    q, k = normal(4, 3, 64).astype(np.float16), normal(4, 64).astype(np.float16)
    weight, scale = normal(64), np.empty((4, 3, parts), np.float32)
    q_torch = torch.from_numpy(q)
    out, _, scale = kiln.qk_rmsnorm(q_torch, k, weight, weight, k_out=k.copy(),
                                    q_scale=True if parts == 1 else torch.from_numpy(scale))
    assert out.dtype is torch.float8_e4m3fn and out.shape == q.shape
    expected = normed(q, weight)
    largest = np.abs(expected.reshape(4, 3, parts, -1)).max(-1)
    np.testing.assert_allclose(scale.numpy().reshape(largest.shape), largest / 448, rtol=1e-5)
    wide = np.repeat(scale.numpy().reshape(4, 3, parts), 64 // parts, -1)
    np.testing.assert_allclose(out.float().numpy() * wide, expected, rtol=2**-4 * 1.01,
                               atol=float(wide.max()) * 2**-9)


def chosen(logits, scores, correction, topk, n_group, topk_group):
    """The experts of each token and their scores."""
    s = (1 / (1 + np.exp(-logits)) if scores == "sigmoid" else
         np.exp(logits) / np.exp(logits).sum(-1, keepdims=True))
    c = s + correction
    groups = c.reshape(len(c), n_group, -1)
    if n_group > 1:
        worth = np.sort(groups, -1)[..., -2:].sum(-1)
        for row, order in enumerate(np.argsort(-worth, -1)):
            groups[row, order[topk_group:]] = -np.inf
    ids = np.argsort(-groups.reshape(c.shape), -1)[:, :topk]
    return ids, np.take_along_axis(s, ids, -1)


@pytest.mark.parametrize("scores, groups", [("sigmoid", (4, 2)), ("softmax", (1, 1))])
def test_router_gemm_chooses(scores, groups):
    a, w = normal(5, 64).astype(np.float16), normal(32, 64).astype(np.float16) / 8
    bias, correction = normal(32), normal(32) / 8
    logits, ids, weights = kiln.router_gemm(
        a, w, bias=bias, topk=4, scores=scores, correction=correction, n_group=groups[0],
        topk_group=groups[1], shared_experts=1, renormalize=True, scale=2.5, shared_weight=0.5)
    exact = a.astype(np.float64) @ w.astype(np.float64).T + bias
    np.testing.assert_allclose(logits, exact, atol=1e-5)
    expected, score = chosen(logits.astype(np.float64), scores, correction, 4, *groups)
    assert ids.dtype == np.int32
    np.testing.assert_array_equal(ids, np.c_[expected, np.full(5, 32)])
    score *= 2.5 / score.sum(-1, keepdims=True)
    np.testing.assert_allclose(weights, np.c_[score, np.full(5, 0.5)], rtol=1e-5)

    given = np.full((5, 4), -1, np.int32), np.full((5, 4), np.nan, np.float32)
    room = np.zeros(kiln.router_gemm_workspace_floats(5, 32, 64), np.float32)
    kiln.router_gemm(a, w, ids=given[0], weights=given[1], renormalize=False, workspace=room)
    plain = chosen(a.astype(np.float64) @ w.astype(np.float64).T, "sigmoid", 0, 4, 1, 1)
    np.testing.assert_array_equal(given[0], plain[0])
    np.testing.assert_allclose(given[1], plain[1], rtol=1e-5)


@pytest.mark.parametrize("changed, message", [
    (dict(topk=0), "'topk' is 0"),
    (dict(topk=-3), "'topk' is -3"),
    (dict(topk=3, ids=np.empty((2, 4), np.int32)), "'topk' is 3; .* 3 columns"),
    (dict(ids=True), "'ids' has columns that follow from 'topk'"),
    (dict(topk=2, scores="tanh"), "'scores' is 'tanh'; expected one of 'sigmoid', 'softmax'"),
    (dict(scale=2.0), "'ids'"),
    (dict(workspace=np.zeros(8, np.float16)), "'workspace' holds f16"),
])
def test_router_gemm_refuses(changed, message):
    a, w = np.ones((2, 64), np.float16), np.ones((8, 64), np.float16)
    with pytest.raises(kiln.InvalidArgument, match=message):
        kiln.router_gemm(a, w, **changed)


def test_torch_operators_take_the_same():
    torch = pytest.importorskip("torch", reason="torch is not installed: tools/fetch_python.sh")
    kiln.register_torch_ops()
    a, w = torch.randn(5, 64).half(), torch.randn(32, 64).half()
    out, ids, weights = kiln.router_gemm(a, w, topk=4)
    got = torch.empty(5, 4, dtype=torch.int32), torch.empty(5, 4)
    torch.ops.kiln.router_gemm.out(a, w, out=torch.empty(5, 32), ids=got[0], weights=got[1])
    assert torch.equal(got[0], ids) and torch.equal(got[1], weights)
    assert torch.equal(torch.ops.kiln.router_gemm(a, w), out)

    kiln.AttentionVariant("alibi", **ALIBI)
    q, slopes = torch.randn(1, 3, 4, 64).half(), torch.ones(4, requires_grad=True)
    expected = kiln.attention_prefill(q, q, q, variant="alibi", variant_tensors=[slopes])
    words = dict(variant="alibi", variant_tensors=[slopes.detach()])
    assert torch.equal(torch.ops.kiln.attention_prefill(q, q, q, **words), expected)
    model = lambda q: torch.ops.kiln.attention_prefill(q, q, q, **words)
    assert torch.equal(torch.compile(model, fullgraph=True, backend="aot_eager")(q), expected)
    with pytest.raises(kiln.InvalidArgument, match="'logits_dump', which writes tensors"):
        torch.ops.kiln.attention_prefill(q, q, q, variant="logits_dump")
