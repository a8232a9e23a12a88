// SPDX-License-Identifier: Apache-2.0
#include "tests/templates/cpu_library.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <fstream>
#include <iterator>

#include "templates/registry.h"
#include "templates/sources.h"
#include "tests/jit/compilers_for_test.h"

namespace kiln::test {
namespace {

Compilers& compilers() {
  static Compilers all(settings_from_environment());
  return all;
}

}  // namespace

Result<std::unique_ptr<const CpuLibrary>> CpuLibrary::load(const CompileInput& input) {
  KILN_TRY_ASSIGN(const Artifact artifact, compilers().chain(input.arch).front()->compile(input));
  Fd memory(memfd_create("kiln-test", MFD_CLOEXEC));
  const auto written = write(memory.get(), artifact.code.data(), artifact.code.size());
  if (written != static_cast<ssize_t>(artifact.code.size())) {
    return fail(ErrorCode::internal, "the test could not write its memory file");
  }
  const auto path = fmt::format("/proc/{}/fd/{}", getpid(), memory.get());
  KILN_TRY_ASSIGN(SharedLibrary library, SharedLibrary::open(path));
  std::unique_ptr<CpuLibrary> loaded(new CpuLibrary(std::move(memory), std::move(library)));
  for (const EntryPoint& entry : artifact.entries) {
    void* symbol = loaded->library_.find(entry.symbol.c_str());
    if (!symbol) return fail(ErrorCode::internal, "the artifact lacks " + entry.symbol);
    loaded->entries_[entry.name_expression] = reinterpret_cast<KilnCpuEntry>(symbol);
  }
  return loaded;
}

Result<const CpuLibrary*> CpuLibrary::compile(const CompileInput& input) {
  static std::map<Digest, std::unique_ptr<const CpuLibrary>> compiled;
  auto& library = compiled[input.request().digest()];
  if (!library) {
    KILN_TRY_ASSIGN(library, load(input));
  }
  return library.get();
}

std::vector<Arch> host_archs() {
  Result<Arch> host = Arch::parse("cpu");
  if (!host) return {};
  return host->compatible();
}

CompileInput test_source_input(const std::string& file, const Arch& arch,
                               std::vector<std::string> name_expressions) {
  std::ifstream stream(fmt::format("{}/{}", KILN_TEST_SOURCES, file));
  const std::string text{std::istreambuf_iterator<char>(stream), {}};
  if (text.empty()) std::abort();  // the test tree is broken
  // An op's own input for the same arch has the dialect's options.
  const Op& op = ops().front();
  const bool native = arch.family() == ArchFamily::x86_64;
  const auto& like = native ? op.implementations.back() : op.implementations.front();
  CompileInput input = *make_input(op, like, parse_arguments(op, {})->shape, arch);
  input.op = "test";
  input.implementation = "test/" + file;
  input.shape = Shape();
  input.source = {file, text};
  input.headers = *reached_headers(text, {});
  input.name_expressions = std::move(name_expressions);
  return input;
}

}  // namespace kiln::test
