// SPDX-License-Identifier: Apache-2.0
#include "runtime/python/session.h"

namespace kiln::python {
namespace {

// Never destroyed at exit, when the libraries of a driver may be gone already.
std::shared_ptr<Runtime>& current() {
  static auto* const runtime = new std::shared_ptr<Runtime>();
  return *runtime;
}

}  // namespace

std::shared_ptr<Runtime> session_or_null() {
  return current();
}

Result<std::shared_ptr<Runtime>> session() {
  if (!current()) KILN_TRY(configure({}));
  return current();
}

Result<void> configure(const std::vector<NameValue>& instead) {
  KILN_TRY_ASSIGN(Options options, Options::from_environment(instead));
  KILN_TRY_ASSIGN(std::shared_ptr<Runtime> made, Runtime::create(std::move(options)));
  current() = std::move(made);
  return {};
}

void end_session() {
  current().reset();
}

}  // namespace kiln::python
