// SPDX-License-Identifier: Apache-2.0
// Runtime: from op, shape and arch to a kernel that runs, compiled at most once.
#pragma once

#include <dlpack/dlpack.h>

#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "jit/base/compile_input.h"
#include "jit/base/export.h"
#include "jit/base/key.h"
#include "jit/compiler.h"
#include "kiln/counters.h"
#include "kiln/driver.h"
#include "kiln/explain.h"
#include "kiln/kernel.h"
#include "kiln/options.h"
#include "templates/registry.h"

namespace kiln {

class Calls;
class PackedShape;
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

// One step of an op's fall-back chain.
struct Rung {
  const Implementation* implementation = nullptr;
  Answer can_serve = Answer::yes();  // else the reason
};

// How an op is called, beyond its arguments.
struct CallOptions {
  Stream stream;
  // Receives which implementation served, and why each better one did not. Costs the call some
  // microseconds.
  Selection* selected = nullptr;
  // Code for this arch, which the tensors' device must be able to run; default: the device's own.
  std::optional<Arch> arch;
};

// What a call of an op will need: all its kernels for one shape on one device.
struct KernelRequest {
  const Op* op = nullptr;
  Shape shape;  // every shape parameter of the op, as parse_arguments() gives
  DLDevice device = {kDLCPU, 0};
  std::optional<Arch> arch;  // as CallOptions::arch
};

// A prefetch under way, or done. Copies are the same one; it may outlive the Runtime, whose end
// cancels what has not begun. Thread-safe.
class KILN_API Prefetch {
 public:
  // Whether it is done, well or not. Never waits.
  bool done() const;
  // Waits for it. Errors: those of Runtime::kernel, where no kernel could be had that serves;
  // unavailable, when the Runtime ended first.
  Result<void> wait() const;

 private:
  friend class Runtime;
  struct State;
  explicit Prefetch(std::shared_ptr<State> state) : state_(std::move(state)) {}
  std::shared_ptr<State> state_;
};

// Thread-safe. Creating one opens no vendor library, no database and starts no thread; each is
// opened by the first call that needs it.
class KILN_API Runtime {
 public:
  // Errors: invalid_argument for options out of range.
  static Result<std::unique_ptr<Runtime>> create(Options options);
  ~Runtime();

  // The first implementation of `op` that can be built for `shape` and `arch` and, if `params` (the
  // op's parameter struct) is given, can serve that call and is the best for it.
  // Errors: invalid_argument, as check_shape(); unavailable, listing each implementation with its
  // reason.
  Result<Selection> select(const Op& op, const Shape& shape, const Arch& arch,
                           const void* params = nullptr) const;

  // All implementations of `op`, best first, each with whether it can be built and serve: a call
  // goes down this chain until a kernel can be had. `params` as for select(), but for which is
  // best.
  std::vector<Rung> chain(const Op& op, const Shape& shape, const Arch& arch,
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

  // Compiles and loads in the background, on up to Options::jobs threads, every kernel of the
  // request, so that no call of it waits and it can be captured into a graph. A caller that is
  // quicker than the background shares its compile. Errors: invalid_argument for a request without
  // an op or with a shape that is not the op's.
  Result<Prefetch> prefetch(const KernelRequest& request);
  // Whether a call of the request would find its kernel loaded. Never waits. Errors: as prefetch().
  Result<bool> ready(const KernelRequest& request) const;
  // prefetch() and wait() in one. Errors: those of both.
  Result<void> load(const KernelRequest& request);
  // Drops this Runtime's hold on the kernels of the request; code leaves the device when nobody
  // else holds it. The caller sees to it that no captured graph uses it and no launch of it is
  // under way. The next call loads anew. A request that names its device's arch and one that names
  // none are two. Returns how many kernels were held. Errors: as prefetch().
  Result<int> unload(const KernelRequest& request);

  // While the answer or a copy of it lives, what would have to be compiled is an error, cache_miss,
  // as under policy `locked`, in all threads; a compile that began before is not ended. What memory
  // and disk hold serves. For tests, and for a server that is warm. May outlive the Runtime.
  [[nodiscard]] std::shared_ptr<const void> forbid_compiles();

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
  friend class Calls;
  friend Result<void> call_op(Runtime& runtime, const PackedShape& shape, DLDevice device,
                              const void* params, const CallOptions& options);
  // By Options::only_implementation.
  Answer is_allowed(const Op& op, const Implementation& implementation) const;
  explicit Runtime(Options options);
  std::unique_ptr<Impl> impl_;
};

}  // namespace kiln
