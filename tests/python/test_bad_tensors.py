# SPDX-License-Identifier: Apache-2.0
"""Each tensor of each op in each wrong form: a Python exception that names it, never a crash."""
import ctypes

import kiln
import numpy as np
import pytest
from kiln import _kiln

ALL = {name: op["arguments"] for name, op in _kiln.describe_ops().items()}


class Lent(ctypes.Structure):
    """DLTensor, the beginning of what an old capsule points to."""
    _fields_ = [("data", ctypes.c_void_p), ("device_type", ctypes.c_int32),
                ("device_id", ctypes.c_int32), ("ndim", ctypes.c_int32), ("code", ctypes.c_uint8),
                ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16),
                ("shape", ctypes.POINTER(ctypes.c_int64)),
                ("strides", ctypes.POINTER(ctypes.c_int64)), ("byte_offset", ctypes.c_uint64)]


def forged(array, **fields):
    """A capsule that lies. What it says must be put right before its end."""
    capsule = array.__dlpack__()
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    lent = Lent.from_address(get(capsule, b"dltensor"))
    for name, value in fields.items():
        if name == "first_size":
            lent.shape[0] = value
        else:
            setattr(lent, name, value)
    return capsule


def half(*sizes):
    return np.full(sizes, 0.25, np.float16)


def ints(*values):
    return np.array(values, np.int32)


def f32(*sizes):
    return np.zeros(sizes, np.float32)


def kda(**more):
    return dict(q=f32(2, 1, 2, 64), k=f32(2, 1, 2, 64), v=f32(2, 1, 2, 64), a=f32(2, 1, 2, 64),
                b=f32(2, 1, 2), A_log=f32(2), dt_bias=f32(2, 64), state=f32(3, 2, 64, 64),
                slots=ints(0, 2), out=f32(2, 1, 2, 64), **more)


def right():
    """A right call of each op, with nearly every tensor that it may have."""
    q, cache, row = half(2, 1, 4, 64), half(5, 16, 2, 64), half(3, 64)
    return {
        "kda_decode": kda(),
        "kda_prefill": kda(initial_slots=ints(0, 1), checkpoints=f32(2, 2, 64, 64),
                           checkpoint_slots=np.full((2, 1), -1, np.int32), checkpoint_every=16),
        "attention_decode": dict(
            q=q, k_cache=cache, v_cache=cache, block_table=np.zeros((2, 2), np.int32),
            seq_lens=ints(20, 3), out=q.copy(), lse=f32(2, 1, 4), k_scale=f32(2), v_scale=f32(2),
            sinks=f32(4), alibi_slopes=f32(4), workspace=f32(1 << 16)),
        "attention_prefill": dict(q=half(5, 4, 64), k=half(9, 2, 64), v=half(9, 2, 64),
                                  cu_seqlens_q=ints(0, 5), cu_seqlens_kv=ints(0, 9),
                                  out=half(5, 4, 64), lse=f32(5, 4), sinks=f32(4),
                                  mask=np.zeros(8, np.uint8), mask_offsets=np.zeros(1, np.int64)),
        "router_gemm": dict(a=row, w=half(8, 64), out=f32(3, 8), ids=np.zeros((3, 2), np.int32),
                            weights=f32(3, 2), bias=f32(8), correction=f32(8),
                            workspace=f32(kiln.router_gemm_workspace_floats(3, 8, 64))),
        "qk_rmsnorm": dict(q=row, k=row, q_weight=f32(64), k_weight=f32(64), q_out=row.copy(),
                           k_out=row.copy(), positions=np.zeros(3, np.int64), cos=f32(4, 8),
                           sin=f32(4, 8)),
    }


CASES = [(op, name) for op, words in right().items() for name, value in words.items()
         if isinstance(value, np.ndarray)]


def dead(array):
    capsule = array.__dlpack__()
    np.from_dlpack(type("Once", (), {"__dlpack__": lambda self, **_: capsule,
                                     "__dlpack_device__": lambda self: (1, 0)})())
    return capsule


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


WRONG = {
    "number": lambda array: 3,
    "text": lambda array: "q",
    "list": lambda array: [0.5],
    "type": lambda array: np.ndarray,
    "complex": lambda array: array.astype(np.complex128),
    "f64": lambda array: array.astype(np.float64),
    "bool": lambda array: array.astype(bool),
    "rank": lambda array: array[None, None, None, None],
    "no rank": lambda array: np.zeros((), array.dtype),
    "dead capsule": dead,
    "other capsule": lambda array: _kiln.kda_decode.__self__,
    "vectors": lambda array: forged(array, lanes=4),
    "no such device": lambda array: forged(array, device_type=77),
    "ranks beyond": lambda array: forged(array, ndim=1000),
    "rank below": lambda array: forged(array, ndim=-1),
    "no shape": lambda array: forged(array, shape=None),
    "no memory": lambda array: forged(array, data=None),
    "size below": lambda array: forged(array, first_size=-5),
}
WRITTEN = ("update", "output", "extra_output", "workspace")


def said(op, words):
    with pytest.raises((TypeError, kiln.Error)) as caught:
        getattr(kiln, op)(**words)
    return str(caught.value)


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("op, name", CASES)
@pytest.mark.parametrize("left_out", [(), ("out", "q_out", "k_out")], ids=["given", "allocated"])
def test_each_tensor_in_each_wrong_form(op, name, left_out, wrong):
    """With outputs that are given, and with those that Kiln allocates."""
    if name in left_out:
        return
    words = {each: value for each, value in right()[op].items() if each not in left_out}
    words[name] = WRONG[wrong](words[name])
    told = said(op, words)
    assert told.startswith(op), told
    # What comes as a bare capsule has no framework that could allocate.
    assert f"'{name}'" in told or "builtins cannot allocate" in told, told


@pytest.mark.parametrize("op, name", CASES)
def test_each_tensor_on_another_device(op, name):
    words = right()[op]
    words[name] = forged(words[name], device_type=2)
    told = said(op, words)
    assert told.startswith(f"{op}: tensor '") and "is on CUDA device 0" in told, told


def spread(array):
    return np.repeat(array, 2, axis=-1)[..., ::2]


@pytest.mark.parametrize("op, name", CASES)
def test_each_tensor_with_gaps_is_refused_or_read_right(op, name):
    def outcome(change):
        words = right()[op]
        words[name] = change(words[name])
        getattr(kiln, op)(**words)
        return [each for each in words.values() if isinstance(each, np.ndarray)]

    try:
        got = outcome(spread)
    except kiln.InvalidArgument as error:
        assert f"{op}: tensor '{name}' has stride 2" in str(error)
    else:
        for one, other in zip(got, outcome(np.copy)):
            np.testing.assert_array_equal(one, other)


# One less of these is right too: they have room, are for all sequences, or end with them.
ROOM = ("workspace", "mask", "k_scale", "v_scale", "block_table", "checkpoint_slots")


@pytest.mark.parametrize("op, name", [each for each in CASES if each[1] not in ROOM])
def test_each_tensor_one_too_short(op, name):
    words = right()[op]
    words[name] = words[name][..., :-1].copy()
    told = said(op, words)
    assert told.startswith(f"{op}: tensor '") and "has shape" in told, told


@pytest.mark.parametrize("op", ALL)
def test_the_right_calls_are_right(op):
    getattr(kiln, op)(**right()[op])


@pytest.mark.parametrize("op, name", [
    (op, row["name"]) for op, rows in ALL.items() for row in rows
    if row["role"] in WRITTEN and row["name"] in right()[op]])
def test_what_is_written_is_not_read_only(op, name):
    words = right()[op]
    words[name].flags.writeable = False
    assert f"{op}: argument '{name}' is read-only" in said(op, words)
