// SPDX-License-Identifier: Apache-2.0
#include "tools/request.h"

#include <fmt/format.h>

#include <algorithm>

#include "tools/variant_file.h"

namespace kiln::cli {
namespace {

// Whoever names a run-time argument where only the shape counts should learn why it has no effect.
Result<void> refuse_call_params(const Op& op, const std::vector<NameValue>& given) {
  for (const NameValue& pair : given) {
    for (const ParamSpec& param : op.call_params) {
      if (param.name != pair.first) continue;
      return fail(ErrorCode::invalid_argument,
                  fmt::format("{}: '{}' is a run-time argument of {} and does not select a kernel; "
                              "leave it out here ('jitctl run' takes it)",
                              pair.first + "=" + pair.second, pair.first, op.name));
    }
  }
  return {};
}

// --arch with what --warp, --check and --debug add to it.
Result<Arch> parse_arch(const RequestWords& words) {
  KILN_TRY_ASSIGN(Arch arch, Arch::parse(words.arch));
  if (words.warp == 0 && !words.check && !words.debug) return arch;
  if (arch.family() != ArchFamily::simt) {
    return fail(
        ErrorCode::invalid_argument,
        fmt::format("--warp, --check and --debug are for --arch simt, not for {}", arch.name()));
  }
  const bool wide = words.warp == 0 ? arch.has_feature(":warp64") : words.warp == 64;
  return Arch::parse(fmt::format("simt{}{}{}", wide ? ":warp64" : "",
                                 words.check || arch.has_feature(":checked") ? ":checked" : "",
                                 words.debug || arch.has_feature(":debug") ? ":debug" : ""));
}

}  // namespace

void RequestWords::add_to(CLI::App& app) {
  app.add_option("OP", op, "An op; 'jitctl ops' lists them")->required();
  app.add_option("PARAM", params, "name=value; 'jitctl ops OP' lists names and defaults");
  app.add_option("--arch", arch, "sm_90a, gfx90a, cpu (this host), x86-64-v3, simt, ...")
      ->capture_default_str();
  app.add_option("--variant", variant_file,
                 "A JSON file with an attention variant, for variant=NAME (docs/ops)");
}

void RequestWords::add_simt_to(CLI::App& app) {
  app.add_option("--warp", warp, "With --arch simt: threads per warp")
      ->check(CLI::IsMember({32, 64}));
  app.add_flag("--check", check, "With --arch simt: check every access to memory");
  app.add_flag("--debug", debug, "With --arch simt: compile for a debugger, without optimization");
}

Result<OpArguments> parse_params(const Op& op, const std::vector<std::string>& params,
                                 CallParams call_params) {
  std::vector<NameValue> given;
  for (const std::string& word : params) {
    const std::size_t equals = word.find('=');
    if (equals == std::string::npos || equals == 0) {
      return fail(ErrorCode::invalid_argument,
                  fmt::format("'{}': parameters are written name=value; 'jitctl ops {}' lists them",
                              word, op.name));
    }
    given.emplace_back(word.substr(0, equals), word.substr(equals + 1));
  }
  if (call_params == CallParams::refused) KILN_TRY(refuse_call_params(op, given));
  return parse_arguments(op, given);
}

Result<OpRequest> parse_request(const RequestWords& words, CallParams call_params) {
  if (!words.variant_file.empty()) KILN_TRY(add_variant_file(words.variant_file));
  KILN_TRY_ASSIGN(const Op* const op, find_op(words.op));
  KILN_TRY_ASSIGN(OpArguments arguments, parse_params(*op, words.params, call_params));
  KILN_TRY_ASSIGN(Arch arch, parse_arch(words));
  return OpRequest{op, std::move(arguments), std::move(arch)};
}

Result<std::vector<Arch>> parse_archs(std::string_view list) {
  std::vector<Arch> archs;
  while (!list.empty()) {
    const std::size_t end = std::min(list.find(','), list.size());
    KILN_TRY_ASSIGN(Arch arch, Arch::parse(list.substr(0, end)));
    if (std::find(archs.begin(), archs.end(), arch) == archs.end())
      archs.push_back(std::move(arch));
    list.remove_prefix(std::min(end + 1, list.size()));
  }
  if (archs.empty()) {
    return fail(ErrorCode::invalid_argument, "--arch: an empty list; name at least one arch");
  }
  return archs;
}

}  // namespace kiln::cli
