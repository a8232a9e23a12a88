// SPDX-License-Identifier: Apache-2.0
// What the stub driver libraries share: every call is recorded, any call can be told to fail, and a
// few numbers can be set. One copy of the library has one state.
#pragma once

#include <cstdint>
#include <string>

namespace kiln::stub {

// Records "call@device arguments" ('-' for no device) and says what the call must answer.
int record(const char* call, int device, const std::string& arguments = {});

// What the test set, else `otherwise`.
int setting(const std::string& name, int otherwise);

constexpr int kNoDevice = -1;

struct Launch {
  const void* function;
  unsigned grid[3];
  unsigned block[3];
  unsigned shared_bytes;
  const void* stream;
  const void* params;
  std::size_t params_bytes;
};
// "name grid 1,2,3 block 4,5,6 shared 7 stream 0x8 params 090a"
std::string to_text(const Launch& launch);

// A function's handle is its name; names that start with "missing" are in no module.
int find_function(const char* name, const void** function);

int allocate(std::size_t bytes, void** memory);
void release(void* memory);

const char* status_name(int status);

}  // namespace kiln::stub

// The test's side of it, looked up by name.
extern "C" {
// From now on `call` answers `status`; 0 undoes it.
void stub_fail(const char* call, int status);
void stub_set(const char* name, int value);
// The device that is current on this thread, or -1; and makes it so, as a host program would.
int stub_current();
void stub_make_current(int device);
// Every call since the last stub_log, one a line. Valid until the next one.
const char* stub_log();
}
