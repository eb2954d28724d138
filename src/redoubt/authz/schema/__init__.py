"""A Cedar schema as typed values, with every name resolved: what the readers of policies know about entities."""

from .errors import SchemaError
from .read import read_schema
from .types import (
    ActionType,
    Attribute,
    BoolType,
    EntityRef,
    EntityType,
    Environment,
    ExtensionType,
    LongType,
    RecordType,
    Schema,
    SetType,
    StringType,
    Type,
)

__all__ = [
    "ActionType",
    "Attribute",
    "BoolType",
    "EntityRef",
    "EntityType",
    "Environment",
    "ExtensionType",
    "LongType",
    "RecordType",
    "Schema",
    "SchemaError",
    "SetType",
    "StringType",
    "Type",
    "read_schema",
]
