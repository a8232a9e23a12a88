// SPDX-License-Identifier: Apache-2.0
// Each op has a page, and it says of parameters, defaults and implementations what the program
// says.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>

#include "tests/tools/jitctl.h"

namespace kiln::test {
namespace {

using nlohmann::json;

std::string text_of(const std::string& file) {
  std::ifstream stream(file);
  return {std::istreambuf_iterator<char>(stream), {}};
}

// From a heading that begins with `title` to the next one.
std::string section(const std::string& page, const std::string& title) {
  const std::size_t begin = page.find("\n## " + title);
  if (begin == std::string::npos) return "";
  return page.substr(begin, page.find("\n## ", begin + 1) - begin);
}

std::vector<std::string> words_in(const std::string& text, const std::string& letters) {
  std::vector<std::string> words;
  for (std::size_t at = text.find_first_of(letters); at != std::string::npos;) {
    const std::size_t end = std::min(text.find_first_not_of(letters, at), text.size());
    words.push_back(text.substr(at, end - at));
    at = text.find_first_of(letters, end);
  }
  return words;
}

const std::string kWord = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";

struct Row {
  std::vector<std::string> names;  // in its first cell
  std::vector<std::string> words;  // in the others
};

// The rows of the first table of a section, its head left out.
std::vector<Row> first_table(const std::string& text) {
  std::vector<Row> rows;
  std::size_t at = text.find("\n|");
  while (at != std::string::npos && text.compare(at, 2, "\n|") == 0) {
    const std::size_t end = text.find('\n', at + 1);
    const std::string line = text.substr(at + 2, end - at - 2);
    const std::size_t cell = line.find('|');
    rows.push_back({words_in(line.substr(0, cell), kWord), words_in(line.substr(cell), kWord)});
    at = end;
  }
  rows.erase(rows.begin(), rows.begin() + std::min<std::ptrdiff_t>(2, std::ssize(rows)));
  return rows;
}

bool has(const std::vector<std::string>& words, const std::string& word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

void expect_shape_is_told(const json& op, const std::string& page) {
  const std::string name = op["op"];
  const std::string shape = section(page, "Shape");
  const std::vector<Row> rows = first_table(shape);
  std::vector<std::string> known;
  for (const json& param : op["shape"]) {
    const std::string param_name = param["name"];
    known.push_back(param_name);
    EXPECT_NE(shape.find("`" + param_name + "`"), std::string::npos) << name << " " << param_name;
    const std::string value = param["default"].is_string() ? param["default"].get<std::string>()
                                                           : param["default"].dump();
    for (const Row& row : rows) {
      if (!has(row.names, param_name)) continue;
      EXPECT_TRUE(has(row.words, value)) << name << ": " << param_name << " is " << value;
    }
  }
  // kda_prefill takes the table of kda_decode.
  if (name == "kda_prefill") return;
  EXPECT_FALSE(rows.empty()) << name;
  for (const Row& row : rows) {
    for (const std::string& one : row.names) {
      EXPECT_TRUE(has(known, one)) << name << " has no " << one;
    }
  }
}

TEST(OpPages, SayWhatTheProgramSays) {
  json object;
  ASSERT_EQ(Jitctl().run_json({"ops"}, &object).exit_code, 0);
  const std::string list = text_of(KILN_DOCS "/ops/README.md");
  ASSERT_GE(object["ops"].size(), 6U);
  for (const json& op : object["ops"]) {
    const std::string name = op["op"];
    const std::string page = text_of(KILN_DOCS "/ops/" + name + ".md");
    EXPECT_NE(list.find("](" + name + ".md)"), std::string::npos) << name;
    for (const char* title : {"Maths", "Shape", "Implementations"}) {
      EXPECT_NE(section(page, title), "") << name << " lacks " << title;
    }
    for (const std::string& part : {std::string("\n```cpp\n"), "\njitctl run " + name}) {
      EXPECT_NE(page.find(part), std::string::npos) << name << " lacks " << part;
    }
    // Layouts stand in a section of their own, or below the shape.
    EXPECT_NE((section(page, "Tensors") + section(page, "Shape")).find('['), std::string::npos)
        << name;
    for (const json& one : op["implementations"]) {
      EXPECT_NE(page.find("`" + one["name"].get<std::string>() + "`"), std::string::npos) << one;
    }
    expect_shape_is_told(op, page);
  }
}

}  // namespace
}  // namespace kiln::test
