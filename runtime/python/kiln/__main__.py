# SPDX-License-Identifier: Apache-2.0
"""python -m kiln: jitctl."""
import os
import sys

from kiln._jitctl import PROGRAM


def main() -> None:
    os.execv(PROGRAM, [PROGRAM, *sys.argv[1:]])


if __name__ == "__main__":
    main()
