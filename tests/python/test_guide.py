# SPDX-License-Identifier: Apache-2.0
"""The examples that README and the guide show run as they stand."""
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[2]


def examples_of(page):
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S)


PAGES = [page for page in [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))] if examples_of(page)]
assert len(PAGES) >= 2


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_examples(page):
    pytest.importorskip("torch", reason="torch is not installed: tools/fetch_python.sh")
    examples = examples_of(page)
    for example in examples:
        exec(compile(example, str(page), "exec"), {})
