// SPDX-License-Identifier: Apache-2.0
// A kernel of one's own through Kiln: compiled once, then found in the cache by every process.
#include <kiln/kiln.h>

#include <cstdio>
#include <fstream>
#include <iterator>

#include "saxpy.h"

namespace {

kiln::SourceText read_text(const char* name) {
  std::ifstream file(std::string(KERNEL_FOLDER "/") + name);
  return {name, {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()}};
}

int report(const kiln::Error& error) {
  std::printf("%s\n%s\n", error.message.c_str(), error.log.c_str());
  return 1;
}

void show(const kiln::Event& event) {
  if (event.kind != kiln::EventKind::compile_end) return;
  std::printf("compiled %s in %.0f ms\n", std::string(event.label).c_str(), event.time_ms);
}

}  // namespace

int main() {
  auto options = kiln::Options::from_environment();
  if (!options) return report(options.error());
  options->on_event = show;
  const auto runtime = kiln::Runtime::create(*options);
  if (!runtime) return report(runtime.error());

  kiln::CompileInput input{"saxpy", "saxpy/mine", {}, *kiln::Arch::parse("cpu"), {}, {}, {}, {}};
  input.source = read_text("saxpy.cc");
  input.headers = {read_text("saxpy.h")};
  input.name_expressions = {"example::saxpy"};
  input.options = {"-std=c++17", "-DBIAS=1"};
  const auto kernel = (*runtime)->kernel(input);
  if (!kernel) return report(kernel.error());

  float x[3] = {1, 2, 3};
  float y[3] = {10, 20, 30};
  const SaxpyParams params{2, x, y};
  kiln::LaunchStep step;
  step.dims.grid.x = 3;
  const auto launched = (*kernel)->launch({step}, &params, sizeof params, {});
  if (!launched) return report(launched.error());
  const kiln::Counters counters = (*runtime)->counters();
  std::printf("y = %g %g %g, compiles %llu, disk hits %llu\n", y[0], y[1], y[2],
              static_cast<unsigned long long>(counters.compiles),
              static_cast<unsigned long long>(counters.disk_hits));
  return y[0] == 13 && y[1] == 25 && y[2] == 37 ? 0 : 1;
}
