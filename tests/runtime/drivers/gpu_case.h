// SPDX-License-Identifier: Apache-2.0
// The two vendors as the tests see them: a private copy of a stub library, the driver over it, and
// the vendor's names of the calls that both have.
#pragma once

#include <dlfcn.h>
#include <elf.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "kiln/driver.h"
#include "tests/support/temp_folder.h"

namespace kiln::test {

// A copy of a built stub in a folder of its own: another file, so another library with a state of
// its own, whatever this process has opened before.
class StubLibrary {
 public:
  explicit StubLibrary(const std::filesystem::path& built);
  const std::filesystem::path& path() const { return path_; }

  // Loads the copy, if the driver has not yet.
  void fail(const std::string& call, int status);
  void set(const std::string& name, int value);
  int current_device();  // of this thread
  void make_current(int device);
  // Every call since the last time, as the stub recorded it.
  std::vector<std::string> calls();

 private:
  template <class Function>
  Function* control(const char* name);

  TempFolder folder_;
  std::filesystem::path path_;
};

// How many of `calls` are of this function.
int count(const std::vector<std::string>& calls, const std::string& function);
// Whether one of `calls` starts with `call`; whether `text` has `part`. Say what is there instead.
testing::AssertionResult has_call(const std::vector<std::string>& calls, const std::string& call);
testing::AssertionResult has(const std::string& text, std::string_view part);

struct GpuCase {
  const char* name;
  const char* title;
  std::unique_ptr<Driver> (*make_driver)(const std::filesystem::path& library);
  const char* stub;             // with all functions
  const char* stub_old;         // without the optional ones
  const char* stub_incomplete;  // without `unload`
  const char* override_variable;
  CodeFormat format;
  int elf_machine;
  const char* arch;
  // The functions, by their symbols.
  const char* init;
  const char* count;
  const char* load;
  const char* find;
  const char* unload;
  const char* launch;
  const char* allocate;
  const char* release;
  const char* to_device;
  const char* to_host;
  const char* synchronize;
  const char* is_capturing;
};

// So that a failed test names the vendor, not the bytes above.
inline void PrintTo(const GpuCase& gpu, std::ostream* out) {
  *out << gpu.name;
}

GpuCase cuda_case();
GpuCase hip_case();

// The least that passes for code: an ELF header and one section header that covers `bytes`.
Bytes elf_image(int machine);
Artifact artifact_of(const GpuCase& gpu, std::vector<std::string> symbols);

}  // namespace kiln::test
