// SPDX-License-Identifier: Apache-2.0
// Runtime: from op, shape and arch to a kernel that runs, compiled at most once.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "jit/base/compile_input.h"
#include "jit/base/key.h"
#include "jit/compiler.h"
#include "kiln/counters.h"
#include "kiln/driver.h"
#include "kiln/explain.h"
#include "kiln/kernel.h"
#include "kiln/options.h"
#include "templates/registry.h"

namespace kiln {

class Store;

struct Prepared {
  std::shared_ptr<const Artifact> artifact;
  Arch arch;  // what it was compiled for
  Tier tier = Tier::compiled;
  Key key;
  // Why the disk cache could not keep what was compiled; the artifact is good all the same.
  std::optional<Error> store_error;
};

// The implementation that serves, and why each better one does not.
struct Selection {
  const Op* op = nullptr;
  const Implementation* implementation = nullptr;
  std::vector<std::pair<std::string, std::string>> passed_over;  // name, reason
};

// How an op is called, beyond its arguments.
struct CallOptions {
  Stream stream;
  // Receives which implementation served, and why each better one did not.
  Selection* selected = nullptr;
  // Code for this arch, which the tensors' device must be able to run; default: the device's own.
  std::optional<Arch> arch;
};

// Thread-safe. Creating one opens no vendor library, no database and starts no thread; each is
// opened by the first call that needs it.
class Runtime {
 public:
  static Result<std::unique_ptr<Runtime>> create(Options options);
  ~Runtime();

  // The first implementation of `op` that can be built for `shape` and `arch` and, if `params` (the
  // op's parameter struct) is given, can serve that call and is the best for it.
  // Errors: unavailable, listing each implementation with its reason.
  Result<Selection> select(const Op& op, const Shape& shape, const Arch& arch,
                           const void* params = nullptr) const;

  // Makes sure that the artifact for exactly `input` exists: memory, store, layers, else compile.
  // Loads nothing, so it works for archs that this machine cannot run.
  // Errors: cache_miss under policy `locked`, naming the nearest stored entry and the fields that
  // differ; unavailable when no compiler here can do the arch; compile_failed; cancelled once
  // `give_up` is requested: a compile in a kiln-worker is then ended, unless others wait for it.
  Result<Prepared> prepare(const CompileInput& input, const std::stop_token& give_up = {});

  // Whether prepare() would find `input` without compiling, and where; if not, the stored entry
  // most like it. Compiles and loads nothing and counts nothing. (An entry that fails its check is
  // dropped, as by any look-up, unless the policy forbids writing.)
  // Errors: invalid_argument for what cannot be cached.
  Result<Explanation> explain(const CompileInput& input);

  // The loaded kernel of an op, on device `device` of the arch's driver. Before it compiles, a
  // stored kernel for another arch that this one can run is taken (Arch::compatible). Errors: as
  // prepare(), and the driver's.
  Result<std::shared_ptr<const Kernel>> kernel(const Selection& selection, const Shape& shape,
                                               const Arch& arch, int device = 0,
                                               Stream stream = {});
  // The same for a template of the caller's own.
  Result<std::shared_ptr<const Kernel>> kernel(const CompileInput& input, int device = 0,
                                               Stream stream = {});

  // This process's own counts since create().
  Counters counters() const;

  const Options& options() const;
  Compilers& compilers() const;
  // The driver that runs code for `arch`. Errors: unavailable when this build has none.
  Result<Driver*> driver(const Arch& arch) const;
  // Every driver of this build, whether or not its library is here.
  std::vector<Driver*> drivers() const;
  // The writable store. Errors: cache_failed with the reason; unavailable when there is none by
  // policy or for lack of a home.
  Result<Store*> store();
  // The layers that can be read, in order, and why the others cannot.
  std::vector<Store*> layers();
  std::vector<Error> refused_layers();

 private:
  class Impl;
  // By Options::only_implementation.
  Answer is_allowed(const Op& op, const Implementation& implementation) const;
  explicit Runtime(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace kiln
