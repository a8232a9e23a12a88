// SPDX-License-Identifier: Apache-2.0
#include "jit/nvrtc_program.h"

#include <fmt/format.h>

#include <utility>

namespace kiln {

Result<NvrtcProgram> NvrtcProgram::create(const NvrtcApi& api, const CompileInput& input) {
  std::vector<const char*> texts;
  std::vector<const char*> names;
  for (const SourceText& header : input.headers) {
    texts.push_back(header.text.c_str());
    names.push_back(header.name.c_str());
  }
  NvrtcProgramHandle handle = nullptr;
  const NvrtcStatus status =
      api.nvrtcCreateProgram(&handle, input.source.text.c_str(), input.source.name.c_str(),
                             static_cast<int>(texts.size()), texts.data(), names.data());
  if (status != kNvrtcSuccess) {
    return fail(status == kNvrtcOutOfMemory ? ErrorCode::out_of_memory : ErrorCode::compile_failed,
                fmt::format("NVRTC could not take in {}: status {}", input.label(), int(status)));
  }
  NvrtcProgram program(api, handle);
  for (const std::string& expression : input.name_expressions) {
    const NvrtcStatus added = api.nvrtcAddNameExpression(handle, expression.c_str());
    if (added == kNvrtcSuccess) continue;
    return fail(ErrorCode::compile_failed,
                fmt::format("NVRTC refuses the name expression '{}' of {}: status {}", expression,
                            input.label(), int(added)));
  }
  return program;
}

NvrtcProgram::NvrtcProgram(NvrtcProgram&& other) noexcept
    : api_(other.api_), handle_(std::exchange(other.handle_, nullptr)) {}

NvrtcProgram::~NvrtcProgram() {
  if (handle_) api_->nvrtcDestroyProgram(&handle_);
}

NvrtcStatus NvrtcProgram::compile(const std::vector<std::string>& options) {
  std::vector<const char*> pointers;
  for (const std::string& option : options) pointers.push_back(option.c_str());
  return api_->nvrtcCompileProgram(handle_, static_cast<int>(pointers.size()), pointers.data());
}

// NVRTC's texts end with a NUL that its sizes count; machine code does not.
std::string NvrtcProgram::log() const {
  auto text = read("log", api_->nvrtcGetProgramLogSize, api_->nvrtcGetProgramLog);
  return text ? std::string(text->c_str()) : std::string();
}

Result<std::string> NvrtcProgram::cubin() const {
  return read("machine code", api_->nvrtcGetCUBINSize, api_->nvrtcGetCUBIN);
}

Result<std::string> NvrtcProgram::ptx() const {
  KILN_TRY_ASSIGN(const std::string text, read("PTX", api_->nvrtcGetPTXSize, api_->nvrtcGetPTX));
  return std::string(text.c_str());
}

Result<std::string> NvrtcProgram::lowered_name(const std::string& expression) const {
  const char* name = nullptr;
  const NvrtcStatus status = api_->nvrtcGetLoweredName(handle_, expression.c_str(), &name);
  if (status == kNvrtcSuccess && name) return std::string(name);
  return fail(
      ErrorCode::compile_failed,
      fmt::format("NVRTC has no lowered name for '{}': status {}; it must name a __global__ "
                  "function",
                  expression, int(status)));
}

Result<std::string> NvrtcProgram::read(const char* what, GetSize get_size, GetText get_text) const {
  std::size_t bytes = 0;
  NvrtcStatus status = get_size(handle_, &bytes);
  std::string text(bytes, '\0');
  if (status == kNvrtcSuccess && bytes > 0) status = get_text(handle_, text.data());
  if (status == kNvrtcSuccess && bytes > 0) return text;
  return fail(ErrorCode::compile_failed,
              fmt::format("NVRTC gave no {}: status {}, {} bytes", what, int(status), bytes));
}

}  // namespace kiln
