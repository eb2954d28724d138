"""`python -m redoubt.start MODULE …` runs a module's `main` as `python -m MODULE …` does, but starts sooner.

What modules make while they are imported stays until the process ends. To look through it for garbage over and over is
about a seventh of the time that a start takes, so the collector rests meanwhile and never looks at it later.
"""

from __future__ import annotations

import gc
import importlib
import sys
from types import ModuleType


def load(name: str) -> ModuleType:
    """Import a module while the garbage collector rests; what is there by then is never looked at again.

    Only for the start of a process, or of one of its commands.
    """
    if name in sys.modules:
        return sys.modules[name]
    collected = gc.isenabled()
    gc.disable()
    try:
        return importlib.import_module(name)
    finally:
        gc.freeze()
        if collected:
            gc.enable()


def main() -> None:
    """Import the module that the first argument names, and call its `main` with the others."""
    sys.exit(load(sys.argv.pop(1)).main())


if __name__ == "__main__":
    main()
