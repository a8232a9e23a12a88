// SPDX-License-Identifier: Apache-2.0
#include "kiln/options.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <string>
#include <utility>

namespace kiln {
namespace {

// What the caller gives in place of variables, while from_environment() runs on this thread.
struct Instead {
  explicit Instead(std::span<const NameValue> given) : values(given), used(given.size()) {}
  std::span<const NameValue> values;
  std::vector<bool> used;
};
thread_local Instead* instead_of_environment = nullptr;

// An empty variable counts as unset, as in most tools.
std::optional<std::string> variable(const char* name) {
  if (Instead* instead = instead_of_environment) {
    for (std::size_t i = 0; i < instead->values.size(); ++i) {
      if (instead->values[i].first != name) continue;
      instead->used[i] = true;
      if (instead->values[i].second.empty()) return std::nullopt;
      return instead->values[i].second;
    }
  }
  const char* value = std::getenv(name);
  if (!value || !*value) return std::nullopt;
  return value;
}

std::optional<std::filesystem::path> path_variable(const char* name) {
  if (auto value = variable(name)) return std::filesystem::path(*value);
  return std::nullopt;
}

tl::unexpected<Error> bad(std::string_view name, std::string_view value,
                          std::string_view accepted) {
  return fail(ErrorCode::invalid_argument,
              fmt::format("{}='{}': accepted: {}", name, value, accepted));
}

template <class Value>
using Words = std::initializer_list<std::pair<std::string_view, Value>>;

// Sets `target` to what the variable's word stands for.
template <class Value>
Result<void> read_word(const char* name, Words<Value> words, Value& target) {
  const auto value = variable(name);
  if (!value) return {};
  std::string accepted;
  for (const auto& [word, meaning] : words) {
    if (*value == word) {
      target = meaning;
      return {};
    }
    accepted += (accepted.empty() ? "" : ", ") + std::string(word);
  }
  return bad(name, *value, accepted);
}

int usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

std::optional<std::filesystem::path> default_cache_folder() {
  if (auto folder = path_variable("KILN_CACHE_DIR")) return folder;
  if (auto folder = path_variable("XDG_CACHE_HOME")) return *folder / "kiln";
  if (auto home = path_variable("HOME")) return *home / ".cache" / "kiln";
  return std::nullopt;
}

// Empty parts are left out, as in other lists of folders.
Result<std::vector<std::filesystem::path>> layer_folders() {
  std::vector<std::filesystem::path> layers;
  const std::string list = variable("KILN_CACHE_LAYERS").value_or("");
  for (std::size_t begin = 0; begin < list.size();) {
    const std::size_t end = std::min(list.find(':', begin), list.size());
    const std::filesystem::path folder = list.substr(begin, end - begin);
    begin = end + 1;
    if (folder.empty()) continue;
    if (!folder.is_absolute()) {
      return bad("KILN_CACHE_LAYERS", list,
                 fmt::format("absolute folders, separated by ':'; '{}' is none", folder.string()));
    }
    layers.push_back(folder);
  }
  return layers;
}

// What stands between commas, without blanks around it; empty parts are left out.
std::vector<std::string> words_of_list(std::string_view list) {
  std::vector<std::string> words;
  for (std::size_t begin = 0; begin < list.size();) {
    const std::size_t end = std::min(list.find(',', begin), list.size());
    const std::string_view part = list.substr(begin, end - begin);
    begin = end + 1;
    const std::size_t first = part.find_first_not_of(' ');
    if (first == std::string_view::npos) continue;
    words.emplace_back(part.substr(first, part.find_last_not_of(' ') + 1 - first));
  }
  return words;
}

std::optional<std::filesystem::path> config_file(const char* name, const char* default_name) {
  if (auto file = path_variable(name)) return file;
  if (auto folder = path_variable("XDG_CONFIG_HOME")) return *folder / "kiln" / default_name;
  if (auto home = path_variable("HOME")) return *home / ".config" / "kiln" / default_name;
  return std::nullopt;
}

std::vector<std::filesystem::path> rocm_folders() {
  std::vector<std::filesystem::path> folders;
  if (auto folder = path_variable("ROCM_PATH")) folders.push_back(*folder);
  folders.emplace_back("/opt/rocm");
  return folders;
}

// Where Python's packages may lie: the active environment, that of the python3 on the path, the
// user's own, the machine's.
std::vector<std::filesystem::path> python_prefixes() {
  namespace fs = std::filesystem;
  std::vector<fs::path> prefixes;
  const auto add = [&](fs::path prefix) {
    if (std::find(prefixes.begin(), prefixes.end(), prefix) == prefixes.end()) {
      prefixes.push_back(std::move(prefix));
    }
  };
  for (const char* name : {"VIRTUAL_ENV", "CONDA_PREFIX"}) {
    if (auto folder = path_variable(name)) add(*folder);
  }
  const std::string path = variable("PATH").value_or("");
  for (std::size_t at = 0; at < path.size();) {
    const std::size_t end = std::min(path.find(':', at), path.size());
    const fs::path folder = path.substr(at, end - at);
    at = end + 1;
    std::error_code error;
    if (folder.filename() != "bin" || !fs::exists(folder / "python3", error)) continue;
    add(folder.parent_path());
    break;
  }
  if (auto home = path_variable("HOME")) add(*home / ".local");
  add("/usr/local");
  add("/usr");
  return prefixes;
}

CompilerSettings compiler_settings() {
  CompilerSettings settings;
  settings.nvrtc_library = path_variable("KILN_NVRTC_LIBRARY");
  settings.llvm_plugin = path_variable("KILN_LLVM_LIBRARY");
  settings.hiprtc_library = path_variable("KILN_HIPRTC_LIBRARY");
  settings.comgr_library = path_variable("KILN_COMGR_LIBRARY");
  settings.worker_program = path_variable("KILN_WORKER");
  settings.rocm_folders = rocm_folders();
  for (const char* name : {"CUDA_HOME", "CUDA_PATH"}) {
    if (auto folder = path_variable(name)) settings.cuda_folders.push_back(*folder);
  }
  settings.cuda_folders.emplace_back("/usr/local/cuda");
  settings.python_prefixes = python_prefixes();
  for (const char* name : {"NVRTC_PREPEND_FLAGS", "NVRTC_APPEND_FLAGS"}) {
    if (auto value = variable(name)) settings.nvrtc_environment.add(name, *value);
  }
  for (const char* name : {"HIPRTC_COMPILE_OPTIONS_APPEND", "HIPRTC_LINK_OPTIONS_APPEND",
                           "HIP_DEVICE_LIB_PATH", "GPU_ENABLE_WGP_MODE"}) {
    if (auto value = variable(name)) settings.hiprtc_environment.add(name, *value);
  }
  return settings;
}

DriverSettings driver_settings() {
  DriverSettings settings;
  settings.cuda_library = path_variable("KILN_CUDA_LIBRARY");
  settings.hip_library = path_variable("KILN_HIP_LIBRARY");
  settings.rocm_folders = rocm_folders();
  return settings;
}

Result<Options> read_variables() {
  Options options;
  options.cache_folder = default_cache_folder();
  KILN_TRY_ASSIGN(options.cache_layers, layer_folders());
  options.trusted_keys_file = config_file("KILN_TRUSTED_KEYS", "trusted_keys");
  options.signing_key_file = config_file("KILN_SIGNING_KEY", "signing_key");
  options.compilers = compiler_settings();
  options.drivers = driver_settings();
  options.jobs = usable_cores();
  KILN_TRY(read_word<CachePolicy>("KILN_CACHE_POLICY",
                                  {{"read_write", CachePolicy::read_write},
                                   {"read_only", CachePolicy::read_only},
                                   {"locked", CachePolicy::locked},
                                   {"off", CachePolicy::off}},
                                  options.cache_policy));
  KILN_TRY(read_word<ToolchainPolicy>(
      "KILN_TOOLCHAIN", {{"any", ToolchainPolicy::any}, {"exact", ToolchainPolicy::exact}},
      options.toolchain_policy));
  KILN_TRY(read_word<Isolation>(
      "KILN_ISOLATION",
      {{"off", Isolation::off}, {"hiprtc", Isolation::hiprtc}, {"all", Isolation::all}},
      options.compilers.isolation));
  KILN_TRY(read_word<LogLevel>("KILN_LOG",
                               {{"debug", LogLevel::debug},
                                {"info", LogLevel::info},
                                {"warning", LogLevel::warning},
                                {"off", LogLevel::off}},
                               options.log_level));
  options.disabled_implementations = words_of_list(variable("KILN_DISABLE").value_or(""));
  options.dump_folder = path_variable("KILN_DUMP");
  options.record_plan_file = path_variable("KILN_RECORD_PLAN");
  if (const auto size = variable("KILN_CACHE_SIZE")) {
    KILN_TRY_ASSIGN(options.cache_size_bytes_max, parse_size("KILN_CACHE_SIZE", *size));
  }
  if (const auto jobs = variable("KILN_JOBS")) {
    const char* end = jobs->data() + jobs->size();
    const auto [rest, error] = std::from_chars(jobs->data(), end, options.jobs);
    if (error != std::errc{} || rest != end || options.jobs < 1 || options.jobs > 1024) {
      return bad("KILN_JOBS", *jobs, "a number from 1 to 1024");
    }
  }
  return options;
}

}  // namespace

Result<std::uint64_t> parse_size(std::string_view name, const std::string& text) {
  constexpr std::string_view kAccepted = "a number of bytes, with K, M, G or T for powers of 1024";
  std::uint64_t number = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc{} || end - rest > 1) return bad(name, text, kAccepted);
  int shift = 0;
  if (rest != end) {
    const std::size_t unit = std::string_view("KMGT").find(*rest);
    if (unit == std::string_view::npos) return bad(name, text, kAccepted);
    shift = 10 * (static_cast<int>(unit) + 1);
  }
  if (number > (UINT64_MAX >> shift)) return bad(name, text, kAccepted);
  return number << shift;
}

Result<Options> Options::from_environment(std::span<const NameValue> values) {
  Instead instead(values);
  const struct Scope {
    explicit Scope(Instead* now) { instead_of_environment = now; }
    ~Scope() { instead_of_environment = nullptr; }
  } scope(&instead);
  KILN_TRY_ASSIGN(Options options, read_variables());
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (instead.used[i]) continue;
    return fail(ErrorCode::invalid_argument,
                fmt::format("{}='{}': no setting of that name has a say here", values[i].first,
                            values[i].second));
  }
  return options;
}

}  // namespace kiln
