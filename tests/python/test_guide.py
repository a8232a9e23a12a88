# SPDX-License-Identifier: Apache-2.0
"""The examples that README and the guide show run as they stand."""
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize("page", ["README.md", "docs/python.md"])
def test_examples(page):
    pytest.importorskip("torch", reason="torch is not installed: tools/fetch_python.sh")
    examples = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.M | re.S)
    assert examples
    for example in examples:
        exec(compile(example, page, "exec"), {})
