# SPDX-License-Identifier: Apache-2.0
"""For the tests of who uses Kiln: found by pytest through its entry point."""
import pytest


@pytest.fixture
def kiln_no_compile():
    """The test may compile nothing: what it would compile is a kiln.CacheMiss."""
    import kiln  # not before a test wants it

    with kiln.locked():
        yield
