"""The app spec: one YAML file, read safely, checked whole, with a published JSON Schema."""

from .load import load_spec, parse_spec
from .model import Spec
from .schema import spec_schema

__all__ = ["Spec", "load_spec", "parse_spec", "spec_schema"]
