// SPDX-License-Identifier: Apache-2.0
#include "runtime/drivers/gpu_image.h"

#include "tests/runtime/drivers/gpu_case.h"

namespace kiln::test {
namespace {

constexpr int kMachine = 190;

TEST(GpuImageTest, WholeFileIsWhole) {
  EXPECT_TRUE(is_whole_elf(elf_image(kMachine), kMachine));
}

TEST(GpuImageTest, EveryShorterFileIsNot) {
  const Bytes image = elf_image(kMachine);
  for (std::size_t bytes = 0; bytes < image.size(); ++bytes) {
    // A vector of its own, so that AddressSanitizer sees a read past its end.
    EXPECT_FALSE(is_whole_elf(Bytes(image.begin(), image.begin() + bytes), kMachine)) << bytes;
  }
}

TEST(GpuImageTest, OtherMachinesAndOtherFilesAreRefused) {
  EXPECT_TRUE(has(is_whole_elf(elf_image(62), kMachine).reason(), "machine 62, not 190"));
  EXPECT_TRUE(has(is_whole_elf(Bytes(100), kMachine).reason(), "not a 64-bit ELF file"));
}

TEST(GpuImageTest, OffsetsThatOverflowAreRefused) {
  Bytes image = elf_image(kMachine);
  constexpr std::size_t kSectionOffset = 64 + 24;  // sh_offset of the one section
  std::fill_n(image.begin() + kSectionOffset, 8, std::byte{0xff});
  EXPECT_FALSE(is_whole_elf(image, kMachine));
  constexpr std::size_t kTableOffset = 40;  // e_shoff
  std::fill_n(image.begin() + kTableOffset, 8, std::byte{0xff});
  EXPECT_FALSE(is_whole_elf(image, kMachine));
}

}  // namespace
}  // namespace kiln::test
