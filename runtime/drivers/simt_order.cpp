// SPDX-License-Identifier: Apache-2.0
#include "runtime/drivers/simt_order.h"

#include <algorithm>
#include <bit>

namespace kiln {

void SimtOrder::start_block(unsigned threads, unsigned warp_size) {
  warp_size_ = warp_size;
  warps_ = (threads + warp_size - 1) / warp_size;
  epoch_ = 0;
  lanes_.assign(std::size_t{warps_} * warp_size * warp_size, 0);
  for (unsigned warp = 0; warp < warps_; ++warp) {
    for (unsigned lane = 0; lane < warp_size; ++lane) known(warp, lane, lane) = 1;
  }
  warp_known_.assign(std::size_t{warps_} * warps_, 0);
  for (unsigned warp = 0; warp < warps_; ++warp) warp_known_[warp * warps_ + warp] = 1;
  joint_.resize(std::max(warp_size, warps_));
}

SimtMoment SimtOrder::now(unsigned thread) const {
  const unsigned warp = thread / warp_size_;
  const unsigned lane = thread % warp_size_;
  return {epoch_, known(warp, lane, lane), warp_known_[warp * warps_ + warp], thread};
}

bool SimtOrder::before(const SimtMoment& earlier, unsigned thread) const {
  if (earlier.thread == thread || earlier.epoch < epoch_) return true;
  const unsigned warp = thread / warp_size_;
  const unsigned earlier_warp = earlier.thread / warp_size_;
  if (warp == earlier_warp) {
    return known(warp, thread % warp_size_, earlier.thread % warp_size_) >= earlier.clock;
  }
  return warp_known_[warp * warps_ + earlier_warp] >= earlier.named;
}

std::optional<unsigned> SimtOrder::not_before(std::uint64_t lanes, const SimtMoment& earlier,
                                              unsigned thread) const {
  if (earlier.epoch < epoch_) return std::nullopt;
  const unsigned warp = warp_of(earlier.thread);
  SimtMoment one = earlier;
  for (; lanes != 0; lanes &= lanes - 1) {
    one.thread = warp * warp_size_ + static_cast<unsigned>(std::countr_zero(lanes));
    if (!before(one, thread)) return one.thread;
    if (warp != warp_of(thread)) break;  // named barriers order whole warps
  }
  return std::nullopt;
}

void SimtOrder::meet_lanes(unsigned warp, std::uint64_t lanes) {
  std::fill_n(joint_.begin(), warp_size_, 0);
  for (unsigned lane = 0; lane < warp_size_; ++lane) {
    if ((lanes >> lane & 1) == 0) continue;
    const std::uint32_t* row = &known(warp, lane, 0);
    for (unsigned i = 0; i < warp_size_; ++i) joint_[i] = std::max(joint_[i], row[i]);
  }
  for (unsigned lane = 0; lane < warp_size_; ++lane) {
    if ((lanes >> lane & 1) == 0) continue;
    std::copy_n(joint_.begin(), warp_size_, &known(warp, lane, 0));
    ++known(warp, lane, lane);
  }
}

void SimtOrder::meet_warps(std::span<const unsigned> warps) {
  for (const unsigned warp : warps) meet_lanes(warp, ~std::uint64_t{0});
  std::fill_n(joint_.begin(), warps_, 0);
  for (const unsigned warp : warps) {
    const std::uint32_t* row = &warp_known_[warp * warps_];
    for (unsigned i = 0; i < warps_; ++i) joint_[i] = std::max(joint_[i], row[i]);
  }
  for (const unsigned warp : warps) {
    std::copy_n(joint_.begin(), warps_, &warp_known_[warp * warps_]);
    ++warp_known_[warp * warps_ + warp];
  }
}

}  // namespace kiln
