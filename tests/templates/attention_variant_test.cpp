// SPDX-License-Identifier: Apache-2.0
// Attention variants as data: what is let in, what it is called, and where each compiler places an
// error in a caller's expression.
#include "templates/attention_variant.h"

#include <gtest/gtest.h>

#include "templates/registry.h"
#include "tests/jit/compilers_for_test.h"

namespace kiln::test {
namespace {

AttentionVariant variant_with(std::string logits) {
  AttentionVariant variant;
  variant.name = "mine";
  variant.logits = std::move(logits);
  variant.tensors = {{"bias", "f32"}, {"log", "f32", true}};
  variant.scalars = {{"cap", "f32"}, {"width", "i32"}};
  return variant;
}
std::string refusal_of(const AttentionVariant& variant) {
  const auto added = add_attention_variant(variant);
  return added ? "" : added.error().message;
}
bool holds(const std::string& text, std::string_view words) {
  return text.find(words) != std::string::npos;
}

TEST(AttentionVariant, TheSameDefinitionIsTheSameAndAnotherTextAnother) {
  const auto* const one = *add_attention_variant(variant_with("logit + 1.0f"));
  AttentionVariant again = variant_with("logit + 1.0f");
  again.doc = "other words about it";
  EXPECT_EQ(*add_attention_variant(again), one);
  const auto* const other = *add_attention_variant(variant_with("logit + 2.0f"));
  EXPECT_NE(other->word, one->word);
  EXPECT_TRUE(other->word.starts_with("mine@")) << other->word;
  EXPECT_EQ(find_attention_variant("mine"), other);  // the last of this name
  EXPECT_EQ(find_attention_variant(one->word), one);
  EXPECT_EQ(&attention_variant_at(one->index), one);

  for (const char* const name : {"attention_prefill", "attention_decode"}) {
    const Op& op = **find_op(name);
    const auto key_of = [&](const std::string& word) {
      const std::vector<NameValue> given = {{"variant", word}};
      const auto input = make_input(op, op.implementations.back(),
                                    parse_arguments(op, given)->shape, *Arch::parse("cpu"));
      EXPECT_TRUE(holds(input->label(), "variant=" + word)) << input->label();
      return input->request().digest();
    };
    EXPECT_NE(key_of(one->word), key_of(other->word));
    EXPECT_NE(key_of("sigmoid"), key_of("none"));
  }
}

// What would let the code depend on more than its text, or leave the expression.
TEST(AttentionVariant, WhatIsNoExpressionIsRefusedWithItsPlace) {
  const std::pair<const char*, const char*> cases[] = {
      {"logit\n  + __DATE__[0]", "mine.logits:2:5: '__DATE__'"},
      {"logit +\n#include \"/etc/passwd\"\n", "mine.logits:2:1: '#' is refused"},
      {"logit\n%: include <x>", "mine.logits:2:1: '%:' is refused"},
      {"__DA\\\nTE__", "mine.logits:1:5: '\\' is refused"},
      {"logit + sizeof(\"x\")", "'\"' is refused"},
      {"logit); } float x() { return (1", "mine.logits:1:6: ')' closes no bracket"},
      {"logit; x", "';' is refused"},
      {"[&] { return 1; }()", "'{' is refused"},
      {"(logit", "mine.logits:1:1: a bracket that is not closed"},
      {"(logit]", "mine.logits:1:7: ']' closes no bracket"},
      {"logit /* more", "mine.logits:1:7: a comment that is not closed"},
      {" // nothing", "no expression"},
      {"asm(x)", "'asm'"},
      {"logit + \xc3\xa9", "byte 0xc3 is refused"}};
  for (const auto& [text, words] : cases) {
    const std::string refusal = refusal_of(variant_with(text));
    EXPECT_TRUE(holds(refusal, words)) << text << ": " << refusal;
  }
  EXPECT_EQ(refusal_of(variant_with("logit // a remark")), "");
  AttentionVariant sink = variant_with("");
  sink.sink = "cap";
  sink.softmax = false;
  EXPECT_TRUE(holds(refusal_of(sink), "no softmax"));
}

TEST(AttentionVariant, NamesAndTypesAreChecked) {
  const auto with_tensor = [](const char* name, const char* type, bool written = false) {
    AttentionVariant variant = variant_with("logit");
    variant.tensors = {{name, type, written}};
    return refusal_of(variant);
  };
  EXPECT_TRUE(holds(with_tensor("float", "f32"), "has a name that expressions know already"));
  EXPECT_TRUE(holds(with_tensor("kv_idx", "f32"), "know already"));
  EXPECT_TRUE(holds(with_tensor("cap", "f32"), "'cap' is given twice"));
  EXPECT_TRUE(holds(with_tensor("a b", "f32"), "is no name"));
  EXPECT_TRUE(holds(with_tensor("x", "f64"), "not one of f32, bf16, f16, i32, u8"));
  EXPECT_TRUE(holds(with_tensor("x", "i32", true), "not one of f32, bf16, f16"));
  AttentionVariant many = variant_with("logit");
  many.tensors.assign(5, {"x", "f32"});
  EXPECT_TRUE(holds(refusal_of(many), "5 tensors"));
  AttentionVariant unnamed = variant_with("logit");
  unnamed.name = "a-b";
  EXPECT_TRUE(holds(refusal_of(unnamed), "its name is made of letters"));
  const Op& op = **find_op("attention_prefill");
  const std::vector<NameValue> unknown = {{"variant", "sigmoud"}};
  const auto parsed = parse_arguments(op, unknown);
  ASSERT_FALSE(parsed);
  EXPECT_TRUE(holds(parsed.error().message, "did you mean 'sigmoid'")) << parsed.error().message;
}

// Each compiler of the chain of each arch says where in the caller's own text the error is.
class AttentionVariantError : public testing::TestWithParam<std::tuple<const char*, const char*>> {
};

TEST_P(AttentionVariantError, HasItsLineAndColumnInTheCallersText) {
  const auto& [op_name, arch_name] = GetParam();
  const Arch arch = *Arch::parse(arch_name);
  const auto* const broken =
      *add_attention_variant(variant_with("logit *\n    (cap + undeclared)"));
  const Op& op = **find_op(op_name);
  const std::vector<NameValue> given = {{"variant", broken->word}};
  const Shape shape = parse_arguments(op, given)->shape;
  const Compilers compilers(settings_from_environment());
  int asked = 0;
  for (Compiler* const compiler : compilers.chain(arch)) {
    if (!compiler->can_compile(arch)) continue;
    ++asked;
    const auto implementation =
        std::find_if(op.implementations.begin(), op.implementations.end(),
                     [&](const auto& each) { return bool(can_build(each, shape, arch)); });
    const auto input = make_input(op, *implementation, shape, arch);
    ASSERT_TRUE(input);
    ASSERT_TRUE(input->check());
    const auto made = compiler->compile(*input);
    ASSERT_FALSE(made) << compiler->name();
    EXPECT_TRUE(holds(made.error().message, ": mine.logits:2:12: "))
        << made.error().message << made.error().log;
    EXPECT_TRUE(holds(made.error().message, "undeclared")) << made.error().message;
  }
  if (asked == 0) GTEST_SKIP() << "no compiler here for " << arch.name();
}

INSTANTIATE_TEST_SUITE_P(Archs, AttentionVariantError,
                         testing::Combine(testing::Values("attention_prefill", "attention_decode"),
                                          testing::Values("cpu", "simt", "sm_80", "gfx90a",
                                                          "gfx942")));

}  // namespace
}  // namespace kiln::test
