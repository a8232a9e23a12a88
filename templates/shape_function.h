// SPDX-License-Identifier: Apache-2.0
// ShapeFunction: what an implementation answers about a call, from the shape and the call's
// parameters. The shape is read once, the parameters at each call.
#pragma once

#include <cstddef>
#include <functional>

#include "jit/base/shape.h"

namespace kiln {

// Made from a plain function of (const T& shape, const void* params). T is what that function reads
// of a shape, decoded: any copyable type that is constructible from a Shape, such as KdaShape. T
// may be Shape itself where look-ups by name at each call do not matter.
template <class R>
class ShapeFunction {
 public:
  // With its shape decoded: for the launch path.
  using Bound = std::function<R(const void* params)>;

  ShapeFunction() = default;
  ShapeFunction(std::nullptr_t) {}
  template <class T>
  ShapeFunction(R (*function)(const T& shape, const void* params)) {
    if (function) assign(function);
  }

  explicit operator bool() const { return function_ != nullptr; }
  friend bool operator==(const ShapeFunction& a, const ShapeFunction& b) {
    return a.function_ == b.function_ && a.bind_ == b.bind_;
  }
  // Empty when this is.
  Bound bind(const Shape& shape) const { return function_ ? bind_(function_, shape) : Bound(); }
  // Decodes the shape for this one call.
  R operator()(const Shape& shape, const void* params) const { return bind(shape)(params); }

 private:
  using Erased = void (*)();

  template <class T>
  void assign(R (*function)(const T& shape, const void* params)) {
    function_ = reinterpret_cast<Erased>(function);
    bind_ = [](Erased erased, const Shape& shape) {
      const auto of_its_type = reinterpret_cast<R (*)(const T&, const void*)>(erased);
      return Bound([of_its_type, decoded = T(shape)](const void* params) {
        return of_its_type(decoded, params);
      });
    };
  }

  Erased function_ = nullptr;
  Bound (*bind_)(Erased function, const Shape& shape) = nullptr;
};

}  // namespace kiln
