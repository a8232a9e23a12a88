// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "templates/registry.h"

namespace kiln {
namespace {

Result<OpArguments> parse(std::vector<NameValue> given) {
  return parse_arguments(**find_op("kda_decode"), given);
}

std::string refusal(std::vector<NameValue> given) {
  const Result<OpArguments> arguments = parse(std::move(given));
  if (arguments) return "accepted";
  EXPECT_EQ(arguments.error().code, ErrorCode::invalid_argument);
  return arguments.error().message;
}

TEST(Arguments, DefaultsAreKimiLinearOnOneDevice) {
  const Result<OpArguments> arguments = parse({});
  ASSERT_TRUE(arguments);
  EXPECT_EQ(arguments->shape.text(),
            "H=32 HV=32 K=128 V=128 gate=softplus beta=logit io=bf16 gate_io=bf16 state=f32 "
            "layout=VK qk_l2norm=true");
  EXPECT_EQ(arguments->call.text(), "batch=64 tokens=1 ragged=false pool=0");
}

TEST(Arguments, GoWhereTheyBelongAndKeepTheirOrder) {
  const Result<OpArguments> arguments = parse({{"batch", "3"}, {"qk_l2norm", "false"}, {"H", "8"}});
  ASSERT_TRUE(arguments);
  EXPECT_EQ(arguments->shape.text(),
            "H=8 HV=32 K=128 V=128 gate=softplus beta=logit io=bf16 gate_io=bf16 state=f32 "
            "layout=VK qk_l2norm=false");
  EXPECT_EQ(arguments->call.integer("batch"), 3);
}

TEST(Arguments, AnUnknownNameGetsTheNearestAndTheList) {
  EXPECT_EQ(refusal({{"qk_l2nrom", "true"}}),
            "kda_decode has no parameter 'qk_l2nrom' (did you mean 'qk_l2norm'?); its parameters: "
            "H, HV, K, V, gate, beta, io, gate_io, state, layout, qk_l2norm, batch, tokens, "
            "ragged, pool");
  EXPECT_EQ(refusal({{"colour", "1"}}).find("did you mean"), std::string::npos);
}

TEST(Arguments, ANameThatDiffersInCaseIsTheNearest) {
  EXPECT_NE(refusal({{"hv", "8"}}).find("(did you mean 'HV'?)"), std::string::npos);
}

TEST(Arguments, OutOfRangeSaysWhatIsAccepted) {
  const std::string accepted =
      " is not accepted; H (query and key heads) takes an integer from 1 to 1024";
  EXPECT_EQ(refusal({{"H", "0"}}), "kda_decode: H=0" + accepted);
  EXPECT_EQ(refusal({{"H", "1025"}}), "kda_decode: H=1025" + accepted);
  EXPECT_EQ(refusal({{"H", "-1"}}), "kda_decode: H=-1" + accepted);
  EXPECT_EQ(refusal({{"H", "99999999999999999999"}}),
            "kda_decode: H=99999999999999999999" + accepted);
}

TEST(Arguments, TheWrongTypeSaysWhatIsAccepted) {
  for (const char* value : {"many", "8x", "8.5", "", " 8", "true"}) {
    EXPECT_EQ(refusal({{"K", value}}), std::string("kda_decode: K=") + value +
                                           " is not accepted; K (elements of a query or key head) "
                                           "takes an integer from 1 to 1024");
  }
  EXPECT_EQ(refusal({{"qk_l2norm", "1"}}),
            "kda_decode: qk_l2norm=1 is not accepted; qk_l2norm (whether q and k are normalised) "
            "takes true or false");
  EXPECT_EQ(refusal({{"gate", "linear"}}),
            "kda_decode: gate=linear is not accepted; gate (how a becomes the decay) takes "
            "softplus, lower_bound, precomputed, scalar");
}

TEST(Arguments, ANameGivenTwiceIsRefusedEvenWithTheSameValue) {
  EXPECT_EQ(refusal({{"H", "8"}, {"V", "128"}, {"H", "8"}}),
            "kda_decode: H is given twice: 8 and 8");
  EXPECT_EQ(refusal({{"batch", "1"}, {"batch", "2"}}), "kda_decode: batch is given twice: 1 and 2");
}

}  // namespace
}  // namespace kiln
