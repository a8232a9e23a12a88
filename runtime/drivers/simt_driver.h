// SPDX-License-Identifier: Apache-2.0
// What all modules of the SIMT driver launch on: the cores and who runs blocks on them.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "kiln/simt.h"
#include "runtime/drivers/simt_block.h"
#include "runtime/drivers/simt_memory.h"
#include "runtime/drivers/thread_pool.h"

namespace kiln {

struct SimtDriver::Machine {
  Machine();
  // Runs all blocks. One launch at a time. Errors: out_of_memory; driver_failed with the findings.
  Result<void> run(SimtLaunch launch, std::string_view kernel);

  SimtMemory memory;
  std::atomic<std::uint64_t> seed{0};

 private:
  std::mutex launching_;
  ThreadPool pool_;
  std::vector<std::unique_ptr<SimtBlock>> blocks_;  // one per worker
};

}  // namespace kiln
