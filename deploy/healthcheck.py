"""Whether this container's process lives, for HEALTHCHECK: exit code 0 or 1, one line. Needs Python alone.

Asks `/livez` of the admin listener (HELIOGRAPH_ADMIN_LISTEN), or the path given. `healthcheck.py signer` is for the
role `sign`, which has no listener: it connects to HELIOGRAPH_SIGNER_SOCKET.
"""

import http.client
import os
import socket
import sys

SECONDS = 4
#: What a listener on every address is asked at.
ANY = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - replaced, not listened on


def ask(path: str) -> str | None:
    """Return what is wrong with the answer of the admin listener; None for nothing."""
    host, _, port = os.environ.get("HELIOGRAPH_ADMIN_LISTEN", "127.0.0.1:9090").rpartition(":")
    connection = http.client.HTTPConnection(f"{ANY.get(host, host)}:{port}", timeout=SECONDS)
    try:
        connection.request("GET", path)
        status = connection.getresponse().status
    finally:
        connection.close()
    return None if status == http.client.OK else f"{path} answers {status}"


def connect() -> None:
    """Return when the signer takes a connection; raises OSError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as signer:
        signer.settimeout(SECONDS)
        signer.connect(os.environ["HELIOGRAPH_SIGNER_SOCKET"])


def main(arguments: list[str]) -> int:
    """Say how it is; return the exit code."""
    try:
        if arguments == ["signer"]:
            connect()
            fault = None
        else:
            fault = ask(*(arguments or ["/livez"]))
    except (OSError, http.client.HTTPException, KeyError, ValueError) as error:
        fault = f"no answer ({type(error).__name__}: {error})"
    print(fault or "lives")
    return 1 if fault else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
