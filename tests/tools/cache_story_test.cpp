// SPDX-License-Identifier: Apache-2.0
// The cache-hit contract over processes: what compiles once never compiles again, and what is
// damaged heals. Counters are compared whole.
#include <gtest/gtest.h>
#include <sqlite3.h>

#include <thread>

#include "tests/tools/jitctl.h"

namespace kiln::test {
namespace {

using nlohmann::json;

json counters(std::initializer_list<std::pair<const char*, int>> set) {
  json all = {{"memory_hits", 0},
              {"disk_hits", 0},
              {"layer_hits", 0},
              {"compiles", 0},
              {"compile_failures", 0},
              {"rejected_entries", 0},
              {"cache_errors", 0},
              {"waited_for_other_process", 0},
              {"other_toolchain_hits", 0},
              {"not_built_fall_backs", 0},
              {"not_served_fall_backs", 0},
              {"lost_fall_backs", 0}};
  for (const auto& [name, value] : set) all[name] = value;
  return all;
}

// Flips one bit in the middle of the only stored payload, behind the cache's back.
void flip_a_bit(const std::filesystem::path& file) {
  sqlite3* database = nullptr;
  ASSERT_EQ(sqlite3_open(file.c_str(), &database), SQLITE_OK);
  sqlite3_stmt* select = nullptr;
  ASSERT_EQ(sqlite3_prepare_v2(database, "SELECT id, payload FROM content", -1, &select, nullptr),
            SQLITE_OK);
  ASSERT_EQ(sqlite3_step(select), SQLITE_ROW);
  const sqlite3_int64 row = sqlite3_column_int64(select, 0);
  const auto* bytes = static_cast<const char*>(sqlite3_column_blob(select, 1));
  std::string payload(bytes, static_cast<std::size_t>(sqlite3_column_bytes(select, 1)));
  sqlite3_finalize(select);
  payload[payload.size() / 2] ^= 1;
  sqlite3_stmt* update = nullptr;
  ASSERT_EQ(sqlite3_prepare_v2(database, "UPDATE content SET payload = ? WHERE id = ?", -1, &update,
                               nullptr),
            SQLITE_OK);
  sqlite3_bind_blob(update, 1, payload.data(), static_cast<int>(payload.size()), SQLITE_TRANSIENT);
  sqlite3_bind_int64(update, 2, row);
  EXPECT_EQ(sqlite3_step(update), SQLITE_DONE);
  sqlite3_finalize(update);
  sqlite3_close(database);
}

const std::vector<std::string> kPrewarm = {"prewarm", "--config", model_config(), "--tp",
                                           "4",       "--arch",   "cpu,x86-64-v2"};

TEST(CacheStory, AModelCompilesOnceAndIsThenServedFromDisk) {
  const Jitctl jitctl;
  json cold;
  const auto first = jitctl.run_json(kPrewarm, &cold);
  ASSERT_EQ(first.exit_code, 0) << first.err;
  const int kernels = static_cast<int>(cold["kernels"].size());
  ASSERT_GE(kernels, 2);
  EXPECT_EQ(cold["stats"], counters({{"compiles", kernels}}));

  auto check = kPrewarm;
  check.emplace_back("--check");
  json warm;
  const auto second = jitctl.run_json(check, &warm);
  EXPECT_EQ(second.exit_code, 0) << second.err;
  EXPECT_EQ(warm["stats"], counters({{"disk_hits", kernels}}));
}

TEST(CacheStory, AWarmRunUnderLockedCompilesNothing) {
  Jitctl jitctl;
  ASSERT_EQ(jitctl.run({"prewarm", "kda_decode", "H=4", "HV=8"}).exit_code, 0);
  jitctl.set("KILN_CACHE_POLICY", "locked");
  json warm;
  const auto run =
      jitctl.run_json({"run", "kda_decode", "H=4", "HV=8", "batch=2", "--no-time"}, &warm);
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(warm["passed"], true);
  EXPECT_EQ(warm["stats"], counters({{"disk_hits", 1}}));
}

TEST(CacheStory, ALockedMissNamesTheFieldThatDiffers) {
  Jitctl jitctl;
  ASSERT_EQ(jitctl.run({"prewarm", "kda_decode", "H=4", "HV=8"}).exit_code, 0);
  jitctl.set("KILN_CACHE_POLICY", "locked");
  json missed;
  const auto run = jitctl.run_json({"run", "kda_decode", "H=2", "HV=8", "--no-time"}, &missed);
  EXPECT_EQ(run.exit_code, 3);
  EXPECT_NE(run.err.find("shape.H: stored int 4, asked int 2"), std::string::npos) << run.err;
  EXPECT_EQ(missed["error"]["code"], "cache_miss");
  EXPECT_EQ(missed["stats"], counters({}));

  json checked;
  jitctl.set("KILN_CACHE_POLICY", "");
  const auto check = jitctl.run_json({"prewarm", "kda_decode", "H=2", "HV=8", "--check"}, &checked);
  EXPECT_EQ(check.exit_code, 3);
  EXPECT_NE(std::string(checked["kernels"][0]["error"]).find("shape.H"), std::string::npos);
}

TEST(CacheStory, AChangedBatchCompilesNothing) {
  Jitctl jitctl;
  ASSERT_EQ(jitctl.run({"prewarm", "kda_decode", "H=2", "HV=2"}).exit_code, 0);
  jitctl.set("KILN_CACHE_POLICY", "locked");
  for (const char* batch : {"batch=1", "batch=7", "batch=33"}) {
    EXPECT_EQ(jitctl.run({"run", "kda_decode", "H=2", "HV=2", batch, "--no-time"}).exit_code, 0);
  }
}

TEST(CacheStory, AFlippedByteIsRejectedRecompiledAndHealed) {
  const Jitctl jitctl;
  const std::vector<std::string> run = {"run", "kda_decode", "H=2", "HV=2", "batch=1", "--no-time"};
  json object;
  ASSERT_EQ(jitctl.run_json(run, &object).exit_code, 0);
  ASSERT_EQ(object["stats"], counters({{"compiles", 1}}));
  flip_a_bit(jitctl.database());

  auto result = jitctl.run_json(run, &object);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(object["stats"], counters({{"compiles", 1}, {"rejected_entries", 1}}));
  EXPECT_EQ(object["passed"], true);

  result = jitctl.run_json(run, &object);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(object["stats"], counters({{"disk_hits", 1}}));
}

TEST(CacheStory, PrewarmOfAnOlderLevelServesThisHost) {
  Jitctl jitctl;
  ASSERT_EQ(jitctl.run({"prewarm", "kda_decode", "H=2", "HV=2", "--arch", "x86-64-v2"}).exit_code,
            0);
  json object;
  const auto run =
      jitctl.run_json({"run", "kda_decode", "H=2", "HV=2", "batch=1", "--no-time"}, &object);
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(object["stats"], counters({{"disk_hits", 1}}));
}

TEST(CacheStory, EightProcessesAtOnceCompileOnce) {
  const Jitctl jitctl;
  std::vector<std::thread> threads;
  std::vector<json> objects(8);
  for (json& object : objects) {
    threads.emplace_back([&jitctl, &object] {
      EXPECT_EQ(jitctl.run_json({"prewarm", "kda_decode", "H=2", "HV=2"}, &object).exit_code, 0);
    });
  }
  for (std::thread& thread : threads) thread.join();
  int compiles = 0;
  int served = 0;
  for (const json& object : objects) {
    compiles += object["stats"]["compiles"].get<int>();
    served += object["stats"]["disk_hits"].get<int>();
    EXPECT_EQ(object["stats"]["cache_errors"], 0);
  }
  EXPECT_EQ(compiles, 1);
  EXPECT_EQ(served, 7);
}

}  // namespace
}  // namespace kiln::test
