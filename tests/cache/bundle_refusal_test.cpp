// SPDX-License-Identifier: Apache-2.0
// Bundles by somebody who means harm and signs them himself: each is refused with its reason.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <zstd.h>

#include "tests/cache/bundle_support.h"

namespace kiln::test {
namespace {

class CraftedBundle : public testing::Test {
 protected:
  CraftedBundle() {
    const auto file = folder_.path() / "a.kbundle";
    write_bundle(file, keyed_entries(3));
    text_ = file_text(file);
  }

  // Expects that the bundle is refused for a reason that contains `why`.
  void expect_refused(const std::string& text, std::string_view why) {
    const std::string refusal = refusal_of(text, trust_anything());
    EXPECT_NE(refusal.find(why), std::string::npos) << "refusal: '" << refusal << "'";
  }
  void expect_row_refused(std::size_t index, const BundleRow& row, std::string_view why) {
    std::string text = text_;
    set_row(text, index, row);
    make_header_fit(text);
    expect_refused(text, why);
  }
  void expect_header_refused(const BundleHeader& header, std::string_view why) {
    std::string text = text_;
    set_header(text, header);
    expect_refused(text, why);
  }
  // A bundle of one entry that holds `raw` as it is.
  static std::string bundle_of(const Key& key, std::string_view stored, std::uint64_t raw_bytes) {
    const BundleRow row{key, Digest::of(stored), stored.size(), raw_bytes};
    std::string text(sizeof(BundleHeader), '\0');
    text += stored;
    text.append(reinterpret_cast<const char*>(&row), sizeof row);
    BundleHeader header;
    header.magic = kBundleMagic;
    header.version = kBundleVersion;
    header.entries = 1;
    set_header(text, header);
    make_header_fit(text);
    return text;
  }
  void expect_entry_refused(const Key& key, const Record& fields, std::string_view why) {
    const std::string raw = fields.text();
    expect_refused(bundle_of(key, raw, raw.size()), why);
  }
  static Record fields_of(const KeyedEntry& one) {
    Record fields;
    fields.add("label", one.entry.label);
    fields.add("record", one.entry.record);
    fields.add("info", "");
    fields.add("payload", as_text(one.entry.payload));
    return fields;
  }

  const TempFolder folder_;
  std::string text_;
};

TEST_F(CraftedBundle, Truncations) {
  for (std::size_t size = 0; size < text_.size(); size += 7) {
    EXPECT_NE(refusal_of(text_.substr(0, size), trust_anything()), "") << size;
  }
  expect_refused(text_ + "x", "its header says");
  expect_refused("", "at least");
}

TEST_F(CraftedBundle, Headers) {
  const BundleHeader good = header_of(text_);
  BundleHeader header = good;
  header.magic[0] = 'k';
  expect_header_refused(header, "no bundle");
  header = good;
  header.version = 2;
  expect_header_refused(header, "version 2.0");
  header = good;
  header.reserved = 1;
  expect_header_refused(header, "version 1.1");
  for (const std::uint64_t entries : {std::uint64_t{1000}, UINT64_MAX, UINT64_MAX / 112 + 1}) {
    header = good;
    header.entries = entries;
    expect_header_refused(header, "do not fit");
  }
  header = good;
  header.file_bytes = UINT64_MAX;
  expect_header_refused(header, "its header says");
  header = good;
  header.entries = 2;
  expect_header_refused(header, "digest");
}

TEST_F(CraftedBundle, Rows) {
  const BundleRow good = row_of(text_, 1);
  BundleRow row = good;
  row.stored_bytes = 0;
  expect_row_refused(1, row, "stored in 0");
  row = good;
  row.raw_bytes = 1;
  expect_row_refused(1, row, "an entry of 1 bytes");
  row = good;
  row.raw_bytes = UINT64_MAX;
  expect_row_refused(1, row, "is the most");
  row = good;
  row.raw_bytes = good.stored_bytes * (kBundleRatioMax + 1);
  expect_row_refused(1, row, "claim to unpack");
  row = good;
  row.stored_bytes = row.raw_bytes = kBundleEntryBytesMax;
  expect_row_refused(1, row, "do not fit");
  row = good;
  --row.stored_bytes;
  expect_row_refused(1, row, "belong to no entry");
  expect_row_refused(1, row_of(text_, 0), "ascending");
  expect_row_refused(0, row_of(text_, 2), "ascending");
  row = good;
  ++row.raw_bytes;
  expect_row_refused(1, row, "not of the size");
}

TEST_F(CraftedBundle, RecordsOfOtherKeys) {
  const KeyedEntry one = keyed_entry(1);
  const std::string raw = fields_of(one).text();
  ASSERT_EQ(refusal_of(bundle_of(one.key, raw, raw.size()), trust_anything()), "");
  expect_entry_refused(keyed_entry(2).key, fields_of(one), "not the one that its key");
  for (const char* record : {"x", "label:1:x\n", "request.:1:x\n", "request.op:01:x\n",
                             "toolchain.a:1:x\nrequest.op:1:x\n"}) {
    KeyedEntry bad = one;
    bad.entry.record = record;
    expect_entry_refused(one.key, fields_of(bad), "record: ");
  }
}

TEST_F(CraftedBundle, FieldsOfAnEntry) {
  const KeyedEntry one = keyed_entry(1);
  Record fields;
  expect_entry_refused(one.key, fields, "stored in 0");
  fields = fields_of(one);
  fields.add("path", "../../etc/passwd");
  expect_entry_refused(one.key, fields, "it is not label, record");
  KeyedEntry bad = one;
  bad.entry.label = "kernel\x1b[2J";
  expect_entry_refused(one.key, fields_of(bad), "control characters");
  expect_refused(bundle_of(one.key, "label:99999999999:x\n", 20), "longer than the record");
}

TEST_F(CraftedBundle, CompressedBytes) {
  const Key key = keyed_entry(1).key;
  expect_refused(bundle_of(key, "no zstd at all", 100), "not of the size");
  // A bomb: 200 MiB of zeros in some 6 KB, declared as less, and as what they are.
  const std::string zeros(200 << 20, '\0');
  std::string bomb(ZSTD_compressBound(zeros.size()), '\0');
  bomb.resize(ZSTD_compress(bomb.data(), bomb.size(), zeros.data(), zeros.size(), 1));
  expect_refused(bundle_of(key, bomb, zeros.size()), "claim to unpack");
  expect_refused(bundle_of(key, bomb, bomb.size() * 50), "not of the size");
  // Two frames, of which the first has the declared size.
  std::string frame(ZSTD_compressBound(1000), '\0');
  frame.resize(ZSTD_compress(frame.data(), frame.size(), zeros.data(), 1000, 1));
  EXPECT_NE(refusal_of(bundle_of(key, frame + frame, 1000), trust_anything()), "");
}

long peak_kib() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss;
}

TEST_F(CraftedBundle, NoClaimTakesMemory) {
  // In a process of its own, since what is measured is the most that it ever had.
  Child child([&] {
    const long before_kib = peak_kib();
    for (const std::uint64_t claim : {std::uint64_t{1} << 28, std::uint64_t{1} << 40, UINT64_MAX}) {
      std::string text = text_;
      BundleHeader header = header_of(text);
      header.entries = claim;
      set_header(text, header);
      if (refusal_of(text, trust_anything()).empty()) return 1;
      text = text_;
      BundleRow row = row_of(text, 1);
      row.raw_bytes = claim;
      set_row(text, 1, row);
      make_header_fit(text);
      if (refusal_of(text, trust_anything()).empty()) return 2;
    }
    return peak_kib() - before_kib < 64 << 10 ? 0 : 3;
  });
  EXPECT_EQ(child.wait(), 0);
}

}  // namespace
}  // namespace kiln::test
