// SPDX-License-Identifier: Apache-2.0
#include "jit/llvm/link.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <lld/Common/Driver.h>
#include <llvm/Object/ObjectFile.h>
#include <llvm/Support/CrashRecoveryContext.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <thread>
#include <vector>

#include "jit/base/handle.h"
#include "jit/llvm/cc1_options.h"

LLD_HAS_DRIVER(elf)

namespace kiln {
namespace {

constexpr std::string_view kMemoryFunctions[] = {"memcpy", "memmove", "memset", "memcmp", "bcmp"};
// Those of C99 and their f forms, to which LLVM lowers its own intrinsics; sorted.
constexpr std::string_view kMathFunctions[] = {
    "acos",      "acosh",   "asin",      "asinh", "atan",  "atan2",     "atanh", "cbrt",   "ceil",
    "cos",       "cosh",    "erf",       "erfc",  "exp",   "exp10",     "exp2",  "expm1",  "fabs",
    "fdim",      "floor",   "fma",       "fmax",  "fmin",  "fmod",      "frexp", "hypot",  "ldexp",
    "llrint",    "llround", "log",       "log10", "log1p", "log2",      "lrint", "lround", "modf",
    "nearbyint", "pow",     "remainder", "rint",  "round", "roundeven", "sin",   "sincos", "sinh",
    "sqrt",      "tan",     "tanh",      "trunc"};

bool host_provides(std::string_view symbol) {
  if (std::find(std::begin(kMemoryFunctions), std::end(kMemoryFunctions), symbol) !=
      std::end(kMemoryFunctions)) {
    return true;
  }
  const auto is_math = [](std::string_view name) {
    return std::binary_search(std::begin(kMathFunctions), std::end(kMathFunctions), name);
  };
  return is_math(symbol) || (symbol.ends_with('f') && is_math(symbol.substr(0, symbol.size() - 1)));
}

// Found out here and not when the kernel is loaded, perhaps on another machine.
Result<void> check_undefined(std::string_view object, KilnLlvmFamily family) {
  auto file = llvm::object::ObjectFile::createObjectFile(
      llvm::MemoryBufferRef(llvm::StringRef(object), "kernel.o"));
  if (!file) return fail(ErrorCode::internal, llvm::toString(file.takeError()));
  std::string missing;
  for (const llvm::object::SymbolRef& symbol : (*file)->symbols()) {
    const auto flags = llvm::cantFail(symbol.getFlags());
    if (!(flags & llvm::object::SymbolRef::SF_Undefined)) continue;
    const std::string name = llvm::cantFail(symbol.getName()).str();
    if (name.empty() || name == "_GLOBAL_OFFSET_TABLE_") continue;
    if (family == kKilnLlvmX86 && host_provides(name)) continue;
    missing += (missing.empty() ? "'" : ", '") + name + "'";
  }
  if (missing.empty()) return {};
  return fail(ErrorCode::compile_failed,
              fmt::format("the kernel uses {}, which nothing provides: a kernel is linked against "
                          "no library and may call {}",
                          missing,
                          family == kKilnLlvmX86
                              ? "memcpy and its like and the C math functions only"
                              : "its own functions only; Kiln's dialect brings the math"));
}

tl::unexpected<Error> system_failure(const char* call) {
  return fail(ErrorCode::internal, fmt::format("{}: {}", call, std::strerror(errno)));
}

std::string path_of(const Fd& fd) {
  return fmt::format("/proc/self/fd/{}", fd.get());
}

// Anonymous memory that holds `bytes`. lld opens it by its path; nothing is left behind when the
// process dies.
Result<Fd> memory_file(const char* name, std::string_view bytes) {
  Fd fd(memfd_create(name, MFD_CLOEXEC));
  if (!fd) return system_failure("memfd_create");
  while (!bytes.empty()) {
    const ssize_t done = ::write(fd.get(), bytes.data(), bytes.size());
    if (done <= 0) return system_failure("write to memory");
    bytes.remove_prefix(static_cast<std::size_t>(done));
  }
  return fd;
}

// Where lld writes. A regular file it would make under another name, rename, and install signal
// handlers in the host to remove; into a pipe it just writes.
class OutputPipe {
 public:
  static Result<std::unique_ptr<OutputPipe>> create() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return system_failure("pipe");
    return std::unique_ptr<OutputPipe>(new OutputPipe(Fd(ends[0]), Fd(ends[1])));
  }
  ~OutputPipe() { finish(); }
  OutputPipe(const OutputPipe&) = delete;
  OutputPipe& operator=(const OutputPipe&) = delete;

  std::string path() const { return path_of(write_end_); }

  // All that was written.
  const std::string& finish() {
    write_end_.reset();
    if (reader_.joinable()) reader_.join();
    return bytes_;
  }

 private:
  OutputPipe(Fd read_end, Fd write_end)
      : read_end_(std::move(read_end)), write_end_(std::move(write_end)), reader_([this] {
          char chunk[1 << 16];
          ssize_t got = 0;
          while ((got = ::read(read_end_.get(), chunk, sizeof chunk)) > 0) {
            bytes_.append(chunk, static_cast<std::size_t>(got));
          }
        }) {}

  Fd read_end_;
  Fd write_end_;
  std::string bytes_;   // the reader's until it is joined
  std::thread reader_;  // last: it uses the others
};

bool lld_is_usable = true;  // guarded by llvm_globals()

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from, at)) {
    text.replace(at, from.size(), to);
    at += to.size();
  }
}

// lld ends the process on a fatal error unless crash recovery is on. It is on for the length of
// the link only, because it takes over the host's signal handlers.
Result<void> run_lld(const std::vector<const char*>& arguments, std::string& log) {
  const std::lock_guard lock(llvm_globals());
  if (!lld_is_usable) {
    return fail(ErrorCode::internal,
                "lld broke down earlier in this process and cannot be used again; restart it");
  }
  llvm::raw_string_ostream stream(log);
  llvm::CrashRecoveryContext::Enable();
  const lld::Result result = lld::lldMain(arguments, stream, stream, {{lld::Gnu, &lld::elf::link}});
  llvm::CrashRecoveryContext::Disable();
  lld_is_usable = result.canRunAgain;
  stream.flush();
  if (result.retCode == 0) return {};
  return fail(ErrorCode::compile_failed, "lld reports errors");
}

}  // namespace

std::shared_mutex& llvm_globals() {
  static auto* const mutex = new std::shared_mutex;  // never destroyed: threads may link at exit
  return *mutex;
}

Result<std::string> link_object(std::string_view object, KilnLlvmFamily family,
                                KilnLlvmDebug debug) {
  KILN_TRY(check_undefined(object, family));
  KILN_TRY_ASSIGN(const Fd input, memory_file("kernel.o", object));
  KILN_TRY_ASSIGN(const auto output, OutputPipe::create());
  const std::string input_path = path_of(input);
  const std::string output_path = output->path();
  std::vector<const char*> arguments{"ld.lld"};
  if (family == kKilnLlvmAmdGpu) {
    arguments.insert(arguments.end(), std::begin(kLinkAmdGpuOptions), std::end(kLinkAmdGpuOptions));
  } else {
    arguments.insert(arguments.end(), std::begin(kLinkX86Options), std::end(kLinkX86Options));
    if (debug == kKilnLlvmNoDebug) arguments.push_back(kStripOption);
  }
  arguments.insert(arguments.end(), {"--threads=1", "-o", output_path.c_str(), input_path.c_str()});
  std::string log;
  if (auto linked = run_lld(arguments, log); !linked) {
    replace_all(log, input_path, "kernel.o");
    replace_all(log, output_path, "kernel.so");
    linked.error().log = std::move(log);
    return fail(std::move(linked).error());
  }
  std::string bytes = output->finish();
  if (bytes.empty()) return fail(ErrorCode::internal, "lld wrote nothing");
  return bytes;
}

}  // namespace kiln
