// SPDX-License-Identifier: Apache-2.0
// KILN_API marks what libkiln.so exports. Kiln's own code is compiled with hidden visibility, so
// what is not marked cannot become an interface by accident; tests/downstream checks the list.
#pragma once

#define KILN_API __attribute__((visibility("default")))
