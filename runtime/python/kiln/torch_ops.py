# SPDX-License-Identifier: Apache-2.0
"""torch.ops.kiln.*: the ops as torch's dispatcher and torch.compile know them.

For each op two overloads, both made from the table of its arguments:
  torch.ops.kiln.OP(...)      allocates its outputs and returns them
  torch.ops.kiln.OP.out(...)  writes the outputs that it is given and returns nothing
What an op updates in place (the state of KDA) it updates in both. Neither has a gradient. An
attention variant comes by its name.
"""
import torch

from . import _kiln
from .errors import InvalidArgument, Unavailable

_library = None
_INPUTS = ("input", "weight", "update")
_OUTPUTS = ("output", "extra_output")
_OF_VARIANTS = {
    "variant": "str? variant=None",
    "variant_tensors": "Tensor[]? variant_tensors=None",
    "variant_scalars": "float[]? variant_scalars=None",
}


def can_register() -> bool:
    return hasattr(torch.library, "register_fake")


def _default(row) -> str:
    value = row["default"]
    return f'"{value}"' if isinstance(value, str) else str(value)


def schema_of(name: str, rows: list, overload: str) -> str:
    """'qk_rmsnorm(Tensor q, ..., *, float q_eps=1e-06, ...) -> (Tensor, Tensor)'"""
    words = []
    aliases = iter("abcdefghijklmnop")
    keyword_only = False
    asking = {row.get("asked_by") for row in rows}  # for what only .out gives back
    for row in rows:
        role = row["role"]
        if row["name"] in asking and not overload:
            continue
        if role == "workspace" or (role in _OUTPUTS and not overload):
            keyword_only = _begin_keywords(words, keyword_only)
            continue
        if role not in ("input", "weight", "update"):
            keyword_only = _begin_keywords(words, keyword_only)
        if role in _OF_VARIANTS:
            words.append(_OF_VARIANTS[role])
        elif row["type"] == "tensor":
            is_optional = row["optional"] and role != "output"
            written = f"({next(aliases)}!)" if role not in ("input", "weight") else ""
            default = "=None" if is_optional and (keyword_only or "default" in row) else ""
            words.append(f"Tensor{written}{'?' if is_optional else ''} {row['name']}{default}")
        else:
            optional = "?" if row["default"] is None else ""
            words.append(f"{row['type']}{optional} {row['name']}={_default(row)}")
    outputs = 0 if overload else sum(row["role"] == "output" for row in rows)
    returns = "Tensor" if outputs == 1 else f"({', '.join(['Tensor'] * outputs)})"
    while words and words[-1] == "*":
        words.pop()
    return f"{name}{overload}({', '.join(words)}) -> {returns}"


def _begin_keywords(words: list, begun: bool) -> bool:
    if not begun:
        words.append("*")
    return True


def _sizes(row, given: dict) -> list:
    return [size for name, first, last in row["sizes"] for size in given[name].shape[first:last]]


def _fake_of(rows: list):
    """Tensors with the sizes and types that the op allocates, and no memory."""
    names = [row["name"] for row in rows if row["role"] in _INPUTS]
    outputs = [row for row in rows if row["role"] == "output"]

    def fake(*args, **keywords):
        given = dict(zip(names, args), **keywords)
        made = []
        for row in outputs:
            source = row["type_from"]
            dtype = given[source].dtype if source in given else torch.float32
            made.append(given[names[0]].new_empty(_sizes(row, given), dtype=dtype))
        return made[0] if len(made) == 1 else tuple(made)

    return fake


def _reading_variants(name: str, function):
    """A schema cannot say which tensors of a variant are written, and torch must know."""

    def read(*args, **keywords):
        variant = keywords.get("variant")
        if variant is not None and _kiln.variant_writes(variant):
            raise InvalidArgument(f"{name}: argument 'variant' is {variant!r}, which writes tensors: "
                                  f"call kiln.{name}, outside of what torch compiles")
        return function(*args, **keywords)

    return read


def _writing(function):

    def out(*args, **keywords):
        function(*args, **keywords)

    return out


def register() -> None:
    """Once in a process; does nothing when called again."""
    global _library
    if _library is not None:
        return
    if not can_register():
        raise Unavailable(f"torch {torch.__version__} has no torch.library.register_fake: "
                          "torch.ops.kiln needs torch 2.4 or newer")
    library = torch.library.Library("kiln", "DEF")
    for name, op in _kiln.describe_ops().items():
        rows = op["arguments"]
        function = getattr(_kiln, name)
        if any(row["role"] == "variant" for row in rows):
            function = _reading_variants(name, function)
        library.define(schema_of(name, rows, ""))
        library.define(schema_of(name, rows, ".out"))
        library.impl(name, function, "CompositeExplicitAutograd")
        library.impl(name + ".out", _writing(function), "CompositeExplicitAutograd")
        torch.library.register_fake("kiln::" + name, _fake_of(rows), lib=library)
        torch.library.register_fake(f"kiln::{name}.out", lambda *args, **keywords: None,
                                    lib=library)
    _library = library
