// SPDX-License-Identifier: Apache-2.0
#include "jit/amd_metadata.h"

#include <elf.h>
#include <gtest/gtest.h>

#include <cstring>

#include "tests/jit/gpu_sample.h"

namespace kiln::test {
namespace {

template <class T>
std::string bytes_of(const T& object) {
  std::string bytes(sizeof object, '\0');
  std::memcpy(bytes.data(), &object, sizeof object);
  return bytes;
}

std::string note(std::string name, Elf64_Word type, std::string value) {
  Elf64_Nhdr header{};
  header.n_namesz = static_cast<Elf64_Word>(name.size());
  header.n_descsz = static_cast<Elf64_Word>(value.size());
  header.n_type = type;
  name.resize((name.size() + 3) / 4 * 4);
  value.resize((value.size() + 3) / 4 * 4);
  return bytes_of(header) + name + value;
}

// A code object that holds nothing but these notes.
std::string code_object(const std::string& notes) {
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_phoff = sizeof header;
  header.e_phentsize = sizeof(Elf64_Phdr);
  header.e_phnum = 1;
  Elf64_Phdr segment{};
  segment.p_type = PT_NOTE;
  segment.p_offset = sizeof header + sizeof segment;
  segment.p_filesz = notes.size();
  return bytes_of(header) + bytes_of(segment) + notes;
}

constexpr Elf64_Word kMetadataNote = 32;
const std::string kOwner("AMDGPU\0", 7);

auto read_metadata(const std::string& metadata) {
  return read_amd_metadata(
      as_bytes(code_object(note("GNU", 3, "an id") + note(kOwner, kMetadataNote, metadata))));
}

std::string text(const std::string& value) {
  return std::string(1, static_cast<char>(0xd9)) + static_cast<char>(value.size()) + value;
}

// A map with one kernel named "k", and one more field of it.
std::string kernel_with(const std::string& key, const std::string& value) {
  return "\x81" + text("amdhsa.kernels") + "\x91\x82" + text(".name") + "\xa1k" + text(key) + value;
}

TEST(AmdMetadata, EachFormOfANumber) {
  const std::pair<std::string, int> numbers[] = {
      {"\x07", 7},
      {"\xcc\xff", 255},
      {"\xcd\x01\x02", 258},
      {std::string("\xce\x00\x01\x00\x00", 5), 65536},
      {std::string("\xcf\x00\x00\x00\x00\x00\x00\x00\x09", 9), 9},
      {"\xd0\x05", 5},
      {"\xd1\x01\x01", 257},
      {std::string("\xd2\x7f\xff\xff\xff", 5), 2147483647},
  };
  for (const auto& [bytes, value] : numbers) {
    const auto kernels = read_metadata(kernel_with(".vgpr_count", bytes));
    ASSERT_TRUE(kernels) << words_of(kernels);
    EXPECT_EQ(kernels->kernels.at("k").resources.registers, value);
    EXPECT_EQ(kernels->kernels.at("k").resources.stack_bytes, std::nullopt);
  }
}

TEST(AmdMetadata, OtherValuesAreSkippedWhole) {
  const std::string values[] = {"\xc0",
                                "\xc3",
                                std::string("\xc5\x00\x02zz", 5),
                                "\xc7\x01\x05z",
                                std::string("\xca\x00\x00\x00\x00", 5),
                                std::string("\xcb\x00\x00\x00\x00\x00\x00\x00\x00", 9),
                                "\xd4\x05z",
                                "\xff",
                                "\xd0\xff",
                                std::string("\xda\x00\x01z", 4),
                                std::string("\xdb\x00\x00\x00\x01z", 6),
                                "\x92\x01\x81\x02\x90",
                                std::string("\xdc\x00\x01\x01", 4),
                                std::string("\xde\x00\x01\x01\x02", 5)};
  for (const std::string& value : values) {
    const std::string metadata =
        "\x82" + text("other") + value + kernel_with(".skipped", value).substr(1);
    const auto kernels = read_metadata(metadata);
    ASSERT_TRUE(kernels) << words_of(kernels);
    EXPECT_EQ(kernels->kernels.size(), 1u);
    EXPECT_EQ(kernels->kernels.begin()->first, "k");
  }
}

TEST(AmdMetadata, SpilledRegistersAreBytes) {
  const auto kernels = read_metadata(kernel_with(".vgpr_spill_count", "\x03"));
  ASSERT_TRUE(kernels) << words_of(kernels);
  EXPECT_EQ(kernels->kernels.at("k").resources.spill_store_bytes, 12);
  EXPECT_FALSE(read_metadata(kernel_with(".vgpr_spill_count", "\xce\x7f\xff\xff\xff")));
}

TEST(AmdMetadata, WhatIsNoneIsRefused) {
  const std::string two_alike = "\x81" + text("amdhsa.kernels") + "\x92\x81" + text(".name") +
                                "\xa1k\x81" + text(".name") + "\xa1k";
  const std::string damaged[] = {
      "",
      "\x01",
      "\x90",
      "\x81",
      std::string("\x81\x01\x01"),
      std::string("\xdf\xff\xff\xff\xff"),
      "\x81" + text("amdhsa.kernels") + "\x81",
      "\x81" + text("amdhsa.kernels") + "\x91\x80",  // a kernel with no name
      "\x81" + text("other") + "\xdd\xff\xff\xff\xff",
      "\x81" + text("other") + "\xc1",
      kernel_with(".vgpr_count", "\xa1z"),
      kernel_with(".vgpr_count", "\xff"),
      kernel_with(".vgpr_count", "\xcf\xff\xff\xff\xff\xff\xff\xff\xff"),
      two_alike,
  };
  for (const std::string& metadata : damaged) {
    const auto kernels = read_metadata(metadata);
    ASSERT_FALSE(kernels);
    EXPECT_EQ(kernels.error().code, ErrorCode::compile_failed);
    EXPECT_NE(kernels.error().message.find("AMD code object: "), std::string::npos);
  }
  EXPECT_FALSE(read_amd_metadata(as_bytes("")));
  EXPECT_FALSE(
      read_amd_metadata(as_bytes("no ELF file, and long enough for a header of one, "
                                 "which has sixty-four bytes")));
  EXPECT_FALSE(read_amd_metadata(as_bytes(code_object(note("GNU", kMetadataNote, "\x80")))));
}

// Nesting that would exhaust the stack of a reader that recurses.
TEST(AmdMetadata, DeepNestingIsRead) {
  const std::string deep = std::string(1 << 20, static_cast<char>(0x91)) + "\x01";
  const auto kernels =
      read_metadata("\x82" + text("deep") + deep + kernel_with(".vgpr_count", "\x04").substr(1));
  ASSERT_TRUE(kernels) << words_of(kernels);
  EXPECT_EQ(kernels->kernels.at("k").resources.registers, 4);
}

TEST_F(Hiprtc, ADamagedCodeObjectNeverReadsPastItsEnd) {
  const auto artifact = compiler_.compile(gpu_sample("gfx90a"));
  ASSERT_TRUE(artifact) << words_of(artifact);
  const Bytes& code = artifact->code;
  ASSERT_TRUE(read_amd_metadata(code));
  std::size_t refused = 0;
  for (std::size_t size = 0; size < code.size(); ++size) {
    // A copy of its own, so that a sanitizer sees a read past the end.
    refused +=
        read_amd_metadata(Bytes(code.begin(), code.begin() + static_cast<long>(size))) ? 0 : 1;
  }
  EXPECT_GT(refused, 0x200u);
  Bytes flipped = code;
  for (std::size_t i = 0; i < code.size(); ++i) {
    for (const unsigned bits : {0xffu, 0x80u, 0x01u}) {
      flipped[i] ^= static_cast<std::byte>(bits);
      (void)read_amd_metadata(flipped);
      flipped[i] = code[i];
    }
  }
}

}  // namespace
}  // namespace kiln::test
