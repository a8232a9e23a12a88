// SPDX-License-Identifier: Apache-2.0
#include "cache/signature.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "cache/trusted_keys.h"
#include "tests/cache/support.h"

namespace kiln::test {
namespace {

TEST(SigningKey, SignsAndComesBackFromItsFile) {
  const TempFolder folder;
  const auto file = folder.path() / "kiln" / "signing_key";
  const SigningKey key = SigningKey::generate().value();
  const auto written = key.write(file);
  ASSERT_TRUE(written) << written.error().message;
  struct stat status;
  ASSERT_EQ(stat(file.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
  const SigningKey read = SigningKey::read(file).value();
  EXPECT_EQ(read.public_key(), key.public_key());
  const Signature signature = read.sign(as_bytes("message"));
  EXPECT_EQ(signature, key.sign(as_bytes("message")));
  EXPECT_TRUE(is_signed_by(key.public_key(), as_bytes("message"), signature));
  EXPECT_FALSE(is_signed_by(key.public_key(), as_bytes("massage"), signature));
  EXPECT_FALSE(is_signed_by(SigningKey::generate()->public_key(), as_bytes("message"), signature));
}

TEST(SigningKey, IsNeverOverwritten) {
  const TempFolder folder;
  const auto file = folder.path() / "signing_key";
  const SigningKey key = SigningKey::generate().value();
  ASSERT_TRUE(key.write(file));
  const auto again = SigningKey::generate()->write(file);
  ASSERT_FALSE(again);
  EXPECT_NE(again.error().message.find("exists"), std::string::npos);
  EXPECT_EQ(SigningKey::read(file)->public_key(), key.public_key());
}

std::string refusal_of_key(const std::filesystem::path& file) {
  const auto key = SigningKey::read(file);
  return key ? "" : key.error().message;
}

TEST(SigningKey, WhatOthersCouldReadOrPutThereIsRefused) {
  const TempFolder folder;
  const auto file = folder.path() / "signing_key";
  ASSERT_TRUE(SigningKey::generate()->write(file));
  ASSERT_EQ(chmod(file.c_str(), 0640), 0);
  EXPECT_NE(refusal_of_key(file).find("0640"), std::string::npos) << refusal_of_key(file);
  ASSERT_EQ(chmod(file.c_str(), 0600), 0);
  EXPECT_EQ(refusal_of_key(file), "");
  ASSERT_EQ(chmod(folder.path().c_str(), 0777), 0);
  EXPECT_NE(refusal_of_key(file).find("0777"), std::string::npos);
  ASSERT_EQ(chmod(folder.path().c_str(), 0700), 0);
  const auto link = folder.path() / "link";
  std::filesystem::create_symlink(file, link);
  EXPECT_NE(refusal_of_key(link).find("symbolic link"), std::string::npos);
  EXPECT_NE(refusal_of_key(folder.path()).find("regular"), std::string::npos);
  EXPECT_NE(refusal_of_key(folder.path() / "none").find("No such file"), std::string::npos);
  for (const char* text : {"", "ed25519-secret:", "ed25519-secret:00", "hello"}) {
    std::ofstream(file) << text;
    EXPECT_NE(refusal_of_key(file).find("no signing key"), std::string::npos) << text;
  }
}

TEST(TrustedKeys, AreReadWithNamesAndComments) {
  const PublicKey one = SigningKey::generate()->public_key();
  const PublicKey other = SigningKey::generate()->public_key();
  const auto keys = TrustedKeys::parse(
      "# ours\n\n" + one.text() + "  the build farm \n" + other.text() + "\n", "list");
  ASSERT_TRUE(keys) << keys.error().message;
  ASSERT_EQ(keys->all().size(), 2u);
  EXPECT_EQ(keys->find(one)->name, "the build farm");
  EXPECT_EQ(keys->find(other)->name, "");
  EXPECT_EQ(keys->find(SigningKey::generate()->public_key()), nullptr);
}

TEST(TrustedKeys, ALineThatIsNoKeyIsNamed) {
  const std::string good = SigningKey::generate()->public_key().text();
  for (const std::string& line :
       {std::string("ed25519:12"), good.substr(8), good + "0", "rsa:" + good.substr(8)}) {
    const auto keys = TrustedKeys::parse("# x\n" + line + "\n", "list");
    ASSERT_FALSE(keys) << line;
    EXPECT_NE(keys.error().message.find("'list' line 2"), std::string::npos);
  }
}

TEST(TrustedKeys, AFileThatIsNotThereTrustsNobodyAndOneOfOthersIsRefused) {
  const TempFolder folder;
  const auto file = folder.path() / "trusted_keys";
  EXPECT_TRUE(TrustedKeys::read(file)->all().empty());
  std::ofstream(file) << "";
  ASSERT_EQ(chmod(file.c_str(), 0644), 0);
  EXPECT_TRUE(TrustedKeys::read(file));
  ASSERT_EQ(chmod(file.c_str(), 0666), 0);
  EXPECT_FALSE(TrustedKeys::read(file));
}

}  // namespace
}  // namespace kiln::test
