"""The reader of Cedar schemas: either form in, typed values with every name resolved out."""

from __future__ import annotations

from functools import lru_cache

from .errors import Misread, SchemaError
from .human import read_human
from .json_form import read_json
from .resolve import resolve
from .types import Schema

MAX_BYTES = 2 * 1024 * 1024


@lru_cache(maxsize=16)  # the same schema is read for every policy set that comes under it
def read_schema(text: str, file: str = "schema.cedarschema") -> Schema:
    """Read a Cedar schema in its human or JSON form (a text that begins with a brace is JSON).

    At most 2 MiB, 64 levels and 200,000 types with common types put in place. Raises SchemaError with file, line and
    column.
    """
    try:
        if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
            raise Misread(f"larger than {MAX_BYTES} bytes", (1, 1))
        spaces = read_json(text) if text.lstrip().startswith("{") else read_human(text)
        return resolve(spaces)
    except Misread as error:
        line, column = error.at
        raise SchemaError(error.message, file=file, line=line, column=column) from None
