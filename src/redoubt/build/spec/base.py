"""The names and the base class that every part of the spec shares."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

AppName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,30}[a-z0-9]$")]
"""The app's name: one DNS label, because the app runs as NAME.localhost."""
EntityName = Annotated[str, Field(pattern=r"^[A-Z][A-Za-z0-9]{0,39}$")]
"""An entity: `Order`, `ReleaseNote`."""
Word = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
"""A field, role, state, action or webhook: lower case, digits and underscores."""
RuleName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
"""A rate limit of the runtime: `auth-host`."""
ActionName = Annotated[str, Field(pattern=r"^[A-Z][A-Za-z0-9]{0,39}\.[a-z][a-z0-9_]{0,39}$")]
"""What a permission allows: `Order.read`."""
Title = Annotated[str, Field(min_length=1, max_length=80, pattern=r"^[^\x00-\x1f\x7f<>{}\\]+$")]
"""Text that people read."""
SecretReference = Annotated[
    str, Field(pattern=r"^(env:[A-Z][A-Z0-9_]{0,63}|file:[A-Za-z0-9._/-]{1,200}|(awssm|vault):[^\s]{1,200})$")
]
"""Where a secret is kept; never the secret."""
Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
"""ISO 4217 alphabetic code."""
Minor = Annotated[int, Field(ge=1, le=10**12)]
"""An amount in the currency's minor unit (cents)."""
HostPort = Annotated[
    str,
    Field(
        pattern=r"^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?)*(:[1-9][0-9]{0,4})?$"
    ),
]
"""A host name, optionally with a port."""


class Part(BaseModel):
    """A section of the spec: strict types, no unknown keys, immutable."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, use_attribute_docstrings=True)
