"""The bill of materials: CycloneDX 1.6 JSON, made from the lock, the same bytes for the same lock (SUP-2)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from attrs import field, frozen
from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component as CdxComponent
from cyclonedx.model.component import ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL

from redoubt.core.canonical import canonical_json, sha256_hex

from .models import Finding, read_text, texts
from .requirements import Pin

NAME = "sbom.cdx.json"


@frozen
class Component:
    """One thing an app is made of; `kind` is its package URL type (`pypi`, `npm`)."""

    name: str
    version: str
    hashes: tuple[str, ...] = field(converter=texts)
    licence: str = ""
    kind: str = "pypi"


def make_sbom(app: str, version: str, components: Sequence[Component]) -> str:
    """Return the SBOM of an app over its components; serial from their hash, no time in it."""
    ordered = sorted(components, key=lambda item: (item.kind, item.name))
    bom = Bom(components=[_component(item) for item in ordered])
    root = CdxComponent(name=app, version=version, type=ComponentType.APPLICATION, bom_ref=f"app:{app}")
    bom.metadata.component = root
    bom.metadata.timestamp = None  # type: ignore[assignment]  # the same lock gives the same bytes
    digest = sha256_hex(
        canonical_json([app, version, [[c.kind, c.name, c.version, list(c.hashes)] for c in ordered]])
    )
    bom.serial_number = UUID(bytes=bytes.fromhex(digest)[:16], version=4)
    bom.register_dependency(root, list(bom.components))
    text = make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string()
    return json.dumps(json.loads(text), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _component(item: Component) -> CdxComponent:
    purl = PackageURL(item.kind, None, item.name, item.version)
    single = [HashType(alg=HashAlgorithm.SHA_256, content=item.hashes[0])] if len(item.hashes) == 1 else []
    files = [
        ExternalReference(
            type=ExternalReferenceType.DISTRIBUTION,
            url=XsUri(f"urn:sha256:{digest}"),
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)],
        )
        for digest in item.hashes
    ]
    return CdxComponent(
        name=item.name,
        version=item.version,
        type=ComponentType.LIBRARY,
        bom_ref=str(purl),
        purl=purl,
        licenses=[LicenseFactory().make_from_string(item.licence)] if item.licence else [],
        hashes=single,
        external_references=files,
    )


def read_sbom(text: str) -> list[Component]:
    """Return the components of a CycloneDX JSON document; raises ValueError for anything else."""
    data = json.loads(text)
    if not isinstance(data, dict) or data.get("bomFormat") != "CycloneDX":
        raise ValueError("not a CycloneDX document")
    return [_read(item) for item in data.get("components", ())]


def _read(item: dict[str, Any]) -> Component:
    hashes = {entry["content"].lower() for entry in item.get("hashes", ()) if entry.get("alg") == "SHA-256"}
    for reference in item.get("externalReferences", ()):
        hashes |= {
            entry["content"].lower() for entry in reference.get("hashes", ()) if entry.get("alg") == "SHA-256"
        }
    purl = str(item.get("purl", "pkg:generic/"))
    return Component(
        str(item.get("name", "")),
        str(item.get("version", "")),
        tuple(sorted(hashes)),
        "",
        purl[4:].split("/")[0],
    )


def check_sbom(root: Path, pins: Iterable[Pin], name: str = NAME) -> list[Finding]:
    """Return each difference between the lock and the SBOM of a tree: missing, extra, other version, other hashes."""
    path = root / name
    text = read_text(path) if path.is_file() else None
    if text is None:
        return [Finding(name, 1, "no-sbom", "there is no bill of materials", "Build again.")]
    try:
        listed = {item.name: item for item in read_sbom(text) if item.kind == "pypi"}
    except (ValueError, KeyError, TypeError, AttributeError):
        return [Finding(name, 1, "sbom-unreadable", "not a CycloneDX document", "Build again.")]
    found: list[Finding] = []
    locked = {pin.name: pin for pin in pins}
    for key in sorted(locked.keys() | listed.keys()):
        pin, item = locked.get(key), listed.get(key)
        line = _line_of(text, f'"name": "{key}"')
        if item is None:
            found.append(Finding(name, 1, "sbom-missing", f"{key} is locked and not listed", "Build again."))
        elif pin is None:
            found.append(Finding(name, line, "sbom-extra", f"{key} is listed and not locked", "Build again."))
        elif pin.version != item.version:
            found.append(
                Finding(
                    name,
                    line,
                    "sbom-version",
                    f"{key} is listed as {item.version}, locked as {pin.version}",
                    "Build again.",
                )
            )
        elif set(pin.hashes) != set(item.hashes):
            found.append(
                Finding(
                    name, line, "sbom-hash", f"{key} is listed with other hashes than locked", "Build again."
                )
            )
    return found


def _line_of(text: str, needle: str) -> int:
    at = text.find(needle)
    return text.count("\n", 0, at) + 1 if at >= 0 else 1
