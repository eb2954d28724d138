"""Build: from a declarative spec to a hardened app, byte for byte the same each time."""
