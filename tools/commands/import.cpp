// SPDX-License-Identifier: Apache-2.0
// jitctl import: the kernels of a bundle into the cache, all of them or none.
#include <fmt/format.h>

#include "tools/bundle_words.h"
#include "tools/command.h"
#include "tools/entry_check.h"
#include "tools/page.h"

namespace kiln::cli {
namespace {

struct ImportWords {
  std::string file;
  TrustWords trust;
};

struct Imported {
  std::size_t stored = 0;
  std::size_t present = 0;  // the same entry is there
  std::size_t kept = 0;     // another one of that key is there, and stays
};

Result<void> check_all(const Bundle& bundle, std::uint64_t size_bytes_max) {
  std::uint64_t total_bytes = 0;
  for (std::size_t i = 0; i < bundle.rows().size(); ++i) {
    KILN_TRY_ASSIGN(const StoreEntry entry, bundle.read(i));
    const Key& key = bundle.rows()[i].key;
    if (const Answer good = check_entry(key, entry); !good) {
      return fail(ErrorCode::cache_failed,
                  fmt::format("bundle '{}' is refused: entry {} {}: {}", bundle.name(),
                              key.request.short_hex(), entry.label, good.reason()));
    }
    total_bytes += bundle.rows()[i].raw_bytes;
  }
  if (total_bytes <= size_bytes_max) return {};
  return fail(ErrorCode::cache_failed,
              fmt::format("bundle '{}' holds {} bytes, more than the cache may ({}); raise "
                          "KILN_CACHE_SIZE, or use the bundle as a layer",
                          bundle.name(), total_bytes, size_bytes_max));
}

Result<void> import_one(const Bundle& bundle, std::size_t index, Store& store, Imported& done) {
  const Key& key = bundle.rows()[index].key;
  KILN_TRY_ASSIGN(const StoreEntry entry, bundle.read(index));
  KILN_TRY_ASSIGN(const std::optional<ExaminedEntry> there, store.look(key));
  if (there && there->damage.empty() && there->entry.record == entry.record) {
    ++(there->entry.payload == entry.payload ? done.present : done.kept);
    return {};
  }
  KILN_TRY(store.put(key, entry));
  ++done.stored;
  return {};
}

ExitCode run_import(Session& session, const ImportWords& words) {
  KILN_CLI_TRY_ASSIGN(const BundleTrust trust, session, words.trust.trust(session));
  KILN_CLI_TRY_ASSIGN(const Bundle bundle, session, Bundle::open(words.file, trust));
  KILN_CLI_TRY_ASSIGN(Store* const store, session, session.store());
  KILN_CLI_TRY_ASSIGN(const Options* const options, session, session.options());
  if (const auto good = check_all(bundle, options->cache_size_bytes_max); !good) {
    return session.fail(good.error());
  }
  Imported done;
  for (std::size_t i = 0; i < bundle.rows().size(); ++i) {
    if (const auto one = import_one(bundle, i, *store, done); !one) {
      Error error = one.error();
      error.message +=
          fmt::format(" ({} of {} kernels were imported)", done.stored, bundle.rows().size());
      return session.fail(error, {{"imported", done.stored}});
    }
  }
  if (!session.json) {
    const std::string text = fmt::format("{} kernels imported from {}, {}", done.stored, words.file,
                                         signer_text(bundle.signer(), trust.keys));
    fmt::print("{}\n", folded(text, 0));
    if (done.present > 0) fmt::print("{} were there already\n", done.present);
    if (done.kept > 0) {
      fmt::print("{} are there with other code of the same key, which stays\n", done.kept);
    }
  }
  return session.finish({{"file", words.file},
                         {"signer", signer_json(bundle.signer())},
                         {"imported", done.stored},
                         {"present", done.present},
                         {"kept", done.kept}});
}

}  // namespace

Action add_import(CLI::App& app, Session& session) {
  auto words = std::make_shared<ImportWords>();
  app.add_option("FILE", words->file, "A bundle from 'jitctl export'")->required();
  words->trust.add_to(app);
  return [words, &session] { return run_import(session, *words); };
}

}  // namespace kiln::cli
