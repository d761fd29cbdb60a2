"""Which pages may read answers, and which may change anything."""

import pytest

from portside.http.files.cors import MAX_AGE, fields, is_foreign, preflight_fields

APP, OTHER = "https://app.example", "https://other.example"


@pytest.mark.parametrize(
    ("allowed", "origin", "answer", "varies"),
    [
        ((), APP, None, False),
        (("*",), None, "*", False),
        (("*",), APP, "*", False),
        ((APP,), APP, APP, True),
        ((APP, OTHER), OTHER, OTHER, True),
        ((APP,), OTHER, None, True),
        ((APP,), "null", None, True),
        ((APP,), None, None, True),
    ],
)
def test_allowed_origin(allowed: tuple[str, ...], origin: str | None, answer: str | None, varies: bool) -> None:
    found = dict(fields(allowed, origin))
    assert found.get("Access-Control-Allow-Origin") == answer
    assert ("Vary" in found) is varies
    assert ("Access-Control-Expose-Headers" in found) is (answer is not None)


def test_preflight() -> None:
    assert dict(preflight_fields(("GET", "PUT"), "range, x-a")) == {
        "Access-Control-Allow-Methods": "GET, PUT",
        "Access-Control-Allow-Headers": "range, x-a",
        "Access-Control-Max-Age": str(MAX_AGE),
    }
    assert "Access-Control-Allow-Headers" not in dict(preflight_fields(("GET",), None))


@pytest.mark.parametrize(
    ("origin", "host", "allowed", "foreign"),
    [
        (None, "files.example", (), False),
        ("https://files.example", "files.example", (), False),
        ("http://Files.example:8000", "files.example:8000", (), False),
        ("http://[::1]:8000", "[::1]:8000", (), False),
        (OTHER, "files.example", (), True),
        ("http://files.example:8001", "files.example:8000", (), True),
        (OTHER, "files.example", (OTHER,), False),
        (OTHER, "files.example", ("*",), True),
        ("null", "files.example", (), True),
        ("null", None, (), True),
        ("http://[", "[", (), True),
    ],
)
def test_foreign(origin: str | None, host: str | None, allowed: tuple[str, ...], foreign: bool) -> None:
    assert is_foreign(origin, host, allowed) is foreign
