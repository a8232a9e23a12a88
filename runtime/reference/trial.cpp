// SPDX-License-Identifier: Apache-2.0
#include "runtime/reference/trial.h"

#include <fmt/format.h>

#include <algorithm>

#include "runtime/reference/trials.h"

namespace kiln {
namespace {

struct TrialRow {
  const char* op;
  MakeTrial* make;
};
constexpr TrialRow kTrials[] = {{"kda_decode", make_kda_decode_trial},
                                {"attention_decode", make_attention_decode_trial},
                                {"router_gemm", make_router_gemm_trial},
                                {"qk_rmsnorm", make_qk_rmsnorm_trial},
                                {"attention_prefill", make_attention_prefill_trial},
                                {"kda_prefill", make_kda_prefill_trial}};

}  // namespace

Result<std::unique_ptr<Trial>> make_trial(Runtime& runtime, const Op& op,
                                          const OpArguments& arguments, const Arch& arch,
                                          std::uint64_t seed, Stream stream) {
  KILN_TRY_ASSIGN(Selection selection, runtime.select(op, arguments.shape, arch));
  KILN_TRY_ASSIGN(const TrialSite site, find_site(runtime, arch));
  for (const TrialRow& row : kTrials) {
    if (op.name == row.op)
      return row.make({runtime, arguments, arch, site, std::move(selection), seed, stream});
  }
  return fail(ErrorCode::internal, fmt::format("op '{}' has no trial", op.name));
}

Result<TrialSite> find_site(const Runtime& runtime, const Arch& arch) {
  KILN_TRY_ASSIGN(Driver* const driver, runtime.driver(arch));
  KILN_TRY_ASSIGN(const std::vector<DeviceInfo> devices, driver->devices());
  std::string here;
  for (const DeviceInfo& device : devices) {
    const std::vector<Arch> runs = device.arch.compatible();
    // One SIMT machine runs its code of every kind; none of them stands in for another in the
    // cache.
    const bool simt = device.arch.family() == arch.family() && arch.family() == ArchFamily::simt;
    if (simt || std::find(runs.begin(), runs.end(), arch) != runs.end()) {
      const DLDeviceType type = driver->name() == "cuda"  ? kDLCUDA
                                : driver->name() == "hip" ? kDLROCM
                                                          : kDLCPU;
      return TrialSite{driver, {type, device.index}};
    }
    here += (here.empty() ? "" : ", ") + device.arch.name();
  }
  return fail(ErrorCode::unavailable,
              fmt::format("no device here runs {} code; here: {}", arch.name(), here));
}

}  // namespace kiln
