"""Verify: attacks and reads any app, ours or not, and says for every control what was shown.

It shares no code with what it judges: HTTP, files, and the commands that a target file names.
"""

from .engine import Options, Report, Watcher, verify
from .errors import HostRefused, LoginFailed, TargetInvalid, TargetUnreachable, VerifyError
from .report import FORMATS, as_html, as_json, as_text

__all__ = [
    "FORMATS",
    "HostRefused",
    "LoginFailed",
    "Options",
    "Report",
    "TargetInvalid",
    "TargetUnreachable",
    "VerifyError",
    "Watcher",
    "as_html",
    "as_json",
    "as_text",
    "verify",
]
