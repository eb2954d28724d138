"""Literal secrets in a tree: settings, images, workflows, infrastructure and code hold references only (SUP-7).

Two readings of each file: well-known token formats anywhere; and, by name, what is assigned to something called a
password, secret, token or key. References (`env:`, `file:`, `${VAR}`, `secrets.NAME`, `var.name` …) are what belongs
there. A finding never holds the value.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from .models import Finding, read_text, walk

_TOKENS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (name, re.compile(pattern))
    for name, pattern in (
        ("aws-access-key", r"\b(?:AKIA|ASIA)[A-Z2-7]{16}\b"),
        ("github-token", r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{60,})"),
        ("gitlab-token", r"\bglpat-[A-Za-z0-9_-]{20,}"),
        ("stripe-key", r"\b[sr]k_(?:live|test)_[A-Za-z0-9]{16,}"),
        ("webhook-secret", r"\bwhsec_[A-Za-z0-9+/]{24,}={0,2}"),
        ("slack-token", r"\bxox[abeoprs]-[A-Za-z0-9-]{20,}"),
        ("slack-webhook", r"hooks\.slack\.com/services/T[A-Z0-9]{6,}/B[A-Z0-9]{6,}/[A-Za-z0-9]{16,}"),
        ("google-key", r"\bAIza[0-9A-Za-z_-]{35}"),
        ("model-key", r"\bsk-(?:proj-|ant-|svcacct-)?[A-Za-z0-9_-]{32,}"),
        ("npm-token", r"\bnpm_[A-Za-z0-9]{36}\b"),
        ("pypi-token", r"\bpypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{40,}"),
        ("sendgrid-key", r"\bSG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{32,}"),
        ("shopify-token", r"\bshp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}\b"),
        ("jwt", r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{20,}"),
        ("private-key", r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----\s*(?:\\n)?[A-Za-z0-9+/=]{16,}"),
    )
)
_URL_PASSWORD = re.compile(
    r"\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@\"'<>{}$%]{1,80}:(?P<value>[^\s/@\"'<>]{3,200})@[\w.\[\]-]+"
)
_NAMED = re.compile(
    r"""(?P<key>[A-Za-z_][\w.-]*)["']?\s*(?P<op>[:=]|=>|:=)\s*(?P<value>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|[^\s,#;}\])]+)"""
)
_ENV_SPACE = re.compile(r"^\s*(?:ENV|ARG)\s+(?P<key>[A-Za-z_]\w*)\s+(?P<value>\S.*)$")
_SECRET_NAME = re.compile(
    r"(?i)(?:^|[_.-])(?:secret|password|passwd|passphrase|pwd|token|api[_-]?key|apikey|private[_-]?key|secret[_-]?key"
    r"|access[_-]?key|signing[_-]?key|client[_-]?secret|encryption[_-]?key|credentials?)s?$"
    r"|(?:Secret|Password|Token|ApiKey|PrivateKey|SecretKey|AccessKey)s?$"
)
_REFERENCE = re.compile(
    r"(?i)^(?:env|file|awssm|vault):\S+$|[$]\{|[$]\(|^[$][A-Za-z_]|\{\{|<[^>]*>|^%\w+%$|^(?:secrets|var|local|data|module|env|vars|"
    r"aws_\w+|random_\w+|google_\w+|azurerm_\w+|os|process|settings|config|self|request|ref|resolve|sops|op|arn)\b[.:(\[]|^!(?:Ref|Sub|GetAtt)|^/run/secrets/"
)
_NOT_A_VALUE = frozenset(
    [
        "true",
        "false",
        "null",
        "none",
        "nil",
        "read",
        "write",
        "undefined",
        "string",
        "str",
        "bytes",
        "int",
        "required",
        "optional",
        "number",
        "boolean",
        "any",
        "object",
    ]
)
_CODE = frozenset(
    [
        ".py",
        ".js",
        ".mjs",
        ".cjs",
        ".ts",
        ".tsx",
        ".jsx",
        ".go",
        ".rb",
        ".java",
        ".rs",
        ".php",
        ".html",
        ".j2",
    ]
)
_CONFIG = frozenset(
    [
        ".toml",
        ".yaml",
        ".yml",
        ".json",
        ".env",
        ".ini",
        ".cfg",
        ".conf",
        ".tf",
        ".tfvars",
        ".properties",
        ".xml",
    ]
)
_LOCKS = frozenset(
    {
        "package-lock.json",
        "npm-shrinkwrap.json",
        "yarn.lock",
        "pnpm-lock.yaml",
        "uv.lock",
        "poetry.lock",
        "sbom.cdx.json",
        "openapi.json",
    }
)


def check_secrets(root: Path) -> list[Finding]:
    """Return each literal secret in a tree, sorted by place."""
    found: list[Finding] = []
    for name, path in walk(root):
        text = read_text(path)
        if text is not None:
            found += scan_text(text, name)
    return sorted(set(found))


def scan_text(text: str, name: str) -> list[Finding]:
    """Return each literal secret in the text of the file `name`; the name says how it is read."""
    found = {finding.line: finding for finding in _named(text, name)}
    for rule, pattern in _TOKENS:
        for match in pattern.finditer(text):
            if not _placeholder(match[0]):
                line = text.count("\n", 0, match.start()) + 1
                found[line] = _finding(name, line, rule)
    for match in _URL_PASSWORD.finditer(text):
        if not _REFERENCE.search(match["value"]) and not _placeholder(match["value"]):
            line = text.count("\n", 0, match.start()) + 1
            found.setdefault(line, _finding(name, line, "url-password"))
    return sorted(found.values())


def _finding(name: str, line: int, rule: str) -> Finding:
    return Finding(
        name,
        line,
        rule,
        "a literal secret",
        "Keep it in a secret store and write a reference: env:NAME, file:PATH.",
    )


def _named(text: str, name: str) -> Iterator[Finding]:
    base = PurePosixPath(name).name
    suffix = PurePosixPath(name).suffix.lower()
    image = base.startswith("Dockerfile") or suffix == ".dockerfile"
    config = suffix in _CONFIG or image or base.startswith(".env")
    if base in _LOCKS or not (config or suffix in _CODE):
        return
    example = bool(re.search(r"(?i)[._-](example|sample|template|dist)$", base))
    for number, line in enumerate(text.splitlines(), 1):
        if len(line) > 4000:
            continue
        matches = list(_NAMED.finditer(line))
        spaced = _ENV_SPACE.match(line) if image else None
        for match in [*matches, *([spaced] if spaced else [])]:
            if _SECRET_NAME.search(match["key"]) and _literal(match["value"], config and not example):
                yield _finding(name, number, "named-secret")
                break


def _literal(value: str, config: bool) -> bool:
    """Whether a value stands for itself: in settings any text does, in code only quoted text that looks random."""
    quoted = value[:1] in "\"'"
    bare = value.strip("\"'").strip()
    if (
        len(bare) < 4
        or _REFERENCE.search(bare)
        or bare.lower() in _NOT_A_VALUE
        or bare.startswith(("[", "{", "|", ">", "&", "*"))
    ):
        return False
    if config:
        return not (bare.isdigit() and len(bare) < 6)
    return quoted and len(bare) >= 16 and " " not in bare and not _placeholder(bare) and looks_random(bare)


def looks_random(value: str) -> bool:
    """Whether text has the entropy of a key rather than of words."""
    counts = Counter(value)
    bits = -sum(n / len(value) * math.log2(n / len(value)) for n in counts.values())
    if re.fullmatch(r"[0-9a-fA-F]+", value):
        return bits >= 2.8
    return (
        bits >= 3.4
        and bool(re.search(r"[0-9]", value))
        and not re.fullmatch(r"[a-z]+([_.:/-][a-z0-9]+)*", value)
    )


def _placeholder(value: str) -> bool:
    """Whether a token is plainly made up to show its form: one character over and over, or x's."""
    body = re.sub(r"^[a-z]+[_-]((live|test)_)?", "", value)
    return len(set(body)) <= 3 or bool(re.search(r"(?i)x{6,}|\.\.\.|example|your[_-]", value))
