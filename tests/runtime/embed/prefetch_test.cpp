// SPDX-License-Identifier: Apache-2.0
// Kernels before the first call: prefetch, ready, wait, unload, captures, events, fall-backs.
#include <gtest/gtest.h>

#include <mutex>

#include "tests/runtime/embed/sample_calls.h"
#include "tests/runtime/embed/stub_runtime.h"
#include "tests/runtime/user_template.h"

namespace kiln::test {
namespace {

const Op& op_named(const char* name) {
  return **find_op(name);
}

class PrefetchTest : public testing::Test {
 protected:
  KernelRequest request(int device = 0) const {
    return {&op_, sample_shape(op_), {kDLCUDA, device}, {}};
  }
  Result<void> call(int device = 0, Stream stream = {}) {
    SampleTensors tensors({kDLCUDA, device});
    CallOptions options;
    options.stream = stream;
    return kda_decode(*stub_, sample_kda_decode(tensors, 4), options);
  }

  const Op& op_ = op_named("kda_decode");
  StubRuntime stub_{KILN_QUIET_CUDA};
};

TEST_F(PrefetchTest, LoadsInTheBackgroundAndThenACallIsReady) {
  stub_.store_kernels(op_, sample_shape(op_));
  EXPECT_FALSE(*stub_->ready(request()));
  const auto prefetch = stub_->prefetch(request());
  ASSERT_TRUE(prefetch) << prefetch.error().message;
  const auto waited = prefetch->wait();
  ASSERT_TRUE(waited) << waited.error().message;
  EXPECT_TRUE(prefetch->done());
  EXPECT_TRUE(*stub_->ready(request()));
  EXPECT_FALSE(*stub_->ready(request(1)));  // another device has modules of its own
  const Counters before = stub_->counters();
  ASSERT_TRUE(call());
  EXPECT_EQ(stub_->counters(), before);
}

TEST_F(PrefetchTest, WhatCannotBeHadIsTheErrorOfWait) {
  const auto prefetch = stub_->prefetch(request());
  ASSERT_TRUE(prefetch);
  const auto waited = prefetch->wait();
  ASSERT_FALSE(waited);
  EXPECT_EQ(waited.error().code, ErrorCode::unavailable);
  EXPECT_NE(waited.error().message.find("NVRTC"), std::string::npos) << waited.error().message;
  EXPECT_FALSE(*stub_->ready(request()));
}

TEST_F(PrefetchTest, ACaptureNeedsAPrefetch) {
  stub_.store_kernels(op_, sample_shape(op_));
  int stream = 0;
  const std::uint64_t launches = stub_.launches();
  stub_.capture(true);
  const auto missed = call(0, {&stream});
  ASSERT_FALSE(missed);
  EXPECT_EQ(missed.error().code, ErrorCode::cache_miss);
  EXPECT_NE(missed.error().message.find("captured"), std::string::npos) << missed.error().message;
  EXPECT_EQ(stub_.launches(), launches);
  ASSERT_TRUE(stub_->load(request()));
  EXPECT_TRUE(call(0, {&stream}));
}

TEST_F(PrefetchTest, UnloadLetsGoAndTheNextCallLoadsAgain) {
  stub_.store_kernels(op_, sample_shape(op_));
  EXPECT_EQ(*stub_->unload(request()), 0);
  ASSERT_TRUE(call());
  EXPECT_EQ(*stub_->unload(request()), 1);
  EXPECT_FALSE(*stub_->ready(request()));
  ASSERT_TRUE(call());
  EXPECT_FALSE(*stub_->ready(request()));  // a call loads the kernel that it takes, and no other
  ASSERT_TRUE(stub_->load(request()));
  EXPECT_TRUE(*stub_->ready(request()));
  EXPECT_EQ(*stub_->unload(request()), 3);
}

TEST_F(PrefetchTest, SeveralDevicesAndRuntimesDoNotMix) {
  stub_.store_kernels(op_, sample_shape(op_));
  StubRuntime other(KILN_QUIET_CUDA);
  ASSERT_TRUE(stub_->load(request(0)));
  ASSERT_TRUE(stub_->load(request(1)));
  EXPECT_TRUE(call(0));
  EXPECT_TRUE(call(1));
  EXPECT_FALSE(*other->ready(request(0)));
  const auto none = stub_->load(request(7));
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, ErrorCode::invalid_argument);
}

TEST_F(PrefetchTest, TheEndOfTheRuntimeEndsWhatWaits) {
  stub_.store_kernels(op_, sample_shape(op_));
  std::vector<Prefetch> all;
  {
    StubRuntime ending(KILN_QUIET_CUDA);
    for (int i = 0; i < 50; ++i) all.push_back(*ending->prefetch(request()));
  }
  for (const Prefetch& each : all) {
    EXPECT_TRUE(each.done());
    EXPECT_FALSE(each.wait());  // no kernels there, or no Runtime any more
  }
}

struct Heard {
  std::mutex mutex;
  std::vector<std::string> events;

  EventCallback listener() {
    return [this](const Event& event) {
      const std::lock_guard lock(mutex);
      const char* const kinds[] = {"begin", "end", "fall back"};
      std::string text = kinds[static_cast<int>(event.kind)] + std::string(" ");
      text += event.label.substr(0, event.label.find(' '));
      if (!event.instead.empty()) text += " to " + std::string(event.instead);
      if (event.error) text += " " + std::string(name_of(event.error->code));
      events.push_back(text);
    };
  }
};

TEST(EventTest, ACompileBeginsAndEnds) {
  Heard heard;
  const TempFolder folder;
  Options options = *Options::from_environment();
  options.cache_folder = folder.path() / "cache";
  options.on_event = heard.listener();
  const auto runtime = *Runtime::create(options);
  if (!runtime->compilers().chain(*Arch::parse("cpu")).front()->toolchain()) GTEST_SKIP();
  ASSERT_TRUE(runtime->kernel(add_constant(1)));
  ASSERT_TRUE(runtime->kernel(add_constant(1)));  // a hit says nothing
  CompileInput broken = add_constant(2);
  broken.source.text += "int broken = nonsense;\n";
  ASSERT_FALSE(runtime->kernel(broken));
  EXPECT_EQ(heard.events, (std::vector<std::string>{
                              "begin add_constant/user", "end add_constant/user",
                              "begin add_constant/user", "end add_constant/user compile_failed"}));
}

TEST(EventTest, ACallbackThatThrowsHarmsNothing) {
  const TempFolder folder;
  Options options = *Options::from_environment();
  options.cache_folder = folder.path() / "cache";
  options.on_event = [](const Event&) { throw 1; };
  const auto runtime = *Runtime::create(options);
  if (!runtime->compilers().chain(*Arch::parse("cpu")).front()->toolchain()) GTEST_SKIP();
  const auto kernel = runtime->kernel(add_constant(1));
  EXPECT_TRUE(kernel) << kernel.error().message;
}

// An op with two GPU implementations: the better one's code is not there.
TEST(EventTest, TheNextImplementationServesWhereTheBestCannotBeHad) {
  Heard heard;
  StubRuntime stub(KILN_QUIET_CUDA, heard.listener());
  const Arch arch = *Arch::parse("sm_90a");
  for (const Op& op : ops()) {
    std::vector<const Implementation*> able;
    for (const Implementation& each : op.implementations) {
      if (can_build(each, sample_shape(op), arch)) able.push_back(&each);
    }
    if (able.size() < 2) continue;
    const std::string best = able[0]->name;
    const std::string next = able[1]->name;
    stub.store_kernels(op, sample_shape(op), "kernel", next.c_str());
    const auto loaded = stub->load({&op, sample_shape(op), {kDLCUDA, 0}, {}});
    ASSERT_TRUE(loaded) << loaded.error().message;
    EXPECT_EQ(heard.events,
              std::vector<std::string>{"fall back " + best + " to " + next + " unavailable"});
    EXPECT_TRUE(*stub->ready({&op, sample_shape(op), {kDLCUDA, 0}, {}}));
    return;
  }
  FAIL() << "no op has two implementations for one GPU";
}

// Few states: small_batch is the best, and several_tokens would serve too. With the code of
// large_batch alone, which is never the best here, the call goes through all the same.
TEST(EventTest, OneThatIsNotTheBestServesWhereNoOtherCanBeHad) {
  Heard heard;
  StubRuntime stub(KILN_QUIET_CUDA, heard.listener());
  const Op& op = op_named("kda_decode");
  stub.store_kernels(op, sample_shape(op), "kernel", "kda_decode/large_batch");
  SampleTensors tensors({kDLCUDA, 0});
  const KdaDecodeArgs args = sample_kda_decode(tensors, 4);
  Selection selected;
  CallOptions options;
  options.selected = &selected;
  for (int i = 0; i < 2; ++i) {
    const auto called = kda_decode(*stub, args, options);
    ASSERT_TRUE(called) << called.error().message;
    EXPECT_EQ(selected.implementation->name, "kda_decode/large_batch");
    ASSERT_EQ(selected.passed_over.size(), 1U);
    EXPECT_EQ(selected.passed_over[0].first, "kda_decode/small_batch");
    EXPECT_EQ(selected.passed_over[0].second, "its kernel cannot be had");
  }
  ASSERT_FALSE(heard.events.empty());
  EXPECT_EQ(heard.events[0],
            "fall back kda_decode/small_batch to kda_decode/large_batch unavailable");
}

TEST(EventTest, SelectedSaysWhyEachBetterOneDoesNotServe) {
  StubRuntime stub(KILN_QUIET_CUDA);
  const Op& op = op_named("kda_decode");
  stub.store_kernels(op, sample_shape(op));
  SampleTensors tensors({kDLCUDA, 0});
  Selection selected;
  CallOptions options;
  options.selected = &selected;
  ASSERT_TRUE(kda_decode(*stub, sample_kda_decode(tensors, 4), options));
  EXPECT_EQ(selected.op, &op);
  EXPECT_EQ(selected.implementation->name, "kda_decode/small_batch");
  ASSERT_EQ(selected.passed_over.size(), 1U);
  EXPECT_EQ(selected.passed_over[0].first, "kda_decode/large_batch");
  EXPECT_EQ(selected.passed_over[0].second, "32 states; worth it from 4096 on");
  ASSERT_TRUE(kda_decode(*stub, sample_kda_decode(tensors, 512), options));
  EXPECT_EQ(selected.implementation->name, "kda_decode/large_batch");
}

struct BadRequest {
  const char* what;
  KernelRequest request;
  const char* says;
};

TEST_F(PrefetchTest, BadRequestsAreRefusedByName) {
  const Shape good = sample_shape(op_);
  Shape unknown = good;
  unknown.set("NOPE", std::int64_t{1});
  Shape typed = good;
  typed.set("H", std::string("eight"));
  Shape word = good;
  word.set("io", std::string("f8"));
  Shape part;
  part.set("H", std::int64_t{8});
  const BadRequest cases[] = {{"no op", {nullptr, good, {kDLCUDA, 0}, {}}, "without an op"},
                              {"unknown", {&op_, unknown, {kDLCUDA, 0}, {}}, "NOPE=1"},
                              {"type", {&op_, typed, {kDLCUDA, 0}, {}}, "H=eight"},
                              {"word", {&op_, word, {kDLCUDA, 0}, {}}, "bf16, f16, f32"},
                              {"part", {&op_, part, {kDLCUDA, 0}, {}}, "lacks HV"}};
  for (const BadRequest& each : cases) {
    SCOPED_TRACE(each.what);
    const Result<bool> ready = stub_->ready(each.request);
    const Result<Prefetch> prefetch = stub_->prefetch(each.request);
    const Result<int> unload = stub_->unload(each.request);
    const Result<void> load = stub_->load(each.request);
    ASSERT_FALSE(ready || prefetch || unload || load);
    for (const Error& error : {ready.error(), prefetch.error(), unload.error(), load.error()}) {
      EXPECT_EQ(error.code, ErrorCode::invalid_argument);
      EXPECT_NE(error.message.find(each.says), std::string::npos) << error.message;
    }
  }
}

}  // namespace
}  // namespace kiln::test
