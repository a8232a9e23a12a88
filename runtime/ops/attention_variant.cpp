// SPDX-License-Identifier: Apache-2.0
#include "runtime/ops/attention_variant.h"

#include <fmt/format.h>

#include <bit>
#include <cmath>

namespace kiln {
namespace {

tl::unexpected<Error> bad(const KnownAttentionVariant& variant, const std::string& what) {
  return fail(ErrorCode::invalid_argument,
              fmt::format("attention variant '{}' {}", variant.definition.name, what));
}

ElementType element_type(std::string_view type) {
  using enum ElementType;
  for (const ElementType each : {f32, bf16, f16, i32, u8}) {
    if (name_of(each) == type) return each;
  }
  return f32;  // add_attention_variant() lets no other type in
}

// Contiguous, whatever its dimensions.
Result<void> check_tensor(TensorCheck& check, const std::string& name, const DLTensor& tensor,
                          ElementType type) {
  switch (tensor.ndim) {
    case 1:
      KILN_TRY(check.check_rank(name, tensor, 1));
      return check.check_dense(name, tensor, type, {{"size", tensor.shape[0]}});
    case 2:
      KILN_TRY(check.check_rank(name, tensor, 2));
      return check.check_dense(name, tensor, type,
                               {{"size", tensor.shape[0]}, {"size", tensor.shape[1]}});
    case 3:
      KILN_TRY(check.check_rank(name, tensor, 3));
      return check.check_dense(
          name, tensor, type,
          {{"size", tensor.shape[0]}, {"size", tensor.shape[1]}, {"size", tensor.shape[2]}});
    default:
      return check.check_rank(name, tensor, 1);  // says what is wrong
  }
}

Result<unsigned> bits_of(const KnownAttentionVariant& variant,
                         const AttentionVariant::Scalar& scalar, double value) {
  if (scalar.type == "f32") return std::bit_cast<unsigned>(static_cast<float>(value));
  if (std::nearbyint(value) == value && value >= INT32_MIN && value <= INT32_MAX) {
    return std::bit_cast<unsigned>(static_cast<int>(value));
  }
  return bad(variant, fmt::format("takes an i32 as '{}', which {} is not", scalar.name, value));
}

}  // namespace

Result<void> read_variant(TensorCheck& check, const AttentionVariantArgs& args,
                          AttentionVariantParams& params) {
  const KnownAttentionVariant* const variant =
      args.variant ? args.variant : shipped_attention_variants().front();
  const AttentionVariant& definition = variant->definition;
  if (args.tensors.size() != definition.tensors.size() ||
      args.scalars.size() != definition.scalars.size()) {
    return bad(*variant, fmt::format("takes {} tensors and {} scalars; {} and {} are given",
                                     definition.tensors.size(), definition.scalars.size(),
                                     args.tensors.size(), args.scalars.size()));
  }
  for (std::size_t i = 0; i < args.tensors.size(); ++i) {
    const AttentionVariant::Tensor& tensor = definition.tensors[i];
    KILN_TRY(check_tensor(check, tensor.name, args.tensors[i], element_type(tensor.type)));
    params.tensors[i] = address_of(args.tensors[i]);
  }
  for (std::size_t i = 0; i < args.scalars.size(); ++i) {
    KILN_TRY_ASSIGN(params.scalars[i], bits_of(*variant, definition.scalars[i], args.scalars[i]));
  }
  return {};
}

void set_variant(PackedShape& shape, const AttentionVariantArgs& args) {
  if (args.variant) shape.set("variant", args.variant->index);
}

}  // namespace kiln
