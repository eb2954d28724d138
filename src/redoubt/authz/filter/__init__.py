"""Filter: the policies as one SQL condition, for lists of what a principal may see.

The third reader of the policy tree: principal, action and context are known, the resource is a row of one table.
"""

from .indexes import Way, existing_indexes, index_name, proposed, served, ways
from .mapping import (
    Attribute,
    Child,
    Closure,
    EntityTable,
    Link,
    Mapping,
    Nested,
    Parent,
    Reference,
    Tags,
    Untranslatable,
    Value,
)
from .reader import Filters, KeptFilters, Known, ListFilter, list_filter

__all__ = [
    "Attribute",
    "Child",
    "Closure",
    "EntityTable",
    "Filters",
    "KeptFilters",
    "Known",
    "Link",
    "ListFilter",
    "Mapping",
    "Nested",
    "Parent",
    "Reference",
    "Tags",
    "Untranslatable",
    "Value",
    "Way",
    "existing_indexes",
    "index_name",
    "list_filter",
    "proposed",
    "served",
    "ways",
]
