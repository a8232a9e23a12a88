// SPDX-License-Identifier: Apache-2.0
// jitctl key: the key that bundles are signed with, and the keys whose bundles are taken.
#include <fmt/format.h>

#include "cache/trusted_keys.h"
#include "tools/command.h"
#include "tools/page.h"

namespace kiln::cli {
namespace {

struct KeyWords {
  std::string file;  // of new and show
  std::string key;   // of trust
  std::vector<std::string> name;
};

Result<std::filesystem::path> key_file(Session& session, const std::string& given) {
  if (!given.empty()) return std::filesystem::path(given);
  KILN_TRY_ASSIGN(const Options* const options, session.options());
  if (options->signing_key_file) return *options->signing_key_file;
  return fail(ErrorCode::invalid_argument,
              "no place for a key: neither KILN_SIGNING_KEY nor HOME is set; name a file");
}

Result<std::filesystem::path> trusted_file(Session& session) {
  KILN_TRY_ASSIGN(const Options* const options, session.options());
  if (options->trusted_keys_file) return *options->trusted_keys_file;
  return fail(ErrorCode::invalid_argument,
              "no list of trusted keys: neither KILN_TRUSTED_KEYS nor HOME is set");
}

ExitCode make_key(Session& session, const KeyWords& words) {
  KILN_CLI_TRY_ASSIGN(const std::filesystem::path file, session, key_file(session, words.file));
  KILN_CLI_TRY_ASSIGN(const SigningKey key, session, SigningKey::generate());
  if (const auto written = key.write(file); !written) return session.fail(written.error());
  const std::string text = key.public_key().text();
  if (!session.json) {
    const std::string where = fmt::format(
        "the secret half is in {}; on the machines that are to take your bundles:", file.string());
    fmt::print("{}\n{}\n  jitctl key trust {}\n", text, folded(where, 0), text);
  }
  return session.finish({{"file", file.string()}, {"public_key", text}});
}

ExitCode show_keys(Session& session, const KeyWords& words) {
  KILN_CLI_TRY_ASSIGN(const std::filesystem::path file, session, key_file(session, words.file));
  std::string own;
  if (const auto key = SigningKey::read(file)) {
    own = key->public_key().text();
  } else if (key.error().code != ErrorCode::unavailable || !words.file.empty()) {
    return session.fail({ErrorCode::cache_failed, key.error().message, {}});
  }
  KILN_CLI_TRY_ASSIGN(const std::filesystem::path list, session, trusted_file(session));
  KILN_CLI_TRY_ASSIGN(const TrustedKeys trusted, session, TrustedKeys::read(list));
  Json keys = Json::array();
  for (const TrustedKey& one : trusted.all()) {
    keys.push_back({{"public_key", one.key.text()}, {"name", one.name}});
  }
  if (!session.json) {
    fmt::print("signing key  {}\n", own.empty() ? "none; 'jitctl key new' makes one" : own);
    fmt::print("trusted      {} in {}\n", trusted.all().size(), list.string());
    for (const TrustedKey& one : trusted.all()) {
      fmt::print("  {}\n", folded(one.key.text() + "  " + one.name, 4));
    }
  }
  return session.finish({{"file", file.string()},
                         {"public_key", own.empty() ? Json(nullptr) : Json(own)},
                         {"trusted_keys_file", list.string()},
                         {"trusted", std::move(keys)}});
}

ExitCode trust_key(Session& session, const KeyWords& words) {
  const auto key = PublicKey::from_text(words.key);
  if (!key) {
    return session.fail(
        {ErrorCode::invalid_argument,
         fmt::format(
             "'{}' is no public key: 'ed25519:<64 hex digits>', as 'jitctl key show' prints "
             "it on the machine that signs",
             words.key),
         {}});
  }
  KILN_CLI_TRY_ASSIGN(const std::filesystem::path list, session, trusted_file(session));
  const std::string name = fmt::format("{}", fmt::join(words.name, " "));
  const auto added = TrustedKeys::append(list, {*key, name});
  if (!added) return session.fail(added.error());
  if (!session.json) {
    const std::string what =
        fmt::format("{} {} in {}", key->text(),
                    *added ? "is trusted from now on," : "was there already,", list.string());
    fmt::print("{}\n", folded(what, 0));
  }
  return session.finish(
      {{"trusted_keys_file", list.string()}, {"public_key", key->text()}, {"added", *added}});
}

}  // namespace

Action add_key(CLI::App& app, Session& session) {
  auto words = std::make_shared<KeyWords>();
  app.require_subcommand(1);
  CLI::App* const fresh = app.add_subcommand("new", "Make a key to sign with");
  fresh->add_option("FILE", words->file, "Where; default KILN_SIGNING_KEY or your own");
  CLI::App* const show = app.add_subcommand("show", "Your public key, and the trusted ones");
  show->add_option("FILE", words->file, "Another key to show");
  CLI::App* const trust = app.add_subcommand("trust", "Take bundles that this key has signed");
  trust->add_option("KEY", words->key, "ed25519:<64 hex digits>")->required();
  trust->add_option("NAME", words->name, "Whose it is, for people");
  for (CLI::App* const action : {fresh, show, trust}) action->fallthrough();  // --json
  return [=, &session] {
    if (fresh->parsed()) return make_key(session, *words);
    if (show->parsed()) return show_keys(session, *words);
    return trust_key(session, *words);
  };
}

}  // namespace kiln::cli
