"""Certificates that change while a server runs: the new one is shown, and no connection is lost."""

import os
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from portside.policy.certificates import TLSError
from portside.policy.tls import TLS
from portside.telemetry import CertificateRejected, CertificateReloaded, subscribe
from tests.conftest import DEADLINE, wait_until
from tests.engines.instruments import Journal
from tests.engines.kit import KITS, Kit, Stand, serving
from tests.tls.kit import PKI, fingerprint_of, secured

pytestmark = pytest.mark.usefixtures("no_leaks")

AT_ONCE = 1e-9  # seconds between two looks


class Pair:
    """A server's files, renewed as certbot and Kubernetes do: each by a rename."""

    def __init__(self, folder: Path, pki: PKI) -> None:
        self.cert, self.key = folder / "tls.crt", folder / "tls.key"
        self._pki = pki
        self.renew(pki.local)

    def renew(self, which: Path, *parts: str) -> None:
        for part in parts or (".crt", ".key"):
            target = self.cert if part == ".crt" else self.key
            shutil.copy(which.with_suffix(part), target.with_suffix(".new"))
            os.replace(target.with_suffix(".new"), target)

    def tls(self, **options: Any) -> TLS:
        return TLS(self.cert, self.key, reload_seconds=AT_ONCE, **options)


@pytest.fixture
def pair(tmp_path: Path, pki: PKI) -> Pair:
    return Pair(tmp_path, pki)


@pytest.fixture
def told() -> Iterator[list[Any]]:
    events: list[Any] = []
    with subscribe(events.append, CertificateReloaded, CertificateRejected):
        yield events


def shown(stand: Stand, pki: PKI) -> bytes:
    with secured(stand.dial(), pki.trusting()) as client:
        client.sendall(b"hello\n")
        assert client.recv(100) == b"HELLO\n"
        found: bytes = client.getpeercert(binary_form=True)
        return found


def test_new_files_are_used(kit: Kit, pki: PKI, pair: Pair, journal: Journal) -> None:
    with serving(kit, kit.handlers.Echo, tls=pair.tls()) as stand:
        if kit.is_serial:
            assert shown(stand, pki) == fingerprint_of(pki.local)
        else:
            with secured(stand.dial(), pki.trusting()) as kept:
                pair.renew(pki.renewed)
                assert shown(stand, pki) == fingerprint_of(pki.renewed)
                kept.sendall(b"still here\n")
                assert kept.recv(100) == b"STILL HERE\n"
        pair.renew(pki.renewed)
        assert [shown(stand, pki) for _ in range(3)] == [fingerprint_of(pki.renewed)] * 3
        assert {entry.pid for entry in journal.all("CertificateReloaded")} == {os.getpid()}  # in no child
    assert journal.all("CertificateRejected") == []


def test_half_a_pair_changes_nothing(pki: PKI, pair: Pair, told: list[Any]) -> None:
    kit = KITS[2]
    with serving(kit, kit.handlers.Echo, tls=pair.tls()) as stand:
        pair.renew(pki.renewed, ".crt")
        assert [shown(stand, pki) for _ in range(3)] == [fingerprint_of(pki.local)] * 3
        assert [type(event) for event in told] == [CertificateRejected]  # once, however many come
        assert "does not fit" in str(told[0].error)
        assert told[0].server is stand.server
        pair.renew(pki.renewed, ".key")
        assert shown(stand, pki) == fingerprint_of(pki.renewed)
    assert [type(event) for event in told] == [CertificateRejected, CertificateReloaded]


def test_file_that_goes_and_comes_back(pair: Pair, pki: PKI, told: list[Any]) -> None:
    tls = pair.tls()
    before = tls.fresh_context()
    pair.key.unlink()
    assert tls.fresh_context() is tls.fresh_context() is before
    pair.renew(pki.local)
    assert tls.fresh_context() is not before
    assert [type(event) for event in told] == [CertificateRejected, CertificateReloaded]


def test_reload_when_asked(pair: Pair, pki: PKI, told: list[Any]) -> None:
    tls = TLS(pair.cert, pair.key, reload_seconds=None)
    before = tls.fresh_context()
    pair.renew(pki.renewed, ".crt")
    assert tls.fresh_context() is before
    with pytest.raises(TLSError, match="does not fit"):
        tls.reload()
    assert tls.fresh_context() is before
    pair.renew(pki.renewed)
    tls.reload()
    assert tls.fresh_context() is tls.context() is not before
    assert [type(event) for event in told] == [CertificateReloaded]


def test_files_are_not_looked_at_for_each_client(pair: Pair, pki: PKI) -> None:
    tls = TLS(pair.cert, pair.key, reload_seconds=1e9)
    before = tls.fresh_context()
    pair.renew(pki.renewed)
    assert tls.fresh_context() is before


def grown(items: list[bytes], beyond: int) -> bool:
    return len(items) > beyond


def test_reload_under_load_loses_nobody(kit: Kit, pki: PKI, pair: Pair) -> None:
    if kit.is_serial:
        pytest.skip("one client at a time")
    with serving(kit, kit.handlers.Echo, tls=pair.tls()) as stand:
        seen: list[bytes] = []
        enough = threading.Event()

        def visit() -> None:
            while not enough.is_set():
                seen.append(shown(stand, pki))

        visitors = [threading.Thread(target=visit) for _ in range(3)]
        for visitor in visitors:
            visitor.start()
        for which in (pki.renewed, pki.local) * 5:
            pair.renew(which)
            seen_before = len(seen) + 3
            assert wait_until(partial(grown, seen, seen_before), 3 * DEADLINE)
        enough.set()
        for visitor in visitors:
            visitor.join()
    assert set(seen) == {fingerprint_of(pki.local), fingerprint_of(pki.renewed)}
