// SPDX-License-Identifier: Apache-2.0
// What bundles carry, that they are the same whoever makes them, and who may have signed them.
#include "cache/bundle.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "cache/bundle_store.h"
#include "tests/cache/bundle_support.h"

namespace kiln::test {
namespace {

using Status = StoreLookup::Status;

SigningKey new_key() {
  return SigningKey::generate().value();
}

TEST(Bundle, CarriesEveryEntryWithItsRecord) {
  const TempFolder folder;
  const auto file = folder.path() / "a.kbundle";
  const auto entries = keyed_entries(20);
  write_bundle(file, entries);
  const Bundle bundle = Bundle::open(file, trust_anything()).value();
  ASSERT_EQ(bundle.rows().size(), 20u);
  EXPECT_EQ(bundle.signer(), std::nullopt);
  for (std::size_t i = 0; i < entries.size(); ++i) {
    EXPECT_EQ(bundle.find(entries[i].key), i);
    const StoreEntry entry = bundle.read(i).value();
    EXPECT_EQ(entry.label, entries[i].entry.label);
    EXPECT_EQ(entry.record, entries[i].entry.record);
    EXPECT_EQ(entry.payload, entries[i].entry.payload);
    EXPECT_EQ(entry.info, "compiler:5:nvrtc\n");
    EXPECT_LT(bundle.rows()[i].stored_bytes, bundle.rows()[i].raw_bytes);
  }
  EXPECT_EQ(bundle.find(keyed_entry(99).key), std::nullopt);
}

TEST(Bundle, KeepsNoEntriesAndEntriesThatDoNotCompressOrCompressTooWell) {
  const TempFolder folder;
  const auto file = folder.path() / "a.kbundle";
  write_bundle(file, {});
  EXPECT_EQ(refusal_of(file_text(file), trust_anything()), "");
  for (const bool zeros : {false, true}) {
    KeyedEntry one = keyed_entry(1, 1 << 20);
    if (zeros) std::fill(one.entry.payload.begin(), one.entry.payload.end(), std::byte{});
    if (!zeros) one.entry.payload = entry_of(1, 1 << 20).payload;
    write_bundle(file, {one});
    const Bundle bundle = Bundle::open(file, trust_anything()).value();
    EXPECT_EQ(bundle.rows()[0].stored_bytes, bundle.rows()[0].raw_bytes);
    EXPECT_EQ(bundle.read(0)->payload, one.entry.payload);
  }
}

TEST(Bundle, IsTheSameByteForByteWhateverTheTimesAndThePath) {
  const TempFolder one;
  const TempFolder other;
  const SigningKey key = new_key();
  auto entries = keyed_entries(10);
  write_bundle(one.path() / "a.kbundle", entries, &key);
  for (KeyedEntry& keyed : entries) {
    Record info;
    info.add("compiler", "nvrtc");
    info.add("compile_time_ms", "12345.6");
    info.add("log", "took long, in /home/somebody");
    keyed.entry.info = info.text();
  }
  write_bundle(other.path() / "b.kbundle", entries, &key);
  const std::string text = file_text(one.path() / "a.kbundle");
  EXPECT_EQ(text, file_text(other.path() / "b.kbundle"));
  EXPECT_EQ(text.find(one.path().string()), std::string::npos);
}

TEST(Bundle, NothingIsLeftOfOneThatIsNotFinished) {
  const TempFolder folder;
  {
    BundleWriter writer = BundleWriter::create(folder.path() / "a.kbundle").value();
    const KeyedEntry one = keyed_entry(1);
    ASSERT_TRUE(writer.add(one.key, one.entry));
    EXPECT_FALSE(writer.add(one.key, one.entry));  // not ascending
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
  const auto none = BundleWriter::create(folder.path() / "missing" / "a.kbundle");
  ASSERT_FALSE(none);
  EXPECT_NE(none.error().message.find("No such file"), std::string::npos) << none.error().message;
}

TEST(BundleSignature, OneByATrustedKeyIsAccepted) {
  const TempFolder folder;
  const auto file = folder.path() / "a.kbundle";
  const SigningKey key = new_key();
  write_bundle(file, keyed_entries(3), &key);
  const auto bundle = Bundle::open(file, trust_only(key.public_key()));
  ASSERT_TRUE(bundle) << bundle.error().message;
  EXPECT_EQ(bundle->signer(), key.public_key());
}

TEST(BundleSignature, UnsignedStrangersAndAlteredOnesAreRefusedUnlessSaidOtherwise) {
  const TempFolder folder;
  const auto file = folder.path() / "a.kbundle";
  const SigningKey key = new_key();
  write_bundle(file, keyed_entries(3));
  const std::string unsigned_text = file_text(file);
  write_bundle(file, keyed_entries(3), &key);
  const std::string signed_text = file_text(file);
  const BundleTrust stranger = trust_only(new_key().public_key());
  const BundleTrust anybody{{}, SignatureRule::anybody};

  EXPECT_NE(refusal_of(unsigned_text, stranger).find("not signed"), std::string::npos);
  EXPECT_NE(refusal_of(unsigned_text, anybody).find("not signed"), std::string::npos);
  EXPECT_EQ(refusal_of(unsigned_text, trust_anything()), "");
  EXPECT_NE(refusal_of(signed_text, stranger).find(key.public_key().text()), std::string::npos);
  EXPECT_EQ(refusal_of(signed_text, anybody), "");

  // Another set of entries under the old signature.
  std::string altered = signed_text;
  BundleRow row = row_of(altered, 0);
  row.digest.bytes[0] ^= std::byte{1};
  set_row(altered, 0, row);
  make_header_fit(altered);
  EXPECT_NE(refusal_of(altered, anybody).find("altered"), std::string::npos);
  EXPECT_NE(refusal_of(altered, trust_only(key.public_key())).find("altered"), std::string::npos);
}

TEST(BundleSignature, EveryFlippedBitIsRefused) {
  const TempFolder folder;
  const auto file = folder.path() / "a.kbundle";
  const SigningKey key = new_key();
  write_bundle(file, keyed_entries(2), &key);
  std::string text = file_text(file);
  const BundleTrust trust = trust_only(key.public_key());
  ASSERT_EQ(refusal_of(text, trust), "");
  for (std::size_t at = 0; at < text.size(); ++at) {
    text[at] ^= static_cast<char>(1 << (at % 8));
    EXPECT_NE(refusal_of(text, trust), "") << at;
    text[at] ^= static_cast<char>(1 << (at % 8));
  }
}

TEST(BundleStore, ServesAsALayerWithoutImport) {
  const TempFolder folder;
  const auto file = folder.path() / "a.kbundle";
  const SigningKey key = new_key();
  write_bundle(file, keyed_entries(10), &key);
  const auto store = open_bundle_store(file, trust_only(key.public_key())).value();
  const KeyedEntry wanted = keyed_entry(4);
  const StoreLookup found = store->find(wanted.key, wanted.entry.record);
  ASSERT_EQ(found.status, Status::hit) << found.reason;
  EXPECT_EQ(found.entry.payload, wanted.entry.payload);
  EXPECT_EQ(store->find(wanted.key, "another record").status, Status::rejected);
  EXPECT_EQ(store->find(keyed_entry(11).key, "").status, Status::absent);
  EXPECT_EQ(store->totals()->entries, 10u);
  StoreFilter filter;
  filter.label_contains = "kernel 4";
  EXPECT_EQ(store->list(filter)->size(), 1u);
  EXPECT_FALSE(store->put(wanted.key, wanted.entry));
  EXPECT_FALSE(store->quarantine(wanted.key, "bad"));

  const KeyRecord record = KeyRecord::split(wanted.entry.record).value();
  EXPECT_EQ(store->find_newest(wanted.key.request, record.request).status, Status::hit);
  Record other_request;
  other_request.add("op", "x");
  EXPECT_EQ(store->find_newest(wanted.key.request, other_request).status, Status::rejected);
  EXPECT_EQ(store->find_newest(Digest::of("x"), other_request).status, Status::absent);
}

TEST(BundleStore, WalksOverAllEntries) {
  const TempFolder folder;
  const auto file = folder.path() / "a.kbundle";
  const auto entries = keyed_entries(5);
  write_bundle(file, entries);
  const auto store = open_bundle_store(file, trust_anything()).value();
  std::size_t count = 0;
  for (std::int64_t after = 0;; ++count) {
    const auto next = store->walk(after).value();
    if (!next) break;
    EXPECT_EQ(next->key, entries[count].key);
    EXPECT_EQ(next->entry.payload, entries[count].entry.payload);
    EXPECT_EQ(next->damage, "");
    after = next->id;
  }
  EXPECT_EQ(count, 5u);
}

TEST(BundleStore, ADamagedEntryIsRejectedAndTheOthersServe) {
  const TempFolder folder;
  const auto file = folder.path() / "a.kbundle";
  const auto entries = keyed_entries(3);
  write_bundle(file, entries);
  std::string text = file_text(file);
  text[sizeof(BundleHeader) + 10] ^= 1;  // in the first entry
  std::ofstream(file, std::ios::binary) << text;
  const auto store = open_bundle_store(file, trust_anything()).value();
  const StoreLookup bad = store->find(entries[0].key, entries[0].entry.record);
  EXPECT_EQ(bad.status, Status::rejected);
  EXPECT_NE(bad.reason.find("digest"), std::string::npos) << bad.reason;
  EXPECT_NE(store->look(entries[0].key).value()->damage, "");
  EXPECT_EQ(store->find(entries[1].key, entries[1].entry.record).status, Status::hit);
}

TEST(BundleStore, AFileThatOthersCanChangeIsRefused) {
  const TempFolder folder;
  const auto file = folder.path() / "a.kbundle";
  write_bundle(file, {});
  ASSERT_EQ(chmod(file.c_str(), 0664), 0);
  const auto store = open_bundle_store(file, trust_anything());
  ASSERT_FALSE(store);
  EXPECT_NE(store.error().message.find("0664"), std::string::npos) << store.error().message;
}

TEST(Store, WalksAndLooksWithoutCountingAUse) {
  const TempFolder folder;
  auto store = open_store(folder.path());
  for (int i = 0; i < 3; ++i) put_entry(*store, i);
  RawDatabase(folder.database()).run("UPDATE content SET info = 'x' WHERE id = 2");
  std::vector<std::string> seen;
  for (std::int64_t after = 0;;) {
    const auto next = store->walk(after).value();
    if (!next) break;
    seen.push_back(next->entry.label + next->damage);
    after = next->id;
  }
  EXPECT_EQ(seen, (std::vector<std::string>{"kernel 0", "kernel 1its checksum does not match",
                                            "kernel 2"}));
  EXPECT_EQ(store->look(key_of(2)).value()->entry.payload, entry_of(2).payload);
  EXPECT_EQ(store->look(key_of(7)).value(), std::nullopt);
  EXPECT_EQ(store->totals()->hits, 0u);
  EXPECT_EQ(store->totals()->rejected, 0u);
}

}  // namespace
}  // namespace kiln::test
