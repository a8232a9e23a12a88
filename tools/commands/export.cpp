// SPDX-License-Identifier: Apache-2.0
// jitctl export: stored kernels into a bundle.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "cache/bundle_writer.h"
#include "jit/base/did_you_mean.h"
#include "tools/bundle_words.h"
#include "tools/command.h"
#include "tools/entry_check.h"
#include "tools/page.h"
#include "tools/request.h"

namespace kiln::cli {
namespace {

struct ExportWords {
  std::string file;
  std::string op;
  std::string archs;
  SourceWords source;
  SignWords sign;
};

// The keys of what is asked for, and what else there is, for who asked for something else.
struct Chosen {
  std::vector<Key> keys;
  std::set<std::string> ops;
  std::set<std::string> archs;
};

tl::unexpected<Error> refuse(const ExaminedEntry& stored, std::string_view why) {
  return fail(ErrorCode::cache_failed,
              fmt::format("{} {}: {}; nothing is exported ('jitctl verify --quarantine' drops such "
                          "entries)",
                          stored.key.request.short_hex(), stored.entry.label, why));
}

Result<Chosen> choose(Store& store, const ExportWords& words) {
  std::vector<Arch> archs;
  if (!words.archs.empty()) {
    KILN_TRY_ASSIGN(archs, parse_archs(words.archs));
  }
  Chosen chosen;
  for (std::int64_t after = 0;;) {
    KILN_TRY_ASSIGN(const std::optional<ExaminedEntry> stored, store.walk(after));
    if (!stored) break;
    after = stored->id;
    // Without its record nobody can say whether it is asked for.
    const auto record = KeyRecord::split(stored->entry.record);
    if (!stored->damage.empty()) return refuse(*stored, stored->damage);
    if (!record) return refuse(*stored, record.error().message);
    const std::string op(record->request.find("op").value_or(""));
    const std::string arch(record->request.find("arch").value_or(""));
    chosen.ops.insert(op);
    chosen.archs.insert(arch);
    const bool right_arch =
        archs.empty() || std::any_of(archs.begin(), archs.end(),
                                     [&](const Arch& wanted) { return wanted.name() == arch; });
    if (!right_arch || (!words.op.empty() && words.op != op)) continue;
    const Answer whole = check_entry(stored->key, stored->entry);
    if (!whole) return refuse(*stored, whole.reason());
    chosen.keys.push_back(stored->key);
  }
  std::sort(chosen.keys.begin(), chosen.keys.end());
  return chosen;
}

Result<void> check_not_empty(const Chosen& chosen, Store& store, const std::string& op) {
  if (!chosen.keys.empty()) return {};
  if (chosen.ops.empty()) {
    return fail(ErrorCode::cache_failed,
                fmt::format("nothing to export: {} holds no kernel", store.file().string()));
  }
  // An op may be a caller's own, so that only the stored ones are known.
  const std::vector<std::string_view> known(chosen.ops.begin(), chosen.ops.end());
  const std::string meant = chosen.ops.contains(op) ? "" : did_you_mean(op, known);
  return fail(ErrorCode::cache_failed,
              fmt::format("nothing to export: no stored kernel is of that op{} and arch; there are "
                          "ops {}; archs {}",
                          meant, fmt::join(chosen.ops, ", "), fmt::join(chosen.archs, ", ")));
}

// Entries may be evicted or replaced meanwhile: what is gone by now is not in the bundle.
Result<std::size_t> write_entries(Store& store, const std::vector<Key>& keys,
                                  BundleWriter& writer) {
  std::size_t written = 0;
  for (const Key& key : keys) {
    KILN_TRY_ASSIGN(const std::optional<ExaminedEntry> stored, store.look(key));
    if (!stored || !stored->damage.empty()) continue;
    KILN_TRY(writer.add(key, stored->entry));
    ++written;
  }
  return written;
}

ExitCode run_export(Session& session, ExportWords& words) {
  KILN_CLI_TRY_ASSIGN(const std::optional<SigningKey> key, session, words.sign.key(session));
  KILN_CLI_TRY_ASSIGN(Store* const store, session, words.source.open(session));
  KILN_CLI_TRY_ASSIGN(const Chosen chosen, session, choose(*store, words));
  if (const auto some = check_not_empty(chosen, *store, words.op); !some)
    return session.fail(some.error());
  KILN_CLI_TRY_ASSIGN(BundleWriter writer, session, BundleWriter::create(words.file));
  KILN_CLI_TRY_ASSIGN(const std::size_t written, session,
                      write_entries(*store, chosen.keys, writer));
  if (const auto done = writer.finish(key ? &*key : nullptr); !done) {
    return session.fail(done.error());
  }
  const auto signer = key ? std::optional(key->public_key()) : std::nullopt;
  if (!session.json) {
    const std::string text = fmt::format("{} kernels in {}, {} bytes, {}", written, words.file,
                                         writer.file_bytes(), signer_text(signer, {}));
    fmt::print("{}\n", folded(text, 0));
  }
  return session.finish({{"file", words.file},
                         {"kernels", written},
                         {"bytes", writer.file_bytes()},
                         {"signer", signer_json(signer)}});
}

}  // namespace

Action add_export(CLI::App& app, Session& session) {
  auto words = std::make_shared<ExportWords>();
  app.add_option("FILE", words->file, "The bundle to write")->required();
  app.add_option("--op", words->op, "Only kernels of this op");
  app.add_option("--arch", words->archs, "Only kernels for these archs, with commas");
  words->source.add_to(app);
  words->sign.add_to(app);
  return [words, &session] { return run_export(session, *words); };
}

}  // namespace kiln::cli
