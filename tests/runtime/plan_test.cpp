// SPDX-License-Identifier: Apache-2.0
// Plans as text, and the recording of them by several threads and processes at once.
#include "kiln/plan.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <set>
#include <thread>

#include "runtime/plan_recorder.h"
#include "tests/support/temp_folder.h"

namespace kiln::test {
namespace {

const Op& decode() {
  return **find_op("kda_decode");
}

Shape shape_with_heads(int heads) {
  const std::vector<NameValue> given = {{"H", std::to_string(heads)},
                                        {"HV", std::to_string(heads)}};
  return parse_arguments(decode(), given)->shape;
}

std::string text_of(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

std::string error_of(std::string_view text) {
  const auto parsed = parse_plan(text, "p");
  if (parsed) return "no error";
  EXPECT_EQ(parsed.error().code, ErrorCode::invalid_argument);
  return parsed.error().message;
}

TEST(Plan, ALineMadeIsTheLineRead) {
  const std::vector<PlanRequest> requests = {
      {&decode(), shape_with_heads(8), *Arch::parse("sm_90a")},
      {&decode(), shape_with_heads(4), *Arch::parse("simt:warp64")}};
  const auto read = parse_plan(plan_text(requests), "p");
  ASSERT_TRUE(read) << read.error().message;
  ASSERT_EQ(read->size(), 2U);
  EXPECT_EQ((*read)[0].arch.name(), "simt:warp64");  // in alphabetical order
  EXPECT_EQ((*read)[1].shape, requests[0].shape);
  EXPECT_EQ(plan_text(*read), plan_text(requests));
}

TEST(Plan, PeopleMayWriteOne) {
  const auto read = parse_plan(
      "kiln-plan 1\r\n"
      "# two of one kind\n"
      "\n"
      "  kda_decode   sm_90a\tHV=8 H=8\r\n"
      "kda_decode sm_90a H=8 HV=8\n"
      "qk_rmsnorm cpu",
      "p");
  ASSERT_TRUE(read) << read.error().message;
  ASSERT_EQ(read->size(), 2U);
  EXPECT_EQ((*read)[0].shape, shape_with_heads(8));
  EXPECT_EQ((*read)[1].arch, *Arch::parse("cpu"));
  EXPECT_TRUE(parse_plan("kiln-plan 1", "p")->empty());
}

TEST(Plan, ABadOneIsRefusedWithItsLine) {
  const std::string head = "kiln-plan 1\n#\n";
  EXPECT_EQ(error_of(""), "p:1: '': no plan of Kiln's; its first line is 'kiln-plan 1'");
  EXPECT_NE(error_of("\x7f"
                     "ELF\x02")
                .find("p:1: '?ELF?': no plan"),
            std::string::npos);
  EXPECT_NE(error_of("kiln-plan 2\n").find("p:1: a plan of version 2; this Kiln reads version 1"),
            std::string::npos);
  EXPECT_NE(error_of(head + "kda_decode\n").find("p:3: 'kda_decode': a line is an op"),
            std::string::npos);
  EXPECT_NE(error_of(head + "kda_decod cpu\n").find("p:3:"), std::string::npos);
  EXPECT_NE(error_of(head + "kda_decod cpu\n").find("did you mean 'kda_decode'"),
            std::string::npos);
  EXPECT_NE(error_of(head + "kda_decode sm_9\n").find("sm_9"), std::string::npos);
  EXPECT_NE(error_of(head + "kda_decode cpu H\n").find("'H': parameters are written"),
            std::string::npos);
  EXPECT_NE(error_of(head + "kda_decode cpu HVV=8\n").find("HVV"), std::string::npos);
  EXPECT_NE(error_of(head + "kda_decode cpu H=0\n").find("p:3:"), std::string::npos);
  EXPECT_NE(error_of(head + "kda_decode cpu batch=8\n").find("'batch=8': a run-time argument"),
            std::string::npos);
  EXPECT_NE(error_of(head + "kda_decode cpu H=8 H=4\n").find("twice"), std::string::npos);
}

TEST(PlanRecorder, EightProcessesOfFourThreadsMakeOneLineARequest) {
  const TempFolder folder;
  const auto file = folder.path() / "plan";
  constexpr int kProcesses = 8;
  constexpr int kRequests = 24;
  for (int i = 0; i < kProcesses; ++i) {
    if (fork() != 0) continue;
    PlanRecorder recorder(file);
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        for (int n = 0; n < kRequests; ++n) {
          const int heads = 1 + (n * 7 + t + i) % kRequests;
          recorder.record(decode(), shape_with_heads(heads), *Arch::parse("sm_90a"));
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    _exit(0);
  }
  for (int i = 0; i < kProcesses; ++i) {
    int status = -1;
    wait(&status);
    EXPECT_EQ(status, 0);
  }
  const std::string text = text_of(file);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1 + kRequests) << text;
  const auto read = read_plan(file);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->size(), static_cast<std::size_t>(kRequests));
}

TEST(PlanRecorder, AppendsToALineThatHasNoEnd) {
  const TempFolder folder;
  const auto file = folder.write("plan", "kiln-plan 1\nqk_rmsnorm cpu");
  PlanRecorder(file).record(decode(), shape_with_heads(8), *Arch::parse("sm_90a"));
  EXPECT_EQ(read_plan(file)->size(), 2U) << text_of(file);
}

TEST(PlanRecorder, LeavesAloneWhatIsNoPlan) {
  const TempFolder folder;
  const auto notes = folder.write("notes", "buy milk\n");
  PlanRecorder(notes).record(decode(), shape_with_heads(8), *Arch::parse("sm_90a"));
  EXPECT_EQ(text_of(notes), "buy milk\n");

  const auto newer = folder.write("newer", "kiln-plan 7\nsomething else\n");
  PlanRecorder(newer).record(decode(), shape_with_heads(8), *Arch::parse("sm_90a"));
  EXPECT_EQ(text_of(newer), "kiln-plan 7\nsomething else\n");

  // A pipe that nobody reads must not stop a call, nor a folder that is not there.
  const auto pipe = folder.path() / "pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  PlanRecorder(pipe).record(decode(), shape_with_heads(8), *Arch::parse("sm_90a"));
  PlanRecorder("/no/such/folder/plan")
      .record(decode(), shape_with_heads(8), *Arch::parse("sm_90a"));
}

}  // namespace
}  // namespace kiln::test
