# SPDX-License-Identifier: Apache-2.0
# Made by tools/python_stub.py: a test tells when it is behind.
import os
from types import TracebackType
from typing import Any, Iterable, Literal, Optional, Protocol, Sequence, Tuple, Union

from .errors import CacheFailed as CacheFailed
from .errors import CacheMiss as CacheMiss
from .errors import Cancelled as Cancelled
from .errors import CompileFailed as CompileFailed
from .errors import DriverFailed as DriverFailed
from .errors import Error as Error
from .errors import InvalidArgument as InvalidArgument
from .errors import OutOfMemory as OutOfMemory
from .errors import Unavailable as Unavailable

class Tensor(Protocol):
    def __dlpack__(self, *args: Any, **kwargs: Any) -> Any: ...
    def __dlpack_device__(self) -> Tuple[Any, int]: ...

class AttentionVariant:
    def __init__(self, name: str, *, logits: str = "", mask: str = "", sink: str = "",
                 softmax: bool = True, tensors: dict[str, str] = ..., scalars: dict[str, str] = ...,
                 doc: str = "") -> None: ...
    @property
    def name(self) -> str: ...
    @property
    def word(self) -> str: ...

class locked:
    def __init__(self) -> None: ...
    def __enter__(self) -> locked: ...
    def __exit__(self, kind: Optional[type], error: Optional[BaseException],
                 trace: Optional[TracebackType]) -> None: ...

def stats() -> dict[str, int]: ...
def configure(**variables: Union[str, int, os.PathLike[str]]) -> None: ...
def prewarm(op: Optional[str] = None, /, *, arch: Union[str, Iterable[str]] = "cpu",
            config: Union[None, str, os.PathLike[str]] = None, tp: Optional[int] = None,
            **shape: Union[int, str, bool]) -> list[Tuple[str, str]]: ...
def load(op: str, /, *, device: Union[Tuple[int, int], Tensor] = (1, 0),
         **shape: Union[int, str, bool]) -> None: ...
def router_gemm_workspace_floats(tokens: int, experts: int, hidden: int) -> int: ...
def register_torch_ops() -> None: ...

def kda_decode(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    a: Tensor,
    b: Tensor,
    A_log: Optional[Tensor],
    dt_bias: Optional[Tensor],
    state: Tensor,
    slots: Tensor,
    *,
    out: Optional[Tensor] = None,
    cu_seqlens: Optional[Tensor] = None,
    tokens_max: Optional[int] = 1,
    accepted: Optional[Tensor] = None,
    state_write: Optional[Literal["last", "each", "none"]] = "last",
    intermediate: Optional[Tensor] = None,
    intermediate_slots: Optional[Tensor] = None,
    gate: Optional[Literal["softplus", "lower_bound", "precomputed", "scalar"]] = "softplus",
    beta: Optional[Literal["logit", "doubled", "given"]] = "logit",
    layout: Optional[Literal["VK", "KV"]] = "VK",
    qk_l2norm: Optional[bool] = True,
    scale: Optional[float] = None,
    l2norm_eps: Optional[float] = 1e-06,
    softplus_beta: Optional[float] = 1.0,
    softplus_threshold: Optional[float] = 20.0,
    lower_bound: Optional[float] = -5.0,
    stream: Any = None,
    arch: Optional[str] = None,
) -> Any: ...

def kda_prefill(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    a: Tensor,
    b: Tensor,
    A_log: Optional[Tensor],
    dt_bias: Optional[Tensor],
    state: Tensor,
    slots: Tensor,
    cu_seqlens: Optional[Tensor] = None,
    *,
    out: Optional[Tensor] = None,
    initial_state: Optional[Literal["slot", "zero"]] = "slot",
    initial_slots: Optional[Tensor] = None,
    checkpoints: Optional[Tensor] = None,
    checkpoint_slots: Optional[Tensor] = None,
    checkpoint_every: Optional[int] = 64,
    workspace: Optional[Tensor] = None,
    gate: Optional[Literal["softplus", "lower_bound", "precomputed", "scalar"]] = "softplus",
    beta: Optional[Literal["logit", "doubled", "given"]] = "logit",
    layout: Optional[Literal["VK", "KV"]] = "VK",
    qk_l2norm: Optional[bool] = True,
    scale: Optional[float] = None,
    l2norm_eps: Optional[float] = 1e-06,
    softplus_beta: Optional[float] = 1.0,
    softplus_threshold: Optional[float] = 20.0,
    lower_bound: Optional[float] = -5.0,
    stream: Any = None,
    arch: Optional[str] = None,
) -> Any: ...

def attention_decode(
    q: Tensor,
    k_cache: Tensor,
    v_cache: Optional[Tensor] = None,
    block_table: Optional[Tensor] = None,
    seq_lens: Optional[Tensor] = None,
    *,
    out: Optional[Tensor] = None,
    lse: Union[None, bool, Tensor] = None,
    workspace: Optional[Tensor] = None,
    splits: Optional[int] = 0,
    split_tokens: Optional[int] = 0,
    scale: Optional[float] = None,
    softcap: Optional[float] = 0.0,
    window_left: Optional[int] = None,
    indptr: Optional[Tensor] = None,
    indices: Optional[Tensor] = None,
    last_page_lens: Optional[Tensor] = None,
    pages_max: Optional[int] = 0,
    k_scale: Optional[Tensor] = None,
    v_scale: Optional[Tensor] = None,
    sinks: Optional[Tensor] = None,
    alibi_slopes: Optional[Tensor] = None,
    variant: Union[None, str, AttentionVariant] = None,
    variant_tensors: Sequence[Tensor] = (),
    variant_scalars: Sequence[float] = (),
    stream: Any = None,
    arch: Optional[str] = None,
) -> Any: ...

def attention_prefill(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seqlens_q: Optional[Tensor] = None,
    cu_seqlens_kv: Optional[Tensor] = None,
    *,
    out: Optional[Tensor] = None,
    lse: Union[None, bool, Tensor] = None,
    causal: Optional[bool] = True,
    scale: Optional[float] = None,
    window_left: Optional[int] = -1,
    window_right: Optional[int] = -1,
    softcap: Optional[float] = 0.0,
    kv_lens: Optional[Tensor] = None,
    block_table: Optional[Tensor] = None,
    sinks: Optional[Tensor] = None,
    mask: Optional[Tensor] = None,
    mask_offsets: Optional[Tensor] = None,
    variant: Union[None, str, AttentionVariant] = None,
    variant_tensors: Sequence[Tensor] = (),
    variant_scalars: Sequence[float] = (),
    stream: Any = None,
    arch: Optional[str] = None,
) -> Any: ...

def router_gemm(
    a: Tensor,
    w: Tensor,
    *,
    out: Optional[Tensor] = None,
    ids: Union[None, bool, Tensor] = None,
    weights: Union[None, bool, Tensor] = None,
    bias: Optional[Tensor] = None,
    topk: Optional[int] = None,
    scores: Optional[Literal["sigmoid", "softmax"]] = "sigmoid",
    correction: Optional[Tensor] = None,
    n_group: Optional[int] = 1,
    topk_group: Optional[int] = 1,
    shared_experts: Optional[int] = 0,
    renormalize: Optional[bool] = True,
    scale: Optional[float] = 1.0,
    shared_weight: Optional[float] = 1.0,
    workspace: Optional[Tensor] = None,
    stream: Any = None,
    arch: Optional[str] = None,
) -> Any: ...

def qk_rmsnorm(
    q: Tensor,
    k: Tensor,
    q_weight: Tensor,
    k_weight: Tensor,
    *,
    q_out: Optional[Tensor] = None,
    k_out: Optional[Tensor] = None,
    q_scale: Union[None, bool, Tensor] = None,
    q_eps: Optional[float] = 1e-06,
    k_eps: Optional[float] = 1e-06,
    weight_bias: Optional[bool] = False,
    positions: Optional[Tensor] = None,
    cos: Optional[Tensor] = None,
    sin: Optional[Tensor] = None,
    interleaved: Optional[bool] = False,
    stream: Any = None,
    arch: Optional[str] = None,
) -> Any: ...
