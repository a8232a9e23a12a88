# SPDX-License-Identifier: Apache-2.0
"""Prints kiln/__init__.pyi: the ops' part from the table of arguments, the rest from here.
PYTHONPATH=build/release/python python3 tools/python_stub.py > runtime/python/kiln/__init__.pyi
"""
from kiln import _kiln

HEAD = '''# SPDX-License-Identifier: Apache-2.0
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
'''
NOT_POSITIONAL = ("output", "extra_output", "workspace", "value", "choice")
OF_VARIANTS = {
    "variant": "Union[None, str, AttentionVariant] = None",
    "variant_tensors": "Sequence[Tensor] = ()",
    "variant_scalars": "Sequence[float] = ()",
}


def argument(row, keyword_only):
    if row["role"] in OF_VARIANTS:
        return f"{row['name']}: {OF_VARIANTS[row['role']]}"
    if row["role"] == "extra_output":
        return f"{row['name']}: Union[None, bool, Tensor] = None"
    if row["type"] == "tensor":
        if not row["optional"]:
            return f"{row['name']}: Tensor"
        default = " = None" if keyword_only or "default" in row else ""
        return f"{row['name']}: Optional[Tensor]{default}"
    kind = row["type"]
    if "choices" in row:
        kind = "Literal[" + ", ".join(f'"{word}"' for word in row["choices"]) + "]"
    default = row["default"]
    shown = f'"{default}"' if isinstance(default, str) else repr(default)
    return f"{row['name']}: Optional[{kind}] = {shown}"


def function(name, op):
    lines, keyword_only = [], False
    for row in op["arguments"]:
        if row["role"] in NOT_POSITIONAL and not keyword_only:
            lines.append("*")
            keyword_only = True
        lines.append(argument(row, keyword_only))
    lines += ["stream: Any = None", "arch: Optional[str] = None"]
    body = "".join(f"    {line},\n" for line in lines)
    return f"\ndef {name}(\n{body}) -> Any: ...\n"


print(HEAD + "".join(function(name, op) for name, op in _kiln.describe_ops().items()), end="")
