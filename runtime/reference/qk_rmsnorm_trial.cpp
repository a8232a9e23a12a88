// SPDX-License-Identifier: Apache-2.0
#include "kiln/qk_rmsnorm.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "runtime/reference/comparison.h"
#include "runtime/reference/elements.h"
#include "runtime/reference/qk_rmsnorm.h"
#include "runtime/reference/trial_tensor.h"
#include "runtime/reference/trials.h"

namespace kiln {
namespace {

// What follows q and k in a row of the fused projection that they are slices of: the 64 elements
// of DeepSeek's rotary key. No call may write there.
constexpr std::int64_t kRestElements = 64;

struct SideSizes {
  std::int64_t heads, elements;
  std::int64_t row() const { return heads * elements; }
};

struct NormSizes {
  std::int64_t rows;
  SideSizes q, k;
  std::int64_t row() const { return q.row() + k.row() + kRestElements; }
};

struct NormTensors {
  TrialTensor projection;  // [M, q | k | rest]
  TrialTensor q_weight, k_weight, q_out, k_out;
  TrialTensor positions, cos, sin, q_scale;
};

// Positions that there are angles for; rows take up to two more, which makes them inactive.
constexpr std::int64_t kTableRows = 11;

struct NormExtras {
  bool rotates, interleaved, wide_positions;
  std::int64_t rotary, q_group;
  std::int64_t groups(std::int64_t elements) const { return q_group > 0 ? elements / q_group : 0; }
};

// A slice of the projection as a tensor of its own: [M, heads, elements].
struct Slice {
  std::array<std::int64_t, 3> shape;
  std::array<std::int64_t, 3> strides;
  std::int64_t offset;  // elements

  Slice(const NormSizes& sizes, const SideSizes& side, std::int64_t begin)
      : shape{sizes.rows, side.heads, side.elements},
        strides{sizes.row(), side.elements, 1},
        offset(begin) {}

  // Valid as long as this slice and `tensor`.
  DLTensor of(const TrialTensor& tensor) {
    DLTensor view = tensor.dl();
    view.byte_offset = static_cast<std::uint64_t>(offset) * (view.dtype.bits / 8U);
    view.ndim = 3;
    view.shape = shape.data();
    view.strides = strides.data();
    return view;
  }
};

struct NormTypes {
  ElementType io, weights, table;
};

class QkRmsnormTrial : public Trial {
 public:
  QkRmsnormTrial(TrialRequest request, NormSizes sizes, NormTypes types, NormExtras extras,
                 NormTensors tensors)
      : runtime_(request.runtime),
        site_(request.site),
        selection_(std::move(request.selection)),
        sizes_(sizes),
        types_(types),
        extras_(extras),
        tensors_(std::move(tensors)),
        q_slice_(sizes, sizes.q, 0),
        k_slice_(sizes, sizes.k, sizes.q.row()),
        weight_bias_(request.arguments.shape.flag("weight_bias")),
        in_place_(request.arguments.call.flag("in_place")) {
    options_.arch = request.arch;
    options_.stream = request.stream;
    options_.selected = &selection_;
  }

  Result<void> upload() {
    KILN_TRY(tensors_.q_weight.upload(*site_.driver));
    KILN_TRY(tensors_.k_weight.upload(*site_.driver));
    for (TrialTensor* tensor : {&tensors_.positions, &tensors_.cos, &tensors_.sin}) {
      KILN_TRY(tensor->upload(*site_.driver));
    }
    return reset();
  }

  Result<void> launch() override {
    QkRmsnormArgs args{};
    args.q = q_slice_.of(tensors_.projection);
    args.k = k_slice_.of(tensors_.projection);
    args.q_weight = tensors_.q_weight.dl();
    args.k_weight = tensors_.k_weight.dl();
    args.q_out = in_place_ && extras_.q_group == 0 ? args.q : tensors_.q_out.dl();
    args.k_out = in_place_ ? args.k : tensors_.k_out.dl();
    args.q_eps = kQEps;
    args.k_eps = kKEps;
    args.weight_bias = weight_bias_;
    if (extras_.rotates) {
      args.rope = QkRope{tensors_.positions.dl(), tensors_.cos.dl(), tensors_.sin.dl(),
                         extras_.interleaved};
    }
    if (extras_.q_group > 0) args.q_scale = tensors_.q_scale.dl();
    return qk_rmsnorm(runtime_, args, options_);
  }

  Result<void> reset() override {
    KILN_TRY(tensors_.projection.upload(*site_.driver));
    KILN_TRY(tensors_.q_out.poison(*site_.driver));
    KILN_TRY(tensors_.q_scale.poison(*site_.driver));
    return tensors_.k_out.poison(*site_.driver);
  }

  Result<std::vector<OutputError>> compare() override {
    KILN_TRY_ASSIGN(const Bytes projection, tensors_.projection.download(*site_.driver));
    KILN_TRY_ASSIGN(const Bytes q_out, tensors_.q_out.download(*site_.driver));
    KILN_TRY_ASSIGN(const Bytes k_out, tensors_.k_out.download(*site_.driver));
    KILN_TRY_ASSIGN(const Bytes q_scale, tensors_.q_scale.download(*site_.driver));
    const char* allowed = "half an ulp + (16 + N / 32) 2^-24 of what makes the value";
    Comparison q_error("q_out", allowed);
    Comparison k_error("k_out", allowed);
    Comparison scale_error("q_scale", "(16 + N / 32) 2^-24 of what makes the value");
    Comparison rest_error("rest of the row", "to the bit");
    const bool q_in_place = in_place_ && extras_.q_group == 0;
    for (std::int64_t row = 0; row < sizes_.rows; ++row) {
      const std::int64_t in = row * sizes_.row();
      const std::int64_t k_in = in + sizes_.q.row();
      for (std::int64_t head = 0; head < sizes_.q.heads; ++head) {
        const std::int64_t first = head * sizes_.q.elements;
        const Vector vector = expected_of(sizes_.q, tensors_.q_weight, kQEps, row, in + first);
        if (extras_.q_group > 0) {
          compare_quantised(vector, row * sizes_.q.row() + first, q_out, q_scale, q_error,
                            scale_error);
        } else {
          compare_vector(vector, sizes_.q, q_in_place ? projection : q_out,
                         (q_in_place ? in : row * sizes_.q.row()) + first, q_error);
        }
      }
      for (std::int64_t head = 0; head < sizes_.k.heads; ++head) {
        const std::int64_t first = head * sizes_.k.elements;
        const Vector vector = expected_of(sizes_.k, tensors_.k_weight, kKEps, row, k_in + first);
        compare_vector(vector, sizes_.k, in_place_ ? projection : k_out,
                       (in_place_ ? k_in : row * sizes_.k.row()) + first, k_error);
      }
      if (in_place_ && !q_in_place && !same_bits(projection, in, sizes_.q.row())) {
        rest_error.reject();
      }
      const std::int64_t kept = in_place_ ? k_in + sizes_.k.row() : in;
      if (!same_bits(projection, kept, in + sizes_.row() - kept)) rest_error.reject();
    }
    std::vector<OutputError> errors{q_error.result(), k_error.result(), rest_error.result()};
    if (extras_.q_group > 0) errors.push_back(scale_error.result());
    return errors;
  }

  double bytes_moved() const override {
    const double vectors = static_cast<double>(sizes_.rows * (sizes_.q.row() + sizes_.k.row()));
    const double weights = static_cast<double>(sizes_.q.elements + sizes_.k.elements);
    return 2 * vectors * static_cast<double>(size_bytes_of(types_.io)) +
           weights * static_cast<double>(size_bytes_of(types_.weights));
  }
  // A square and its sum, and two products.
  double operations() const override {
    return 4.0 * static_cast<double>(sizes_.rows * (sizes_.q.row() + sizes_.k.row()));
  }
  std::string_view traffic() const override { return "read-modify-write"; }
  const Selection& selection() const override { return selection_; }

 private:
  // Both of their own, so that a swap shows.
  static constexpr float kQEps = 1e-6F;
  static constexpr float kKEps = 1e-5F;

  // What a vector must become, and of what size the numbers are that each element is made of.
  struct Vector {
    std::vector<double> values, sizes;
  };

  // The vector that begins at element `in` of the projection, in row number `row`.
  Vector expected_of(const SideSizes& side, const TrialTensor& weight, double eps, std::int64_t row,
                     std::int64_t in) const {
    const auto w = elements_of(types_.weights, weight.host_as<std::byte>(), 0, side.elements);
    const auto x =
        elements_of(types_.io, tensors_.projection.host_as<std::byte>(), in, side.elements);
    Vector vector;
    vector.values.resize(x.size());
    reference::rmsnorm({eps, weight_bias_}, x, w, vector.values);
    vector.sizes.resize(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) vector.sizes[i] = std::abs(vector.values[i]);
    if (extras_.rotates) rotate(row, vector);
    return vector;
  }

  void rotate(std::int64_t row, Vector& vector) const {
    const std::int64_t position = extras_.wide_positions
                                      ? tensors_.positions.host_as<std::int64_t>()[row]
                                      : tensors_.positions.host_as<std::int32_t>()[row];
    if (position < 0 || position >= kTableRows) {
      std::fill(vector.values.begin(), vector.values.end(), 0);
      return;
    }
    const std::int64_t half = extras_.rotary / 2;
    const auto angle = [&](const TrialTensor& table) {
      return elements_of(types_.table, table.host_as<std::byte>(), position * half, half);
    };
    for (std::int64_t i = 0; i < half; ++i) {
      double& a = vector.sizes[static_cast<std::size_t>(extras_.interleaved ? 2 * i : i)];
      double& b =
          vector.sizes[static_cast<std::size_t>(extras_.interleaved ? 2 * i + 1 : i + half)];
      a = b = a + b;
    }
    reference::rope(extras_.interleaved, angle(tensors_.cos), angle(tensors_.sin), vector.values);
  }

  // `at`: where it begins in `got`.
  void compare_vector(const Vector& vector, const SideSizes& side, const Bytes& got,
                      std::int64_t at, Comparison& error) const {
    for (std::size_t i = 0; i < vector.values.size(); ++i) {
      const double value = vector.values[i];
      error.add(element_of(types_.io, got.data(), at + static_cast<std::int64_t>(i)), value,
                half_ulp(types_.io, value) + relative_allowed(side) * vector.sizes[i]);
    }
  }

  // By the scales that the call itself wrote, which are compared first.
  void compare_quantised(const Vector& vector, std::int64_t at, const Bytes& got,
                         const Bytes& scales, Comparison& error, Comparison& scale_error) const {
    const auto group = static_cast<std::size_t>(extras_.q_group);
    for (std::size_t first = 0; first < vector.values.size(); first += group) {
      const auto values = std::span(vector.values).subspan(first, group);
      const double size =
          *std::max_element(vector.sizes.begin() + static_cast<std::ptrdiff_t>(first),
                            vector.sizes.begin() + static_cast<std::ptrdiff_t>(first + group));
      const std::int64_t index = at + static_cast<std::int64_t>(first);
      const double scale = element_of(ElementType::f32, scales.data(), index / extras_.q_group);
      const double wanted = reference::e4m3_scale(values);
      scale_error.add(scale, wanted, relative_allowed(sizes_.q) * (size / 448 + wanted));
      for (std::size_t i = 0; i < group; ++i) {
        const double value = values[i] / scale;
        const int exponent = value == 0 ? -6 : std::max(std::ilogb(value), -6);
        error.add(element_of(ElementType::e4m3, got.data(), index + static_cast<std::int64_t>(i)),
                  value,
                  std::ldexp(1.0, exponent - 4) +
                      relative_allowed(sizes_.q) * vector.sizes[first + i] / scale);
      }
    }
  }

  // A sum of n squares is wrong by its longest chain of additions, n / 16 of them in the narrowest
  // kernel and some more to join the chains, and its root by half of that; the mean, eps, root,
  // products and a rotation round a few times more. Each rounding is 2^-24 of the value.
  static double relative_allowed(const SideSizes& side) {
    return (16 + static_cast<double>(side.elements) / 32) * 0x1p-24;
  }

  // Whether `count` elements of the projection from `first` on are as they were.
  bool same_bits(const Bytes& projection, std::int64_t first, std::int64_t count) const {
    const auto size = static_cast<std::int64_t>(size_bytes_of(types_.io));
    const std::byte* begin = projection.data() + first * size;
    return std::equal(begin, begin + count * size,
                      tensors_.projection.host_as<std::byte>() + first * size);
  }

  Runtime& runtime_;
  TrialSite site_;
  Selection selection_;
  NormSizes sizes_;
  NormTypes types_;
  NormExtras extras_;
  NormTensors tensors_;
  Slice q_slice_, k_slice_;
  bool weight_bias_;
  bool in_place_;
  CallOptions options_;
};

Result<NormTensors> create_tensors(const TrialSite& site, const NormSizes& sizes,
                                   const NormTypes& types, const NormExtras& extras) {
  const auto create = [&](ElementType type, std::vector<std::int64_t> shape) {
    return TrialTensor::create(*site.driver, site.device, type, std::move(shape));
  };
  const auto& [rows, q, k] = sizes;
  KILN_TRY_ASSIGN(TrialTensor projection, create(types.io, {rows, sizes.row()}));
  KILN_TRY_ASSIGN(TrialTensor q_weight, create(types.weights, {q.elements}));
  KILN_TRY_ASSIGN(TrialTensor k_weight, create(types.weights, {k.elements}));
  KILN_TRY_ASSIGN(TrialTensor q_out, create(extras.q_group > 0 ? ElementType::e4m3 : types.io,
                                            {rows, q.heads, q.elements}));
  KILN_TRY_ASSIGN(TrialTensor k_out, create(types.io, {rows, k.heads, k.elements}));
  KILN_TRY_ASSIGN(TrialTensor positions,
                  create(extras.wide_positions ? ElementType::i64 : ElementType::i32, {rows}));
  KILN_TRY_ASSIGN(TrialTensor cos, create(types.table, {kTableRows, extras.rotary / 2}));
  KILN_TRY_ASSIGN(TrialTensor sin, create(types.table, {kTableRows, extras.rotary / 2}));
  KILN_TRY_ASSIGN(TrialTensor q_scale,
                  create(ElementType::f32, {rows, q.heads, extras.groups(q.elements)}));
  return NormTensors{std::move(projection), std::move(q_weight), std::move(k_weight),
                     std::move(q_out),      std::move(k_out),    std::move(positions),
                     std::move(cos),        std::move(sin),      std::move(q_scale)};
}

// Rows of all magnitudes, from where eps counts to 1e4.
void fill_inputs(NormTensors& tensors, const NormSizes& sizes, std::uint64_t seed) {
  Random random(seed);
  std::int64_t column = 0;
  float magnitude = 1;
  tensors.projection.fill([&] {
    if (column == 0) magnitude = std::exp(random.uniform(-9, 9));
    column = (column + 1) % sizes.row();
    return magnitude * random.uniform(-1, 1);
  });
  tensors.q_weight.fill([&] { return random.uniform(-2, 2); });
  tensors.k_weight.fill([&] { return random.uniform(-2, 2); });
  // -1 and kTableRows are inactive.
  std::int64_t row = 0;
  tensors.positions.fill([&] { return static_cast<float>(row++ % (kTableRows + 2) - 1); });
  std::vector<float> angles;
  tensors.cos.fill([&] { return std::cos(angles.emplace_back(random.uniform(-3, 3))); });
  std::size_t i = 0;
  tensors.sin.fill([&] { return std::sin(angles[i++]); });
}

}  // namespace

Result<std::unique_ptr<Trial>> make_qk_rmsnorm_trial(TrialRequest request) {
  const Shape& shape = request.arguments.shape;
  const Shape& call = request.arguments.call;
  const NormSizes sizes{call.integer("M"),
                        {call.integer("Hq"), shape.integer("Nq")},
                        {call.integer("Hk"), shape.integer("Nk")}};
  const NormTypes types{float_type_of(shape.word("io")), float_type_of(shape.word("weights")),
                        float_type_of(shape.word("rope_table"))};
  const NormExtras extras{shape.word("rope") != "none", shape.word("rope") == "interleaved",
                          call.flag("wide_positions"), shape.integer("rotary"),
                          shape.integer("q_group")};
  KILN_TRY_ASSIGN(NormTensors tensors, create_tensors(request.site, sizes, types, extras));
  fill_inputs(tensors, sizes, request.seed);
  auto trial = std::make_unique<QkRmsnormTrial>(std::move(request), sizes, types, extras,
                                                std::move(tensors));
  KILN_TRY(trial->upload());
  return trial;
}

}  // namespace kiln
