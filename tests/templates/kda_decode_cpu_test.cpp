// SPDX-License-Identifier: Apache-2.0
// kda_decode/cpu against the fp64 reference: compiled by the real compiler, called as the CPU
// driver calls it.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <optional>
#include <random>

#include "runtime/reference/kda_decode.h"
#include "templates/kernels/kda_decode/params.h"
#include "templates/registry.h"
#include "tests/templates/cpu_library.h"

namespace kiln::test {
namespace {

constexpr int kK = 128;
constexpr int kV = 128;

std::uint16_t bf16_of(float x) {
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return static_cast<std::uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}
double bf16_value(std::uint16_t half) {
  const std::uint32_t bits = std::uint32_t{half} << 16;
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

// One call: tensors with gaps between heads, tokens and slots, so that a stride that is ignored
// or mixed up shows.
struct Call {
  int batch, h, hv;
  std::int64_t pool;
  std::vector<std::uint16_t> q, k, v, a, b, out;
  std::vector<float> a_log, dt_bias, state;
  std::vector<std::int64_t> slots;
  std::vector<std::int32_t> slots32;
  bool qk_l2norm = true;
  int slot_bytes = 4;
  KdaDecodeParams params{};

  std::int64_t head_stride(int size) const { return size + 8; }
  std::int64_t token_stride(int heads, int size) const { return heads * head_stride(size) + 24; }
  std::int64_t state_head_stride() const { return kV * kK + 16; }
  std::int64_t state_slot_stride() const { return hv * state_head_stride() + 32; }
};

using Numbers = std::function<float()>;

std::vector<std::uint16_t> bf16_tensor(std::size_t count, const Numbers& numbers) {
  std::vector<std::uint16_t> tensor(count);
  for (auto& x : tensor) x = bf16_of(numbers());
  return tensor;
}

Call make_call(int batch, int h, int hv, std::int64_t pool, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  const Numbers unit = [&] { return normal(random); };
  const Numbers tenth = [&] { return 0.1F * normal(random); };
  Call call;
  call.batch = batch;
  call.h = h;
  call.hv = hv;
  call.pool = pool;
  const auto size_of = [&](int heads, int size) {
    return static_cast<std::size_t>(batch * call.token_stride(heads, size));
  };
  call.q = bf16_tensor(size_of(h, kK), unit);
  call.k = bf16_tensor(size_of(h, kK), unit);
  call.v = bf16_tensor(size_of(hv, kV), unit);
  call.a = bf16_tensor(size_of(hv, kK), unit);
  call.b = bf16_tensor(static_cast<std::size_t>(batch * (hv + 3)), unit);
  call.out.assign(size_of(hv, kV), 0x7fff);  // NaN: what is not written is seen
  for (int i = 0; i < hv; ++i) call.a_log.push_back(std::log(1.0F + std::abs(unit())));
  for (int i = 0; i < hv * kK; ++i) call.dt_bias.push_back(unit() - 2.0F);
  call.state.resize(static_cast<std::size_t>(pool * call.state_slot_stride()));
  for (float& x : call.state) x = tenth();
  // A permutation of the pool's slots.
  std::vector<std::int64_t> order(static_cast<std::size_t>(pool));
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<std::int64_t>(i);
  std::shuffle(order.begin(), order.end(), random);
  call.slots.assign(order.begin(), order.begin() + batch);
  return call;
}

void fill_params(Call& call) {
  KdaDecodeParams& p = call.params;
  const auto heads = [&](const std::vector<std::uint16_t>& tensor, int count, int size) {
    return KdaDecodeParams::Heads{tensor.data(), call.token_stride(count, size),
                                  call.head_stride(size)};
  };
  p.q = heads(call.q, call.h, kK);
  p.k = heads(call.k, call.h, kK);
  p.v = heads(call.v, call.hv, kV);
  p.a = heads(call.a, call.hv, kK);
  p.b = call.b.data();
  p.b_token_stride = call.hv + 3;
  p.a_log = call.a_log.data();
  p.dt_bias = call.dt_bias.empty() ? nullptr : call.dt_bias.data();
  p.out = call.out.data();
  p.out_token_stride = call.token_stride(call.hv, kV);
  p.out_head_stride = call.head_stride(kV);
  p.state = call.state.data();
  p.state_slot_stride = call.state_slot_stride();
  p.state_head_stride = call.state_head_stride();
  p.pool = call.pool;
  call.slots32.assign(call.slots.begin(), call.slots.end());
  p.slot_bytes = call.slot_bytes;
  p.slots = call.slot_bytes == 8 ? static_cast<const void*>(call.slots.data())
                                 : static_cast<const void*>(call.slots32.data());
  p.batch = call.batch;
  if (p.scale == 0) p.scale = 1.0F / std::sqrt(static_cast<float>(kK));
  if (p.l2norm_eps == 0) p.l2norm_eps = 1e-6F;
  if (p.softplus_beta == 0) p.softplus_beta = 1.0F;
  if (p.softplus_threshold == 0) p.softplus_threshold = 20.0F;
}

// Dense doubles of a strided tensor.
std::vector<double> dense(const Call& call, const std::vector<std::uint16_t>& tensor, int heads,
                          int size) {
  std::vector<double> result;
  for (int n = 0; n < call.batch; ++n) {
    for (int head = 0; head < heads; ++head) {
      const auto at = n * call.token_stride(heads, size) + head * call.head_stride(size);
      for (int i = 0; i < size; ++i) {
        result.push_back(bf16_value(tensor[static_cast<std::size_t>(at + i)]));
      }
    }
  }
  return result;
}

struct Expected {
  std::vector<double> state;  // dense
  std::vector<double> out;
};

Expected reference_of(const Call& call) {
  const auto q = dense(call, call.q, call.h, kK);
  const auto k = dense(call, call.k, call.h, kK);
  const auto v = dense(call, call.v, call.hv, kV);
  const auto a = dense(call, call.a, call.hv, kK);
  std::vector<double> b;
  for (int n = 0; n < call.batch; ++n) {
    for (int i = 0; i < call.hv; ++i) {
      b.push_back(bf16_value(call.b[static_cast<std::size_t>(n * (call.hv + 3) + i)]));
    }
  }
  const std::vector<double> a_log(call.a_log.begin(), call.a_log.end());
  const std::vector<double> dt_bias(call.dt_bias.begin(), call.dt_bias.end());
  reference::KdaDecodeCall reference{
      .settings = {call.params.scale, call.qk_l2norm, call.params.l2norm_eps,
                   call.params.softplus_beta, call.params.softplus_threshold},
      .batch = call.batch,
      .heads = call.h,
      .value_heads = call.hv,
      .k_size = kK,
      .v_size = kV,
      .pool = call.pool,
      .q = q,
      .k = k,
      .v = v,
      .a = a,
      .b = b,
      .a_log = a_log,
      .dt_bias = dt_bias,
      .slots = call.slots};
  Expected expected;
  for (std::int64_t slot = 0; slot < call.pool; ++slot) {
    for (int hv = 0; hv < call.hv; ++hv) {
      const auto at = slot * call.state_slot_stride() + hv * call.state_head_stride();
      expected.state.insert(expected.state.end(), call.state.begin() + at,
                            call.state.begin() + at + kV * kK);
    }
  }
  expected.out.resize(static_cast<std::size_t>(call.batch * call.hv * kV));
  reference::kda_decode(reference, expected.state, expected.out);
  return expected;
}

// Each bf16 value within one unit in its last place of what the reference says, and what fp32
// sums of terms up to the largest output may lose.
void compare_out(const Call& call, const Expected& expected) {
  const auto got = dense(call, call.out, call.hv, kV);
  double largest = 0;
  for (const double x : expected.out) largest = std::max(largest, std::abs(x));
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double want = expected.out[i];
    const double ulp = std::ldexp(1.0, std::max(std::ilogb(want), -126) - 7);
    ASSERT_LE(std::abs(got[i] - want), ulp + 1e-5 * largest) << "out element " << i;
  }
}

// Every float of the pool: states within 2e-5 of the largest, all else bit for bit as before.
void compare_state(const Call& call, const std::vector<float>& before, const Expected& expected) {
  double largest = 0;
  for (const double x : expected.state) {
    if (std::isfinite(x)) largest = std::max(largest, std::abs(x));
  }
  std::vector<bool> active(static_cast<std::size_t>(call.pool));
  for (const auto slot : call.slots) {
    if (slot >= 0 && slot < call.pool) active[static_cast<std::size_t>(slot)] = true;
  }
  for (std::size_t i = 0; i < call.state.size(); ++i) {
    const auto slot = static_cast<std::int64_t>(i) / call.state_slot_stride();
    const auto in_slot = static_cast<std::int64_t>(i) % call.state_slot_stride();
    const auto hv = in_slot / call.state_head_stride();
    const auto in_head = in_slot % call.state_head_stride();
    if (!active[static_cast<std::size_t>(slot)] || hv >= call.hv || in_head >= kV * kK) {
      ASSERT_EQ(std::memcmp(&call.state[i], &before[i], sizeof(float)), 0) << "float " << i;
      continue;
    }
    const auto at = static_cast<std::size_t>((slot * call.hv + hv) * kV * kK + in_head);
    ASSERT_LE(std::abs(call.state[i] - expected.state[at]), 2e-5 * largest)
        << "slot " << slot << " head " << hv << " element " << in_head;
  }
}

class KdaDecodeCpu : public CpuTest {
 protected:
  // Compiles for the host's own arch, or for `arch`.
  Result<const CpuLibrary*> library_for(const Call& call, const Arch& arch) {
    const Op& op = **find_op("kda_decode");
    const std::vector<NameValue> given = {{"H", std::to_string(call.h)},
                                          {"HV", std::to_string(call.hv)},
                                          {"qk_l2norm", call.qk_l2norm ? "true" : "false"}};
    const Shape shape = parse_arguments(op, given)->shape;
    KILN_TRY_ASSIGN(const CompileInput input, make_input(op, implementation(), shape, arch));
    return CpuLibrary::compile(input);
  }

  static const Implementation& implementation() {
    return (*find_op("kda_decode"))->implementations[1];
  }

  // Items in uneven pieces, last ones first, as threads may take them.
  static void launch(const CpuLibrary& library, Call& call) {
    Shape shape;
    shape.set("HV", std::int64_t{call.hv});
    shape.set("V", std::int64_t{kV});
    const LaunchPlan plan = implementation().plan(shape, &call.params);
    if (plan.empty()) return;
    const KilnCpuEntry entry = library.entry(implementation().name_expressions[0]);
    for (auto last = static_cast<long long>(plan[0].dims.grid.count()); last > 0;) {
      const long long first = std::max(0LL, last - 7);
      entry(nullptr, &call.params, first, last);
      last = first;
    }
  }

  void run_and_compare(Call& call, std::optional<Arch> arch = {}) {
    fill_params(call);
    const auto library = library_for(call, arch ? *arch : *Arch::parse("cpu"));
    ASSERT_TRUE(library) << words_of(library);
    const Expected expected = reference_of(call);
    const std::vector<float> before = call.state;
    const std::vector<std::uint16_t> out_before = call.out;
    launch(**library, call);
    compare_out(call, expected);
    compare_state(call, before, expected);
    for (int n = 0; n < call.batch; ++n) {  // the gap after each row
      const auto gap = static_cast<std::size_t>(n * call.params.out_token_stride + kV);
      EXPECT_EQ(call.out[gap], out_before[gap]);
    }
  }
};

TEST_F(KdaDecodeCpu, OddBatchesOverPermutedSlots) {
  for (const int batch : {1, 3, 17}) {
    Call call = make_call(batch, 4, 4, batch + 2, 100 + static_cast<unsigned>(batch));
    run_and_compare(call);
  }
}

TEST_F(KdaDecodeCpu, EveryVectorWidth) {
  for (const Arch& arch : host_archs()) {
    SCOPED_TRACE(arch.name());
    Call call = make_call(3, 2, 4, 4, 7);
    run_and_compare(call, arch);
  }
}

TEST_F(KdaDecodeCpu, GroupedHeads) {
  Call call = make_call(3, 2, 8, 3, 11);
  run_and_compare(call);
}

TEST_F(KdaDecodeCpu, WithManyStatesAnItemIsAWholeState) {
  Call call = make_call(17, 16, 16, 17, 12);
  run_and_compare(call);
}

TEST_F(KdaDecodeCpu, InactiveSlotsGiveZeroRowsAndTouchNoState) {
  for (const int slot_bytes : {4, 8}) {
    Call call = make_call(5, 2, 2, 6, 13);
    call.slot_bytes = slot_bytes;
    call.slots[1] = -1;
    call.slots[3] = 6;  // the first beyond the pool
    call.slots[4] = std::numeric_limits<std::int32_t>::max();
    run_and_compare(call);
    const auto out = dense(call, call.out, call.hv, kV);
    for (int i = 0; i < call.hv * kV; ++i) {
      ASSERT_EQ(out[static_cast<std::size_t>(1 * call.hv * kV + i)], 0);
    }
  }
}

TEST_F(KdaDecodeCpu, SlotsThatNeed64BitsAreInactive) {
  Call call = make_call(2, 2, 2, 3, 14);
  call.slot_bytes = 8;
  call.slots[1] = (std::int64_t{1} << 32);  // slot 0, if cut to 32 bits
  run_and_compare(call);
}

TEST_F(KdaDecodeCpu, NanInUnusedSlotsStaysThere) {
  Call call = make_call(2, 2, 2, 5, 15);
  std::vector<bool> used(5);
  for (const auto slot : call.slots) used[static_cast<std::size_t>(slot)] = true;
  for (std::size_t i = 0; i < call.state.size(); ++i) {
    const auto slot = static_cast<std::int64_t>(i) / call.state_slot_stride();
    if (!used[static_cast<std::size_t>(slot)]) {
      call.state[i] = std::numeric_limits<float>::quiet_NaN();
    }
  }
  run_and_compare(call);
}

TEST_F(KdaDecodeCpu, ExtremeGates) {
  Call call = make_call(4, 2, 2, 4, 16);
  for (std::size_t i = 0; i < call.a.size(); ++i) call.a[i] = bf16_of(i % 2 == 0 ? 60.0F : -60.0F);
  run_and_compare(call);
  call = make_call(4, 2, 2, 4, 17);
  call.a_log = {20.0F, -20.0F};  // forgets everything; forgets nothing
  run_and_compare(call);
  call = make_call(4, 2, 2, 4, 18);
  for (std::size_t i = 0; i < call.dt_bias.size(); ++i) call.dt_bias[i] = i % 3 == 0 ? 90.F : -90.F;
  run_and_compare(call);
}

TEST_F(KdaDecodeCpu, ZeroQueriesAndKeys) {
  Call call = make_call(2, 2, 2, 2, 19);
  for (auto& x : call.q) x = 0;
  for (auto& x : call.k) x = 0;
  run_and_compare(call);
}

TEST_F(KdaDecodeCpu, Denormals) {
  Call call = make_call(2, 2, 2, 2, 20);
  for (auto* tensor : {&call.q, &call.k, &call.v}) {
    for (std::size_t i = 0; i < tensor->size(); ++i) (*tensor)[i] = i % 127 + 1;
  }
  for (std::size_t i = 0; i < call.state.size(); ++i) call.state[i] = i % 2 == 0 ? 1e-40F : -3e-42F;
  run_and_compare(call);
}

TEST_F(KdaDecodeCpu, WithoutNorm) {
  Call call = make_call(3, 2, 2, 3, 21);
  call.qk_l2norm = false;
  // As a caller who has normalised them would hand them in.
  for (auto* tensor : {&call.q, &call.k}) {
    for (auto& x : *tensor) x = bf16_of(static_cast<float>(bf16_value(x)) * 0.088F);
  }
  run_and_compare(call);
}

TEST_F(KdaDecodeCpu, RunTimeArgumentsCount) {
  Call call = make_call(3, 2, 2, 3, 22);
  call.params.scale = 0.7F;
  call.params.l2norm_eps = 4.0F;
  call.params.softplus_beta = 2.0F;
  call.params.softplus_threshold = 0.5F;
  run_and_compare(call);
}

TEST_F(KdaDecodeCpu, TheBiasMayBeAbsent) {
  Call call = make_call(3, 2, 2, 3, 23);
  call.dt_bias.clear();
  run_and_compare(call);
}

TEST_F(KdaDecodeCpu, AnEmptyBatchIsNothing) {
  Call call = make_call(0, 2, 2, 1, 24);
  run_and_compare(call);
}

}  // namespace
}  // namespace kiln::test
