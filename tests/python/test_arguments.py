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
