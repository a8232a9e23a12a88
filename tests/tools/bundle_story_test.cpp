// SPDX-License-Identifier: Apache-2.0
// Bundles from one machine to the next, and what is said of stored kernels that are damaged or not
// what compiling again gives.
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <map>

#include "cache/bundle_writer.h"
#include "cache/store.h"
#include "jit/base/artifact.h"
#include "jit/base/elf_image.h"
#include "tests/tools/jitctl.h"

namespace kiln::test {
namespace {

using nlohmann::json;

// A machine with a key, a cache and a list of trusted keys of its own.
class Machine {
 public:
  Machine() {
    jitctl_.set("XDG_CONFIG_HOME", "");
    jitctl_.set("KILN_TRUSTED_KEYS", "");
    jitctl_.set("KILN_SIGNING_KEY", "");
  }

  json run(const std::vector<std::string>& words, int exit_code = 0) {
    json object;
    const auto result = jitctl_.run_json(words, &object);
    EXPECT_EQ(result.exit_code, exit_code) << words[0] << ": " << result.err;
    error_ = result.err;
    return object;
  }
  // What the last command said on stderr.
  const std::string& error() const { return error_; }

  std::string new_key() { return run({"key", "new"})["public_key"]; }
  std::string file(const std::string& name) const {
    return (jitctl_.home().path() / name).string();
  }
  Jitctl& jitctl() { return jitctl_; }

  std::unique_ptr<Store> store() const {
    StoreOptions options;
    options.folder = jitctl_.cache_folder();
    return Store::open(options).value();
  }
  // Changes the code of the only kernel of `label`, with all checksums right again.
  void change_code(const std::string& label, void (*change)(Bytes& code)) {
    const auto opened = store();
    for (std::int64_t after = 0;;) {
      auto stored = opened->walk(after).value();
      ASSERT_TRUE(stored) << "no kernel " << label;
      after = stored->id;
      if (stored->entry.label.find(label) == std::string::npos) continue;
      Artifact artifact = Artifact::decode(stored->entry.payload).value();
      change(artifact.code);
      stored->entry.payload = to_unfilled_bytes(artifact.encode());
      ASSERT_TRUE(opened->put(stored->key, stored->entry));
      return;
    }
  }

 private:
  Jitctl jitctl_;
  std::string error_;
};

std::string text_of(const std::string& file) {
  std::ifstream stream(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

const std::vector<std::string> kPrewarm = {"prewarm", "qk_rmsnorm", "--arch",
                                           "x86-64-v2,x86-64-v3"};
const std::vector<std::string> kPrewarmOther = {"prewarm", "router_gemm", "--arch", "x86-64-v2"};

std::vector<std::string> with(std::vector<std::string> words, const std::string& more) {
  words.push_back(more);
  return words;
}

void flip_last_text_byte(Bytes& code) {
  const ElfImage image = ElfImage::parse(code).value();
  for (const ElfSection& section : image.sections) {
    if (section.name != ".text") continue;
    code[static_cast<std::size_t>(section.bytes.data() - code.data()) + section.bytes.size() - 1] ^=
        std::byte{1};
    return;
  }
  FAIL() << "no .text";
}

TEST(BundleStory, ASignedBundleServesAnotherMachine) {
  Machine builder;
  Machine server;
  const std::string key = builder.new_key();
  builder.run(kPrewarm);
  builder.run(kPrewarmOther);
  const std::string bundle = builder.file("a.kbundle");
  EXPECT_EQ(builder.run({"export", bundle})["kernels"], 3);

  // A stranger's, until the key is trusted.
  server.run({"import", bundle}, 1);
  EXPECT_NE(server.error().find(key), std::string::npos) << server.error();
  EXPECT_EQ(server.run({"key", "trust", key, "the", "builder"})["added"], true);
  EXPECT_EQ(server.run({"key", "trust", key})["added"], false);
  EXPECT_EQ(server.run({"key", "show"})["trusted"][0]["name"], "the builder");
  const json imported = server.run({"import", bundle});
  EXPECT_EQ(imported["imported"], 3);
  EXPECT_EQ(imported["signer"], key);
  EXPECT_EQ(server.run({"import", bundle})["present"], 3);

  const json warm = server.run(with(kPrewarm, "--check"));
  EXPECT_EQ(warm["stats"]["disk_hits"], 2);
  EXPECT_EQ(warm["stats"]["compiles"], 0);
}

TEST(BundleStory, UnsignedOrAlteredIsRefusedUnlessSaidOtherwise) {
  Machine machine;
  machine.run(kPrewarmOther);
  const std::string bundle = machine.file("a.kbundle");
  machine.run({"export", bundle}, 1);
  EXPECT_NE(machine.error().find("jitctl key new"), std::string::npos) << machine.error();
  EXPECT_FALSE(std::filesystem::exists(bundle));
  EXPECT_EQ(machine.run({"export", bundle, "--unsigned"})["signer"], nullptr);
  machine.run({"import", bundle}, 1);
  EXPECT_NE(machine.error().find("not signed"), std::string::npos) << machine.error();
  machine.run({"import", bundle, "--allow-stranger"}, 1);
  EXPECT_EQ(machine.run({"import", bundle, "--allow-unsigned"})["present"], 1);

  machine.new_key();
  machine.run({"export", bundle});
  EXPECT_EQ(machine.run({"import", bundle, "--allow-stranger"})["present"], 1);
  std::string text = text_of(bundle);
  text[text.size() / 2] ^= 1;
  std::ofstream(bundle, std::ios::binary) << text;
  machine.run({"import", bundle, "--allow-unsigned"}, 1);
  EXPECT_NE(machine.error().find("digest"), std::string::npos) << machine.error();
}

TEST(BundleStory, TwoMachinesMakeTheSameBytes) {
  Machine one;
  Machine other;
  one.new_key();
  other.jitctl().set("KILN_SIGNING_KEY", one.file(".config/kiln/signing_key"));
  one.run(kPrewarm);
  one.run(kPrewarmOther);
  other.run(kPrewarmOther);
  other.run(kPrewarm);
  one.run({"export", one.file("a.kbundle")});
  other.run({"export", other.file("b.kbundle")});
  EXPECT_EQ(text_of(one.file("a.kbundle")), text_of(other.file("b.kbundle")));
  EXPECT_EQ(text_of(one.file("a.kbundle")).find(one.jitctl().home().path().string()),
            std::string::npos);
}

TEST(BundleStory, FiltersAndMerges) {
  Machine machine;
  machine.new_key();
  const std::string key = machine.run({"key", "show"})["public_key"];
  machine.run({"key", "trust", key});
  machine.run(kPrewarm);
  machine.run(kPrewarmOther);
  const std::string all = machine.file("all");
  const std::string v2 = machine.file("v2");
  const std::string norm = machine.file("norm");
  const std::string merged = machine.file("merged");
  machine.run({"export", all});
  EXPECT_EQ(machine.run({"export", v2, "--arch", "x86-64-v2"})["kernels"], 2);
  EXPECT_EQ(machine.run({"export", norm, "--op", "qk_rmsnorm"})["kernels"], 2);
  EXPECT_EQ(machine.run({"merge", v2, norm, "-o", merged})["conflicts"].size(), 0u);
  EXPECT_EQ(text_of(merged), text_of(all));
  // From a bundle as from a cache.
  EXPECT_EQ(machine.run({"export", norm, "--layer", all, "--op", "qk_rmsnorm", "--arch",
                         "x86-64-v3"})["kernels"],
            1);
  machine.run({"export", norm, "--op", "qk_rmsnrm"}, 1);
  EXPECT_NE(machine.error().find("of that op (did you mean 'qk_rmsnorm'?)"), std::string::npos)
      << machine.error();
  machine.run({"export", norm, "--op", "kda_decode"}, 1);
  EXPECT_NE(machine.error().find("qk_rmsnorm"), std::string::npos) << machine.error();
}

TEST(BundleStory, InAConflictTheBundleNamedFirstAndWhatIsStoredStay) {
  Machine machine;
  machine.run(kPrewarmOther);
  const std::string good = machine.file("good");
  const std::string changed = machine.file("changed");
  const std::string merged = machine.file("merged");
  machine.run({"export", good, "--unsigned"});
  machine.change_code("router_gemm", flip_last_text_byte);
  machine.run({"export", changed, "--unsigned"});
  const json conflicts = machine.run(
      {"merge", good, changed, "-o", merged, "--unsigned", "--allow-unsigned"})["conflicts"];
  ASSERT_EQ(conflicts.size(), 1u);
  EXPECT_EQ(conflicts[0]["kept"], good);
  EXPECT_EQ(text_of(merged), text_of(good));
  machine.run({"merge", changed, good, "-o", merged, "--unsigned", "--allow-unsigned"});
  EXPECT_EQ(text_of(merged), text_of(changed));
  EXPECT_EQ(machine.run({"import", good, "--allow-unsigned"})["kept"], 1);
}

TEST(BundleStory, AKernelThatIsNotWhatItSaysGoesNeitherOutNorIn) {
  Machine machine;
  machine.run(kPrewarm);
  machine.change_code("x86-64-v2", [](Bytes& code) { code.resize(code.size() / 2); });
  const std::string bundle = machine.file("a.kbundle");
  machine.run({"export", bundle, "--unsigned"}, 1);
  EXPECT_NE(machine.error().find("ELF"), std::string::npos) << machine.error();
  EXPECT_FALSE(std::filesystem::exists(bundle));
  machine.run({"export", bundle, "--unsigned", "--arch", "x86-64-v3"});

  // Whoever writes bundles otherwise.
  std::map<Key, StoreEntry> entries;
  {
    const auto store = machine.store();
    for (std::int64_t after = 0;;) {
      const auto stored = store->walk(after).value();
      if (!stored) break;
      after = stored->id;
      entries[stored->key] = stored->entry;
    }
  }
  BundleWriter writer = BundleWriter::create(bundle).value();
  for (const auto& [key, entry] : entries) ASSERT_TRUE(writer.add(key, entry));
  ASSERT_TRUE(writer.finish(nullptr));
  Machine other;
  other.run({"import", bundle, "--allow-unsigned"}, 1);
  EXPECT_NE(other.error().find("ELF"), std::string::npos) << other.error();
  EXPECT_EQ(other.run({"stats"})["entries"], 0);
}

TEST(Verify, FindsEachKindOfDamageAndRemovesItWhenAsked) {
  Machine machine;
  machine.run(kPrewarm);
  machine.run(kPrewarmOther);
  EXPECT_EQ(machine.run({"verify"})["good"], 3);
  EXPECT_EQ(machine.run({"verify", "--each"})["kernels"].size(), 3u);
  machine.change_code("router_gemm", [](Bytes& code) { code.resize(code.size() / 2); });
  const json cut = machine.run({"verify"}, 1);
  EXPECT_EQ(cut["bad"], 1);
  EXPECT_NE(cut["kernels"][0]["reason"].get<std::string>().find("ELF"), std::string::npos);
  {
    const auto store = machine.store();
    auto stored = store->walk(0).value();
    ASSERT_TRUE(stored);
    stored->entry.record += "request.op:1:x\n";
    ASSERT_TRUE(store->put(stored->key, stored->entry));
  }
  EXPECT_EQ(machine.run({"verify"}, 1)["bad"], 2);
  EXPECT_EQ(machine.run({"verify", "--quarantine"})["removed"], 2);
  EXPECT_EQ(machine.run({"verify"})["good"], 1);
  EXPECT_EQ(machine.run({"stats"})["rejected"], 2);
}

TEST(Audit, NamesTheSectionThatDiffersAndTellsCodeFromStamps) {
  Machine machine;
  machine.run(kPrewarm);
  machine.run(kPrewarmOther);
  const json same = machine.run({"audit", "--all"});
  EXPECT_EQ(same["compared"], 3);
  EXPECT_EQ(same["compilers"]["llvm"]["verdict"], "reproducible byte for byte");
  EXPECT_EQ(machine.run({"audit", "--sample", "2", "--seed", "5"})["compared"], 2);

  machine.change_code("router_gemm", [](Bytes& code) {
    const std::string_view stamp = "Linker: ";
    const auto found = as_text(code).find(stamp);
    ASSERT_NE(found, std::string_view::npos);
    code[found] = std::byte{'M'};
  });
  const json stamped = machine.run({"audit", "--all"});
  EXPECT_EQ(stamped["compilers"]["llvm"]["verdict"],
            "reproducible but for its stamps: section .comment");
  machine.change_code("qk_rmsnorm", flip_last_text_byte);
  const json different = machine.run({"audit", "--all"}, 1);
  EXPECT_EQ(different["compilers"]["llvm"]["kernels"]["different"], 1);
}

TEST(Audit, WhatCannotBeCompiledAgainIsSaidAndIsNoSuccess) {
  Machine machine;
  machine.run(kPrewarmOther);
  machine.jitctl().set("KILN_LLVM_LIBRARY", "/nonexistent/libkiln_llvm.so");
  const json audit = machine.run({"audit", "--all"}, 1);
  EXPECT_EQ(audit["compared"], 0);
  EXPECT_EQ(audit["kernels"][0]["verdict"], "skipped");
  EXPECT_NE(audit["kernels"][0]["reason"].get<std::string>().find("not here"), std::string::npos);
}

// Every built-in kernel at its default shape: whatever is in no key and changes the code shows
// here.
TEST(Audit, EveryBuiltInKernelIsTheSameWhenItIsCompiledAgain) {
  Machine machine;
  const json ops = machine.run({"ops"})["ops"];
  ASSERT_GE(ops.size(), 6u);
  std::size_t kernels = 0;
  for (const json& op : ops) {
    const json warmed = machine.run({"prewarm", op["op"].get<std::string>(), "--arch",
                                     "x86-64-v2,sm_90a", "--skip-unavailable"});
    kernels += warmed["kernels"].size();
  }
  const json audit = machine.run({"audit", "--all"});
  EXPECT_EQ(audit["compared"], kernels);
  EXPECT_GE(kernels, ops.size());
  for (const auto& [name, compiler] : audit["compilers"].items()) {
    EXPECT_EQ(compiler["verdict"], "reproducible byte for byte") << name;
  }
}

TEST(BundleStory, ABundleIsALayerWithoutImportForThoseWhoTrustItsKey) {
  Machine builder;
  const std::string key = builder.new_key();
  builder.run(kPrewarmOther);
  const std::string bundle = builder.file("kernels.bundle");
  builder.run({"export", bundle});

  Machine server;
  server.jitctl().set("KILN_CACHE_LAYERS", bundle);
  server.jitctl().set("KILN_CACHE_POLICY", "locked");
  const auto check = with(kPrewarmOther, "--check");
  server.run(check, 3);
  EXPECT_NE(server.error().find("going on without this layer"), std::string::npos)
      << server.error();

  server.run({"key", "trust", key});
  const json served = server.run(check);
  EXPECT_EQ(served["stats"]["layer_hits"], 1);
  EXPECT_EQ(served["stats"]["compiles"], 0);

  server.run(with(kPrewarm, "--check"), 3);
}

}  // namespace
}  // namespace kiln::test
