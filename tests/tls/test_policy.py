"""What can be said about TLS, and the sentence for each thing that cannot."""

import datetime
import ssl
import subprocess
import warnings
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from portside.policy.certificates import Certificate, CertificateWarning, TLSError, validity
from portside.policy.development import development_certificate
from portside.policy.tls import TLS, ClientCertificates, ClientTLS, ContextTLS
from tests.tls.kit import PKI


def test_certificates_tell_of_themselves(pki: PKI) -> None:
    facts = pki.named().certificates
    known = [x509.load_pem_x509_certificate(path.with_suffix(".crt").read_bytes()) for path in (pki.local, pki.shop)]
    for found, expected in zip(facts, known, strict=False):
        assert (found.not_before, found.not_after) == (expected.not_valid_before_utc, expected.not_valid_after_utc)
        assert found.fingerprint == expected.fingerprint(expected.signature_hash_algorithm or pytest.fail()).hex()


@given(data=st.binary(max_size=200))
def test_what_is_no_certificate_has_no_dates(data: bytes) -> None:
    with pytest.raises(ValueError):
        validity(data)


@given(data=st.data())
def test_broken_certificate_is_told_as_one(pki: PKI, data: st.DataObject) -> None:
    der = bytearray(ssl.PEM_cert_to_DER_cert(pki.local.with_suffix(".crt").read_text()))
    der[data.draw(st.integers(0, len(der) - 1))] = data.draw(st.integers(0, 255))
    try:
        start, end = validity(bytes(der))
    except ValueError:
        return
    assert start.tzinfo is end.tzinfo is datetime.UTC


def test_expired_certificate_is_a_warning(pki: PKI) -> None:
    with pytest.warns(CertificateWarning, match=r"expired\.pem' has expired on \d{4}-\d\d-\d\d: renew it"):
        TLS(pki.expired)


def test_certificate_of_tomorrow_is_complained_of(pki: PKI) -> None:
    facts = Certificate(pki.expired).facts()
    assert "is not valid before" in (facts.complaint(facts.not_before - datetime.timedelta(seconds=1)) or "")
    assert facts.complaint(facts.not_before) is None


def test_password(pki: PKI, tmp_path: Path) -> None:
    locked, key = tmp_path / "locked.key", pki.local.with_suffix(".key")
    command = ["openssl", "pkey", "-aes256", "-passout", "pass:sesame", "-in", str(key), "-out", str(locked)]
    subprocess.run(command, check=True, capture_output=True, timeout=50)
    cert = pki.local.with_suffix(".crt")
    for password in ("sesame", b"sesame", lambda: "sesame"):
        assert "sesame" not in repr(TLS(cert, locked, password=password))
    with pytest.raises(TLSError, match="needs a password: give it, password="):
        TLS(cert, locked)
    with pytest.raises(TLSError, match="has another password"):
        TLS(cert, locked, password="open")


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "missing": ({"cert": "nowhere.pem"}, "the certificate file 'nowhere.pem' cannot be read: No such file"),
    "missing key": ({"key": "nowhere.key"}, "the key file 'nowhere.key' cannot be read: No such file"),
    "no path": ({"cert": None}, "the certificate file None cannot be read"),
    "no certificate": ({"cert": "{local}.key"}, "holds no certificate: give a PEM file"),
    "no key": ({"cert": "{local}.crt"}, "holds no private key: give the key's file too"),
    "another key": ({"key": "{shop}.key"}, "does not fit the certificate in .*give the pair that belongs together"),
    "broken": ({"cert": "{broken}"}, "and its key cannot be used"),
    "names": ({"names": {"a..b": Certificate("x")}}, "'a..b' is no name; write one as in example.org"),
    "no certificate of a name": ({"names": {"a.b": "x.pem"}}, r"names\['a.b'\]='x.pem' is no Certificate"),
    "name": ({"names": {"a.b": Certificate("nowhere.pem")}}, "'nowhere.pem' cannot be read"),
    "alpn": ({"alpn": "h2"}, "alpn='h2' is not accepted; accepted are names of protocols"),
    "authority": ({"client_ca": "{local}.key"}, "holds no certificate: give a PEM file"),
    "missing authority": ({"client_ca": "nowhere.pem"}, "'nowhere.pem' cannot be read"),
    "nobody to trust": ({"client_certificates": "required"}, "do not go together: whom to trust is told where clients"),
    "nobody is asked": ({"client_ca": "{ca}", "client_certificates": "no"}, "do not go together"),
    "asked how": ({"client_certificates": "perhaps"}, "accepted are 'no', 'asked', 'required'"),
    "old": ({"minimum_version": ssl.TLSVersion.TLSv1}, "accepted are TLSv1_2 and TLSv1_3"),
    "ciphers": ({"ciphers": "ROT13"}, "ciphers='ROT13' selects nothing"),
    "never": ({"handshake_timeout": 0}, "handshake_timeout=0 is not accepted; accepted is a number of seconds above 0"),
    "reload": ({"reload_seconds": "often"}, "reload_seconds='often' is not accepted"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_option(pki: PKI, tmp_path: Path, case: str) -> None:
    options, message = WRONG[case]
    broken = tmp_path / "broken.pem"
    pem = pki.local.read_text()
    broken.write_text(pem.replace(pem.splitlines()[-3], "AAAA"))
    names = {"local": pki.local.with_suffix(""), "shop": pki.shop.with_suffix(""), "ca": pki.ca, "broken": broken}
    filled: dict[str, Any] = {"cert": pki.local}
    filled |= {name: value.format(**names) if isinstance(value, str) else value for name, value in options.items()}
    with pytest.raises(TLSError, match=message) as caught:
        TLS(**filled)
    assert "\n" not in str(caught.value)


def test_options_are_what_was_said(pki: PKI) -> None:
    tls = pki.tls(client_ca=pki.ca, alpn=["h2"])
    assert (tls.client_certificates, tls.alpn) == (ClientCertificates.REQUIRED, ("h2",))
    assert pki.tls().client_certificates is ClientCertificates.NO
    context = tls.context()
    assert (context.verify_mode, context.minimum_version) == (ssl.CERT_REQUIRED, ssl.TLSVersion.TLSv1_2)
    assert {each["name"].split("-")[0] for each in context.get_ciphers()} == {"TLS_AES_256_GCM_SHA384", "ECDHE"} | {
        "TLS_CHACHA20_POLY1305_SHA256",
        "TLS_AES_128_GCM_SHA256",
    }
    assert tls.gate() is not None
    assert pki.tls(starttls=True).gate() is None


def test_context_that_is_none() -> None:
    wrong: Any = "cert.pem"
    with pytest.raises(TLSError, match=r"is no SSLContext; with files write TLS\(cert, key\)"):
        ContextTLS(wrong)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"key": "x"}, "without cert="),
        ({"ca": "x", "verify": False}, "give one of the two"),
        ({"ca": "nowhere.pem"}, "'nowhere.pem' cannot be read"),
        ({"cert": "nowhere.pem"}, "'nowhere.pem' cannot be read"),
        ({"alpn": (b"h2",)}, "names of protocols"),
        ({"minimum_version": ssl.TLSVersion.SSLv3}, "TLSv1_2 and TLSv1_3"),
        ({"ciphers": "ROT13"}, "selects nothing"),
    ],
)
def test_wrong_option_of_a_client(options: dict[str, Any], message: str) -> None:
    with pytest.raises(TLSError, match=message):
        ClientTLS(**options)


# The development certificate


def test_development_certificate_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "portside"
    made = development_certificate(folder)
    assert Path(made.cert).stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    again = development_certificate(folder)
    assert made.facts() == again.facts()
    assert [path.name for path in folder.iterdir()] == ["development.pem"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        TLS(made.cert)


def test_development_certificate_is_made_anew_when_it_ends(pki: PKI, tmp_path: Path) -> None:
    (tmp_path / "development.pem").write_bytes(pki.expired.read_bytes())
    facts = development_certificate(tmp_path).facts()
    assert facts.complaint(datetime.datetime.now(datetime.UTC)) is None


def test_development_certificate_that_cannot_be_kept(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TLSError, match=r"cannot be kept in .*: (Not a directory|File exists)"):
        development_certificate(tmp_path / "file")


def test_development_certificate_needs_a_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cryptography", None)
    with pytest.raises(TLSError, match=r"pip install 'portside\[tls\]'"):
        development_certificate(tmp_path)
