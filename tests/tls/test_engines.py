"""TLS on every engine: who gets in, what a handler is told, and who is turned away without holding up anybody."""

import ssl

import pytest

from tests.engines.kit import Kit, serving
from tests.tls.kit import PKI, secured

pytestmark = pytest.mark.usefixtures("no_leaks")


@pytest.mark.parametrize("scheme", ["tcp", "unix"])
def test_conversation(kit: Kit, pki: PKI, scheme: str) -> None:
    with serving(kit, kit.handlers.Echo, scheme=scheme, tls=pki.tls()) as stand:
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            with secured(stand.dial(), pki.trusting(version=version)) as client:
                client.sendall(b"one\ntwo\n")
                assert client.recv(4) + client.recv(4) == b"ONE\nTWO\n"
                assert client.version() == version.name.replace("_", ".")
