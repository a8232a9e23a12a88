// SPDX-License-Identifier: Apache-2.0
#include "tests/fuzz/targets.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "cache/bundle.h"
#include "jit/base/artifact.h"
#include "jit/base/code_check.h"
#include "jit/base/key.h"
#include "tools/request.h"

namespace kiln::fuzz {
namespace {

void require(bool held, const char* rule) {
  if (held) return;
  fmt::print(stderr, "broken: {}\n", rule);
  std::abort();
}

// ---- bundles

Record fields_of(std::string_view label, std::string_view record, std::string_view payload) {
  Record fields;
  fields.add("label", label);
  fields.add("record", record);
  fields.add("info", "");
  fields.add("payload", payload);
  return fields;
}

// Makes digests and sizes fit what is there: a mutation would hardly ever hit a digest, and behind
// it lies what there is to break.
void make_fit(std::string& text) {
  if (text.size() < sizeof(BundleHeader)) return;
  BundleHeader header;
  std::memcpy(&header, text.data(), sizeof header);
  header.magic = kBundleMagic;
  header.version = kBundleVersion;
  header.reserved = 0;
  header.file_bytes = text.size();
  const std::size_t room = (text.size() - sizeof header) / sizeof(BundleRow);
  header.entries = std::min<std::uint64_t>(header.entries, room);
  const std::size_t index_at = text.size() - header.entries * sizeof(BundleRow);
  std::uint64_t offset = sizeof header;
  for (std::uint64_t i = 0; i < header.entries; ++i) {
    char* const at = text.data() + index_at + i * sizeof(BundleRow);
    BundleRow row;
    std::memcpy(&row, at, sizeof row);
    if (row.stored_bytes > index_at - offset) break;
    row.digest = Digest::of(std::string_view(text).substr(offset, row.stored_bytes));
    offset += row.stored_bytes;
    std::memcpy(at, &row, sizeof row);
  }
  header.index_digest = Digest::of(std::string_view(text).substr(index_at));
  std::memcpy(text.data(), &header, sizeof header);
}

void read_all(std::string_view text) {
  Fd fd(memfd_create("bundle", MFD_CLOEXEC));
  require(write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()), "memfd");
  const auto bundle = Bundle::open(std::move(fd), "fuzz", {{}, SignatureRule::none});
  if (!bundle) return;
  for (std::size_t i = 0; i < bundle->rows().size(); ++i) {
    const Key& key = bundle->rows()[i].key;
    require(bundle->find(key) == i, "each key is found at its place");
    const auto entry = bundle->read(i);
    if (!entry) continue;
    const auto record = KeyRecord::split(entry->record);
    require(record && record->key() == key, "a record that is returned has the digest of its key");
  }
}

void run_bundle(ByteView input) {
  std::string text(as_text(input));
  read_all(text);
  make_fit(text);
  read_all(text);
}

std::string bundle_of(const std::vector<std::pair<Key, std::string>>& entries) {
  std::string text(sizeof(BundleHeader), '\0');
  std::vector<BundleRow> rows;
  for (const auto& [key, raw] : entries) {
    rows.push_back({key, Digest::of(raw), raw.size(), raw.size()});
    text += raw;
  }
  text += as_text(std::as_bytes(std::span(rows)));
  BundleHeader header;
  header.entries = entries.size();
  std::memcpy(text.data(), &header, sizeof header);
  make_fit(text);
  return text;
}

KeyRecord sample_record(int number) {
  KeyRecord record;
  record.request.add("op", "qk_rmsnorm");
  record.request.add("shape.Nq", number);
  record.request.add("arch", "sm_90a");
  record.toolchain.add("compiler", "nvrtc");
  return record;
}

std::vector<std::string> bundle_seeds() {
  std::vector<std::pair<Key, std::string>> entries;
  for (int i = 0; i < 3; ++i) {
    const KeyRecord record = sample_record(i);
    entries.emplace_back(record.key(),
                         fields_of("label", record.joined().text(), "payload").text());
  }
  std::sort(entries.begin(), entries.end());
  return {bundle_of({}), bundle_of({entries[0]}), bundle_of(entries)};
}

// ---- records, and what is read by way of them

void run_record(ByteView input) {
  const std::string_view text = as_text(input);
  if (const auto record = Record::parse(text)) {
    const auto again = Record::parse(record->text());
    require(again && *again == *record, "a record comes back from its text");
    require(differences(*record, *again).empty(), "a record does not differ from itself");
  }
  if (const auto halves = KeyRecord::split(text)) {
    require(halves->joined().text() == text, "a joined record has one text");
  }
  if (const auto artifact = Artifact::decode(input)) {
    (void)check_code(*artifact);
    const auto again = Artifact::decode(artifact->encode());
    require(again && again->code == artifact->code && again->entries == artifact->entries,
            "an artifact comes back from its bytes");
  }
}

std::vector<std::string> record_seeds() {
  Artifact artifact;
  artifact.format = CodeFormat::ptx;
  artifact.entries = {{"kiln::f", "f", {32, 0, 16, 4, 8, 1024}}};
  artifact.code = to_bytes(as_bytes(".version 8.0\n.target sm_90\n.address_size 64\n.entry f(){}"));
  const Bytes ptx = artifact.encode();
  // The smallest ELF file with a section and a symbol: this program's own would be too large.
  std::string elf(64, '\0');
  std::memcpy(elf.data(),
              "\x7f"
              "ELF\x02\x01\x01",
              7);
  elf[18] = 62;  // x86-64
  elf[40] = 64;  // section table
  elf[58] = 64;  // bytes per section
  elf[60] = 2;   // sections
  elf.append(64, '\0');
  elf.append(64, '\0');
  elf[64 + 64 + 4] = 3;  // the second one is a table of strings, the file's first bytes
  elf[64 + 64 + 32] = 16;
  elf[62] = 1;
  artifact.format = CodeFormat::shared_object;
  artifact.code = to_bytes(as_bytes(elf));
  const Bytes object = artifact.encode();
  return {sample_record(1).joined().text(), sample_record(1).request.text(),
          std::string(as_text(ptx)), std::string(as_text(object))};
}

// ---- requests, as people type them: OP name=value..., --arch in the last line

void run_request(ByteView input) {
  std::string_view rest = as_text(input);
  std::vector<std::string> words;
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    words.emplace_back(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  if (words.size() < 2) return;
  cli::RequestWords request;
  request.op = words.front();
  request.arch = words.back();
  request.params.assign(words.begin() + 1, words.end() - 1);
  for (const auto call : {cli::CallParams::allowed, cli::CallParams::refused}) {
    const auto parsed = cli::parse_request(request, call);
    if (!parsed) {
      require(!parsed.error().message.empty(), "a refusal says why");
      continue;
    }
    require(parsed->arguments.shape.params().size() == parsed->op->shape_params.size(),
            "every shape parameter has a value");
    const auto arch = Arch::parse(parsed->arch.name());
    require(arch && *arch == parsed->arch, "an arch comes back from its name");
    const auto input_of_it = make_input(*parsed->op, parsed->op->implementations.front(),
                                        parsed->arguments.shape, parsed->arch);
    require(input_of_it.has_value(), "every accepted request has its sources");
  }
  (void)cli::parse_archs(request.arch);
}

std::vector<std::string> request_seeds() {
  std::vector<std::string> seeds = {"attention_decode\nHq=32\nHkv=8\nio=bf16\nsm_90a",
                                    "kda_decode\nbatch=4\ngate=scalar\ngfx942:sramecc+:xnack-",
                                    "router_gemm\nx86-64-v4+avx512bf16"};
  for (const Op& op : ops()) seeds.push_back(op.name + "\nsimt:warp64:checked");
  return seeds;
}

}  // namespace

std::span<const Target> targets() {
  static constexpr Target kTargets[] = {{"bundle", run_bundle, bundle_seeds},
                                        {"record", run_record, record_seeds},
                                        {"request", run_request, request_seeds}};
  return kTargets;
}

}  // namespace kiln::fuzz
