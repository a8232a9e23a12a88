// SPDX-License-Identifier: Apache-2.0
// Damage to the file: a miss, a quarantine, a heal; never a crash, never a wrong byte, and what can
// still be read is kept.
#include <random>

#include "cache/rescue.h"
#include "tests/cache/faulty_vfs.h"
#include "tests/cache/filled_store.h"

namespace kiln::test {
namespace {

using Status = StoreLookup::Status;

TEST(StoreDamage, PageOfAnIndexCostsNoEntry) {
  for (const char* index : {"sqlite_autoindex_entry_1", "entry_by_use"}) {
    const FilledStore filled;
    std::string content = filled.content();
    fill_page(content, filled.root_page(index), '\x5a');
    filled.set(content);
    {
      auto store = open_store(filled.path());
      const Outcome outcome = use(*store);
      EXPECT_EQ(outcome.hits, kEntries) << outcome.reason << index;
      EXPECT_EQ(outcome.wrong, 0);
      ASSERT_TRUE(store->put(key_of(1000), entry_of(1000)));
      EXPECT_TRUE(holds(*store, 1000));
    }
    EXPECT_EQ(filled.integrity(), "ok") << index;
  }
}

TEST(StoreDamage, PageOfATableCostsWhatIsOnItAndIsHealed) {
  for (const char* table : {"entry", "content", "quarantine", "totals"}) {
    const FilledStore filled;
    std::string content = filled.content();
    fill_page(content, filled.root_page(table), '\0');
    filled.set(content);
    auto store = open_store(filled.path());
    const Outcome outcome = use(*store);
    EXPECT_EQ(outcome.wrong, 0) << table;
    EXPECT_EQ(outcome.failed, 0) << outcome.reason << table;
    EXPECT_TRUE(store->put(key_of(1000), entry_of(1000))) << table;
    EXPECT_TRUE(store->quarantine(key_of(1000), "bad")) << table;
    EXPECT_EQ(store->totals()->entries, static_cast<std::uint64_t>(kEntries)) << table;
    store.reset();
    expect_all_there(filled.path());
    EXPECT_EQ(filled.integrity(), "ok") << table;
  }
}

TEST(StoreDamage, LeafPageKeepsTheEntriesOfAllOtherPages) {
  const FilledStore filled;
  RawDatabase raw(filled.folder().database());
  // A page that holds the record of one entry or a part of its payload, and nothing of the index.
  const std::size_t page =
      std::stoul(raw.value("SELECT pageno FROM dbstat WHERE name = 'content' AND pagetype = 'leaf' "
                           "ORDER BY pageno LIMIT 1 OFFSET 3"));
  std::string content = filled.content();
  fill_page(content, page, '\x5a');
  filled.set(content);
  auto store = open_store(filled.path());
  const Outcome outcome = use(*store);
  EXPECT_GE(outcome.hits, kEntries - 12);
  EXPECT_GE(outcome.misses, 1);
  EXPECT_EQ(outcome.failed, 0) << outcome.reason;
  EXPECT_GE(store->totals()->rejected, 1u);
  store.reset();
  expect_all_there(filled.path());
  EXPECT_EQ(filled.integrity(), "ok");
}

// What its neighbours hold is found behind it, too, though no search from an entry on it succeeds.
TEST(StoreDamage, EveryLeafPageOfEntriesKeepsThoseOnBothSides) {
  constexpr int kMany = 200;
  const FilledStore filled(kMany);
  struct Leaf {
    std::size_t page;
    int entries;
  };
  std::vector<Leaf> leaves;
  for (RawDatabase raw(filled.folder().database());;) {
    const std::string found =
        raw.value(fmt::format("SELECT max(pageno || ' ' || ncell) FROM (SELECT * FROM dbstat WHERE "
                              "name = 'entry' AND pagetype = 'leaf' LIMIT 1 OFFSET {})",
                              leaves.size()));
    if (found == "NULL") break;
    leaves.push_back({std::stoul(found), std::stoi(found.substr(found.find(' ')))});
  }
  ASSERT_GE(leaves.size(), 4u);
  for (const auto& [page, entries] : leaves) {
    std::string content = filled.content();
    fill_page(content, page, '\x5a');
    filled.set(content);
    auto store = open_store(filled.path());
    const Outcome outcome = use(*store, kMany);
    EXPECT_EQ(outcome.hits, kMany - entries) << page;
    EXPECT_EQ(outcome.failed, 0) << outcome.reason << page;
    EXPECT_EQ(store->totals()->rejected, static_cast<std::uint64_t>(entries)) << page;
    store.reset();
    EXPECT_EQ(filled.integrity(), "ok") << page;
  }
}

// As `jitctl verify`, `ls` and `stats` read it.
TEST(StoreDamage, WalksListingsAndTotalsRescueItToo) {
  for (const char* table : {"entry", "content", "totals", "tally"}) {
    const FilledStore filled;
    std::string content = filled.content();
    fill_page(content, filled.root_page(table), '\0');
    filled.set(content);
    auto store = open_store(filled.path());
    EXPECT_TRUE(store->tallies()) << table;
    EXPECT_TRUE(store->totals()) << table;
    EXPECT_TRUE(store->list({})) << table;
    EXPECT_TRUE(store->near_label("a", 3)) << table;
    EXPECT_TRUE(store->look(key_of(0))) << table;
    for (std::int64_t after = 0;;) {
      const auto stored = store->walk(after);
      ASSERT_TRUE(stored) << table << ": " << stored.error().message;
      if (!*stored) break;
      EXPECT_EQ((*stored)->damage, "") << table;
      after = (*stored)->id;
    }
    store.reset();
    EXPECT_EQ(filled.integrity(), "ok") << table;
  }
}

TEST(StoreDamage, FirstPageIsMadeAnewAndNoEntryIsLost) {
  const FilledStore filled;
  struct Case {
    const char* what;
    std::size_t from, bytes;
  };
  for (const Case& damage : {Case{"magic", 0, 16}, Case{"page size and formats", 16, 8},
                             Case{"schema cookie and encoding", 40, 20},
                             Case{"b-tree header", 100, 8}, Case{"schema text", 1800, 2296}}) {
    std::string content = filled.content();
    std::fill_n(content.begin() + static_cast<std::ptrdiff_t>(damage.from), damage.bytes, '\xff');
    filled.set(content);
    auto store = open_store(filled.path());
    const Outcome outcome = use(*store);
    EXPECT_EQ(outcome.hits, kEntries) << outcome.reason << damage.what;
    EXPECT_EQ(outcome.wrong, 0) << damage.what;
    store.reset();
    EXPECT_EQ(filled.integrity(), "ok") << damage.what;
  }
}

TEST(StoreDamage, TruncationAnywhereKeepsWhatIsBeforeIt) {
  constexpr int kMany = 200;      // so that the table of entries is spread over the file, too
  constexpr int kOnOnePage = 36;  // the rows of entries that go with one page
  const FilledStore filled(kMany);
  const std::string whole = filled.content();
  for (const double share : {0.999, 0.75, 0.5, 0.25, 0.1}) {
    const auto left = static_cast<std::size_t>(share * static_cast<double>(whole.size()));
    filled.set(std::string_view(whole).substr(0, left));
    auto store = open_store(filled.path());
    const Outcome outcome = use(*store, kMany);
    EXPECT_EQ(outcome.wrong, 0) << share;
    EXPECT_EQ(outcome.failed, 0) << outcome.reason << share;
    EXPECT_GE(outcome.hits, static_cast<int>(share * kMany) - kOnOnePage) << share;
    store.reset();
    store = open_store(filled.path());
    EXPECT_EQ(use(*store, kMany).hits, kMany) << share;
    store.reset();
    EXPECT_EQ(filled.integrity(), "ok") << share;
  }
}

TEST(StoreDamage, BitFlipsAnywhereNeverServeAWrongByteAndHeal) {
  const FilledStore filled;
  const std::string whole = filled.content();
  std::mt19937_64 random(7);
  int kept = 0;
  const char* const soak = std::getenv("KILN_SOAK_FLIP_ROUNDS");
  const int rounds = soak ? std::atoi(soak) : 30;
  for (int round = 0; round < rounds; ++round) {
    std::string content = whole;
    // Every other round hits the pages that structure the file.
    const std::size_t range = round % 2 ? content.size() : 8 * kPage;
    for (int flip = 0; flip < 4; ++flip) {
      content[random() % range] ^= static_cast<char>(1 << random() % 8);
    }
    // Another schema is refused by design, and tested as such.
    std::copy_n(whole.begin() + 60, 12, content.begin() + 60);
    filled.set(content);
    auto store = open_store(filled.path());
    const Outcome outcome = use(*store);
    EXPECT_EQ(outcome.wrong, 0) << round;
    kept += outcome.hits;
    store.reset();
    expect_all_there(filled.path());
  }
  fmt::print("{} rounds: {} of {} entries kept, all others healed\n", rounds, kept,
             rounds * kEntries);
  EXPECT_GE(kept, rounds * kEntries * 8 / 10);
}

TEST(StoreDamage, RowsWhoseCodesWereSwappedAreRejected) {
  const FilledStore filled;
  RawDatabase(filled.folder().database())
      .run(
          "CREATE TEMP TABLE swap AS SELECT id, payload FROM content WHERE id IN (1, 2);"
          "UPDATE content SET payload = (SELECT payload FROM swap WHERE swap.id = 3 - content.id) "
          "WHERE id IN (1, 2)");
  auto store = open_store(filled.path());
  const Outcome outcome = use(*store);
  EXPECT_EQ(outcome.wrong, 0);
  EXPECT_EQ(outcome.misses, 2);
  EXPECT_EQ(store->totals()->rejected, 2u);
  store.reset();
  expect_all_there(filled.path());
}

TEST(StoreDamage, RescueLeavesOutEntriesThatAreNotWholeAndNotesThem) {
  const FilledStore filled;
  RawDatabase(filled.folder().database())
      .run(
          "PRAGMA journal_mode = DELETE; UPDATE content SET payload = zeroblob(30000) WHERE id = "
          "3");
  std::string content = read_file(filled.folder().database());
  fill_page(content, filled.root_page("sqlite_autoindex_entry_1"), '\x5a');
  filled.set(content);
  auto store = open_store(filled.path());
  EXPECT_TRUE(holds(*store, 0, kPayload));
  EXPECT_EQ(store->totals()->entries, static_cast<std::uint64_t>(kEntries - 1));
  EXPECT_EQ(store->totals()->rejected, 1u);
  store.reset();
  RawDatabase raw(filled.folder().database());
  EXPECT_EQ(raw.value("SELECT label FROM quarantine WHERE reason LIKE 'lost when%'"), "kernel 2");
}

TEST(StoreDamage, ProcessesThatHaveItOpenGoOnThroughARescue) {
  const FilledStore filled;
  auto other = open_store(filled.path());
  ASSERT_TRUE(holds(*other, 0, kPayload));
  std::string page(kPage, '\x5a');
  {
    // As SQLite would write it: the damage of a stray write by a process, not of the disk.
    const std::size_t root = filled.root_page("sqlite_autoindex_entry_1");
    std::fstream file(filled.folder().database(), std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(static_cast<std::streamoff>((root - 1) * kPage));
    file << page;
  }
  Child healer([&] {
    auto store = open_store(filled.path());
    return use(*store).hits == kEntries ? 0 : 1;
  });
  EXPECT_EQ(healer.wait(), 0);
  ASSERT_TRUE(other->put(key_of(1000), entry_of(1000)));
  EXPECT_EQ(use(*other).hits, kEntries);
  EXPECT_TRUE(holds(*open_store(filled.path()), 1000));
  other.reset();
  EXPECT_EQ(filled.integrity(), "ok");
}

TEST(StoreDamage, EightProcessesThatFindItRescueItTogether) {
  const FilledStore filled;
  std::string content = filled.content();
  fill_page(content, filled.root_page("sqlite_autoindex_entry_1"), '\x5a');
  filled.set(content);
  Pipe start;
  std::vector<Child> children;
  for (int process = 0; process < 8; ++process) {
    children.emplace_back([&, process] {
      start.close_write();
      start.await();
      auto store = open_store(filled.path());
      if (!store->put(key_of(1000 + process), entry_of(1000 + process))) return 1;
      return use(*store).hits == kEntries ? 0 : 2;
    });
  }
  start.close_write();
  for (Child& child : children) EXPECT_EQ(child.wait(), 0);
  auto store = open_store(filled.path());
  for (int process = 0; process < 8; ++process) EXPECT_TRUE(holds(*store, 1000 + process));
  store.reset();
  EXPECT_EQ(filled.integrity(), "ok");
}

TEST(StoreDamage, DamagedFileOfAnotherProgramIsLeftAsItIs) {
  const TempFolder folder;
  RawDatabase(folder.database())
      .run("PRAGMA user_version = 1; CREATE TABLE bookmarks(url); CREATE TABLE content(x)");
  std::string content = read_file(folder.database());
  content[3] ^= 1;
  write_file(folder.database(), content);
  EXPECT_NE(refusal(folder.path()).find("no Kiln cache, or damaged"), std::string::npos)
      << refusal(folder.path());
  EXPECT_EQ(read_file(folder.database()), content);
}

TEST(StoreDamage, KilledWhileItIsRescuedLosesNothingMore) {
  for (int step = 1; step < 200; step += 7) {
    const FilledStore filled;
    std::string content = filled.content();
    fill_page(content, filled.root_page("sqlite_autoindex_entry_1"), '\x5a');
    filled.set(content);
    Child healer([&] {
      FaultyVfs vfs;
      vfs.set(FaultyVfs::Fault::kill, step);
      auto store = open_store(filled.path());
      return use(*store).hits == kEntries ? 0 : 1;
    });
    const int code = healer.wait();
    ASSERT_TRUE(code == 0 || code == -SIGKILL) << code;
    {
      auto store = open_store(filled.path());
      const Outcome outcome = use(*store);
      EXPECT_EQ(outcome.hits, kEntries) << step << outcome.reason;
      EXPECT_TRUE(store->put(key_of(1000), entry_of(1000)));
    }
    EXPECT_EQ(filled.integrity(), "ok") << step;
    int files = 0;
    for (const auto& each : fs::directory_iterator(filled.path())) {
      files += each.path().string().find("rescue") != std::string::npos;
    }
    EXPECT_EQ(files, 0) << step;
  }
}

// Whatever another puts while the file is rescued, at whichever step, is there afterwards.
TEST(StoreDamage, EntryPutMeanwhileIsKept) {
  constexpr int kFew = 1;
  const FilledStore filled(kFew);
  std::string content = filled.content();
  fill_page(content, filled.root_page("quarantine"), '\x5a');
  int steps = 1000;
  int kept = 0;
  for (int step = 1; step < steps; step += 6) {
    filled.set(content);
    bool acknowledged = false;
    {
      FaultyVfs vfs;
      vfs.visit_before(step, [&] {
        StoreOptions options;
        options.folder = filled.path();
        options.busy_timeout_ms = 1;
        const auto other = Store::open(options);
        acknowledged = other && (*other)->put(key_of(1000), entry_of(1000));
      });
      ASSERT_TRUE(rescue_store_file(filled.folder().database(), 5000)) << step;
      steps = std::min(steps, vfs.count());
    }
    if (!acknowledged && kept > 10) break;  // the rescue has the lock from here on
    if (!acknowledged) continue;
    ++kept;
    ASSERT_TRUE(holds(*open_store(filled.path()), 1000)) << "put before step " << step;
  }
  EXPECT_GT(kept, 10);
}

TEST(StoreDamage, ReadOnlyStoreFailsAndChangesNothing) {
  const FilledStore filled;
  std::string content = filled.content();
  fill_page(content, filled.root_page("sqlite_autoindex_entry_1"), '\x5a');
  filled.set(content);
  auto store = open_store(filled.path(), 1 << 30, StoreAccess::read_only);
  EXPECT_EQ(status_of(*store, 1), Status::failed);
  store.reset();
  EXPECT_EQ(read_file(filled.folder().database()), content);
}

}  // namespace
}  // namespace kiln::test
