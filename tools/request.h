// SPDX-License-Identifier: Apache-2.0
// How a person names a kernel on the command line: OP name=value... --arch A.
#pragma once

#include <string>
#include <vector>

#include "kiln/runtime.h"
#include "tools/command.h"

namespace kiln::cli {

enum class CallParams { allowed, refused };

// The words as typed, bound to a subcommand.
struct RequestWords {
  std::string op;
  std::vector<std::string> params;
  std::string arch = "cpu";

  std::string variant_file;  // an attention variant to know by its name

  // More of a simt arch, as options of their own.
  int warp = 0;  // 0: as the arch says
  bool check = false;
  bool debug = false;

  // Adds OP, name=value... and --arch.
  void add_to(CLI::App& app);
  // Adds --warp, --check and --debug, for commands that run kernels.
  void add_simt_to(CLI::App& app);
};

struct OpRequest {
  const Op* op = nullptr;
  OpArguments arguments;
  Arch arch;
};

// Errors: invalid_argument (unknown op, parameter, value, arch; a call parameter where only the
// shape selects the kernel), unavailable (`cpu` on a host that has no such target).
Result<OpRequest> parse_request(const RequestWords& words, CallParams call_params);
Result<OpArguments> parse_params(const Op& op, const std::vector<std::string>& params,
                                 CallParams call_params);
// "sm_90a,cpu" to archs. Errors: as Arch::parse; invalid_argument for an empty list.
Result<std::vector<Arch>> parse_archs(std::string_view list);

}  // namespace kiln::cli
