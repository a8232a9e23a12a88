# SPDX-License-Identifier: Apache-2.0
"""Kiln: kernels for LLM inference, compiled at run time, cached, launched.

Each op is a function on tensors of any framework that has DLPack. docs/python.md is the guide.
"""
import atexit as _atexit
import sys as _sys

from . import _kiln
from ._kiln import (AttentionVariant, attention_decode, attention_prefill, kda_decode, kda_prefill,
                    qk_rmsnorm, router_gemm)
from .errors import (CacheFailed, CacheMiss, Cancelled, CompileFailed, DriverFailed, Error,
                     InvalidArgument, OutOfMemory, Unavailable)

__all__ = [
    "AttentionVariant", "CacheFailed", "CacheMiss", "Cancelled", "CompileFailed", "DriverFailed", "Error",
    "InvalidArgument", "OutOfMemory", "Unavailable", "attention_decode", "attention_prefill",
    "configure", "kda_decode", "kda_prefill", "load", "locked", "prewarm", "qk_rmsnorm",
    "register_torch_ops", "router_gemm", "router_gemm_workspace_floats", "stats"
]

_atexit.register(_kiln.end_session)
# What configure() changed, for the commands that are run in processes of their own.
_configured: dict = {}


def stats() -> dict:
    """This process's counters since its first call, or since configure(): `memory_hits`,
    `disk_hits`, `layer_hits`, `compiles`, `compile_failures` and the like."""
    return _kiln.stats()


def configure(**variables) -> None:
    """Uses these values in place of the environment's, from now on; names as in `kiln/options.h`:
    configure(KILN_CACHE_DIR="/opt/kernels", KILN_CACHE_POLICY="read_only"). Starts with new counters
    and no kernels in memory. Raises InvalidArgument, and changes nothing, for what is not known."""
    values = {name: str(value) for name, value in variables.items()}
    _kiln.configure(list(values.items()))
    _configured.clear()
    _configured.update(values)


class locked:
    """`with kiln.locked():` what would have to be compiled is a CacheMiss instead, in all threads;
    what memory or disk hold serves. May be nested."""

    def __init__(self) -> None:
        self._bans: list = []

    def __enter__(self) -> "locked":
        self._bans.append(_kiln.forbid_compiles())
        return self

    def __exit__(self, *_) -> None:
        self._bans.pop().release()


def _pairs(shape: dict) -> list:
    return [(name, str(value).lower() if isinstance(value, bool) else str(value))
            for name, value in shape.items()]


def prewarm(op=None, /, *, arch="cpu", config=None, tp=None, **shape) -> list:
    """Compiles into the cache what is not there, for archs that this machine need not have.

    prewarm("kda_decode", arch="sm_90a,cpu", H=8, HV=8) makes all kernels of one op; the shape's
    names are those of `jitctl ops kda_decode`. prewarm(config="config.json", tp=4, arch="sm_90a")
    makes those of a model, as `jitctl prewarm` does. Returns for each (kernel, where it
    came from): "compiled" where it had to be made."""
    archs = [arch] if isinstance(arch, str) else list(arch)
    archs = [name for each in archs for name in each.split(",")]
    if config is None:
        if op is None:
            raise TypeError("prewarm: an op or config= is expected")
        return _kiln.prewarm_op(op, _pairs(shape), archs)
    if op is not None or shape:
        raise TypeError("prewarm: config= says which ops and shapes; neither can be given with it")
    from . import _jitctl
    return _jitctl.prewarm(config, tp, archs, _configured)


def load(op, /, *, device=(1, 0), **shape) -> None:
    """Compiles and loads the kernels of an op on a device, which is what its calls then find: before
    a graph is captured. `device` is a pair as __dlpack_device__() gives, or a tensor there."""
    if hasattr(device, "__dlpack_device__"):
        device = device.__dlpack_device__()
    _kiln.load(op, _pairs(shape), (int(device[0]), int(device[1])))


def router_gemm_workspace_floats(tokens: int, experts: int, hidden: int) -> int:
    """The elements of the workspace (f32, zeros before its first use) that serve a call best."""
    return _kiln.router_gemm_workspace_floats(tokens, experts, hidden)


def register_torch_ops() -> None:
    """Makes torch.ops.kiln.*; imports torch. Done by itself where torch was imported before Kiln."""
    from . import torch_ops
    torch_ops.register()


if hasattr(getattr(_sys.modules.get("torch"), "library", None), "register_fake"):
    register_torch_ops()
