# SPDX-License-Identifier: Apache-2.0
"""KDA against its own formula in fp64 (kiln/kda_decode.h)."""
import kiln
import numpy as np
import pytest

N, H, HV, K, V = 3, 2, 4, 128, 128


def softplus(x):
    return np.log1p(np.exp(x))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def reference(q, k, v, a, b, A_log, dt_bias, state, slots):
    """Tokens [N, T, ...]; returns the outputs and the pool after it."""
    q, k, v, a, b, A_log, dt_bias, pool = (np.asarray(each, np.float64) for each in
                                           (q, k, v, a, b, A_log, dt_bias, state.copy()))
    out = np.zeros(v.shape)
    for n, slot in enumerate(slots):
        if not 0 <= slot < len(pool):
            continue
        for t in range(q.shape[1]):
            for hv in range(HV):
                S = pool[slot, hv]
                h = hv // (HV // H)
                qn = q[n, t, h] / np.sqrt((q[n, t, h]**2).sum() + 1e-6) * K**-0.5
                kn = k[n, t, h] / np.sqrt((k[n, t, h]**2).sum() + 1e-6)
                S *= np.exp(-np.exp(A_log[hv]) * softplus(a[n, t, hv] + dt_bias[hv]))
                S += sigmoid(b[n, t, hv]) * np.outer(v[n, t, hv] - S @ kn, kn)
                out[n, t, hv] = S @ qn
    return out, pool


def problem(tokens):
    rng = np.random.default_rng(5)
    normal = lambda *sizes: rng.standard_normal(sizes).astype(np.float32)
    return dict(q=normal(N, tokens, H, K), k=normal(N, tokens, H, K), v=normal(N, tokens, HV, V),
                a=normal(N, tokens, HV, K), b=normal(N, tokens, HV), A_log=normal(HV) / 4,
                dt_bias=normal(HV, K), state=normal(5, HV, V, K), slots=np.array([3, -1, 0]))


@pytest.mark.parametrize("tokens", [1, 3])
def test_decode(tokens):
    given = problem(tokens)
    expected, pool = reference(**given)
    out = np.full((N, tokens, HV, V), np.nan, np.float32)
    answer = kiln.kda_decode(**given, out=out)
    assert answer is out
    np.testing.assert_allclose(out, expected, atol=2e-5)
    np.testing.assert_allclose(given["state"], pool, atol=2e-5)


def test_prefill():
    torch = pytest.importorskip("torch", reason="NumPy has no bfloat16, which kda_prefill takes")
    given = problem(4)
    state, slots = given.pop("state"), given.pop("slots")
    io = {name: torch.from_numpy(given[name]).bfloat16() for name in "qkvab"}
    rounded = {name: each.float().numpy() for name, each in io.items()}
    expected, pool = reference(**{**given, **rounded}, state=state, slots=slots)
    ends = torch.arange(0, 4 * N + 1, 4, dtype=torch.int32)
    flat = {name: each.flatten(0, 1) for name, each in io.items()}
    out = kiln.kda_prefill(**flat, A_log=given["A_log"], dt_bias=given["dt_bias"], state=state,
                           slots=slots, cu_seqlens=ends)
    np.testing.assert_allclose(out.float().numpy(), expected.reshape(-1, HV, V), atol=1e-2,
                               rtol=1e-2)
    np.testing.assert_allclose(state, pool, atol=1e-3)


def gates(kind, a, A_log, dt_bias):
    x = a + (0 if dt_bias is None else dt_bias)
    if kind == "precomputed":
        return a
    if kind == "lower_bound":
        return -4 * sigmoid(np.exp(A_log)[:, None] * x)
    if kind == "scalar":
        return (-np.exp(A_log) * softplus(x))[..., None]
    return -np.exp(A_log)[:, None] * softplus(x)


BETAS = {"logit": sigmoid, "doubled": lambda b: 2 * sigmoid(b), "given": lambda b: b}


@pytest.mark.parametrize("gate, beta, layout", [("softplus", "doubled", "KV"),
                                                ("lower_bound", "given", "VK"),
                                                ("precomputed", "logit", "VK"),
                                                ("scalar", "logit", "KV")])
def test_prefill_as_it_is_asked_for(gate, beta, layout):
    """Dense tokens, that begin from other slots and leave states on the way."""
    tokens, every, origins = 70, 32, [4, 9, 1]  # slot 9 is outside: a zero state
    given = problem(tokens)
    given["q"] /= K**0.5
    given["k"] /= np.linalg.norm(given["k"], axis=-1, keepdims=True)
    if beta == "given":
        given["b"] = sigmoid(given["b"])
    if gate == "precomputed":
        given.update(a=-softplus(given["a"]), A_log=None, dt_bias=None)
    if gate == "scalar":
        given.update(a=given["a"][..., 0].copy(), dt_bias=given["dt_bias"][:, 0].copy())
    initial = given["state"]
    swap = (lambda x: x.swapaxes(-1, -2)) if layout == "KV" else np.asarray
    state, aside = np.ascontiguousarray(swap(initial)), np.full((4, HV, V, K), np.nan, np.float32)
    places = np.array([[2, 0], [1, 1], [3, -1]])
    out = kiln.kda_prefill(**{**given, "state": state}, gate=gate, beta=beta, layout=layout,
                           initial_slots=np.array(origins), checkpoints=aside,
                           checkpoint_slots=places, checkpoint_every=every, qk_l2norm=False,
                           scale=0.5, lower_bound=-4.0)

    q, k, v, a, b = (given[name].astype(np.float64) for name in "qkvab")
    pool, checks = initial.astype(np.float64), np.full(aside.shape, np.nan)
    expected = np.zeros(out.shape)
    g = gates(gate, a, given["A_log"], given["dt_bias"])
    for n, slot in enumerate(given["slots"]):
        if slot < 0:
            continue
        S = initial[origins[n]].astype(np.float64) if origins[n] < 5 else np.zeros((HV, V, K))
        for t in range(tokens):
            kt, qt = (np.repeat(each[n, t], HV // H, 0) for each in (k, q))
            S = S * np.exp(g[n, t])[:, None, :]
            delta = BETAS[beta](b[n, t])[:, None] * (v[n, t] - np.einsum("hvk,hk->hv", S, kt))
            S = S + delta[..., None] * kt[:, None, :]
            expected[n, t] = np.einsum("hvk,hk->hv", S, qt) * 0.5
            if (t + 1) % every == 0 and places[n, (t + 1) // every - 1] >= 0:
                checks[places[n, (t + 1) // every - 1]] = S
        pool[slot] = S
    np.testing.assert_allclose(out, expected, atol=2e-4)
    np.testing.assert_allclose(swap(state), pool, atol=2e-4)
    np.testing.assert_allclose(swap(aside), checks, atol=2e-4)
