// SPDX-License-Identifier: Apache-2.0
// kiln.AttentionVariant.
#pragma once

#include <nanobind/nanobind.h>

namespace kiln::python {

void add_variant_class(nanobind::module_& module);

}  // namespace kiln::python
