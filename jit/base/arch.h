// SPDX-License-Identifier: Apache-2.0
// Arch: the full name of what code is generated for.
//
//   sm_80, sm_90a, sm_100f         NVIDIA; `a` is for one chip, `f` for one family of chips
//   gfx90a, gfx942:sramecc+:xnack- AMD target ids, features in the order sramecc, xnack
//   x86-64-v3, x86-64-v4+avx512bf16  a level of the x86-64 ABI; features may follow
//   cpu                            this host: parsed into the x86-64 name that describes it
//   simt, simt:warp64:checked:debug  the CPU as a SIMT machine: warps of 32 or 64; every access
//                                  checked; not optimized, for a debugger (in this order)
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "jit/base/export.h"
#include "jit/base/result.h"

namespace kiln {

enum class ArchFamily { nvidia, amd, x86_64, simt };

KILN_API std::string_view name_of(ArchFamily family);

class KILN_API Arch {
 public:
  // Checks the form only: whether a compiler knows the chip is the compiler's to say.
  // Errors: invalid_argument, with the accepted forms; unavailable for `cpu` on a host that is not
  // x86-64-v2 or later.
  static Result<Arch> parse(std::string_view text);

  ArchFamily family() const { return family_; }
  // The canonical name; goes into keys. `cpu` never appears here.
  const std::string& name() const { return name_; }
  // "x86-64-v4" of "x86-64-v4+avx512bf16", "gfx942" of "gfx942:xnack-", else the name itself.
  std::string_view base() const;
  // The features after the base, each as written: "+avx512bf16", ":xnack-", ":warp64".
  std::vector<std::string_view> features() const;
  // Whether `feature` (":warp64") is among them.
  bool has_feature(std::string_view feature) const;
  // The number of an sm_NN name; 0 in the other families.
  int sm() const;

  // Whose binaries this arch can run, itself first, best first: what a look-up tries before it
  // compiles. sm_90a: sm_90a, sm_90. gfx942:xnack-: itself, gfx942. The host: itself, v4, v3, v2.
  std::vector<Arch> compatible() const;

  friend bool operator==(const Arch&, const Arch&) = default;

 private:
  Arch(ArchFamily family, std::string name) : family_(family), name_(std::move(name)) {}
  friend std::vector<Arch> older_sm(const Arch&);

  ArchFamily family_;
  std::string name_;
};

}  // namespace kiln
