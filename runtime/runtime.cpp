// SPDX-License-Identifier: Apache-2.0
#include "kiln/runtime.h"

#include <fmt/format.h>

#include <algorithm>

#include "runtime/crash_files.h"
#include "runtime/runtime_impl.h"

namespace kiln {

std::string_view name_of(Tier tier) {
  switch (tier) {
    case Tier::memory:
      return "memory";
    case Tier::disk:
      return "disk";
    case Tier::layer:
      return "layer";
    case Tier::compiled:
      return "compiled";
  }
  return "unknown";
}

CompilerSettings Runtime::Impl::compiler_settings(const Options& options) {
  CompilerSettings settings = options.compilers;
  settings.workers_max = options.jobs;
  if (!settings.crashes) settings.crashes = open_crash_files(options);
  return settings;
}

Result<Runtime::Impl::KernelPointer> Runtime::Impl::load(const CompileInput& input,
                                                         Prepared prepared, int device) {
  KILN_TRY_ASSIGN(Driver* const driver, drivers.of(input.arch.family()));
  auto module = driver->load(device, *prepared.artifact);
  if (!module && module.error().code == ErrorCode::driver_failed &&
      prepared.tier != Tier::compiled) {
    log(LogLevel::info, fmt::format("{}: {}", input.label(), module.error().message));
    source.reject(input, prepared, module.error().message);
    KILN_TRY_ASSIGN(prepared, source.get(input));
    module = driver->load(device, *prepared.artifact);
  }
  if (!module) return fail(std::move(module).error());
  return std::make_shared<const Kernel>(input.label(), prepared.arch, *prepared.artifact,
                                        std::move(*module));
}

Result<Runtime::Impl::KernelPointer> Runtime::Impl::find_or_compile(const Selection& selection,
                                                                    const Shape& shape,
                                                                    const Arch& arch, int device) {
  const Implementation& implementation = *selection.implementation;
  plan.record(*selection.op, shape, arch);
  KILN_TRY_ASSIGN(const CompileInput exact, make_input(*selection.op, implementation, shape, arch));
  for (const Arch& candidate : arch.compatible()) {
    if (!can_build(implementation, shape, candidate)) continue;
    KILN_TRY_ASSIGN(const CompileInput input,
                    make_input(*selection.op, implementation, shape, candidate));
    KILN_TRY_ASSIGN(std::optional<Prepared> found, source.find(input));
    if (found) return load(input, std::move(*found), device);
  }
  KILN_TRY_ASSIGN(Prepared prepared, source.get(exact));
  return load(exact, std::move(prepared), device);
}

Result<Runtime::Impl::KernelPointer> Runtime::Impl::loaded(
    const std::string& name, const Arch& arch, int device, Stream stream,
    const std::function<Result<KernelPointer>()>& make) {
  if (auto kernel = kernels.peek(name)) return kernel;
  if (stream.handle) {
    KILN_TRY_ASSIGN(Driver* const driver, drivers.of(arch.family()));
    KILN_TRY_ASSIGN(const bool capturing, driver->is_capturing(device, stream));
    if (capturing) {
      return fail(ErrorCode::cache_miss,
                  fmt::format("{}: not loaded yet, and its stream is being captured into a graph; "
                              "call Runtime::kernel for it before the capture",
                              name));
    }
  }
  return kernels.get(name, make);
}

std::string Runtime::Impl::name_of_kernel(const Implementation& implementation, const Shape& shape,
                                          const Arch& arch, int device) {
  return fmt::format("{} {} {} {}", implementation.name, shape.text(), arch.name(), device);
}

namespace {

bool is_named(const Implementation& implementation, const std::vector<std::string>& names) {
  return std::find(names.begin(), names.end(), implementation.name) != names.end();
}
bool is_named(const Implementation& implementation, const std::optional<std::string>& name) {
  return name && implementation.name == *name;
}

// A misspelt name would leave the kernel that it was to disable in service.
Result<void> check_names(const std::vector<std::string>& names) {
  std::string known;
  std::vector<std::string> unknown = names;
  for (const Op& op : ops()) {
    for (const Implementation& each : op.implementations) {
      known += (known.empty() ? "" : ", ") + each.name;
      std::erase(unknown, each.name);
    }
  }
  if (unknown.empty()) return {};
  return fail(ErrorCode::invalid_argument,
              fmt::format("Options::disabled_implementations (KILN_DISABLE) names '{}', which no "
                          "implementation is called; there are {}",
                          unknown.front(), known));
}

}  // namespace

Result<std::unique_ptr<Runtime>> Runtime::create(Options options) {
  if (options.jobs < 1) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("Options::jobs is {}; it takes 1 or more", options.jobs));
  }
  KILN_TRY(check_names(options.disabled_implementations));
  set_log_level(options.log_level);
  return std::unique_ptr<Runtime>(new Runtime(std::move(options)));
}

Runtime::Runtime(Options options) : impl_(std::make_unique<Impl>(*this, std::move(options))) {}
Runtime::~Runtime() = default;

Answer Runtime::is_allowed(const Op& op, const Implementation& implementation) const {
  const std::optional<std::string>& only = options().only_implementation;
  if (is_named(implementation, only)) return Answer::yes();
  if (is_named(implementation, options().disabled_implementations)) {
    return Answer::no("disabled by Options::disabled_implementations (KILN_DISABLE)");
  }
  for (const Implementation& other : op.implementations) {
    if (is_named(other, only)) return Answer::no(fmt::format("only {} is asked for", *only));
  }
  return Answer::yes();
}

std::vector<Rung> Runtime::chain(const Op& op, const Shape& shape, const Arch& arch,
                                 const void* params) const {
  std::vector<Rung> rungs;
  const Result<void> fits = check_shape(op, shape);
  for (const Implementation& implementation : op.implementations) {
    Answer answer = fits ? is_allowed(op, implementation) : Answer::no(fits.error().message);
    if (answer) answer = can_build(implementation, shape, arch);
    if (answer && params) answer = implementation.can_serve(shape, params);
    rungs.push_back({&implementation, std::move(answer)});
  }
  return rungs;
}

Result<Selection> Runtime::select(const Op& op, const Shape& shape, const Arch& arch,
                                  const void* params) const {
  KILN_TRY(check_shape(op, shape));
  Selection selection;
  selection.op = &op;
  for (auto& [rung, answer] : chain(op, shape, arch, params)) {
    const Implementation& implementation = *rung;
    const bool chosen = is_named(implementation, options().only_implementation);
    if (answer && params && implementation.is_best && !chosen) {
      answer = implementation.is_best(shape, params);
    }
    if (answer) {
      selection.implementation = &implementation;
      return selection;
    }
    selection.passed_over.emplace_back(implementation.name, answer.reason());
  }
  std::string reasons;
  for (const auto& [name, reason] : selection.passed_over) {
    reasons += fmt::format("{}{}: {}", reasons.empty() ? "" : "; ", name, reason);
  }
  return fail(ErrorCode::unavailable, fmt::format("no implementation of {} serves {} on {}: {}",
                                                  op.name, shape.text(), arch.name(), reasons));
}

Result<Prepared> Runtime::prepare(const CompileInput& input, const std::stop_token& give_up) {
  return impl_->source.get(input, give_up);
}

Result<Explanation> Runtime::explain(const CompileInput& input) {
  return impl_->source.explain(input);
}

Result<std::shared_ptr<const Kernel>> Runtime::kernel(const Selection& selection,
                                                      const Shape& shape, const Arch& arch,
                                                      int device, Stream stream) {
  if (!selection.op || !selection.implementation) {
    return fail(ErrorCode::invalid_argument, "Runtime::kernel: a selection without an op");
  }
  KILN_TRY(check_shape(*selection.op, shape));
  const std::string name = Impl::name_of_kernel(*selection.implementation, shape, arch, device);
  return impl_->loaded(name, arch, device, stream,
                       [&] { return impl_->find_or_compile(selection, shape, arch, device); });
}

Result<std::shared_ptr<const Kernel>> Runtime::kernel(const CompileInput& input, int device,
                                                      Stream stream) {
  // The caller's text may change under the same name, so the digest names it.
  const std::string name = fmt::format("{} {}", input.request().digest().hex(), device);
  return impl_->loaded(name, input.arch, device, stream, [&]() -> Result<Impl::KernelPointer> {
    KILN_TRY_ASSIGN(Prepared prepared, impl_->source.get(input));
    return impl_->load(input, std::move(prepared), device);
  });
}

std::shared_ptr<const void> Runtime::forbid_compiles() {
  return impl_->source.forbid_compiles();
}

Counters Runtime::counters() const {
  return impl_->counting.snapshot();
}
const Options& Runtime::options() const {
  return impl_->options;
}
Compilers& Runtime::compilers() const {
  return impl_->compilers;
}
Result<Driver*> Runtime::driver(const Arch& arch) const {
  return impl_->drivers.of(arch.family());
}
std::vector<Driver*> Runtime::drivers() const {
  return impl_->drivers.all();
}
Result<Store*> Runtime::store() {
  return impl_->source.lazy_store().store();
}
std::vector<Store*> Runtime::layers() {
  std::vector<Store*> opened;
  for (const auto& layer : impl_->source.layers().stores()) opened.push_back(layer.get());
  return opened;
}
std::vector<Error> Runtime::refused_layers() {
  return impl_->source.layers().refused();
}

}  // namespace kiln
