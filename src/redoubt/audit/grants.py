"""Who does what with the audit log: everybody appends, only a process with a sequencer places entries in the tree.

Nobody deletes. What stands behind a commitment is read and erased by operators' commands, which the owner runs.
"""

from __future__ import annotations

from ..core.db import use
from .store import entries, lease, personal, tiles, tree

# SQLite looks for rows that wait for an entry when several entries are added at once; the values are nobody's to read.
_DISCLOSE = use(personal, select=("entry_id",), insert=True)
_SEQUENCER = (
    use(entries, insert=True, update=("leaf_index",)),
    _DISCLOSE,
    use(tree, insert=True, update=("size", "peaks", "checkpoint")),
    use(tiles, insert=True),
    use(lease, insert=True, update=("holder", "fence", "expires_at")),
)

GRANTS = {
    "app": (use(entries, insert=True), _DISCLOSE, use(tree)),
    "worker": _SEQUENCER,
    "charge": _SEQUENCER,
}
