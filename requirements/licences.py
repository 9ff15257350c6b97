"""Under which licences the image's packages stand, and that each is one this project may be shipped with.

`python -m requirements.licences` writes licences.md; with a licence that is not allowed, or not known, it ends with 1.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

from license_expression import ExpressionError, get_spdx_licensing
from packaging.utils import canonicalize_name

from requirements import lock

if TYPE_CHECKING:
    from collections.abc import Iterable
    from email.message import Message

    from boolean import Expression

LIST = lock.ROOT / "requirements" / "licences.md"
#: Permissive ones; MPL-2.0 binds who changes the files that stand under it, and we change none.
ALLOWED = frozenset({"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MIT-0", "MPL-2.0", "PSF-2.0"})
#: How packages without a licence expression name theirs: trove classifiers first, then the field `License`.
WORDS = {
    "OSI Approved :: Apache Software License": "Apache-2.0",
    "OSI Approved :: ISC License (ISCL)": "ISC",
    "OSI Approved :: MIT License": "MIT",
    "OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "OSI Approved :: Python Software Foundation License": "PSF-2.0",
    "3-Clause BSD License": "BSD-3-Clause",
}
#: What says no more than "BSD": read in the licence text it ships.
READ = {"jinja2": "BSD-3-Clause", "python-gnupg": "BSD-3-Clause"}
#: What stands in this repository and is not ours: where, what, version, licence.
VENDORED = (("publisher/api/explorer/swagger_ui", "swagger-ui-dist", "Apache-2.0"),)
_SPDX = get_spdx_licensing()


class LicenceError(Exception):
    """A licence is not known, or not allowed; the text is one line and names the package."""


def licence_of(name: str, metadata: Message) -> str:
    """Return the SPDX expression of a package from its core metadata; raises `LicenceError` when nothing tells."""
    if expression := metadata.get("License-Expression"):
        return expression
    if name in READ:
        return READ[name]
    classifiers = [
        words.removeprefix("License :: ") for words in metadata.get_all("Classifier", []) if words.startswith("License")
    ]
    if classifiers and all(words in WORDS for words in classifiers):
        return " AND ".join(sorted({WORDS[words] for words in classifiers}))  # which of them, nothing says: so all
    stated = WORDS.get(metadata.get("License", ""), metadata.get("License", ""))
    if stated in ALLOWED:
        return stated
    raise LicenceError(f"{name}: its metadata name no licence we know ({', '.join(classifiers) or stated or 'none'})")


def check(name: str, expression: str) -> None:
    """Raise `LicenceError` for a licence that is not of SPDX, or one we may not ship."""
    try:
        parsed = _SPDX.parse(expression, validate=True)
    except ExpressionError:
        raise LicenceError(f"{name}: {expression!r} is not an SPDX expression") from None
    if not _is_allowed(parsed):
        raise LicenceError(f"{name}: {expression} is not allowed; see requirements/licences.py")


def _is_allowed(expression: Expression) -> bool:
    """Judge `A OR B` by the better, `A AND B` by the worse; `WITH` an exception is judged as a licence of its own."""
    if isinstance(expression, _SPDX.OR):
        return any(_is_allowed(each) for each in expression.args)
    if isinstance(expression, _SPDX.AND):
        return all(_is_allowed(each) for each in expression.args)
    return str(expression) in ALLOWED


def render(rows: Iterable[tuple[str, str, str]]) -> str:
    """Return the document for rows of name, version, licence."""
    table = "".join(f"| {name} | {version} | {licence} |\n" for name, version, licence in rows)
    return f"""# Licences

What the image installs beside Heliograph (Apache-2.0), from `requirements/runtime.txt`. Written by `make licences`,
which fails on a licence that is not allowed: {", ".join(sorted(ALLOWED))}.

| package | version | licence |
|---|---|---|
{table}"""


def rows() -> list[tuple[str, str, str]]:
    """Return name, version and licence of all that is shipped, checked; raises `LicenceError`, `LockError`."""
    found = [
        (each.name, each.version, licence_of(each.name, lock.metadata_of(lock.installed(each))))
        for each in lock.of_image()
    ]
    for folder, name, licence in VENDORED:
        text = (lock.ROOT / folder / "README.md").read_text(encoding="utf-8")
        version = re.search(rf"{re.escape(name)}\D+(\d+\.\d+\.\d+)", text)
        if version is None:
            raise LicenceError(f"{folder}/README.md: does not say which version of {name} it is")
        found.append((canonicalize_name(name), version[1], licence))
    for name, _, licence in found:
        check(name, licence)
    return found


def main() -> int:
    """Write the list; return the exit code."""
    try:
        LIST.write_text(render(rows()), encoding="utf-8")
    except (LicenceError, lock.LockError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
