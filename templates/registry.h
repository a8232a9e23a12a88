// SPDX-License-Identifier: Apache-2.0
// The registry: every op, its parameters and its implementations. One file per op in ops/.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "jit/base/answer.h"
#include "jit/base/compile_input.h"
#include "jit/base/export.h"
#include "jit/base/launch.h"
#include "templates/shape_function.h"

namespace kiln {

// One parameter: its default comes from a real model, so that every op works as it stands.
struct ParamSpec {
  std::string name;
  std::string doc;  // one line, with the unit or the tensor dimension it is
  ShapeValue default_value;
  std::int64_t min = 0;  // integers: accepted range
  std::int64_t max = 0;
  std::vector<std::string> choices;  // words: what is accepted
  // A word for an attention variant (templates/attention_variant.h): what is known is accepted.
  bool is_variant = false;
};

// One way to do an op on some archs.
struct Implementation {
  std::string name;  // "kda_decode/small_batch"
  std::string doc;   // one line: how, and when it is the best
  std::vector<ArchFamily> families;

  // The shapes that it is for, where others have implementations of their own: to pass it over for
  // these is no fall back, as it is none on another family's archs. Null: all.
  Answer (*is_meant_for)(const Shape& shape) = nullptr;
  // Whether code for this shape and arch can be made. Prewarm compiles everything that can.
  Answer (*can_build)(const Shape& shape, const Arch& arch);
  // Whether that code serves this call; `params` is the op's parameter struct
  // (templates/kernels/<op>/params.h). On the launch path: neither it nor the two below may
  // allocate, unless it finds fault with `params` themselves, and what they need of the shape they
  // take as a type that holds it decoded (ShapeFunction).
  ShapeFunction<Answer> can_serve;
  // Whether it is the best for a call that it can serve, and not the ones after it; asked where
  // there is a choice. Null: always.
  ShapeFunction<Answer> is_best = nullptr;
  // The launches of this call.
  ShapeFunction<LaunchPlan> plan;

  std::string source;                         // an embedded file: "kda_decode/small_batch.cu"
  std::vector<std::string> name_expressions;  // "kiln::kda_decode_small_batch"
};

struct Op {
  std::string name;
  std::string doc;
  std::vector<ParamSpec> shape_params;  // fixed at compile time: these select the kernel
  std::vector<ParamSpec> call_params;  // vary from call to call: `jitctl run` and benches take them
  std::size_t params_bytes;            // size of the op's parameter struct
  std::vector<Implementation> implementations;  // best first
};

// All ops, in the order of the documentation. Thread-safe, never changes.
KILN_API std::span<const Op> ops();
// Errors: invalid_argument, with the known ops and the nearest name.
KILN_API Result<const Op*> find_op(std::string_view name);

// name=value pairs as a person writes them, split by where they belong.
struct OpArguments {
  Shape shape;  // every shape parameter of the op, defaults filled in
  Shape call;   // every call parameter, likewise
};
using NameValue = std::pair<std::string, std::string>;
// Errors: invalid_argument for an unknown name (with the nearest and the list), a value of the
// wrong type or out of range (with what is accepted), a name given twice.
KILN_API Result<OpArguments> parse_arguments(const Op& op, std::span<const NameValue> given);

// Whether `shape` has every shape parameter of `op` and nothing else, each with a
// value of its type that is accepted. What is compiled, prepared or called for a shape asks first:
// the getters of a Shape end the program over what is not there.
// Errors: invalid_argument, saying which and what it takes.
KILN_API Result<void> check_shape(const Op& op, const Shape& shape);

// Whether `implementation` is written for the family of `arch` and meant for `shape`.
KILN_API Answer is_written_for(const Implementation& implementation, const Shape& shape,
                               const Arch& arch);
// Whether `implementation` can be built, what it is written for included.
KILN_API Answer can_build(const Implementation& implementation, const Shape& shape,
                          const Arch& arch);

// The complete input for a compiler: source, exactly the headers it reaches, and the generated
// header "kiln/shape.h", which holds the shape as constants.
// Errors: invalid_argument, as check_shape(); internal, when an embedded file is missing.
KILN_API Result<CompileInput> make_input(const Op& op, const Implementation& implementation,
                                         const Shape& shape, const Arch& arch);

}  // namespace kiln
