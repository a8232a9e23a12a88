// SPDX-License-Identifier: Apache-2.0
// What prewarm is asked for: the kernels of a model, of a plan or of one op, for some archs.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tools/models/model_config.h"
#include "tools/request.h"

namespace kiln::cli {

// The words as typed.
struct PrewarmWords {
  std::string config;
  ModelSettings settings;
  std::string plans;  // files, separated by commas
  std::string op;
  std::vector<std::string> params;
  std::optional<std::string> archs;  // default: those of the plan, else cpu
  std::optional<std::string> shard;  // "2/8"; default: all
  bool check = false;
  bool skip_unavailable = false;
};

// One kernel to have.
struct Item {
  CompileInput input;
  std::string label;
};

// A request that no implementation can be built for.
struct NotBuilt {
  std::string request;
  Arch arch;
  std::string why;
};

// What is asked for, and what cannot be had.
struct Work {
  std::vector<Item> items;  // each kernel once, those that probably take longest first
  std::vector<std::pair<std::string, std::string>> unavailable_archs;  // arch, why
  std::vector<std::pair<std::string, std::string>> without_op;         // op, what it is needed for
  std::vector<NotBuilt> not_built;
};

// One of `count` parts, from 1 on.
struct Shard {
  std::size_t index = 1;
  std::size_t count = 1;
};
// Errors: invalid_argument.
Result<Shard> parse_shard(const std::string& text);

// Why no compiler here can make code for `arch`; nothing if one can.
std::optional<std::string> why_unavailable(const Compilers& compilers, const Arch& arch);

// The parts of a set are made of the words alone, so that machines with other compilers that are
// given the same words share the work without overlap. Errors: invalid_argument; unavailable, for
// an arch that no compiler here can do, unless it is to be skipped.
Result<Work> collect_work(const PrewarmWords& words, const Compilers& compilers);

}  // namespace kiln::cli
