// SPDX-License-Identifier: Apache-2.0
#include "tests/runtime/drivers/stub_state.h"

#include <fmt/format.h>

#include <cstdlib>
#include <map>
#include <mutex>
#include <set>
#include <string_view>
#include <utility>

namespace kiln::stub {
namespace {

struct State {
  std::mutex mutex;
  std::string log;
  std::string log_read;
  std::map<std::string, int> failures;
  std::map<std::string, int> settings;
  std::set<std::string> function_names;
};

State& state() {
  static State* const instance = new State;  // never destroyed: called until the process ends
  return *instance;
}

}  // namespace

int record(const char* call, int device, const std::string& arguments) {
  const std::lock_guard lock(state().mutex);
  state().log += fmt::format("{}@{}", call, device == kNoDevice ? "-" : std::to_string(device));
  if (!arguments.empty()) state().log += " " + arguments;
  state().log += '\n';
  const auto failure = state().failures.find(call);
  return failure == state().failures.end() ? 0 : failure->second;
}

int setting(const std::string& name, int otherwise) {
  const std::lock_guard lock(state().mutex);
  const auto found = state().settings.find(name);
  return found == state().settings.end() ? otherwise : found->second;
}

std::string to_text(const Launch& launch) {
  std::string params;
  for (std::size_t i = 0; i < launch.params_bytes; ++i) {
    params += fmt::format("{:02x}", static_cast<const unsigned char*>(launch.params)[i]);
  }
  return fmt::format("{} grid {},{},{} block {},{},{} shared {} stream {} params {}",
                     *static_cast<const std::string*>(launch.function), launch.grid[0],
                     launch.grid[1], launch.grid[2], launch.block[0], launch.block[1],
                     launch.block[2], launch.shared_bytes, fmt::ptr(launch.stream), params);
}

int find_function(const char* name, const void** function) {
  if (std::string_view(name).starts_with("missing")) return 500;
  const std::lock_guard lock(state().mutex);
  *function = &*state().function_names.insert(name).first;
  return 0;
}

int allocate(std::size_t bytes, void** memory) {
  *memory = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  return *memory ? 0 : 2;
}

void release(void* memory) {
  std::free(memory);
}

const char* status_name(int status) {
  static const std::map<int, const char*> names = {{1, "STUB_INVALID_VALUE"},
                                                   {2, "STUB_OUT_OF_MEMORY"},
                                                   {100, "STUB_NO_DEVICE"},
                                                   {700, "STUB_ILLEGAL_ADDRESS"}};
  const auto found = names.find(status);
  return found == names.end() ? "STUB_STATUS" : found->second;
}

}  // namespace kiln::stub

using kiln::stub::state;

void stub_fail(const char* call, int status) {
  const std::lock_guard lock(state().mutex);
  state().failures[call] = status;
}

void stub_set(const char* name, int value) {
  const std::lock_guard lock(state().mutex);
  state().settings[name] = value;
}

const char* stub_log() {
  const std::lock_guard lock(state().mutex);
  state().log_read = std::exchange(state().log, {});
  return state().log_read.c_str();
}
