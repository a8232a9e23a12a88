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
  ElementType io, weights;
};

class QkRmsnormTrial : public Trial {
 public:
  QkRmsnormTrial(TrialRequest request, NormSizes sizes, NormTypes types, NormTensors tensors)
      : runtime_(request.runtime),
        site_(request.site),
        selection_(std::move(request.selection)),
        sizes_(sizes),
        types_(types),
        tensors_(std::move(tensors)),
        q_slice_(sizes, sizes.q, 0),
        k_slice_(sizes, sizes.k, sizes.q.row()),
        weight_bias_(request.arguments.shape.flag("weight_bias")),
        in_place_(std::get<bool>(*request.arguments.call.find("in_place"))) {
    options_.arch = request.arch;
    options_.stream = request.stream;
    options_.selected = &selection_;
  }

  Result<void> upload() {
    KILN_TRY(tensors_.q_weight.upload(*site_.driver));
    KILN_TRY(tensors_.k_weight.upload(*site_.driver));
    return reset();
  }

  Result<void> launch() override {
    QkRmsnormArgs args{};
    args.q = q_slice_.of(tensors_.projection);
    args.k = k_slice_.of(tensors_.projection);
    args.q_weight = tensors_.q_weight.dl();
    args.k_weight = tensors_.k_weight.dl();
    args.q_out = in_place_ ? args.q : tensors_.q_out.dl();
    args.k_out = in_place_ ? args.k : tensors_.k_out.dl();
    args.q_eps = kQEps;
    args.k_eps = kKEps;
    args.weight_bias = weight_bias_;
    return qk_rmsnorm(runtime_, args, options_);
  }

  Result<void> reset() override {
    KILN_TRY(tensors_.projection.upload(*site_.driver));
    KILN_TRY(tensors_.q_out.poison(*site_.driver));
    return tensors_.k_out.poison(*site_.driver);
  }

  Result<std::vector<OutputError>> compare() override {
    KILN_TRY_ASSIGN(const Bytes projection, tensors_.projection.download(*site_.driver));
    KILN_TRY_ASSIGN(const Bytes q_out, tensors_.q_out.download(*site_.driver));
    KILN_TRY_ASSIGN(const Bytes k_out, tensors_.k_out.download(*site_.driver));
    const char* allowed = "half an ulp + (12 + N / 32) 2^-24 of the value";
    Comparison q_error("q_out", allowed);
    Comparison k_error("k_out", allowed);
    Comparison rest_error("rest of the row", "to the bit");
    for (std::int64_t row = 0; row < sizes_.rows; ++row) {
      const std::int64_t in = row * sizes_.row();
      const std::int64_t k_in = in + sizes_.q.row();
      compare_row(sizes_.q, tensors_.q_weight, kQEps, in, in_place_ ? projection : q_out,
                  in_place_ ? in : row * sizes_.q.row(), q_error);
      compare_row(sizes_.k, tensors_.k_weight, kKEps, k_in, in_place_ ? projection : k_out,
                  in_place_ ? k_in : row * sizes_.k.row(), k_error);
      const std::int64_t kept = in_place_ ? k_in + sizes_.k.row() : in;
      if (!same_bits(projection, kept, in + sizes_.row() - kept)) rest_error.reject();
    }
    return std::vector<OutputError>{q_error.result(), k_error.result(), rest_error.result()};
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

  // One row of one side: `in` is where it begins in the projection, `at` in `got`.
  void compare_row(const SideSizes& side, const TrialTensor& weight, double eps, std::int64_t in,
                   const Bytes& got, std::int64_t at, Comparison& error) const {
    const auto w = elements_of(types_.weights, weight.host_as<std::byte>(), 0, side.elements);
    std::vector<double> expected(static_cast<std::size_t>(side.elements));
    for (std::int64_t head = 0; head < side.heads; ++head) {
      const std::int64_t first = head * side.elements;
      const auto x = elements_of(types_.io, tensors_.projection.host_as<std::byte>(), in + first,
                                 side.elements);
      reference::rmsnorm({eps, weight_bias_}, x, w, expected);
      for (std::int64_t i = 0; i < side.elements; ++i) {
        const double value = expected[static_cast<std::size_t>(i)];
        error.add(element_of(types_.io, got.data(), at + first + i), value,
                  half_ulp(types_.io, value) + relative_allowed(side) * std::abs(value));
      }
    }
  }

  // A sum of n squares is wrong by its longest chain of additions, n / 16 of them in the narrowest
  // kernel and some more to join the chains, and its root by half of that; the mean, eps, root and
  // products round a few times more. Each rounding is 2^-24 of the value.
  static double relative_allowed(const SideSizes& side) {
    return (12 + static_cast<double>(side.elements) / 32) * 0x1p-24;
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
  NormTensors tensors_;
  Slice q_slice_, k_slice_;
  bool weight_bias_;
  bool in_place_;
  CallOptions options_;
};

Result<NormTensors> create_tensors(const TrialSite& site, const NormSizes& sizes,
                                   const NormTypes& types) {
  const auto create = [&](ElementType type, std::vector<std::int64_t> shape) {
    return TrialTensor::create(*site.driver, site.device, type, std::move(shape));
  };
  const auto& [rows, q, k] = sizes;
  KILN_TRY_ASSIGN(TrialTensor projection, create(types.io, {rows, sizes.row()}));
  KILN_TRY_ASSIGN(TrialTensor q_weight, create(types.weights, {q.elements}));
  KILN_TRY_ASSIGN(TrialTensor k_weight, create(types.weights, {k.elements}));
  KILN_TRY_ASSIGN(TrialTensor q_out, create(types.io, {rows, q.heads, q.elements}));
  KILN_TRY_ASSIGN(TrialTensor k_out, create(types.io, {rows, k.heads, k.elements}));
  return NormTensors{std::move(projection), std::move(q_weight), std::move(k_weight),
                     std::move(q_out), std::move(k_out)};
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
}

}  // namespace

Result<std::unique_ptr<Trial>> make_qk_rmsnorm_trial(TrialRequest request) {
  const Shape& shape = request.arguments.shape;
  const Shape& call = request.arguments.call;
  const NormSizes sizes{call.integer("M"),
                        {call.integer("Hq"), shape.integer("Nq")},
                        {call.integer("Hk"), shape.integer("Nk")}};
  const NormTypes types{float_type_of(shape.word("io")), float_type_of(shape.word("weights"))};
  KILN_TRY_ASSIGN(NormTensors tensors, create_tensors(request.site, sizes, types));
  fill_inputs(tensors, sizes, request.seed);
  auto trial =
      std::make_unique<QkRmsnormTrial>(std::move(request), sizes, types, std::move(tensors));
  KILN_TRY(trial->upload());
  return trial;
}

}  // namespace kiln
