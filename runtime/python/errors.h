// SPDX-License-Identifier: Apache-2.0
// Kiln's errors as Python exceptions (kiln/errors.py). Each function here needs the GIL, sets
// Python's error and returns; none throws.
#pragma once

#include <Python.h>

#include <string>

#include "jit/base/result.h"

namespace kiln::python {

void raise(const Error& error);
// TypeError: what was given is no tensor, no number, not known.
void raise_type(const std::string& message);
// kiln.InvalidArgument, caused by the Python error that is set, if one is.
void raise_invalid(const std::string& message);

}  // namespace kiln::python
