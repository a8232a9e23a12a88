# SPDX-License-Identifier: Apache-2.0
"""One cache for the whole run, away from the user's."""
import os
import tempfile

_folder = tempfile.TemporaryDirectory(prefix="kiln-python-tests-")
for name in [name for name in os.environ if name.startswith("KILN_CACHE")]:
    del os.environ[name]
os.environ["KILN_CACHE_DIR"] = _folder.name

pytest_plugins = ["kiln.pytest_plugin", "pytester"]
