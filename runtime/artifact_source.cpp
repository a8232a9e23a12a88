// SPDX-License-Identifier: Apache-2.0
#include "runtime/artifact_source.h"

#include <fmt/format.h>

#include "jit/compile_dump.h"
#include "runtime/nearest.h"

namespace kiln {
namespace {

std::uint64_t size_of(const Prepared& prepared) {
  return sizeof prepared + prepared.artifact->code.size() + prepared.artifact->log.size();
}

const std::string kPassedOver = "passed_over.";

// Whether the next compiler of the chain may do what this one did not: the source is not at fault.
bool is_no_fault_of_the_source(const Error& error) {
  return error.code == ErrorCode::unavailable || error.code == ErrorCode::out_of_memory;
}

// What is kept beside an entry for people: it differs from compile to compile.
std::string info_text(const Artifact& artifact) {
  Record info;
  info.add("compiler", artifact.compiler);
  info.add("compiler_version", artifact.compiler_version);
  if (!artifact.note.empty()) info.add("note", artifact.note);
  for (const PassedOver& passed : artifact.passed_over) {
    info.add(kPassedOver + passed.compiler, passed.reason);
  }
  info.add("compile_time_ms", fmt::format("{:.1f}", artifact.compile_time_ms));
  info.add("log", artifact.log);
  return info.text();
}

void restore_info(Artifact& artifact, std::string_view text) {
  const auto info = Record::parse(text);
  if (!info) return;  // only for display; the code is good
  artifact.compiler = info->find("compiler").value_or("");
  artifact.compile_time_ms =
      std::strtod(std::string(info->find("compile_time_ms").value_or("0")).c_str(), nullptr);
  artifact.log = info->find("log").value_or("");
  artifact.compiler_version = info->find("compiler_version").value_or("");
  artifact.note = info->find("note").value_or("");
  for (const Record::Field& field : info->fields()) {
    if (!field.name.starts_with(kPassedOver)) continue;
    artifact.passed_over.push_back({field.name.substr(kPassedOver.size()), field.value});
  }
}

}  // namespace

ArtifactSource::ArtifactSource(const Options& options, Compilers& compilers, Counting& counting)
    : options_(options),
      compilers_(compilers),
      counting_(counting),
      store_(options),
      memory_(FlightLimits{}, size_of) {}

// With no toolchain on this machine the request alone names the flight.
Key ArtifactSource::Plan::flight_key() const {
  return {request_digest, candidates.empty() ? Digest{} : candidates.front().key.toolchain};
}

ArtifactSource::Plan ArtifactSource::plan(const CompileInput& input) const {
  Plan plan;
  plan.request = input.request();
  plan.request_digest = plan.request.digest();
  for (Compiler* compiler : compilers_.chain(input.arch)) {
    auto toolchain = compiler->toolchain();
    if (!toolchain) {
      plan.absent.push_back({std::string(compiler->name()), std::move(toolchain.error().message)});
      continue;
    }
    const Key key{plan.request_digest, toolchain->digest()};
    plan.candidates.push_back({compiler, {plan.request, std::move(*toolchain)}, key});
  }
  return plan;
}

Store* ArtifactSource::store_or_null() {
  if (options_.cache_policy == CachePolicy::off) return nullptr;
  auto store = store_.store();
  if (store) return *store;
  if (store.error().code == ErrorCode::cache_failed) {
    counting_.add(&Counters::cache_errors);
    log_once(LogLevel::warning, store.error().message + "; going on without a disk cache");
  }
  return nullptr;
}

std::optional<Prepared> ArtifactSource::accept(StoreLookup lookup, const CompileInput& input) {
  switch (lookup.status) {
    case StoreLookup::Status::absent:
      return std::nullopt;
    case StoreLookup::Status::rejected:
      counting_.add(&Counters::rejected_entries);
      log(LogLevel::info,
          fmt::format("{}: stored entry dropped: {}", input.label(), lookup.reason));
      return std::nullopt;
    case StoreLookup::Status::failed:
      counting_.add(&Counters::cache_errors);
      log_once(LogLevel::warning, lookup.reason);
      return std::nullopt;
    case StoreLookup::Status::hit:
      break;
  }
  auto artifact = Artifact::decode(lookup.entry.payload);
  if (!artifact) {
    counting_.add(&Counters::rejected_entries);
    if (Store* store = store_or_null()) {
      if (auto done = store->quarantine(lookup.key, artifact.error().message); !done) {
        log_once(LogLevel::warning, done.error().message);
      }
    }
    return std::nullopt;
  }
  restore_info(*artifact, lookup.entry.info);
  counting_.add(&Counters::disk_hits);
  return Prepared{std::make_shared<const Artifact>(std::move(*artifact)), input.arch, Tier::disk,
                  lookup.key, std::nullopt};
}

std::optional<Prepared> ArtifactSource::find_on_disk(const Plan& plan, const CompileInput& input) {
  Store* store = store_or_null();
  if (!store) return std::nullopt;
  for (const Candidate& candidate : plan.candidates) {
    auto lookup = store->find(candidate.key, candidate.record.joined().text());
    if (auto found = accept(std::move(lookup), input)) return found;
  }
  if (!plan.candidates.empty() || options_.toolchain_policy == ToolchainPolicy::exact) {
    return std::nullopt;
  }
  auto lookup = store->find_newest(plan.request_digest, plan.request);
  auto found = accept(std::move(lookup), input);
  if (found) counting_.add(&Counters::other_toolchain_hits);
  return found;
}

Result<Prepared> ArtifactSource::get(const CompileInput& input) {
  KILN_TRY(input.check());
  const Plan known = plan(input);
  FlightOutcome outcome = FlightOutcome::hit;
  auto prepared = memory_.get(
      known.flight_key(),
      [&]() -> Result<std::shared_ptr<const Prepared>> {
        if (auto found = find_on_disk(known, input)) {
          return std::make_shared<const Prepared>(std::move(*found));
        }
        if (options_.cache_policy == CachePolicy::locked) return fail(miss(known, input));
        KILN_TRY_ASSIGN(Prepared made, compile(known, input));
        return std::make_shared<const Prepared>(std::move(made));
      },
      &outcome);
  if (!prepared) return fail(std::move(prepared).error());
  Prepared result = **prepared;
  if (outcome != FlightOutcome::produced) {
    counting_.add(&Counters::memory_hits);
    result.tier = Tier::memory;
  }
  return result;
}

Result<std::optional<Prepared>> ArtifactSource::find(const CompileInput& input) {
  KILN_TRY(input.check());
  const Plan known = plan(input);
  if (const auto ready = memory_.peek(known.flight_key())) {
    counting_.add(&Counters::memory_hits);
    Prepared result = *ready;
    result.tier = Tier::memory;
    return std::optional(std::move(result));
  }
  return find_on_disk(known, input);
}

// A compiler that cannot do this, or breaks down over it, makes room for the next one.
Result<Prepared> ArtifactSource::compile(const Plan& plan, const CompileInput& input) {
  std::vector<PassedOver> passed_over = plan.absent;
  Error last{ErrorCode::unavailable, {}, {}};
  for (const Candidate& candidate : plan.candidates) {
    const std::string name(candidate.compiler->name());
    if (const Answer can = candidate.compiler->can_compile(input.arch); !can) {
      passed_over.push_back({name, can.reason()});
      continue;
    }
    auto made = compile_with(candidate, input, passed_over);
    if (made) return made;
    last = made.error();
    if (!is_no_fault_of_the_source(last)) {
      counting_.add(&Counters::compile_failures);
      return made;
    }
    log(LogLevel::info, fmt::format("{}: {}", input.label(), last.message));
    passed_over.push_back({name, last.message});
  }
  if (!last.message.empty()) counting_.add(&Counters::compile_failures);
  std::string reasons;
  for (const PassedOver& passed : passed_over) {
    reasons += (reasons.empty() ? "" : "; ") + passed.reason;
  }
  if (reasons.empty()) {
    reasons = fmt::format("this build has no compiler for {} code", name_of(input.arch.family()));
  }
  last.message = fmt::format("cannot compile {}: {}", input.label(), reasons);
  return fail(std::move(last));
}

// Another process may be compiling the same key: then its result is taken from the store. A lease
// that cannot be had, or not in time, only means that the work may be done twice.
Result<Prepared> ArtifactSource::compile_with(const Candidate& candidate, const CompileInput& input,
                                              const std::vector<PassedOver>& passed_over) {
  std::unique_ptr<Lease> lease;
  Store* store = options_.cache_policy == CachePolicy::read_write ? store_or_null() : nullptr;
  if (LeaseFile* leases = store ? store_.leases() : nullptr) {
    auto outcome = leases->acquire(candidate.key, options_.lease_wait_ms_max);
    if (!outcome) {
      counting_.add(&Counters::cache_errors);
      log_once(LogLevel::warning, outcome.error().message);
    } else {
      lease = std::move(outcome->lease);
      if (outcome->waited) counting_.add(&Counters::waited_for_other_process);
      // Whoever held the lease before, even if it was free again by now, may have stored the entry
      // since this process looked.
      auto lookup = store->find(candidate.key, candidate.record.joined().text());
      if (auto found = accept(std::move(lookup), input)) return std::move(*found);
    }
  }
  auto artifact = candidate.compiler->compile(input);
  if (options_.dump_folder) {
    const auto dumped = dump_compile(*options_.dump_folder, candidate.compiler->name(),
                                     candidate.record.toolchain, input, artifact);
    if (!dumped) log_once(LogLevel::warning, dumped.error().message);
  }
  KILN_TRY(artifact);
  artifact->passed_over = passed_over;
  counting_.add(&Counters::compiles);
  auto store_error = store ? put(candidate, input, *artifact) : std::nullopt;
  return Prepared{std::make_shared<const Artifact>(std::move(*artifact)), input.arch,
                  Tier::compiled, candidate.key, std::move(store_error)};
}

std::optional<Error> ArtifactSource::put(const Candidate& candidate, const CompileInput& input,
                                         const Artifact& artifact) {
  StoreEntry entry;
  entry.record = candidate.record.joined().text();
  entry.label = input.label();
  entry.payload = artifact.encode();
  entry.info = info_text(artifact);
  auto stored = (*store_.store())->put(candidate.key, entry);
  if (stored) return std::nullopt;
  counting_.add(&Counters::cache_errors);
  log_once(LogLevel::warning, stored.error().message);
  return std::move(stored).error();
}

Error ArtifactSource::miss(const Plan& plan, const CompileInput& input) {
  std::string where = "no disk cache";
  std::string why;
  if (Store* store = store_or_null()) {
    where = store->file().string();
    KeyRecord asked{plan.request, {}};
    if (!plan.candidates.empty()) asked.toolchain = plan.candidates.front().record.toolchain;
    const auto nearest = nearest_entry(*store, asked);
    if (nearest && *nearest) why = "; " + describe(**nearest);
    if (nearest && !*nearest) why = "; it holds no entry of this implementation";
  }
  return {ErrorCode::cache_miss,
          fmt::format("cache miss: {} is not in {}, and policy 'locked' forbids compiling it{}",
                      input.label(), where, why),
          {}};
}

void ArtifactSource::reject(const CompileInput& input, const Prepared& prepared,
                            std::string_view reason) {
  counting_.add(&Counters::rejected_entries);
  memory_.erase(plan(input).flight_key());
  Store* store = store_or_null();
  if (!store) return;
  if (auto done = store->quarantine(prepared.key, reason); !done) {
    log_once(LogLevel::warning, done.error().message);
  }
}

}  // namespace kiln
