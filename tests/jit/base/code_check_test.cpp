// SPDX-License-Identifier: Apache-2.0
// Which code objects are whole, on a real ELF library and every cut and flip of its tables.
#include "jit/base/code_check.h"

#include <elf.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <iterator>

#include "jit/base/elf_image.h"

namespace kiln {
namespace {

Bytes fixture() {
  std::ifstream stream(KILN_ELF_FIXTURE, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(stream)), {});
  return to_bytes(as_bytes(text));
}

Artifact object_of(Bytes code) {
  Artifact artifact;
  artifact.format = CodeFormat::shared_object;
  artifact.code = std::move(code);
  artifact.entries = {{"entry", "kiln_elf_fixture", {}}};
  return artifact;
}

std::string reason(const Artifact& artifact) {
  return check_code(artifact).reason();
}

Elf64_Ehdr header_of(const Bytes& file) {
  Elf64_Ehdr header;
  std::memcpy(&header, file.data(), sizeof header);
  return header;
}

TEST(CodeCheck, AWholeObjectWithItsEntryPointIsGood) {
  const Bytes file = fixture();
  const auto image = ElfImage::parse(file);
  ASSERT_TRUE(image) << image.error().message;
  EXPECT_EQ(image->machine, EM_X86_64);
  EXPECT_TRUE(image->defines("kiln_elf_fixture"));
  EXPECT_FALSE(image->defines("kiln_elf"));
  EXPECT_EQ(reason(object_of(file)), "");
}

TEST(CodeCheck, OtherMachinesAndMissingEntryPointsAreNot) {
  Artifact artifact = object_of(fixture());
  artifact.entries.push_back({"other", "missing_symbol", {}});
  EXPECT_NE(reason(artifact).find("'missing_symbol'"), std::string::npos) << reason(artifact);
  artifact = object_of(fixture());
  artifact.format = CodeFormat::cubin;
  EXPECT_NE(reason(artifact).find("machine is 62"), std::string::npos) << reason(artifact);
  artifact.format = CodeFormat::hsaco;
  EXPECT_FALSE(check_code(artifact));
  artifact = object_of(fixture());
  artifact.entries.clear();
  EXPECT_NE(reason(artifact).find("no entry point"), std::string::npos);
  EXPECT_NE(reason(object_of({})).find("too few"), std::string::npos);
}

TEST(CodeCheck, EveryTruncationIsFound) {
  const Bytes file = fixture();
  for (std::size_t size = 0; size < file.size(); size += 97) {
    EXPECT_FALSE(check_code(object_of(Bytes(file.begin(), file.begin() + size)))) << size;
  }
}

TEST(CodeCheck, TablesThatLeadOutsideTheFileAreFound) {
  const Bytes file = fixture();
  const Elf64_Ehdr good = header_of(file);
  const auto with = [&](const Elf64_Ehdr& header) {
    Bytes changed = file;
    std::memcpy(changed.data(), &header, sizeof header);
    return reason(object_of(changed));
  };
  Elf64_Ehdr header = good;
  header.e_shoff = UINT64_MAX - 8;
  EXPECT_NE(with(header).find("section table"), std::string::npos);
  header = good;
  header.e_phoff = file.size() - 8;
  EXPECT_NE(with(header).find("segment table"), std::string::npos);
  header = good;
  header.e_shnum = 65535;
  EXPECT_NE(with(header).find("section table"), std::string::npos);
  header = good;
  header.e_shstrndx = header.e_shnum;
  EXPECT_NE(with(header).find("no names"), std::string::npos);
  header = good;
  header.e_ident[EI_CLASS] = ELFCLASS32;
  EXPECT_NE(with(header).find("64-bit"), std::string::npos);
  // Each section in turn.
  for (int i = 1; i < good.e_shnum; ++i) {
    Bytes changed = file;
    const std::size_t at = good.e_shoff + static_cast<std::size_t>(i) * sizeof(Elf64_Shdr);
    Elf64_Shdr section;
    std::memcpy(&section, changed.data() + at, sizeof section);
    if (section.sh_type == SHT_NOBITS) continue;
    section.sh_size = UINT64_MAX;
    std::memcpy(changed.data() + at, &section, sizeof section);
    EXPECT_FALSE(check_code(object_of(changed))) << i;
  }
}

TEST(CodeCheck, PtxNeedsItsDirectivesItsEntriesAndItsEnd) {
  const std::string text =
      ".version 8.4\n.target sm_90\n.address_size 64\n.visible .entry kernel(\n)\n{\nret;\n}\n";
  Artifact artifact;
  artifact.format = CodeFormat::ptx;
  artifact.entries = {{"k", "kernel", {}}};
  const auto reason_of = [&](const std::string& ptx) {
    artifact.code = to_bytes(as_bytes(ptx));
    return reason(artifact);
  };
  EXPECT_EQ(reason_of(text), "");
  EXPECT_EQ(reason_of(text + '\0'), "");
  EXPECT_NE(reason_of(text.substr(0, text.size() - 3)).find("cut off"), std::string::npos);
  EXPECT_NE(reason_of(text.substr(13)).find(".version"), std::string::npos);
  EXPECT_NE(reason_of('\0' + text).find("zero byte"), std::string::npos);
  artifact.entries = {{"k", "kern", {}}};
  EXPECT_NE(reason_of(text).find("'kern'"), std::string::npos);
}

}  // namespace
}  // namespace kiln
