"""Accept-Encoding: which codings a client takes, in which order, and which types are worth one."""

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portside.http.files.encodings import CODINGS, GZIP, accepted, is_compressible, packed

noise = st.text(st.sampled_from("gzipbr zstd*;q=01.,\tidentity"), max_size=40)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("gzip, deflate, br, zstd", "br zstd gzip"),
        ("gzip, deflate", "gzip"),
        ("GZIP", "gzip"),
        ("x-gzip", "gzip"),
        ("*", "br zstd gzip"),
        ("br;q=0, *", "zstd gzip"),
        ("gzip;q=1.0, br;q=0.5", "gzip br"),
        ("br ; q=0.1 , gzip ;q=0.9", "gzip br"),
        ("gzip;q=0", ""),
        ("gzip;q=0.000", ""),
        ("gzip;q=0.5, identity", ""),
        ("gzip;q=0.5, identity;q=0.5", "gzip"),
        ("identity;q=0, gzip", "gzip"),
        ("gzip;q=2", ""),
        ("gzip;q=-1", ""),
        ("gzip;q=0.0001", ""),
        ("gzip;level=9", ""),
        ("identity", ""),
        ("", ""),
        (";,;", ""),
    ],
)
def test_accepted(text: str, names: str) -> None:
    assert " ".join(coding.name for coding in accepted(text)) == names


@given(st.one_of(noise, st.text(max_size=30)))
def test_any_text_gives_codings(text: str) -> None:
    codings = accepted(text)
    assert set(codings) <= set(CODINGS)
    assert len(set(codings)) == len(codings)


@pytest.mark.parametrize(
    ("content_type", "worth_it"),
    [
        ("text/html", True),
        ("Text/HTML; charset=utf-8", True),
        ("application/json", True),
        ("application/ld+json", True),
        ("image/svg+xml", True),
        ("application/wasm", True),
        ("image/png", False),
        ("application/gzip", False),
        ("application/octet-stream", False),
        ("", False),
    ],
)
def test_compressible(content_type: str, worth_it: bool) -> None:
    assert is_compressible(content_type) is worth_it


@given(st.binary(max_size=2000))
def test_gzip_is_the_same_each_time(content: bytes) -> None:
    assert packed(content, GZIP) == packed(content, GZIP)
    assert gzip.decompress(packed(content, GZIP)) == content
