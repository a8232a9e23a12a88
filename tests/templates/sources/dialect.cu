// SPDX-License-Identifier: Apache-2.0
// Every name of the dialect layer, used once, so that each compiler has seen all of it.
#include "kiln/device.h"

namespace kiln::dialect_test {

struct Params {
  const float* in;
  float* out;
  bf16* half;
  int* counters;
  long long* totals;
};

KILN_DEVICE float all_maths(float x) {
  float y = exp(x) + exp2(x) + expm1(x) + log(x) + log2(x) + log1p(x) + tanh(x) + sigmoid(x);
  y += softplus(x) + sqrt(x) + rsqrt(x) + divide(y, x) + fma(x, y, x) + abs(y);
  y += fast_exp(x) + fast_exp2(x) + fast_log(x) + fast_log2(x) + fast_tanh(x) + fast_sigmoid(x);
  return y + fast_rsqrt(x) + fast_reciprocal(x);
}

KILN_DEVICE float all_conversions(float x) {
  const u32 pair = pack2<bf16>(x, x + 1.0f) ^ pack2<f16>(x, x + 2.0f);
  const Vec<float, 2> a = unpack2<bf16>(pair);
  const Vec<float, 2> b = unpack2<f16>(pair);
  const float c = to_float(from_float<bf16>(x)) + to_float(from_float<f16>(x));
  return a[0] + a[1] + b[0] + b[1] + c + to_float(from_float<float>(x));
}

KILN_DEVICE float all_of_warp(float x) {
  float four[4] = {x, x + 1.0f, x + 2.0f, x + 3.0f};
  float y = group_sum_scattered<16>(four, lane() % 16) + group_sum(x) + group_max<8>(x);
  y += shuffle_xor(x, 1) + shuffle_down(x, 2, 16) + shuffle(x, 3, 8);
  const double wide = shuffle_xor(static_cast<double>(x), 4);
  warp_barrier();
  const bool vote = any(x > 0.0f) && !all(x > 1.0f);
  return y + static_cast<float>(wide) + (vote && ballot(y > 2.0f) != 0 ? 1.0f : 0.0f);
}

KILN_DEVICE void all_atomics(const Params& p) {
  const Global<int> counters(p.counters);
  atomic_add(counters, 0, 1);
  atomic_min(counters, 1, 2);
  atomic_max(counters, 2, 3);
  atomic_exchange(counters, 3, 4);
  atomic_compare_exchange(counters, 4, 5, 6);
  atomic_add(Global<long long>(p.totals), 0, 7LL);
  atomic_add(Global<float>(p.out), 0, 8.0f);
  device_fence();
}

KILN_DEVICE float all_of_matrix(const Shared<bf16>& cells) {
  float sum = 0.0f;
#if KILN_DIALECT_CUDA
  const MatrixTile tile(cells, RowMajor{8});
  MmaA a;
  MmaB b;
  MmaC c{{0.0f, 0.0f, 0.0f, 0.0f}};
  MatrixWord one[1];
  load_matrix<4>(a.words, tile, lane(), 0);
  load_matrix<2>(b.words, tile.transposed(), 0, lane());
  load_matrix<1>(one, tile, lane(), 0);
  a.words[1] = one[0];
  c = mma_m16n8k16<bf16>(a, b, c);
  load_matrix<4, Transpose::yes>(a.words, tile, lane(), 0);
  load_matrix<2, Transpose::yes>(b.words, tile, lane(), 0);
  load_matrix<1, Transpose::yes>(one, tile, lane(), 0);
  b.words[1] = one[0];
  c = mma_m16n8k16<f16>(a, b, c);
  a.words[0] = matrix_word<f16>(c.at(0, c.row(0), c.column(0)), 1.0f, a.row(0), a.column(0));
  a.words[2] = matrix_word(tile.element(0, 0), matrix_element(f16{0}, 0, 1));
  c = mma_m16n8k16<f16>(a, b, c);
  sum = c.values[0] + c.values[1] + c.values[2] + c.values[3];
#elif defined(__gfx90a__)
  const MatrixTile tile(cells, RowMajor{8});
  MfmaA<16> a;
  MfmaB<16> b;
  tile.load(a.words, lane() % 8, 4);
  tile.transposed().load(b.words, 4, lane() % 8);
  const MfmaC<16> small = mfma_16x16x16(a, b, MfmaC<16>{});
  MfmaA<32> wide_a{{a.words[0], tile.word(lane() % 8, 2)}};
  MfmaB<32> wide_b{{b.words[0], matrix_word<bf16, Run::along_column>(1.0f, 2.0f, 0, 0)}};
  MfmaC<32> large = mfma_32x32x8(wide_a, wide_b, MfmaC<32>{});
  sum = small.values[0] + large.at(15, large.row(15), large.column(15));
#endif
  return sum;
}

KILN_KERNEL(256, 1) dialect(KILN_PARAMS(Params) p) {
  KILN_SHARED(float, tile, 256);
  KILN_SHARED(bf16, halves, 512);
  KILN_SHARED_DYNAMIC(float, ring, 1024, 256);
  const int rank = thread_rank();
  const i64 at = static_cast<i64>(block_idx().x) * block_dim().x + thread_idx().x;
  const Global<const float> in(p.in);
  const Global<float> out(p.out);

  dependency_wait();
  async_copy<1>(tile, rank, in, at);
  async_copy<2>(tile, rank & ~1, in, at & ~1, rank < 8);
  async_copy<4>(ring, (rank * 4) % 256, in, at * 4);
  async_commit();
  async_wait<0>();
  halves[rank] = from_float<bf16>(in.load(at));
  halves[rank + 256] = halves[rank];
  block_barrier();
  if constexpr (dialect::has_named_barriers) named_barrier(1, 256);
  tile[rank] += ring[rank];
  launch_dependents();

  float x = all_maths(tile[rank]) + all_conversions(ring.load(rank)) + all_of_warp(in.load(at));
  x += all_of_matrix(halves) + static_cast<float>(warp() + max(1, min(2, rank)));
  all_atomics(p);
  ring.store_vector<4>((rank * 4) % 256, in.load_vector<4, Cache::readonly>(at * 4));
  const Vec<float, 2> two = in.load_vector<2, Cache::streaming>(at * 2);
  if (out.aligned(at * 2, 8)) out.store_vector<2>(at * 2, two);
  out.store_vector<4, Cache::streaming>(at * 4, ring.load_vector<4>(0));
  Global<bf16>(p.half).from(8).store_vector<2>(at * 2, {{halves[rank], halves[0]}});
  out.store(at + grid_dim().x, x);
}

}  // namespace kiln::dialect_test
