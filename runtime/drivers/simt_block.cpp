// SPDX-License-Identifier: Apache-2.0
#include "runtime/drivers/simt_block.h"

#include <fmt/format.h>

#include <new>

#include "runtime/drivers/simt_host.h"

namespace kiln {

static_assert(sizeof(SimtThread) <= kKilnSimtThreadBytes);

std::string_view name_of(SimtOperation operation) {
  switch (operation) {
    case SimtOperation::none:
      return "code";
    case SimtOperation::exited:
      return "nothing";
    case SimtOperation::block_barrier:
      return "block_barrier";
    case SimtOperation::named_barrier:
      return "named_barrier";
    case SimtOperation::warp_barrier:
      return "warp_barrier";
    case SimtOperation::shuffle:
      return "shuffle";
    case SimtOperation::ballot:
      return "ballot";
    case SimtOperation::warp_uniform:
      return "warp()";
    case SimtOperation::matrix:
      return "a matrix instruction";
    case SimtOperation::load_matrix:
      return "load_matrix";
  }
  return "code";
}

Result<std::unique_ptr<SimtBlock>> SimtBlock::create() {
  KILN_TRY_ASSIGN(SimtStacks stacks, SimtStacks::reserve());
  return std::unique_ptr<SimtBlock>(new SimtBlock(std::move(stacks)));
}

SimtBlock::SimtBlock(SimtStacks stacks)
    : stacks_(std::move(stacks)), warps_(*this), memory_(*this) {}

SimtBlock::~SimtBlock() {
  for (unsigned rank = 0; rank < made_; ++rank) {
    fibers_[rank].forget();
    thread(rank).~SimtThread();
  }
}

Result<void> SimtBlock::run(const SimtLaunch& launch, std::uint64_t index) {
  launch_ = &launch;
  index_ = index;
  threads_ = static_cast<unsigned>(launch.dims.block.count());
  main_ = Fiber{};  // another OS thread may call each time
  random_ = (launch.seed + 1) * 0x9e3779b97f4a7c15ULL ^ index * 0xbf58476d1ce4e5b9ULL;
  KILN_TRY(stacks_.ensure(threads_));
  start_threads();
  warps_.start_block();
  KILN_TRY(memory_.start_block());
  if (launch.checked) order_.start_block(threads_, launch.warp_size);
  do {
    leave(main_);
  } while (!abandoned_ && live_ > 0 && unblock());
  if (live_ > 0) drop_threads();
  return {};
}

void SimtBlock::start_threads() {
  for (; made_ < threads_; ++made_) new (stacks_.record(made_)) SimtThread{};
  ready_count_ = 0;
  for (unsigned rank = threads_; rank-- > 0;) {
    place(thread(rank), rank);
    waits_in_[rank] = SimtOperation::none;
    if (!fibers_[rank].context) {
      fibers_[rank].start<&SimtBlock::body>(stacks_.lowest(rank), SimtStacks::usable_bytes(),
                                            SimtStacks::skipped_bytes(rank));
    }
    make_ready(rank);
  }
  live_ = threads_;
  at_barrier_ = 0;
  abandoned_ = false;
  for (NamedBarrier& barrier : named_) barrier = {};
}

void SimtBlock::place(SimtThread& t, unsigned rank) {
  const Dim3& grid = launch_->dims.grid;
  const Dim3& block = launch_->dims.block;
  const auto x = static_cast<unsigned>(index_ % grid.x);
  const auto y = static_cast<unsigned>(index_ / grid.x % grid.y);
  const auto z = static_cast<unsigned>(index_ / grid.x / grid.y);
  t.device = {.host = simt_host(),
              .machine = this,
              .site = {},
              .rank = rank,
              .thread = {rank % block.x, rank / block.x % block.y, rank / block.x / block.y},
              .block = {x, y, z},
              .threads = {block.x, block.y, block.z},
              .blocks = {grid.x, grid.y, grid.z}};
  t.warp = rank / launch_->warp_size;
  t.lane = rank % launch_->warp_size;
  t.commits = 0;
  t.copies.clear();
}

// Goes round once per block: a fiber that ended a block well is used again as it stands.
void SimtBlock::body() noexcept {
  SimtThread& t = *static_cast<SimtThread*>(SimtStacks::record_at(__builtin_frame_address(0)));
  SimtBlock& block = *static_cast<SimtBlock*>(t.device.machine);
  for (;;) {
    block.launch_->entry(block.launch_->params);
    block.exit(t);
  }
}

void SimtBlock::exit(SimtThread& t) {
  memory_.finish_copies(t, 0);
  waits_in_[t.rank()] = SimtOperation::exited;
  --live_;
  warps_.exit(t);
  leave(fibers_[t.rank()]);
}

inline unsigned SimtBlock::take_ready() {
  if (launch_->seed != 0) {
    random_ ^= random_ << 13;
    random_ ^= random_ >> 7;
    random_ ^= random_ << 17;
    const std::size_t chosen = (random_ >> 32) * ready_count_ >> 32;
    std::swap(ready_[chosen], ready_[ready_count_ - 1]);
  }
  return ready_[--ready_count_];
}

void SimtBlock::leave(Fiber& from) {
  Fiber& to = ready_count_ == 0 ? main_ : fibers_[take_ready()];
  if (&to == &from) return;
  prefetch_next();
  Fiber::swap(from, to);
}

// What the thread after the next needs first is then in the cache when its turn comes: those of a
// whole block do not stay there from barrier to barrier.
inline void SimtBlock::prefetch_next() const {
  if (ready_count_ == 0) return;
  const unsigned rank = ready_[ready_count_ - 1];
  const auto* frame = static_cast<const char*>(fibers_[rank].context);
  __builtin_prefetch(frame);
  __builtin_prefetch(frame + 64);
  __builtin_prefetch(frame + 128);
  __builtin_prefetch(stacks_.record(rank), 1);
}

void SimtBlock::wait(SimtThread& t, SimtOperation operation) {
  waits_in_[t.rank()] = operation;
  leave(fibers_[t.rank()]);
}

void SimtBlock::wake(SimtThread& t) {
  waits_in_[t.rank()] = SimtOperation::none;
  make_ready(t.rank());
}

void SimtBlock::after_waking(SimtThread& t) {
  if (launch_->seed == 0) return;
  make_ready(t.rank());
  leave(fibers_[t.rank()]);
}

void SimtBlock::abandon(SimtThread& t) {
  abandoned_ = true;
  Fiber::swap(fibers_[t.rank()], main_);
  __builtin_unreachable();
}

void SimtBlock::block_barrier(SimtThread& t) {
  if (launch_->checked) compare_barriers(t);
  const unsigned rank = t.rank();
  waits_in_[rank] = SimtOperation::block_barrier;
  if (++at_barrier_ == threads_) release_block_barrier();
  leave(fibers_[rank]);
}

void SimtBlock::compare_barriers(const SimtThread& t) {
  const KilnSimtSite site = t.device.site;
  if (at_barrier_ == 0) barrier_site_ = site;
  const KilnSimtSite first = barrier_site_;
  if (site.line == first.line && site.file == first.file) return;
  report(FindingKind::divergent_barrier, first, site, [&] {
    return fmt::format("threads of {} meet in different barriers: {} at {}, others at {}", where(),
                       name_of_thread(t.rank()), text_of(site), text_of(first));
  });
}

void SimtBlock::release_block_barrier() {
  at_barrier_ = 0;
  if (launch_->checked) order_.block_barrier();
  for (unsigned rank = threads_; rank-- > 0;) {
    if (waits_in_[rank] != SimtOperation::block_barrier) continue;
    waits_in_[rank] = SimtOperation::none;
    make_ready(rank);
  }
}

void SimtBlock::named_barrier(SimtThread& t, int id, int threads) {
  const int warp_size = static_cast<int>(launch_->warp_size);
  if (id < 1 || id > 15 || threads < warp_size || threads % warp_size != 0) {
    report(FindingKind::divergent_barrier, t.device.site, {}, [&] {
      return fmt::format(
          "named_barrier({}, {}) at {}: numbers are 1 to 15, threads a multiple of {}", id, threads,
          text_of(t.device.site), warp_size);
    });
    abandon(t);
  }
  NamedBarrier& barrier = named_[static_cast<std::size_t>(id)];
  if (barrier.waiting.empty()) barrier.wanted = threads;
  if (barrier.wanted != threads) {
    const SimtThread& first = *barrier.waiting.front();
    report(FindingKind::divergent_barrier, first.device.site, t.device.site, [&] {
      return fmt::format("named barrier {} of {}: {} waits for {} threads at {}, {} for {} at {}",
                         id, where(), name_of_thread(first.rank()), barrier.wanted,
                         text_of(first.device.site), name_of_thread(t.rank()), threads,
                         text_of(t.device.site));
    });
    abandon(t);
  }
  barrier.waiting.push_back(&t);
  t.barrier = id;
  if (barrier.waiting.size() < static_cast<std::size_t>(threads)) {
    wait(t, SimtOperation::named_barrier);
    return;
  }
  std::vector<SimtThread*> met;
  met.swap(barrier.waiting);
  if (launch_->checked) order_.meet_warps(warps_of(id, met));
  for (auto it = met.rbegin(); it != met.rend(); ++it) {
    if (*it != &t) wake(**it);
  }
  after_waking(t);
}

// Hardware counts whole warps: one of which some lanes do not come has no defined meaning there.
std::vector<unsigned> SimtBlock::warps_of(int barrier, const std::vector<SimtThread*>& met) {
  std::array<std::uint64_t, kSimtThreadsMax / 32> lanes{};
  for (const SimtThread* one : met) lanes[one->warp] |= std::uint64_t{1} << one->lane;
  std::vector<unsigned> warps;
  for (const SimtThread* one : met) {
    const std::uint64_t came = std::exchange(lanes[one->warp], 0);
    if (came == 0) continue;
    warps.push_back(one->warp);
    const std::uint64_t missing = warps_.live(one->warp) & ~came;
    if (missing == 0) continue;
    report(FindingKind::divergent_barrier, one->device.site, {}, [&] {
      return fmt::format("named barrier {} at {}: lanes {:#x} of warp {} of {} came, {:#x} did not",
                         barrier, text_of(one->device.site), came, one->warp, where(), missing);
    });
  }
  return warps;
}

bool SimtBlock::unblock() {
  // What hardware does: threads that have ended are not waited for.
  if (at_barrier_ > 0 && at_barrier_ == live_) {
    if (launch_->checked) report_stuck();
    release_block_barrier();
    return true;
  }
  report_stuck();
  return false;
}

void SimtBlock::report_stuck() {
  const SimtThread* first = nullptr;
  const SimtThread* other = nullptr;
  bool in_warp = false;
  for (unsigned rank = 0; rank < threads_; ++rank) {
    const SimtThread& t = thread(rank);
    if (waits_in_[rank] == SimtOperation::exited) continue;
    const bool warp_operation = waits_in_[rank] >= SimtOperation::warp_barrier;
    if (!first || (warp_operation && !in_warp)) {
      if (first) other = first;
      first = &t;
      in_warp = warp_operation;
    } else if (!other && text_of(t.device.site) != text_of(first->device.site)) {
      other = &t;
    }
  }
  const FindingKind kind = in_warp ? FindingKind::inactive_lane : FindingKind::divergent_barrier;
  report(kind, first->device.site, other ? other->device.site : KilnSimtSite{}, [&] {
    const std::string missing = in_warp ? warps_.missing_lanes(*first) : std::string();
    return fmt::format("{} cannot go on: {}{}", where(), missing, waiting_threads());
  });
}

void SimtBlock::drop_threads() {
  for (unsigned rank = 0; rank < threads_; ++rank) {
    if (waits_in_[rank] != SimtOperation::exited) fibers_[rank].forget();
  }
  live_ = 0;
}

void SimtBlock::report(FindingKind kind, KilnSimtSite site, KilnSimtSite other,
                       const std::function<std::string()>& describe) {
  launch_->findings->add(kind, index_, site, other, describe);
}

std::string SimtBlock::where() const {
  const Dim3& grid = launch_->dims.grid;
  return fmt::format("block ({},{},{})", index_ % grid.x, index_ / grid.x % grid.y,
                     index_ / grid.x / grid.y);
}

std::string SimtBlock::name_of_thread(unsigned rank) const {
  const Dim3& block = launch_->dims.block;
  if (block.y == 1 && block.z == 1) return fmt::format("thread {}", rank);
  return fmt::format("thread ({},{},{})", rank % block.x, rank / block.x % block.y,
                     rank / block.x / block.y);
}

std::string SimtBlock::waiting_threads() {
  const auto state_of = [this](unsigned rank) {
    if (waits_in_[rank] == SimtOperation::exited) return std::string("ended");
    return fmt::format("in {} ({})", name_of(waits_in_[rank]), text_of(thread(rank).device.site));
  };
  std::string text;
  for (unsigned first = 0; first < threads_;) {
    const std::string state = state_of(first);
    unsigned last = first;
    while (last + 1 < threads_ && state_of(last + 1) == state) ++last;
    const std::string who = first == last ? fmt::format("thread {}", first)
                                          : fmt::format("threads {} to {}", first, last);
    text += fmt::format("{}{}: {}", text.empty() ? "" : "; ", who, state);
    first = last + 1;
  }
  return text;
}

}  // namespace kiln
