// SPDX-License-Identifier: Apache-2.0
// What kiln-worker is asked and what it answers: records, one per frame.
//
//   request := "ask" (a word of Ask), then what that question takes
//   reply   := "status" ("ok" or the name of an ErrorCode), then the answer, or "message" and "log"
//
// Both sides are of one build of Kiln: `start` compares kProtocol and refuses another's worker.
#pragma once

#include <string_view>

#include "jit/compilers.h"

namespace kiln {

enum class Ask {
  start,        // protocol, settings; the first request, and only that
  check,        // compiler, compile input; answers nothing and compiles nothing
  can_compile,  // compiler, arch
  compile,      // compiler, compile input
  emit,         // compiler, compile input, kind
  describe,     // compiler
};
std::string_view name_of(Ask ask);
std::optional<Ask> ask_of(const Record& request);

// Every number that must agree between two builds for their artifacts to be the same.
std::string protocol();

// All of these: errors are internal, naming the field.
void add_settings(Record& record, const CompilerSettings& settings);
Result<CompilerSettings> settings_of(const Record& record);

void add_input(Record& record, const CompileInput& input);
Result<CompileInput> input_of(const Record& record);

void add_artifact(Record& record, const Artifact& artifact);
Result<Artifact> artifact_of(const Record& record);

void add_description(Record& record, const Compiler::Description& description);
Compiler::Description description_of(const Record& record);

Record reply_of(const Result<void>& done);
// Of a reply with another status than "ok": its error.
Result<void> status_of(const Record& reply);

}  // namespace kiln
