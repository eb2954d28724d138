"""`python -m redoubt.cli`: the command without its script."""

from . import main

main()
