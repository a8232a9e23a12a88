// SPDX-License-Identifier: Apache-2.0
// The extension module kiln._kiln. What users see is kiln/__init__.py.
#include <fmt/format.h>
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "kiln/kiln.h"
#include "runtime/python/binding.h"
#include "runtime/python/errors.h"
#include "runtime/python/session.h"
#include "runtime/python/variant.h"

namespace nb = nanobind;

namespace kiln::python {
namespace {

// For functions that nanobind wraps: Python's error as a C++ exception.
template <class T>
T value_or_throw(Result<T> result) {
  if (!result) {
    raise(result.error());
    throw nb::python_error();
  }
  return std::move(*result);
}
void throw_error(const Error& error) {
  raise(error);
  throw nb::python_error();
}

nb::dict describe_row(const Row& row, const void* defaults) {
  constexpr const char* kRoles[] = {"input",        "weight",          "update",         "output",
                                    "extra_output", "workspace",       "value",          "choice",
                                    "variant",      "variant_tensors", "variant_scalars"};
  nb::dict out;
  out["name"] = row.name;
  out["role"] = kRoles[static_cast<int>(row.role)];
  out["optional"] = row.optional;
  out["type"] = row.set_tensor ? "tensor" : row.type;
  if (row.default_value) out["default"] = nb::steal(row.default_value(defaults, row));
  if (!row.choices.empty()) out["choices"] = nb::cast(row.choices);
  if (!row.asked_by.empty()) out["asked_by"] = row.asked_by;
  if (!row.sizes.empty()) {
    out["type_from"] = row.type_from;
    nb::list sizes;
    for (const Sizes& each : row.sizes) {
      sizes.append(nb::make_tuple(each.tensor, each.first, each.last));
    }
    out["sizes"] = sizes;
  }
  return out;
}

// {op: {"doc": ..., "arguments": [...]}}: what signatures, stubs and torch's operators are made of.
nb::dict describe_ops() {
  nb::dict all;
  for (const Binding& binding : bindings()) {
    std::vector<std::max_align_t> storage(binding.args_bytes / sizeof(std::max_align_t) + 1);
    binding.construct(storage.data());
    nb::list rows;
    for (const Row& row : binding.rows) rows.append(describe_row(row, storage.data()));
    // What ends the arguments by position may be left out there too.
    for (std::size_t i = positional_rows(binding); i > 0 && binding.rows[i - 1].optional; --i) {
      rows[i - 1]["default"] = nb::none();
    }
    nb::dict op;
    op["doc"] = binding.doc;
    op["arguments"] = rows;
    all[binding.name] = op;
  }
  return all;
}

nb::dict stats() {
  nb::dict out;
  const std::shared_ptr<Runtime> runtime = session_or_null();
  const Counters counters = runtime ? runtime->counters() : Counters{};
  for (const CounterField& field : counter_fields()) {
    out[nb::str(field.name.data(), field.name.size())] = counters.*field.value;
  }
  return out;
}

// One kernel that prewarm() has made sure of.
struct Warmed {
  std::string label;
  std::string tier;
};

Result<std::vector<Warmed>> prewarm(Runtime& runtime, const std::string& op_name,
                                    const std::vector<NameValue>& wanted,
                                    const std::vector<std::string>& archs) {
  KILN_TRY_ASSIGN(const Op* const op, find_op(op_name));
  KILN_TRY_ASSIGN(const OpArguments arguments, parse_arguments(*op, wanted));
  std::vector<Warmed> warmed;
  for (const std::string& name : archs) {
    KILN_TRY_ASSIGN(const Arch arch, Arch::parse(name));
    KILN_TRY(runtime.select(*op, arguments.shape, arch));  // says why, where none can be built
    for (const Implementation& implementation : op->implementations) {
      if (!can_build(implementation, arguments.shape, arch)) continue;
      KILN_TRY_ASSIGN(const CompileInput input,
                      make_input(*op, implementation, arguments.shape, arch));
      KILN_TRY_ASSIGN(const Prepared prepared, runtime.prepare(input));
      warmed.push_back({input.label(), std::string(name_of(prepared.tier))});
    }
  }
  return warmed;
}

nb::list prewarm_op(const std::string& op, const std::vector<NameValue>& wanted,
                    const std::vector<std::string>& archs) {
  const auto runtime = value_or_throw(session());
  const auto warmed = [&] {
    const nb::gil_scoped_release released;
    return prewarm(*runtime, op, wanted, archs);
  }();
  if (!warmed) throw_error(warmed.error());
  nb::list out;
  for (const Warmed& each : *warmed) out.append(nb::make_tuple(each.label, each.tier));
  return out;
}

Result<KernelRequest> request_of(const std::string& op, const std::vector<NameValue>& wanted,
                                 std::pair<int, int> device) {
  KernelRequest request;
  KILN_TRY_ASSIGN(request.op, find_op(op));
  KILN_TRY_ASSIGN(const OpArguments arguments, parse_arguments(*request.op, wanted));
  request.shape = arguments.shape;
  request.device = {static_cast<DLDeviceType>(device.first), device.second};
  return request;
}

// Compiles and loads what calls on a device will need, so that they can be captured into a graph.
void load(const std::string& op, const std::vector<NameValue>& wanted, std::pair<int, int> device) {
  const auto runtime = value_or_throw(session());
  const KernelRequest request = value_or_throw(request_of(op, wanted, device));
  const auto done = [&] {
    const nb::gil_scoped_release released;
    return runtime->load(request);
  }();
  if (!done) throw_error(done.error());
}

std::int64_t router_workspace(std::int64_t tokens, std::int64_t experts, std::int64_t hidden) {
  std::int64_t a[] = {tokens, hidden};
  std::int64_t w[] = {experts, hidden};
  std::int64_t out[] = {tokens, experts};
  const auto shaped = [](std::int64_t* shape, std::uint8_t code, std::uint8_t bits) {
    DLTensor tensor{};
    tensor.device = {kDLCPU, 0};
    tensor.ndim = 2;
    tensor.dtype = {code, bits, 1};
    tensor.shape = shape;
    return tensor;
  };
  RouterGemmArgs args{};
  args.a = shaped(a, kDLBfloat, 16);
  args.w = shaped(w, kDLBfloat, 16);
  args.out = shaped(out, kDLFloat, 32);
  return value_or_throw(router_gemm_workspace_floats(args));
}

// What `with kiln.locked()` holds.
struct Ban {
  std::shared_ptr<const void> held;
  void release() { held.reset(); }
};

Ban forbid_compiles() {
  return {value_or_throw(session())->forbid_compiles()};
}

void configure_session(const std::vector<NameValue>& instead) {
  const Result<void> done = configure(instead);
  if (!done) throw_error(done.error());
}

void add_ops(nb::module_& module) {
  static std::vector<PyMethodDef> methods;  // kept: functions point into it
  methods.reserve(bindings().size());
  for (const Binding& binding : bindings()) {
    methods.push_back({binding.name, reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(call)),
                       METH_FASTCALL | METH_KEYWORDS, binding.doc});
    const nb::object self =
        nb::steal(PyCapsule_New(const_cast<Binding*>(&binding), "kiln.binding", nullptr));
    if (!self.is_valid()) throw nb::python_error();
    const nb::str home("kiln");
    const nb::object function =
        nb::steal(PyCFunction_NewEx(&methods.back(), self.ptr(), home.ptr()));
    if (!function.is_valid()) throw nb::python_error();
    module.attr(binding.name) = function;
  }
}

}  // namespace
}  // namespace kiln::python

NB_MODULE(_kiln, module) {
  using namespace kiln::python;
  // The session lives to the end of the process on purpose, and so do functions.
  nb::set_leak_warnings(false);
  add_ops(module);
  add_variant_class(module);
  nb::class_<Ban>(module, "Ban").def("release", &Ban::release);
  module.def("forbid_compiles", forbid_compiles);
  module.def("describe_ops", describe_ops);
  module.def("stats", stats);
  module.def("prewarm_op", prewarm_op);
  module.def("load", load);
  module.def("router_gemm_workspace_floats", router_workspace);
  module.def("configure", configure_session);
  module.def("end_session", end_session);
}
