"""Authorization's readers of policies, each in a file of its own: what they decide a second, beside the reference.

All are asked about the same 50 policies and 1,000 entities (`_authz_world.py`).
"""

from __future__ import annotations

import _authz_decide
from _support import parse

READERS = (_authz_decide,)


def main() -> None:
    """Measure one reader after the other."""
    options = parse(__doc__ or "")
    for reader in READERS:
        reader.measure(quick=options.quick)


if __name__ == "__main__":
    main()
