// SPDX-License-Identifier: Apache-2.0
#include "runtime/crash_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <fstream>
#include <iterator>

#include "cache/folder.h"
#include "jit/base/handle.h"
#include "jit/base/log.h"
#include "jit/base/record.h"

namespace kiln {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFolderName = "crashes";

Record record_of(const Crash& crash) {
  Record record;
  record.add("schema", "kiln-crash-1");
  record.add("compiler", crash.compiler);
  record.add("toolchain", crash.toolchain.hex());
  record.add("subject", crash.subject);
  record.add("what", crash.what);
  return record;
}

// A whole file or none: others may read it at any time.
Result<void> write_whole(const fs::path& file, const std::string& text) {
  std::string draft = file.string() + ".XXXXXX";
  const Fd written(mkostemp(draft.data(), O_CLOEXEC));
  const auto size = static_cast<ssize_t>(text.size());
  const bool done = written && write(written.get(), text.data(), text.size()) == size &&
                    rename(draft.c_str(), file.c_str()) == 0;
  if (done) return {};
  const int error = errno;
  unlink(draft.c_str());
  return fail(ErrorCode::cache_failed, fmt::format("cannot note a compiler's crash in '{}': {}",
                                                   file.string(), std::strerror(error)));
}

class CrashFiles final : public CrashMemory {
 public:
  CrashFiles(fs::path folder, StoreAccess access) : folder_(std::move(folder)), access_(access) {}

  std::optional<Crash> recall(const Digest& toolchain, std::string_view subject) override {
    const fs::path file = file_of(toolchain, subject);
    std::error_code error;
    if (!fs::exists(file, error)) return std::nullopt;
    if (!trusted_folder(file.parent_path(), StoreAccess::read_only) ||
        !check_trusted_file(file, StoreAccess::read_only)) {
      return std::nullopt;
    }
    std::ifstream stream(file, std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(stream), {}};
    const auto record = Record::parse(text);
    if (!record) return std::nullopt;
    Crash crash{std::string(record->find("compiler").value_or("")), toolchain, std::string(subject),
                std::string(record->find("what").value_or("")), file.string()};
    // Cut short, of another schema, or under another's name: as good as not there.
    if (record_of(crash) != *record) return std::nullopt;
    return crash;
  }

  void remember(const Crash& crash) override {
    if (access_ != StoreAccess::read_write) return;
    const fs::path file = file_of(crash.toolchain, crash.subject);
    const auto folder = trusted_folder(file.parent_path(), access_);
    const auto done =
        folder ? write_whole(file, record_of(crash).text()) : Result<void>(fail(folder.error()));
    if (!done) log_once(LogLevel::warning, done.error().message);
  }

 private:
  fs::path file_of(const Digest& toolchain, std::string_view subject) const {
    Record name;
    name.add("toolchain", toolchain.hex());
    name.add("subject", subject);
    return folder_ / name.digest().hex();
  }

  const fs::path folder_;
  const StoreAccess access_;
};

}  // namespace

std::shared_ptr<CrashMemory> open_crash_files(const Options& options) {
  if (!options.cache_folder || options.cache_policy == CachePolicy::off) return nullptr;
  const bool writes = options.cache_policy == CachePolicy::read_write;
  return std::make_shared<CrashFiles>(*options.cache_folder / kFolderName,
                                      writes ? StoreAccess::read_write : StoreAccess::read_only);
}

}  // namespace kiln
