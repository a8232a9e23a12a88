# SPDX-License-Identifier: Apache-2.0
"""What a call takes, and what it says of what it does not take: always a Python exception that names
the argument, never a crash."""
import ctypes
import sys
import types

import kiln
import numpy as np
import pytest

X = np.linspace(-1, 1, 4 * 64, dtype=np.float32).reshape(4, 64).astype(np.float16)
W = np.ones(64, np.float32)


def normed(x):
    x = x.astype(np.float64)
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6)


def call(**changed):
    return kiln.qk_rmsnorm(**{**dict(q=X, k=X, q_weight=W, k_weight=W), **changed})


class Producer:
    """A tensor of NumPy's that says of itself what it is told to."""

    def __init__(self, array, *, takes=("stream", "max_version"), device=(1, 0), made=None):
        self.array, self.takes, self.device, self.made = array, takes, device, made
        self.asked = []

    def __dlpack_device__(self):
        return self.device

    def __dlpack__(self, **words):
        if set(words) - set(self.takes):
            raise TypeError("unexpected keyword")
        self.asked.append(words)
        if self.made is not None:
            return self.made
        version = {"max_version": words["max_version"]} if "max_version" in words else {}
        return self.array.__dlpack__(**version)


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def dead_capsule():
    capsule = X.__dlpack__()
    call(q=capsule, q_out=np.empty_like(X), k_out=np.empty_like(X))
    return capsule


def of_version(major):
    """A capsule as of a DLPack that is to come; the deleter is all that may be used of it."""
    capsule = X.__dlpack__(max_version=(1, 0))
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    ctypes.c_uint32.from_address(get(capsule, b"dltensor_versioned")).value = major
    return capsule


REFUSED = [
    (dict(q=3), TypeError, "argument 'q' is of type int; a tensor is expected"),
    (dict(q=[1.0]), TypeError, "argument 'q' is of type list; a tensor"),
    (dict(q=None), TypeError, "argument 'q' is missing"),
    (dict(q=True), TypeError, "argument 'q' is of type bool"),
    (dict(q_weight=object()), TypeError, "argument 'q_weight' is of type object"),
    (dict(q=np.ndarray), TypeError, "argument 'q' is of type type"),
    (dict(zz=X), TypeError, "no argument 'zz'; there are q, k"),
    (dict(q=X.astype(np.int32)), ValueError, "tensor 'q' holds i32, not bf16"),
    (dict(q=X.astype(np.float64)), ValueError, "tensor 'q' holds DLPack code 2, 64 bits"),
    (dict(q=X.astype(np.complex64)), ValueError, "tensor 'q' holds"),
    (dict(q_weight=X[0].astype(np.int64)), ValueError, "'q_weight' holds i64"),
    (dict(q=X[0]), ValueError, "tensor 'q' has 1 dimensions"),
    (dict(q=X[:3]), ValueError, "'k' has shape"),
    (dict(q_weight=W[:5]), ValueError, "'q_weight' has shape"),
    (dict(q=X.T), ValueError, "'q' has stride 64 in its last dimension"),
    (dict(q_weight=np.ones(128, np.float32)[::2]), ValueError, "'q_weight' has stride 2"),
    (dict(q_out=X[:, :32]), ValueError, "'q_out' has shape"),
    (dict(q_out=read_only(X)), ValueError, "argument 'q_out' is read-only"),
    (dict(q=dead_capsule), ValueError, "'q' is a capsule named 'used_dltensor', which was consumed"),
    (dict(q=lambda: of_version(2)), ValueError, "'q' comes as DLPack 2."),
    (dict(q=Producer(X, made=7)), ValueError, "'q': its __dlpack__ gave int, not a capsule"),
    (dict(q=Producer(X, takes=(), device=(2, 0))), ValueError, "'q': its __dlpack__ failed"),
    (dict(q=Producer(X, device="cpu")), ValueError, "'q': its __dlpack_device__ does not tell"),
    (dict(q_eps="small"), ValueError, "'q_eps' is 'small'; expected a float"),
    (dict(q_eps=True), ValueError, "'q_eps' is True; expected a float"),
    (dict(q_eps=1e60), ValueError, "'q_eps' is 1e+60; expected a float"),
    (dict(weight_bias=1), ValueError, "'weight_bias' is 1; expected a bool"),
    (dict(arch="sm_1"), ValueError, "arch 'sm_1'"),
    (dict(arch=90), TypeError, "argument 'arch' is of type int"),
    (dict(stream="main"), TypeError, "argument 'stream' is of type str"),
]


@pytest.mark.parametrize("changed, kind, message", REFUSED, ids=lambda each: None)
def test_refused(changed, kind, message):
    changed = {name: each() if hasattr(each, "__code__") else each
               for name, each in changed.items()}
    with pytest.raises(kind) as caught:
        call(**changed)
    assert message in str(caught.value)
    assert str(caught.value).startswith(("qk_rmsnorm", "arch"))


def test_errors_tell_their_kind():
    with pytest.raises(kiln.InvalidArgument) as caught:
        call(q=X.T)
    assert isinstance(caught.value, kiln.Error) and caught.value.code == "invalid_argument"
    with pytest.raises(TypeError, match="takes 4 arguments by position, not 5"):
        kiln.qk_rmsnorm(X, X, W, W, X)
    with pytest.raises(TypeError, match="argument 'q' is given twice"):
        kiln.qk_rmsnorm(X, X, W, W, q=X)
    with pytest.raises(ValueError, match="'gate' is 'x'; expected one of 'softplus', "):
        kiln.kda_decode(X, X, X, X, X, X, X, X, X, gate="x")


@pytest.mark.parametrize("takes", [("stream", "max_version"), ("stream",), ()])
def test_old_and_new_producers(takes):
    producer = Producer(X, takes=takes)
    q, k = call(q=producer, q_out=np.empty_like(X))
    np.testing.assert_allclose(q.astype(float), normed(X), atol=2e-3)
    np.testing.assert_allclose(k.astype(float), normed(X), atol=2e-3)
    assert [set(words) for words in producer.asked] == [set(takes) & {"max_version"}]


def test_capsules_are_accepted_and_given_back():
    marks = []

    class Marked(np.ndarray):

        def __del__(self):
            marks.append(True)

    capsule = X.copy().view(Marked).__dlpack__()
    call(q=capsule, q_out=np.empty_like(X), k_out=np.empty_like(X))
    assert marks, "the deleter was called when the call was done"


def test_views_offsets_and_read_only_inputs():
    wide = np.random.default_rng(0).standard_normal((5, 3 * 64)).astype(np.float16)
    q = read_only(wide)[1:, 64:128]
    k = wide[::-1][:4, 128:]  # a negative stride between rows
    out = np.full((4, 2 * 64), 7, np.float16)
    got, _ = call(q=q, k=k, q_out=out[:, 64:])
    assert got.base is out
    np.testing.assert_allclose(got.astype(float), normed(q), atol=4e-3)
    assert (out[:, :64] == 7).all()
    np.testing.assert_allclose(call(k=k)[1].astype(float), normed(k), atol=4e-3)


def test_stream_reaches_the_producer():
    """Tensors on a GPU are asked for on the stream that the call will use."""

    class Stream:

        def __cuda_stream__(self):
            return 0, 4242

    class CudaTensor(Producer):
        pass

    for given, told in [(None, 1), (77, 77), (Stream(), 4242)]:
        tensor = CudaTensor(X, device=(2, 0))
        with pytest.raises(kiln.Error):  # its memory is the CPU's, and says so
            call(q=tensor, k=CudaTensor(X, device=(2, 0)), stream=given)
        assert tensor.asked[0]["stream"] == told


@pytest.mark.parametrize("package, module, stream", [
    ("torch", "torch.cuda", types.SimpleNamespace(cuda_stream=4711)),
    ("cupy", "cupy.cuda", types.SimpleNamespace(ptr=4711)),
    ("jax", "jax", None),
])
def test_the_frameworks_current_stream(monkeypatch, package, module, stream):
    """That of the device that the tensor is on, where no stream is given; else the default stream."""
    devices = []
    stand_in = types.SimpleNamespace(current_stream=lambda device: devices.append(device) or stream,
                                     get_current_stream=lambda: stream)
    monkeypatch.setitem(sys.modules, module, stand_in)
    of_package = type("Tensor", (Producer,), {"__module__": package})
    tensor = of_package(X, device=(2, 3))
    with pytest.raises(kiln.Error):  # its memory is the CPU's, and says so
        call(q=tensor, k=of_package(X, device=(2, 3)))
    assert tensor.asked[0]["stream"] == (4711 if stream else 1)
    assert devices == ([3] if package == "torch" else [])


def test_int_overflow_and_none_mean_what_they_say():
    q, _ = call(q_eps=None)  # None: the default
    np.testing.assert_array_equal(q, call()[0])
    with pytest.raises(ValueError, match="'tokens_max' is 1000"):
        kiln.kda_decode(X, X, X, X, X, X, X, X, X, tokens_max=10**30)
