# SPDX-License-Identifier: Apache-2.0
"""The command line that comes with the package."""
import json
import os
import subprocess

from .errors import Error

PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bin", "jitctl")


def prewarm(config, tp, archs, variables) -> list:
    words = [PROGRAM, "prewarm", "--json", "--config", os.fspath(config), "--arch", ",".join(archs)]
    if tp is not None:
        words += ["--tp", str(tp)]
    done = subprocess.run(words, capture_output=True, text=True, check=False,
                          env={**os.environ, **variables})
    if done.returncode != 0:
        raise Error(f"jitctl prewarm --config {config} failed with {done.returncode}",
                    done.stderr + done.stdout)
    answer = json.loads(done.stdout)
    return [(kernel["label"], kernel["outcome"]) for kernel in answer["kernels"]]
