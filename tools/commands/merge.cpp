// SPDX-License-Identifier: Apache-2.0
// jitctl merge: several bundles into one. Of two entries with one key and other code, that of the
// bundle named first stays, and is listed.
#include <fmt/format.h>

#include <map>

#include "cache/bundle_writer.h"
#include "tools/bundle_words.h"
#include "tools/command.h"
#include "tools/page.h"

namespace kiln::cli {
namespace {

struct MergeWords {
  std::vector<std::string> files;
  std::string output;
  TrustWords trust;
  SignWords sign;
};

// Where an entry of the result comes from.
struct Place {
  std::size_t bundle;
  std::size_t index;
};
using Places = std::map<Key, Place>;

struct Conflict {
  Key key;
  std::string label;
  std::string kept;
  std::string dropped;
};

Result<std::vector<Bundle>> open_all(const MergeWords& words, const BundleTrust& trust) {
  std::vector<Bundle> bundles;
  for (const std::string& file : words.files) {
    KILN_TRY_ASSIGN(Bundle bundle, Bundle::open(file, trust));
    bundles.push_back(std::move(bundle));
  }
  return bundles;
}

// The same entry may be stored in other bytes, by another version of libzstd.
Result<void> compare(const std::vector<Bundle>& bundles, Place kept, Place other,
                     std::vector<Conflict>& conflicts) {
  const BundleRow& row = bundles[kept.bundle].rows()[kept.index];
  if (row.digest == bundles[other.bundle].rows()[other.index].digest) return {};
  KILN_TRY_ASSIGN(const StoreEntry one, bundles[kept.bundle].read(kept.index));
  KILN_TRY_ASSIGN(const StoreEntry two, bundles[other.bundle].read(other.index));
  if (one.payload == two.payload) return {};
  conflicts.push_back(
      {row.key, one.label, bundles[kept.bundle].name(), bundles[other.bundle].name()});
  return {};
}

Result<Places> place_all(const std::vector<Bundle>& bundles, std::vector<Conflict>& conflicts) {
  Places places;
  for (std::size_t i = 0; i < bundles.size(); ++i) {
    for (std::size_t index = 0; index < bundles[i].rows().size(); ++index) {
      const auto [at, added] = places.try_emplace(bundles[i].rows()[index].key, Place{i, index});
      if (!added) KILN_TRY(compare(bundles, at->second, {i, index}, conflicts));
    }
  }
  return places;
}

Result<std::uint64_t> write_merged(const std::vector<Bundle>& bundles, const Places& places,
                                   const std::string& output, const SigningKey* key) {
  KILN_TRY_ASSIGN(BundleWriter writer, BundleWriter::create(output));
  for (const auto& [entry_key, place] : places) {
    KILN_TRY_ASSIGN(const StoreEntry entry, bundles[place.bundle].read(place.index));
    KILN_TRY(writer.add(entry_key, entry));
  }
  KILN_TRY(writer.finish(key));
  return writer.file_bytes();
}

ExitCode run_merge(Session& session, const MergeWords& words) {
  KILN_CLI_TRY_ASSIGN(const std::optional<SigningKey> key, session, words.sign.key(session));
  KILN_CLI_TRY_ASSIGN(const BundleTrust trust, session, words.trust.trust(session));
  KILN_CLI_TRY_ASSIGN(const std::vector<Bundle> bundles, session, open_all(words, trust));
  std::vector<Conflict> conflicts;
  KILN_CLI_TRY_ASSIGN(const Places places, session, place_all(bundles, conflicts));
  KILN_CLI_TRY_ASSIGN(const std::uint64_t bytes, session,
                      write_merged(bundles, places, words.output, key ? &*key : nullptr));
  const auto signer = key ? std::optional(key->public_key()) : std::nullopt;
  Json listed = Json::array();
  for (const Conflict& conflict : conflicts) {
    if (!session.json) {
      const std::string text = fmt::format("{} {}: the code of {} stays, that of {} is another",
                                           conflict.key.request.short_hex(), conflict.label,
                                           conflict.kept, conflict.dropped);
      fmt::print("conflict  {}\n", folded(text, 10));
    }
    listed.push_back({{"key", conflict.key.request.hex()},
                      {"label", conflict.label},
                      {"kept", conflict.kept},
                      {"dropped", conflict.dropped}});
  }
  if (!session.json) {
    const std::string text =
        fmt::format("{} kernels in {}, {} bytes, {}, {} conflicts", places.size(), words.output,
                    bytes, signer_text(signer, {}), conflicts.size());
    fmt::print("{}\n", folded(text, 0));
  }
  return session.finish({{"file", words.output},
                         {"kernels", places.size()},
                         {"bytes", bytes},
                         {"signer", signer_json(signer)},
                         {"conflicts", std::move(listed)}});
}

}  // namespace

Action add_merge(CLI::App& app, Session& session) {
  auto words = std::make_shared<MergeWords>();
  app.add_option("FILE", words->files, "Two or more bundles; in a conflict the first named wins")
      ->required()
      ->expected(2, 1000);
  app.add_option("-o", words->output, "The bundle to write")->required();
  words->trust.add_to(app);
  words->sign.add_to(app);
  return [words, &session] { return run_merge(session, *words); };
}

}  // namespace kiln::cli
