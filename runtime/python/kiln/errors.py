# SPDX-License-Identifier: Apache-2.0
"""What Kiln raises. Every exception has `code`, the C++ API's name of it, and `log`: the compiler's
or driver's own output, empty where there is none. A traceback shows the log below the message."""


class Error(RuntimeError):
    code = "internal"

    def __init__(self, message: str, log: str = "") -> None:
        super().__init__(message)
        self.log = log
        if log and hasattr(self, "add_note"):  # Python 3.11
            self.add_note(log)

    def __reduce__(self):
        return type(self), (self.args[0], self.log)


class InvalidArgument(Error, ValueError):
    """The request itself is wrong; the message names the argument and says what is accepted."""

    code = "invalid_argument"


class Unavailable(Error):
    """A library, compiler, device or arch is not here; the message says how to get it."""

    code = "unavailable"


class CompileFailed(Error):
    """A compiler rejected a source; `log` holds its own words."""

    code = "compile_failed"


class CacheMiss(Error):
    """kiln.locked(), policy `locked` or a graph capture forbids the compile that is needed."""

    code = "cache_miss"


class CacheFailed(Error):
    """The cache could not store or read."""

    code = "cache_failed"


class DriverFailed(Error):
    """A driver call failed, or a binary was rejected."""

    code = "driver_failed"


class OutOfMemory(Error, MemoryError):
    code = "out_of_memory"


class Cancelled(Error):
    """The one who asked gave up."""

    code = "cancelled"


_by_code = {kind.code: kind for kind in (InvalidArgument, Unavailable, CompileFailed, CacheMiss,
                                         CacheFailed, DriverFailed, OutOfMemory, Cancelled)}


def make(code: str, message: str, log: str) -> Error:
    return _by_code.get(code, Error)(message, log)
