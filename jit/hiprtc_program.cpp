// SPDX-License-Identifier: Apache-2.0
#include "jit/hiprtc_program.h"

#include <fmt/format.h>

#include <utility>

namespace kiln {

std::unique_lock<std::mutex> hiprtc_turn() {
  static std::mutex mutex;
  return std::unique_lock(mutex);
}

Result<HiprtcProgram> HiprtcProgram::create(const HiprtcApi& api, const CompileInput& input) {
  KILN_TRY_ASSIGN(const HiprtcSources sources, hiprtc_sources(input));
  std::vector<const char*> texts;
  std::vector<const char*> names;
  for (const SourceText& header : sources.headers) {
    texts.push_back(header.text.c_str());
    names.push_back(header.name.c_str());
  }
  std::unique_lock<std::mutex> turn = hiprtc_turn();
  HiprtcProgramHandle handle = nullptr;
  const HiprtcStatus status =
      api.hiprtcCreateProgram(&handle, sources.source.text.c_str(), sources.source.name.c_str(),
                              static_cast<int>(texts.size()), texts.data(), names.data());
  if (status != kHiprtcSuccess) {
    return fail(status == kHiprtcOutOfMemory ? ErrorCode::out_of_memory : ErrorCode::compile_failed,
                fmt::format("hipRTC could not take in {}: status {}", input.label(), int(status)));
  }
  HiprtcProgram program(api, handle, std::move(turn));
  for (const std::string& expression : input.name_expressions) {
    const HiprtcStatus added = api.hiprtcAddNameExpression(handle, expression.c_str());
    if (added == kHiprtcSuccess) continue;
    return fail(ErrorCode::compile_failed,
                fmt::format("hipRTC refuses the name expression '{}' of {}: status {}", expression,
                            input.label(), int(added)));
  }
  return program;
}

HiprtcProgram::HiprtcProgram(HiprtcProgram&& other) noexcept
    : api_(other.api_),
      handle_(std::exchange(other.handle_, nullptr)),
      turn_(std::move(other.turn_)) {}

HiprtcProgram::~HiprtcProgram() {
  if (handle_) api_->hiprtcDestroyProgram(&handle_);
}

HiprtcStatus HiprtcProgram::compile(const std::vector<std::string>& options) {
  std::vector<const char*> pointers;
  for (const std::string& option : options) pointers.push_back(option.c_str());
  return api_->hiprtcCompileProgram(handle_, static_cast<int>(pointers.size()), pointers.data());
}

std::string HiprtcProgram::log() const {
  std::size_t bytes = 0;
  if (api_->hiprtcGetProgramLogSize(handle_, &bytes) != kHiprtcSuccess || bytes == 0) return {};
  // Some versions count the NUL at the end and some do not.
  std::string text(bytes + 1, '\0');
  if (api_->hiprtcGetProgramLog(handle_, text.data()) != kHiprtcSuccess) return {};
  return text.c_str();
}

Result<std::string> HiprtcProgram::code() const {
  std::size_t bytes = 0;
  HiprtcStatus status = api_->hiprtcGetCodeSize(handle_, &bytes);
  std::string code(bytes, '\0');
  if (status == kHiprtcSuccess && bytes > 0) status = api_->hiprtcGetCode(handle_, code.data());
  if (status == kHiprtcSuccess && bytes > 0) return code;
  return fail(ErrorCode::compile_failed,
              fmt::format("hipRTC gave no code: status {}, {} bytes", int(status), bytes));
}

Result<std::string> HiprtcProgram::lowered_name(const std::string& expression) const {
  const char* name = nullptr;
  const HiprtcStatus status = api_->hiprtcGetLoweredName(handle_, expression.c_str(), &name);
  if (status == kHiprtcSuccess && name) return std::string(name);
  return fail(ErrorCode::compile_failed,
              fmt::format("hipRTC has no lowered name for '{}': status {}; it must name a "
                          "__global__ function",
                          expression, int(status)));
}

}  // namespace kiln
