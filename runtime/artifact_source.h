// SPDX-License-Identifier: Apache-2.0
// ArtifactSource: where artifacts come from. The order of the tiers lives here and nowhere else:
// memory, the writable store, the read-only layers, then the compilers of the arch's chain.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "cache/flight_cache.h"
#include "jit/compilers.h"
#include "kiln/runtime.h"
#include "runtime/counting.h"
#include "runtime/layers.h"
#include "runtime/lazy_store.h"

namespace kiln {

// Thread-safe.
class ArtifactSource {
 public:
  // Who may compile for an arch, in the order to be asked; see Compilers::chain.
  using Chain = std::function<std::vector<Compiler*>(const Arch&)>;

  ArtifactSource(const Options& options, Compilers& compilers, Counting& counting);
  ArtifactSource(const Options& options, Chain chain, Counting& counting);
  ~ArtifactSource();
  ArtifactSource(const ArtifactSource&) = delete;
  ArtifactSource& operator=(const ArtifactSource&) = delete;

  // From memory or disk, else by compiling. Errors: as Runtime::prepare().
  Result<Prepared> get(const CompileInput& input, const std::stop_token& give_up = {});
  // From memory or disk only; nothing when it is in neither.
  Result<std::optional<Prepared>> find(const CompileInput& input);
  // The driver would not load what `prepared`, made for `input`, holds: forget it everywhere.
  void reject(const CompileInput& input, const Prepared& prepared, std::string_view reason);

  // As Runtime::forbid_compiles().
  std::shared_ptr<const void> forbid_compiles();

  // As Runtime::explain().
  Result<Explanation> explain(const CompileInput& input);

  LazyStore& lazy_store() { return store_; }
  Layers& layers() { return layers_; }

 private:
  // One compiler that may make the artifact, and the key that its artifact has.
  struct Candidate {
    Compiler* compiler;
    KeyRecord record;
    Key key;
  };
  // What is known of a request before any tier is asked.
  struct Plan {
    Record request;
    Digest request_digest;
    std::vector<Candidate> candidates;  // whose toolchain was found
    std::vector<PassedOver> absent;     // why each other one was not
    Key flight_key() const;
  };

  Plan plan(const CompileInput& input) const;
  std::optional<Prepared> find_on_disk(const Plan& plan, const CompileInput& input);
  std::optional<Prepared> accept(StoreLookup lookup, const CompileInput& input, Tier tier);
  Result<Prepared> compile(const Plan& plan, const CompileInput& input,
                           const std::stop_token& stop);
  Result<Prepared> compile_with(const Candidate& candidate, const CompileInput& input,
                                const std::vector<PassedOver>& passed_over,
                                const std::stop_token& stop);
  // The compile, between the two events that tell of it.
  Result<Artifact> compile_and_tell(Compiler& compiler, const CompileInput& input,
                                    const std::stop_token& stop);
  std::optional<Error> put(const Candidate& candidate, const CompileInput& input,
                           const Artifact& artifact);
  Error miss(const Plan& plan, const CompileInput& input);

  // Forgets an entry that turned out bad.
  void drop(const Key& key, Tier tier, std::string_view reason);

  // One place on disk.
  struct Place {
    Store* store;
    Tier tier;
  };
  // The writable store, then the layers.
  std::vector<Place> places();
  // Whether what has no toolchain here may be served by any entry of its request.
  bool takes_any(const Plan& plan) const;
  void explain_hit(const Plan& plan, Explanation& explanation);
  void explain_miss(const Plan& plan, Explanation& explanation);
  void note(const CompileInput& input, const Artifact& artifact, Tier tier);
  bool is_locked() const;
  // The store, or null after counting and saying once why there is none.
  Store* store_or_null();

  const Options& options_;
  const Chain chain_;
  Counting& counting_;
  LazyStore store_;
  Layers layers_;
  // How many forbid compiling. Theirs too, so that they may outlive this.
  const std::shared_ptr<std::atomic<int>> forbidden_ = std::make_shared<std::atomic<int>>(0);
  const pid_t process_;  // a forked child does not write its parent's counts once more
  FlightCache<Key, Prepared> memory_;
};

}  // namespace kiln
