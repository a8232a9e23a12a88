// SPDX-License-Identifier: Apache-2.0
// The Runtime over read-only layers: their order, and what it does with a bad entry in one.
#include <gtest/gtest.h>

#include "cache/store.h"
#include "tests/runtime/user_template.h"

namespace kiln {
namespace {

using test::add_constant;
using test::LlvmRuntime;

class LayersTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!layer_.available()) GTEST_SKIP() << layer_.why_not();
  }
  // Makes a layer of what `runtime` has compiled.
  static std::filesystem::path seal(LlvmRuntime& runtime) {
    EXPECT_TRUE((*runtime.runtime().store())->seal());
    return runtime.folder()->path() / "cache";
  }
  std::unique_ptr<Runtime> over(std::vector<std::filesystem::path> layers,
                                const std::filesystem::path& cache) {
    Options options = layer_.runtime().options();
    options.cache_folder = cache;
    options.cache_layers = std::move(layers);
    return *Runtime::create(std::move(options));
  }
  Store& store_of(LlvmRuntime& runtime) { return **runtime.runtime().store(); }

  LlvmRuntime layer_;
  test::TempFolder home_;
};

TEST_F(LayersTest, TheWritableStoreComesFirstThenTheLayersInOrder) {
  LlvmRuntime second;
  ASSERT_TRUE(layer_.runtime().prepare(add_constant(1)));
  ASSERT_TRUE(second.runtime().prepare(add_constant(1)));
  ASSERT_TRUE(second.runtime().prepare(add_constant(2)));
  const auto first_layer = seal(layer_);
  const auto second_layer = seal(second);

  const auto runtime = over({first_layer, second_layer}, home_.path() / "cache");
  EXPECT_EQ(runtime->explain(add_constant(1))->hit->file, (first_layer / "kernels-v2.db").string());
  EXPECT_EQ(runtime->explain(add_constant(2))->hit->file,
            (second_layer / "kernels-v2.db").string());
  EXPECT_EQ(runtime->prepare(add_constant(1))->tier, Tier::layer);
  EXPECT_EQ(runtime->prepare(add_constant(2))->tier, Tier::layer);
  EXPECT_EQ(runtime->prepare(add_constant(3))->tier, Tier::compiled);
  Counters expected;
  expected.layer_hits = 2;
  expected.compiles = 1;
  EXPECT_EQ(runtime->counters(), expected);

  const auto later = over({first_layer}, home_.path() / "cache");
  EXPECT_EQ(later->prepare(add_constant(3))->tier, Tier::disk);
}

TEST_F(LayersTest, ABadEntryInALayerIsMadeAnewOnceAndTheLayerStays) {
  ASSERT_TRUE(layer_.runtime().prepare(add_constant(3)));
  const StoreRow row = store_of(layer_).list({})->front();
  for (const bool decodes : {true, false}) {
    const Prepared made = *layer_.runtime().prepare(add_constant(3));
    Artifact cut = *made.artifact;
    cut.code.resize(cut.code.size() / 2);  // refused by the loader
    UnfilledBytes payload = to_unfilled_bytes(cut.encode());
    if (!decodes) payload.resize(payload.size() / 2);
    ASSERT_TRUE(store_of(layer_).put(row.key, {row.record, row.label, payload, row.info}));
    const auto folder = seal(layer_);
    const auto cache = home_.path() / (decodes ? "a" : "b");
    const auto runtime = over({folder}, cache);
    const auto kernel = runtime->kernel(add_constant(3));
    ASSERT_TRUE(kernel) << kernel.error().message;
    EXPECT_EQ(runtime->counters().rejected_entries, 1U);
    EXPECT_EQ(runtime->counters().compiles, 1U);
    EXPECT_EQ(over({folder}, cache)->prepare(add_constant(3))->tier, Tier::disk);
    StoreOptions options;
    options.folder = folder;
    options.access = StoreAccess::layer;
    EXPECT_EQ((*Store::open(options))->list({})->size(), 1U);
  }
}

TEST_F(LayersTest, WithoutACompilerAnyServesFromALayerAndExactRefuses) {
  ASSERT_TRUE(layer_.runtime().prepare(add_constant(4)));
  Options options = layer_.runtime().options();
  options.cache_layers = {seal(layer_)};
  options.cache_folder.reset();
  options.compilers.llvm_plugin = "/no/such/libkiln_llvm.so";
  const auto any = *Runtime::create(options);
  EXPECT_EQ(any->prepare(add_constant(4))->tier, Tier::layer);
  EXPECT_EQ(any->counters().other_toolchain_hits, 1U);
  options.toolchain_policy = ToolchainPolicy::exact;
  const auto exact = *Runtime::create(options);
  EXPECT_EQ(exact->prepare(add_constant(4)).error().code, ErrorCode::unavailable);
}

TEST_F(LayersTest, TheWritableCacheIsNoLayerOfItself) {
  ASSERT_TRUE(layer_.runtime().prepare(add_constant(5)));
  const auto folder = seal(layer_);
  const auto runtime = over({folder}, folder);
  EXPECT_EQ(runtime->prepare(add_constant(5))->tier, Tier::disk);
  EXPECT_TRUE(runtime->layers().empty());
  ASSERT_EQ(runtime->refused_layers().size(), 1U);
}

TEST_F(LayersTest, OffReadsNoLayer) {
  ASSERT_TRUE(layer_.runtime().prepare(add_constant(5)));
  Options options = layer_.runtime().options();
  options.cache_layers = {seal(layer_)};
  options.cache_policy = CachePolicy::off;
  EXPECT_EQ((*Runtime::create(options))->prepare(add_constant(5))->tier, Tier::compiled);
}

TEST_F(LayersTest, ALockedMissNamesEveryPlaceAndTheNearestEntryOfAll) {
  ASSERT_TRUE(layer_.runtime().prepare(add_constant(6)));
  Options options = layer_.runtime().options();
  options.cache_layers = {seal(layer_)};
  options.cache_folder = home_.path() / "cache";
  ASSERT_TRUE((*Runtime::create(options))->store());
  options.cache_policy = CachePolicy::locked;
  const auto missed = (*Runtime::create(options))->prepare(add_constant(7));
  ASSERT_FALSE(missed);
  for (const auto& part : {(home_.path() / "cache").string(), options.cache_layers[0].string(),
                           std::string("shape.constant: stored int 6, asked int 7")}) {
    EXPECT_NE(missed.error().message.find(part), std::string::npos) << missed.error().message;
  }
}

}  // namespace
}  // namespace kiln
