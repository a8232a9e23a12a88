// SPDX-License-Identifier: Apache-2.0
#include "runtime/artifact_source.h"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <cmath>

#include "jit/compile_dump.h"
#include "runtime/emit.h"
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
    : ArtifactSource(
          options, [&compilers](const Arch& arch) { return compilers.chain(arch); }, counting) {}

ArtifactSource::ArtifactSource(const Options& options, Chain chain, Counting& counting)
    : options_(options),
      chain_(std::move(chain)),
      counting_(counting),
      store_(options),
      layers_(options, counting),
      process_(getpid()),
      memory_(FlightLimits{}, size_of) {}

// Hits in memory are too fast to be noted one by one, so they have no op or arch in the totals.
ArtifactSource::~ArtifactSource() {
  Store* const store = store_.opened();
  const std::uint64_t hits = counting_.snapshot().memory_hits;
  if (store && hits > 0 && process_ == getpid()) {
    store->note({"", "", "", std::string(name_of(Tier::memory)), hits, 0});
  }
}

// With no toolchain on this machine the request alone names the flight.
Key ArtifactSource::Plan::flight_key() const {
  return {request_digest, candidates.empty() ? Digest{} : candidates.front().key.toolchain};
}

ArtifactSource::Plan ArtifactSource::plan(const CompileInput& input) const {
  Plan plan;
  plan.request = input.request();
  plan.request_digest = plan.request.digest();
  for (Compiler* compiler : chain_(input.arch)) {
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
  // With no folder there is nothing that has failed, and yet nothing is kept.
  if (options_.cache_folder) counting_.add(&Counters::cache_errors);
  log_once(LogLevel::warning, store.error().message + "; going on without a disk cache");
  return nullptr;
}

std::vector<ArtifactSource::Place> ArtifactSource::places() {
  std::vector<Place> places;
  if (Store* store = store_or_null()) places.push_back({store, Tier::disk});
  for (const auto& layer : layers_.stores()) places.push_back({layer.get(), Tier::layer});
  return places;
}

bool ArtifactSource::takes_any(const Plan& plan) const {
  return plan.candidates.empty() && options_.toolchain_policy == ToolchainPolicy::any;
}

// Kept across processes by the store, if there is one: what a compile cost, or what a hit saved.
void ArtifactSource::note(const CompileInput& input, const Artifact& artifact, Tier tier) {
  Store* const store = store_.opened();
  if (!store) return;
  const auto compile_us = static_cast<std::uint64_t>(std::llround(artifact.compile_time_ms * 1e3));
  store->note(
      {input.op, input.arch.name(), artifact.compiler, std::string(name_of(tier)), 1, compile_us});
}

std::optional<Prepared> ArtifactSource::accept(StoreLookup lookup, const CompileInput& input,
                                               Tier tier) {
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
  if (tier == Tier::layer && layers_.is_dropped(lookup.key)) return std::nullopt;
  auto artifact = Artifact::decode(lookup.entry.payload);
  if (!artifact) {
    counting_.add(&Counters::rejected_entries);
    drop(lookup.key, tier, artifact.error().message);
    return std::nullopt;
  }
  restore_info(*artifact, lookup.entry.info);
  counting_.add(tier == Tier::layer ? &Counters::layer_hits : &Counters::disk_hits);
  note(input, *artifact, tier);
  return Prepared{std::make_shared<const Artifact>(std::move(*artifact)), input.arch, tier,
                  lookup.key, std::nullopt};
}

void ArtifactSource::drop(const Key& key, Tier tier, std::string_view reason) {
  if (tier == Tier::layer) return layers_.drop(key);
  Store* const store = store_or_null();
  if (!store) return;
  if (auto done = store->quarantine(key, reason); !done) {
    log_once(LogLevel::warning, done.error().message);
  }
}

std::optional<Prepared> ArtifactSource::find_on_disk(const Plan& plan, const CompileInput& input) {
  const std::vector<Place> all = places();
  for (const Candidate& candidate : plan.candidates) {
    const std::string record = candidate.record.joined().text();
    for (const auto& [store, tier] : all) {
      if (auto found = accept(store->find(candidate.key, record), input, tier)) return found;
    }
  }
  if (!takes_any(plan)) return std::nullopt;
  for (const auto& [store, tier] : all) {
    auto lookup = store->find_newest(plan.request_digest, plan.request);
    auto found = accept(std::move(lookup), input, tier);
    if (!found) continue;
    counting_.add(&Counters::other_toolchain_hits);
    return found;
  }
  return std::nullopt;
}

std::shared_ptr<const void> ArtifactSource::forbid_compiles() {
  forbidden_->fetch_add(1);
  return {forbidden_.get(), [count = forbidden_](const void*) { count->fetch_sub(1); }};
}

bool ArtifactSource::is_locked() const {
  return options_.cache_policy == CachePolicy::locked || forbidden_->load() > 0;
}

Result<Prepared> ArtifactSource::get(const CompileInput& input, const std::stop_token& give_up) {
  KILN_TRY(input.check());
  const Plan known = plan(input);
  FlightOutcome outcome = FlightOutcome::hit;
  auto prepared = memory_.get_until(
      known.flight_key(),
      [&](const std::stop_token& stop) -> Result<std::shared_ptr<const Prepared>> {
        if (auto found = find_on_disk(known, input)) {
          return std::make_shared<const Prepared>(std::move(*found));
        }
        if (is_locked()) return fail(miss(known, input));
        KILN_TRY_ASSIGN(Prepared made, compile(known, input, stop));
        return std::make_shared<const Prepared>(std::move(made));
      },
      give_up, &outcome);
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
Result<Prepared> ArtifactSource::compile(const Plan& plan, const CompileInput& input,
                                         const std::stop_token& stop) {
  std::vector<PassedOver> passed_over = plan.absent;
  Error last{ErrorCode::unavailable, {}, {}};
  for (const Candidate& candidate : plan.candidates) {
    const std::string name(candidate.compiler->name());
    if (const Answer can = candidate.compiler->can_compile(input.arch); !can) {
      passed_over.push_back({name, can.reason()});
      continue;
    }
    auto made = compile_with(candidate, input, passed_over, stop);
    if (made) return made;
    last = made.error();
    if (last.code == ErrorCode::cancelled) return made;
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
                                              const std::vector<PassedOver>& passed_over,
                                              const std::stop_token& stop) {
  std::unique_ptr<Lease> lease;
  Store* store = options_.cache_policy == CachePolicy::read_write ? store_or_null() : nullptr;
  if (LeaseFile* leases = store ? store_.leases() : nullptr) {
    auto outcome = leases->acquire(candidate.key, options_.lease_wait_ms_max, stop);
    if (!outcome && outcome.error().code == ErrorCode::cancelled) return fail(outcome.error());
    if (!outcome) {
      counting_.add(&Counters::cache_errors);
      log_once(LogLevel::warning, outcome.error().message);
    } else {
      lease = std::move(outcome->lease);
      if (outcome->waited) counting_.add(&Counters::waited_for_other_process);
      // Whoever held the lease before, even if it was free again by now, may have stored the entry
      // since this process looked.
      auto lookup = store->find(candidate.key, candidate.record.joined().text());
      if (auto found = accept(std::move(lookup), input, Tier::disk)) return std::move(*found);
    }
  }
  auto artifact = compile_and_tell(*candidate.compiler, input, stop);
  if (options_.dump_folder) {
    const auto dumped = dump_compile(*options_.dump_folder, candidate.compiler->name(),
                                     candidate.record.toolchain, input, artifact);
    if (!dumped) log_once(LogLevel::warning, dumped.error().message);
  }
  KILN_TRY(artifact);
  artifact->passed_over = passed_over;
  counting_.add(&Counters::compiles);
  note(input, *artifact, Tier::compiled);
  auto store_error = store ? put(candidate, input, *artifact) : std::nullopt;
  return Prepared{std::make_shared<const Artifact>(std::move(*artifact)), input.arch,
                  Tier::compiled, candidate.key, std::move(store_error)};
}

Result<Artifact> ArtifactSource::compile_and_tell(Compiler& compiler, const CompileInput& input,
                                                  const std::stop_token& stop) {
  if (!options_.on_event) return compiler.compile_until(input, stop);
  const std::string label = input.label();
  Event event;
  event.label = label;
  event.compiler = compiler.name();
  emit(options_.on_event, event);
  const auto start = std::chrono::steady_clock::now();
  auto artifact = compiler.compile_until(input, stop);
  const std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - start;
  event.kind = EventKind::compile_end;
  event.time_ms = time.count();
  if (!artifact) event.error = &artifact.error();
  emit(options_.on_event, event);
  return artifact;
}

std::optional<Error> ArtifactSource::put(const Candidate& candidate, const CompileInput& input,
                                         const Artifact& artifact) {
  StoreEntry entry;
  entry.record = candidate.record.joined().text();
  entry.label = input.label();
  entry.payload = to_unfilled_bytes(artifact.encode());
  entry.info = info_text(artifact);
  auto stored = (*store_.store())->put(candidate.key, entry);
  if (stored) return std::nullopt;
  counting_.add(&Counters::cache_errors);
  log_once(LogLevel::warning, stored.error().message);
  return std::move(stored).error();
}

Error ArtifactSource::miss(const Plan& plan, const CompileInput& input) {
  Explanation found;
  found.label = input.label();
  explain_miss(plan, found);
  const std::string where = found.looked_in.empty()
                                ? "any cache, for there is none"
                                : fmt::format("{}", fmt::join(found.looked_in, " or "));
  std::string why;
  if (found.nearest) {
    const StoredEntry& nearest = *found.nearest;
    why = "; " + describe(nearest.label, nearest.key.request.short_hex(), found.differences);
  } else if (!found.looked_in.empty()) {
    why = "; no entry of this op is there";
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
  // A hit in memory may have come from either: both are told.
  if (prepared.tier != Tier::disk) drop(prepared.key, Tier::layer, reason);
  if (prepared.tier != Tier::layer) drop(prepared.key, Tier::disk, reason);
}

}  // namespace kiln
