// SPDX-License-Identifier: Apache-2.0
#include "tests/runtime/drivers/gpu_case.h"

#include <algorithm>
#include <sstream>

#include "runtime/drivers/cuda_driver.h"
#include "runtime/drivers/hip_driver.h"

namespace kiln::test {

StubLibrary::StubLibrary(const std::filesystem::path& built)
    : path_(folder_.path() / built.filename()) {
  std::filesystem::copy_file(built, path_);
}

template <class Function>
Function* StubLibrary::control(const char* name) {
  void* library = dlopen(path_.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (!library) ADD_FAILURE() << dlerror();
  auto* function = reinterpret_cast<Function*>(dlsym(library, name));
  dlclose(library);
  return function;
}

void StubLibrary::fail(const std::string& call, int status) {
  control<void(const char*, int)>("stub_fail")(call.c_str(), status);
}

void StubLibrary::set(const std::string& name, int value) {
  control<void(const char*, int)>("stub_set")(name.c_str(), value);
}

int StubLibrary::current_device() {
  return control<int()>("stub_current")();
}

void StubLibrary::make_current(int device) {
  control<void(int)>("stub_make_current")(device);
}

std::vector<std::string> StubLibrary::calls() {
  std::istringstream log(control<const char*()>("stub_log")());
  std::vector<std::string> calls;
  for (std::string line; std::getline(log, line);) calls.push_back(line);
  return calls;
}

int count(const std::vector<std::string>& calls, const std::string& function) {
  return static_cast<int>(std::count_if(calls.begin(), calls.end(), [&](const std::string& call) {
    return call.starts_with(function + "@");
  }));
}

testing::AssertionResult has_call(const std::vector<std::string>& calls, const std::string& call) {
  const auto starts = [&](const std::string& made) { return made.starts_with(call); };
  if (std::any_of(calls.begin(), calls.end(), starts)) return testing::AssertionSuccess();
  auto failure = testing::AssertionFailure() << "no call '" << call << "' among:";
  for (const std::string& made : calls) failure << "\n  " << made;
  return failure;
}

testing::AssertionResult has(const std::string& text, std::string_view part) {
  if (text.find(part) != std::string::npos) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "no '" << part << "' in: " << text;
}

GpuCase cuda_case() {
  return {.name = "cuda",
          .title = "CUDA",
          .make_driver =
              [](const std::filesystem::path& library) { return make_cuda_driver({library}); },
          .stub = KILN_STUB_CUDA,
          .stub_old = KILN_STUB_CUDA_OLD,
          .stub_incomplete = KILN_STUB_CUDA_INCOMPLETE,
          .override_variable = "KILN_CUDA_LIBRARY",
          .format = CodeFormat::cubin,
          .elf_machine = 190,
          .arch = "sm_90a",
          .init = "cuInit",
          .count = "cuDeviceGetCount",
          .load = "cuModuleLoadDataEx",
          .find = "cuModuleGetFunction",
          .unload = "cuModuleUnload",
          .launch = "cuLaunchKernel",
          .allocate = "cuMemAlloc_v2",
          .release = "cuMemFree_v2",
          .to_device = "cuMemcpyHtoD_v2",
          .to_host = "cuMemcpyDtoH_v2",
          .synchronize = "cuStreamSynchronize",
          .is_capturing = "cuStreamIsCapturing"};
}

GpuCase hip_case() {
  return {.name = "hip",
          .title = "HIP",
          .make_driver =
              [](const std::filesystem::path& library) {
                return make_hip_driver({library, {}});
              },
          .stub = KILN_STUB_HIP,
          .stub_old = KILN_STUB_HIP_OLD,
          .stub_incomplete = KILN_STUB_HIP_INCOMPLETE,
          .override_variable = "KILN_HIP_LIBRARY",
          .format = CodeFormat::hsaco,
          .elf_machine = 224,
          .arch = "gfx90a:sramecc+:xnack-",
          .init = "hipInit",
          .count = "hipGetDeviceCount",
          .load = "hipModuleLoadData",
          .find = "hipModuleGetFunction",
          .unload = "hipModuleUnload",
          .launch = "hipModuleLaunchKernel",
          .allocate = "hipMalloc",
          .release = "hipFree",
          .to_device = "hipMemcpy",
          .to_host = "hipMemcpy",
          .synchronize = "hipStreamSynchronize",
          .is_capturing = "hipStreamIsCapturing"};
}

Bytes elf_image(int machine) {
  constexpr std::size_t kTextBytes = 64;
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_machine = static_cast<Elf64_Half>(machine);
  header.e_shoff = sizeof header;
  header.e_shnum = 1;
  Elf64_Shdr section{};
  section.sh_type = SHT_PROGBITS;
  section.sh_offset = sizeof header + sizeof section;
  section.sh_size = kTextBytes;
  Bytes image(section.sh_offset + kTextBytes);
  std::memcpy(image.data(), &header, sizeof header);
  std::memcpy(image.data() + sizeof header, &section, sizeof section);
  return image;
}

Artifact artifact_of(const GpuCase& gpu, std::vector<std::string> symbols) {
  Artifact artifact;
  artifact.format = gpu.format;
  artifact.code = elf_image(gpu.elf_machine);
  for (std::string& symbol : symbols) {
    artifact.entries.push_back({symbol + "<bf16>", symbol, {}});
  }
  return artifact;
}

}  // namespace kiln::test
