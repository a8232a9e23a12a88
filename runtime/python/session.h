// SPDX-License-Identifier: Apache-2.0
// The Runtime that the module's functions use: made by the first call that needs one.
#pragma once

#include <memory>
#include <vector>

#include "kiln/runtime.h"

namespace kiln::python {

// All need the GIL, which also guards what they share.

// Errors: those of Options::from_environment, Runtime::create.
Result<std::shared_ptr<Runtime>> session();
// The session, if there is one yet.
std::shared_ptr<Runtime> session_or_null();
// A new session with `instead` in place of the environment's variables, for calls from now on;
// calls under way keep theirs. Errors: as session(), which then stays as it was.
Result<void> configure(const std::vector<NameValue>& instead);

// Lets go of the session, which writes down what it counted. At exit.
void end_session();

}  // namespace kiln::python
