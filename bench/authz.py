"""What the compiled policies decide a second, beside the reference engine and, where its program is given, beside OPA.

All are asked about the same 50 policies and 1,000 entities (`_authz_world.py`; for OPA, `_authz_opa.py`).

Run: python bench/authz.py [--quick] [--opa PROGRAM]
"""

from __future__ import annotations

import _authz_decide
from _support import parse


def main() -> None:
    """Measure what decides."""
    options = parse(__doc__ or "", peer="opa")
    _authz_decide.measure(quick=options.quick, opa=options.opa)


if __name__ == "__main__":
    main()
