// SPDX-License-Identifier: Apache-2.0
#include "tests/gpu_check/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

namespace kiln::gpu_check {
namespace {

const char* name_of(Outcome outcome) {
  static const char* const kNames[] = {"passed", "failed", "not run"};
  return kNames[static_cast<int>(outcome)];
}

Outcome outcome_of(const std::string& name) {
  return name == "passed" ? Outcome::passed : name == "failed" ? Outcome::failed : Outcome::not_run;
}

std::string text_of(const Speed& speed) {
  return fmt::format("  {:40} {:9.2f} us {:9.1f} {} {:5.1f} %  {}\n", speed.name, speed.time_us,
                     speed.rate, speed.unit, 100 * speed.of_limit, speed.implementation);
}

}  // namespace

void Report::add(std::string section, std::string name, Outcome outcome, std::string detail) {
  fmt::print(stderr, "{}: {}: {}: {}\n", section, name, name_of(outcome), detail);
  checks.push_back({std::move(section), std::move(name), outcome, std::move(detail)});
}

// What is not here could not run; anything else that went wrong is a failure.
void Report::add(std::string section, std::string name, const Result<std::string>& result) {
  if (result) return add(std::move(section), std::move(name), Outcome::passed, *result);
  const bool absent = result.error().code == ErrorCode::unavailable;
  add(std::move(section), std::move(name), absent ? Outcome::not_run : Outcome::failed,
      result.error().message);
}

void Report::add(Speed speed) {
  fmt::print(stderr, "{}", text_of(speed));
  speeds.push_back(std::move(speed));
}

bool Report::add_json(std::string_view text) try {
  const auto object = nlohmann::json::parse(text);
  if (object.at("machine") != "") machine = object["machine"];
  if (object.at("arch") != "") arch = object["arch"];
  for (const auto& [value, key] : {std::pair{&copy_gb_per_s, "copy_gb_per_s"},
                                   std::pair{&matrix_tflop_per_s, "matrix_tflop_per_s"}}) {
    if (object.at(key) > 0) *value = object[key];
  }
  for (const auto& each : object.at("checks")) {
    checks.push_back(
        {each.at("section"), each.at("name"), outcome_of(each.at("outcome")), each.at("detail")});
  }
  for (const auto& each : object.at("speeds")) {
    speeds.push_back({each.at("name"), each.at("time_us"), each.at("rate"), each.at("unit"),
                      each.at("of_limit"), each.at("implementation")});
  }
  return true;
} catch (const nlohmann::json::exception&) {
  return false;
}

int Report::count(Outcome outcome) const {
  return static_cast<int>(std::count_if(checks.begin(), checks.end(),
                                        [&](const Check& c) { return c.outcome == outcome; }));
}

int Report::exit_code() const {
  if (count(Outcome::failed) > 0) return 1;
  return count(Outcome::not_run) > 0 || checks.empty() ? 3 : 0;
}

std::string Report::text() const {
  std::string out = arch.empty() ? "Kiln gpu_check: no NVIDIA GPU\n"
                                 : fmt::format("Kiln gpu_check on {} ({})\n", machine, arch);
  std::string section;
  std::string reason;  // of the line before
  std::vector<Check> grouped = checks;
  std::stable_sort(grouped.begin(), grouped.end(),
                   [](const Check& a, const Check& b) { return a.section < b.section; });
  for (const Check& check : grouped) {
    if (check.section != section) out += fmt::format("\n{}\n", section = check.section);
    const bool again = !reason.empty() && check.detail == reason;
    out += fmt::format("  {:8} {:40} {}\n", name_of(check.outcome), check.name,
                       again ? "for the same reason" : check.detail);
    reason = check.outcome == Outcome::passed ? "" : check.detail;
  }
  if (copy_gb_per_s > 0) {
    out += fmt::format("\nspeed (copy {:.0f} GB/s, mma.sync {:.0f} TFLOP/s, both measured here)\n",
                       copy_gb_per_s, matrix_tflop_per_s);
  }
  for (const Speed& speed : speeds) out += text_of(speed);
  out += fmt::format("\n{} passed, {} failed, {} could not run\n", count(Outcome::passed),
                     count(Outcome::failed), count(Outcome::not_run));
  return out;
}

std::string Report::json() const {
  nlohmann::json object = {{"machine", machine},
                           {"arch", arch},
                           {"copy_gb_per_s", copy_gb_per_s},
                           {"matrix_tflop_per_s", matrix_tflop_per_s},
                           {"exit_code", exit_code()},
                           {"checks", nlohmann::json::array()},
                           {"speeds", nlohmann::json::array()}};
  for (const Check& check : checks) {
    object["checks"].push_back({{"section", check.section},
                                {"name", check.name},
                                {"outcome", name_of(check.outcome)},
                                {"detail", check.detail}});
  }
  for (const Speed& speed : speeds) {
    object["speeds"].push_back({{"name", speed.name},
                                {"time_us", speed.time_us},
                                {"rate", speed.rate},
                                {"unit", speed.unit},
                                {"of_limit", speed.of_limit},
                                {"implementation", speed.implementation}});
  }
  return object.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

Result<void> Report::write(const std::filesystem::path& folder) const {
  for (const auto& [name, content] :
       {std::pair{"gpu_check.txt", text()}, std::pair{"gpu_check.json", json()}}) {
    std::ofstream file(folder / name, std::ios::binary);
    if (file << content && file.flush()) continue;
    return fail(ErrorCode::invalid_argument,
                fmt::format("cannot write {}", (folder / name).string()));
  }
  return {};
}

}  // namespace kiln::gpu_check
