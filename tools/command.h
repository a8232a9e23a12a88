// SPDX-License-Identifier: Apache-2.0
// The subcommands of jitctl, one file each in commands/.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

#include "tools/session.h"

namespace kiln::cli {

using Action = std::function<ExitCode()>;

// Each adds its subcommand's options to `app` and returns what runs it after parsing. Both
// arguments outlive the action.
Action add_audit(CLI::App& app, Session& session);
Action add_compile(CLI::App& app, Session& session);
Action add_doctor(CLI::App& app, Session& session);
Action add_explain(CLI::App& app, Session& session);
Action add_export(CLI::App& app, Session& session);
Action add_gc(CLI::App& app, Session& session);
Action add_generate(CLI::App& app, Session& session);
Action add_import(CLI::App& app, Session& session);
Action add_key(CLI::App& app, Session& session);
Action add_ls(CLI::App& app, Session& session);
Action add_merge(CLI::App& app, Session& session);
Action add_ops(CLI::App& app, Session& session);
Action add_plan(CLI::App& app, Session& session);
Action add_prewarm(CLI::App& app, Session& session);
Action add_run(CLI::App& app, Session& session);
Action add_show(CLI::App& app, Session& session);
Action add_stats(CLI::App& app, Session& session);
Action add_verify(CLI::App& app, Session& session);
Action add_which(CLI::App& app, Session& session);

}  // namespace kiln::cli
