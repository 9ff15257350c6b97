"""Writes what the image is made of as a CycloneDX document: `python -m requirements.sbom [FILE]`.

It says the same for the same lock, byte by byte: no moment, no machine, a serial number that follows from the content.
Our own script and not `cyclonedx-py`, which describes either a lock (no licences, nobody depends on anybody) or an
environment (whatever else is installed in it).
"""

from __future__ import annotations

import json
import sys
import uuid
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import DisjunctiveLicense, LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

from requirements import licences, lock

if TYPE_CHECKING:
    from collections.abc import Iterable
    from importlib.metadata import Distribution

    from requirements.lock import Pinned

OURSELVES = "heliograph"
FILE = lock.ROOT / "build" / "heliograph.cdx.json"
#: Serial numbers are UUIDs of content below it.
NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "sbom.heliograph.invalid")


class SbomError(Exception):
    """The document is not what its schema asks for; the text is one line."""


def build(pinned: Iterable[Pinned]) -> Bom:
    """Return the bill of materials of the image; raises `LicenceError`, `LockError`."""
    pinned = list(pinned)
    ours = Component(
        type=ComponentType.APPLICATION,
        name=OURSELVES,
        version=_ourselves().version,
        licenses=[_licence(licences.licence_of(OURSELVES, lock.metadata_of(_ourselves())))],
        purl=PackageURL("pypi", name=OURSELVES, version=_ourselves().version),
        bom_ref=OURSELVES,
    )
    components = {each.name: _component(each) for each in pinned}
    bom = Bom(components=components.values(), metadata=BomMetaData(component=ours))
    everybody = {**components, OURSELVES: ours}
    for name, needed in lock.edges(OURSELVES, pinned).items():
        bom.register_dependency(everybody[name], [everybody[each] for each in sorted(needed)])
    return bom


def render(bom: Bom) -> str:
    """Return the document as JSON that its schema (CycloneDX 1.6) accepts; raises `SbomError`."""
    document: dict[str, Any] = json.loads(JsonV1Dot6(bom).output_as_string())
    del document["serialNumber"], document["metadata"]["timestamp"]  # the library makes both up
    content = json.dumps(document, sort_keys=True)
    document["serialNumber"] = f"urn:uuid:{uuid.uuid5(NAMESPACE, content)}"
    text = json.dumps(document, indent=2, sort_keys=True) + "\n"
    if fault := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        raise SbomError(f"not CycloneDX 1.6: {str(fault).splitlines()[0]}")
    return text


def _ourselves() -> Distribution:
    return metadata.distribution(OURSELVES)


def _component(pinned: Pinned) -> Component:
    """Describe a package. Its hashes stand at its distribution: any one of the files may be what is installed."""
    purl = PackageURL("pypi", name=pinned.name, version=pinned.version)
    return Component(
        name=pinned.name,
        version=pinned.version,
        licenses=[_licence(licences.licence_of(pinned.name, lock.metadata_of(lock.installed(pinned))))],
        purl=purl,
        bom_ref=purl.to_string(),
        external_references=[
            ExternalReference(
                type=ExternalReferenceType.DISTRIBUTION,
                url=XsUri(purl.to_string()),
                hashes=[HashType(alg=HashAlgorithm.SHA_256, content=each) for each in pinned.hashes],
            )
        ],
    )


def _licence(expression: str) -> LicenseExpression | DisjunctiveLicense:
    return DisjunctiveLicense(id=expression) if expression in licences.ALLOWED else LicenseExpression(expression)


def main(arguments: list[str]) -> int:
    """Write the document to the file named, or where `make sbom` has it; return the exit code."""
    file = Path(arguments[0]) if arguments else FILE
    try:
        text = render(build(lock.of_image()))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    except (licences.LicenceError, lock.LockError, SbomError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{file}: {len(json.loads(text)['components'])} components")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
