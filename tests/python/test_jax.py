# SPDX-License-Identifier: Apache-2.0
"""JAX's arrays: inputs by __dlpack__ and without a copy; they are immutable, so results go elsewhere."""
import kiln
import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="JAX is not installed: tools/fetch_python.sh")


RNG = np.random.default_rng(17)


def test_inputs_and_weights():
    a, w, bias = (RNG.standard_normal(sizes).astype(kind) for sizes, kind in
                  (((4, 64), np.float16), ((8, 64), np.float16), ((8,), np.float32)))
    out = np.full((4, 8), np.nan, np.float32)
    got = kiln.router_gemm(*(jax.numpy.asarray(each) for each in (a, w)), out=out,
                           bias=jax.numpy.asarray(bias))
    assert got is out
    exact = a.astype(np.float64) @ w.astype(np.float64).T + bias
    np.testing.assert_allclose(out, exact, atol=1e-4)


def test_bfloat16_and_integers():
    torch = pytest.importorskip("torch", reason="NumPy has no bfloat16 to write")
    q = jax.numpy.asarray(RNG.standard_normal((3, 4, 64)), jax.numpy.bfloat16)
    ends = jax.numpy.asarray(np.array([0, 1, 3], np.int32))
    out = torch.empty(3, 4, 64, dtype=torch.bfloat16)
    kiln.attention_prefill(q, q, q, ends, ends, out=out)
    alone = np.asarray(q).astype(np.float32)[:1]  # a token that sees itself only
    np.testing.assert_array_equal(out[:1].float(), alone)


def test_what_is_written_is_another_frameworks():
    x = jax.numpy.ones((2, 64), jax.numpy.float16)
    weight = jax.numpy.ones(64)
    before = np.asarray(x).copy()
    for given in ({}, dict(q_out=x, k_out=x)):
        with pytest.raises(kiln.InvalidArgument, match="'q_out'.* JAX arrays are immutable: pass"):
            kiln.qk_rmsnorm(x, x, weight, weight, **given)
    np.testing.assert_array_equal(x, before)
