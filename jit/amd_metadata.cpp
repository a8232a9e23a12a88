// SPDX-License-Identifier: Apache-2.0
#include "jit/amd_metadata.h"

#include <elf.h>
#include <fmt/format.h>

#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <string_view>

namespace kiln {
namespace {

constexpr std::uint32_t kMetadataNote = 32;  // NT_AMDGPU_METADATA
constexpr std::string_view kOwner{"AMDGPU", 7};

using Kernels = decltype(AmdCodeObject::kernels);

tl::unexpected<Error> bad(std::string_view why) {
  return fail(ErrorCode::compile_failed, fmt::format("AMD code object: {}", why));
}

// `size` bytes at `offset`, or nothing when they are not all there.
std::optional<ByteView> part(ByteView bytes, std::uint64_t offset, std::uint64_t size) {
  if (offset > bytes.size() || size > bytes.size() - offset) return std::nullopt;
  return bytes.subspan(offset, size);
}

template <class T>
bool read_object(ByteView bytes, std::uint64_t offset, T& object) {
  const auto found = part(bytes, offset, sizeof object);
  if (found) std::memcpy(&object, found->data(), sizeof object);
  return found.has_value();
}

std::optional<ByteView> metadata_in(ByteView notes) {
  constexpr std::size_t kMask = 3;
  Elf64_Nhdr note;
  for (std::uint64_t at = 0; read_object(notes, at, note);) {
    const std::uint64_t name_at = at + sizeof note;
    const std::uint64_t value_at = name_at + ((std::uint64_t{note.n_namesz} + kMask) & ~kMask);
    const auto name = part(notes, name_at, note.n_namesz);
    const auto value = part(notes, value_at, note.n_descsz);
    if (!name || !value) return std::nullopt;
    if (note.n_type == kMetadataNote && as_text(*name) == kOwner) return value;
    at = value_at + ((std::uint64_t{note.n_descsz} + kMask) & ~kMask);
  }
  return std::nullopt;
}

Result<ByteView> find_metadata(ByteView code) {
  Elf64_Ehdr header;
  if (!read_object(code, 0, header) || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
      header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_phentsize != sizeof(Elf64_Phdr)) {
    return bad("not a 64-bit ELF file");
  }
  for (unsigned i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr segment;
    if (!read_object(code, header.e_phoff + i * sizeof segment, segment)) return bad("truncated");
    if (segment.p_type != PT_NOTE) continue;
    const auto notes = part(code, segment.p_offset, segment.p_filesz);
    if (!notes) return bad("truncated");
    if (const auto found = metadata_in(*notes)) return *found;
  }
  return bad("it has no metadata note");
}

// One item of MessagePack (msgpack.org): maps and arrays are followed by their children.
struct Item {
  enum class Kind { integer, text, array, map, other };
  Kind kind = Kind::other;
  std::uint64_t value = 0;  // the integer, or how many elements an array or pairs a map has
  std::string_view text;
};

class MessagePack {
 public:
  explicit MessagePack(ByteView bytes) : rest_(bytes) {}

  // Nothing at the end, and where the bytes are no MessagePack.
  std::optional<Item> next();
  // Reads one value of any kind with all that is in it.
  bool skip();

 private:
  std::optional<std::uint64_t> number(unsigned bytes);
  std::optional<Item> counted(Item::Kind kind, std::optional<std::uint64_t> count);
  std::optional<Item> text(std::optional<std::uint64_t> bytes);
  std::optional<Item> opaque(std::optional<std::uint64_t> bytes);
  std::optional<Item> signed_integer(unsigned bytes);

  ByteView rest_;
};

std::optional<std::uint64_t> MessagePack::number(unsigned bytes) {
  const auto found = part(rest_, 0, bytes);
  if (!found) return std::nullopt;
  std::uint64_t value = 0;
  for (const std::byte b : *found) value = value << 8 | std::to_integer<std::uint64_t>(b);
  rest_ = rest_.subspan(bytes);
  return value;
}

std::optional<Item> MessagePack::counted(Item::Kind kind, std::optional<std::uint64_t> count) {
  if (!count) return std::nullopt;
  return Item{kind, *count, {}};
}

std::optional<Item> MessagePack::text(std::optional<std::uint64_t> bytes) {
  const auto found = bytes ? part(rest_, 0, *bytes) : std::nullopt;
  if (!found) return std::nullopt;
  rest_ = rest_.subspan(found->size());
  return Item{Item::Kind::text, 0, as_text(*found)};
}

std::optional<Item> MessagePack::opaque(std::optional<std::uint64_t> bytes) {
  std::optional<Item> item = text(bytes);
  if (item) item->kind = Item::Kind::other;
  return item;
}

// None of the numbers that are wanted is negative.
std::optional<Item> MessagePack::signed_integer(unsigned bytes) {
  std::optional<Item> item = counted(Item::Kind::integer, number(bytes));
  if (item && item->value >> (8 * bytes - 1) != 0) item->kind = Item::Kind::other;
  return item;
}

std::optional<Item> MessagePack::next() {
  using Kind = Item::Kind;
  const auto head = number(1);
  if (!head) return std::nullopt;
  const unsigned tag = static_cast<unsigned>(*head);
  if (tag <= 0x7f) return Item{Kind::integer, tag, {}};
  if (tag <= 0x8f) return Item{Kind::map, tag & 0xf, {}};
  if (tag <= 0x9f) return Item{Kind::array, tag & 0xf, {}};
  if (tag <= 0xbf) return text(tag & 0x1f);
  if (tag >= 0xe0) return Item{};  // a small negative number
  if (tag == 0xc1) return std::nullopt;
  if (tag <= 0xc3) return Item{};                              // nil, false, true
  if (tag <= 0xc6) return opaque(number(1u << (tag - 0xc4)));  // bytes
  if (tag <= 0xc9) {                                           // extensions
    const auto bytes = number(1u << (tag - 0xc7));
    return bytes ? opaque(*bytes + 1) : std::nullopt;
  }
  if (tag <= 0xcb) return opaque(tag == 0xca ? 4 : 8);  // floating point
  if (tag <= 0xcf) return counted(Kind::integer, number(1u << (tag - 0xcc)));
  if (tag <= 0xd3) return signed_integer(1u << (tag - 0xd0));
  if (tag <= 0xd8) return opaque((1u << (tag - 0xd4)) + 1);  // extensions of fixed size
  if (tag <= 0xdb) return text(number(1u << (tag - 0xd9)));
  if (tag <= 0xdd) return counted(Kind::array, number(tag == 0xdc ? 2 : 4));
  return counted(Kind::map, number(tag == 0xde ? 2 : 4));
}

// Without recursion, so that no nesting can exhaust the stack. Every item takes a byte, so it ends
// with the bytes however many children are claimed.
bool MessagePack::skip() {
  for (std::uint64_t left = 1; left > 0; --left) {
    const auto item = next();
    if (!item) return false;
    if (item->kind == Item::Kind::array) left += item->value;
    if (item->kind == Item::Kind::map) left += 2 * item->value;
  }
  return true;
}

struct ResourceField {
  std::string_view key;
  std::optional<int> KernelResources::*value;
  std::uint64_t unit;
};
constexpr ResourceField kFields[] = {
    {".vgpr_count", &KernelResources::registers, 1},
    {".group_segment_fixed_size", &KernelResources::shared_bytes_static, 1},
    {".private_segment_fixed_size", &KernelResources::stack_bytes, 1},
    {".vgpr_spill_count", &KernelResources::spill_store_bytes, 4},  // counted in registers
    {".max_flat_workgroup_size", &KernelResources::threads_per_block_max, 1},
};

// Nothing when the next item is no number that fits.
std::optional<int> read_int(MessagePack& reader, std::uint64_t unit = 1) {
  const auto item = reader.next();
  constexpr std::uint64_t kMax = std::numeric_limits<int>::max();
  if (!item || item->kind != Item::Kind::integer || item->value > kMax / unit) return std::nullopt;
  return static_cast<int>(item->value * unit);
}

bool read_text(MessagePack& reader, std::string& text) {
  const auto item = reader.next();
  if (!item || item->kind != Item::Kind::text) return false;
  text = item->text;
  return true;
}

bool read_number(MessagePack& reader, int& number) {
  const auto value = read_int(reader);
  number = value.value_or(0);
  return value.has_value();
}

// Whether the value of `key` was one that is well-formed.
bool read_field(MessagePack& reader, std::string_view key, std::string& symbol, AmdKernel& kernel) {
  if (key == ".name") return read_text(reader, symbol);
  if (key == ".wavefront_size") return read_number(reader, kernel.warp_size);
  if (key == ".kernarg_segment_size") return read_number(reader, kernel.argument_bytes);
  for (const ResourceField& field : kFields) {
    if (field.key != key) continue;
    auto& value = kernel.resources.*field.value;
    value = read_int(reader, field.unit);
    return value.has_value();
  }
  return reader.skip();
}

bool read_kernel(MessagePack& reader, Kernels& kernels) {
  const auto fields = reader.next();
  if (!fields || fields->kind != Item::Kind::map) return false;
  std::string symbol;
  AmdKernel kernel;
  for (std::uint64_t i = 0; i < fields->value; ++i) {
    const auto key = reader.next();
    if (!key || key->kind != Item::Kind::text) return false;
    if (!read_field(reader, key->text, symbol, kernel)) return false;
  }
  return !symbol.empty() && kernels.emplace(std::move(symbol), kernel).second;
}

bool read_kernels(MessagePack& reader, Kernels& kernels) {
  const auto list = reader.next();
  if (!list || list->kind != Item::Kind::array) return false;
  for (std::uint64_t i = 0; i < list->value; ++i) {
    if (!read_kernel(reader, kernels)) return false;
  }
  return true;
}

bool read_top(MessagePack& reader, std::string_view key, AmdCodeObject& object) {
  if (key == "amdhsa.kernels") return read_kernels(reader, object.kernels);
  if (key == "amdhsa.target") return read_text(reader, object.target);
  return reader.skip();
}

}  // namespace

Result<AmdCodeObject> read_amd_metadata(ByteView code) {
  KILN_TRY_ASSIGN(const ByteView metadata, find_metadata(code));
  MessagePack reader(metadata);
  const auto top = reader.next();
  if (!top || top->kind != Item::Kind::map) return bad("its metadata are damaged");
  AmdCodeObject object;
  for (std::uint64_t i = 0; i < top->value; ++i) {
    const auto key = reader.next();
    const bool read = key && key->kind == Item::Kind::text && read_top(reader, key->text, object);
    if (!read) return bad("its metadata are damaged");
  }
  return object;
}

Result<std::vector<EntryPoint>> amd_entry_points(ByteView code,
                                                 const std::vector<std::string>& name_expressions,
                                                 const std::vector<std::string>& symbols) {
  KILN_TRY_ASSIGN(const AmdCodeObject object, read_amd_metadata(code));
  std::vector<EntryPoint> entries;
  for (std::size_t i = 0; i < name_expressions.size(); ++i) {
    const auto kernel = object.kernels.find(symbols.at(i));
    if (kernel == object.kernels.end()) {
      return bad(fmt::format("it holds no kernel of '{}'; it must name a __global__ function",
                             name_expressions[i]));
    }
    entries.push_back({name_expressions[i], symbols[i], kernel->second.resources});
  }
  return entries;
}

}  // namespace kiln
