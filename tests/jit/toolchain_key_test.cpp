// SPDX-License-Identifier: Apache-2.0
// The toolchain half of a key follows the files that would be loaded, and nothing else: libraries
// that move, that are replaced under their name, and variables that change what they make.
#include <gtest/gtest.h>

#include "jit/base/key.h"
#include "tests/jit/compilers_for_test.h"
#include "tests/jit/gpu_sample.h"
#include "tests/support/process.h"
#include "tests/support/temp_folder.h"

namespace kiln::test {
namespace {

namespace fs = std::filesystem;

fs::path stub(const std::string& name) {
  return fs::path(KILN_STUBS) / name;
}

// Puts another file in its place, as an installer does: running processes keep the old one.
void put_file(const fs::path& from, const fs::path& to) {
  fs::copy_file(from, to.string() + ".new", fs::copy_options::overwrite_existing);
  fs::rename(to.string() + ".new", to);
}

// Vendor libraries installed in a folder of their own.
class Installation {
 public:
  explicit Installation(const std::string& stubs) {
    for (const auto& file : fs::directory_iterator(stub(stubs))) {
      put_file(file.path(), path() / file.path().filename());
    }
    settings_.isolation = Isolation::off;
  }
  const fs::path& path() const { return folder_.path(); }
  void replace(const std::string& name, const std::string& by) const {
    put_file(stub(by), path() / name);
  }

 protected:
  CompilerSettings settings_;

 private:
  TempFolder folder_;
};

class NvrtcInstallation : public Installation {
 public:
  NvrtcInstallation() : Installation("nvrtc-12.9") {}
  Compilers compilers() {
    settings_.nvrtc_library = path() / "libnvrtc.so";
    return Compilers(settings_);
  }
  Record toolchain() { return compilers().chain(arch("sm_90")).front()->toolchain().value(); }
};

class RocmInstallation : public Installation {
 public:
  RocmInstallation() : Installation("rocm-6") {}
  Record toolchain(const Record& environment = {}) {
    settings_.hiprtc_library = path() / "libhiprtc.so.6";
    settings_.hiprtc_environment = environment;
    return Compilers(settings_).chain(arch("gfx90a")).front()->toolchain().value();
  }
};

// The names of the fields that differ.
std::vector<std::string> changed(const Record& before, const Record& after) {
  std::vector<std::string> names;
  for (const RecordDifference& difference : differences(before, after)) {
    names.push_back(difference.name);
  }
  return names;
}

using Names = std::vector<std::string>;

TEST(ToolchainKey, WhereTheLibrariesLieIsNoPartOfIt) {
  EXPECT_EQ(NvrtcInstallation().toolchain(), NvrtcInstallation().toolchain());
  EXPECT_EQ(RocmInstallation().toolchain(), RocmInstallation().toolchain());
}

TEST(ToolchainKey, ALibraryReplacedUnderItsNameIsAnother) {
  NvrtcInstallation nvrtc;
  Record before = nvrtc.toolchain();
  for (const char* name : {"libnvrtc.so", "libnvrtc-builtins.so"}) {
    nvrtc.replace(name, "nvrtc-11.0/libnvrtc.so");
    EXPECT_EQ(changed(before, nvrtc.toolchain()), Names{"library"}) << name;
    before = nvrtc.toolchain();
  }
  RocmInstallation rocm;
  before = rocm.toolchain();
  for (const char* name : {"libhiprtc.so.6", "libhiprtc-builtins.so.6", "libamd_comgr.so.2"}) {
    rocm.replace(name, "rocm-7/libhiprtc.so.7");
    if (std::string(name) != "libhiprtc.so.6") rocm.replace(name, "rocm-7/libamd_comgr.so.3");
    EXPECT_EQ(changed(before, rocm.toolchain()), Names{"library"}) << name;
    before = rocm.toolchain();
  }
}

// The key is made before the library is opened: what is opened must be what the key says.
TEST(ToolchainKey, ALibraryReplacedAfterTheKeyWasMadeIsRefused) {
  for (const char* name : {"libnvrtc.so", "libnvrtc-builtins.so"}) {
    NvrtcInstallation nvrtc;
    const Compilers compilers = nvrtc.compilers();
    Compiler& compiler = *compilers.chain(arch("sm_90")).front();
    ASSERT_TRUE(compiler.toolchain());
    nvrtc.replace(name, "nvrtc-negative/libnvrtc.so");
    CompileInput input = gpu_sample("sm_90");
    input.name_expressions = {"plain"};
    const auto artifact = compiler.compile(input);
    ASSERT_FALSE(artifact) << name;
    EXPECT_NE(artifact.error().message.find("was replaced while this process ran"),
              std::string::npos)
        << artifact.error().message;
  }
}

TEST(ToolchainKey, EachVariableAndEachValueOfItIsAnother) {
  RocmInstallation rocm;
  const Record plain = rocm.toolchain();
  Record empty, one, two;
  empty.add("HIPRTC_COMPILE_OPTIONS_APPEND", "");
  one.add("HIPRTC_COMPILE_OPTIONS_APPEND", "-g");
  two.add("HIPRTC_COMPILE_OPTIONS_APPEND", "-ffast-math");
  const Names name{"environment.HIPRTC_COMPILE_OPTIONS_APPEND"};
  EXPECT_EQ(changed(plain, rocm.toolchain(empty)), name);
  EXPECT_EQ(changed(plain, rocm.toolchain(one)), name);
  EXPECT_EQ(changed(rocm.toolchain(one), rocm.toolchain(two)), name);
}

// A request is looked up under the pair: neither half can stand in for the other.
TEST(ToolchainKey, BothHalvesOfAKeyCount) {
  KeyRecord record;
  record.request.add("field", "one");
  record.toolchain.add("library", "two");
  KeyRecord swapped;
  swapped.request = record.toolchain;
  swapped.toolchain = record.request;
  EXPECT_NE(record.key(), swapped.key());
  EXPECT_NE(record.joined(), swapped.joined());
}

}  // namespace
}  // namespace kiln::test
