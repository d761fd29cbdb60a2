"""Options are checked when they are made, and say what would be accepted."""

from typing import Any

import pytest

from portside.http.files.options import FileOptions


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gzip_limit": -1}, "gzip_limit is a number of bytes, 0 or more, and not -1"),
        ({"upload_limit": -5}, "upload_limit is a number of bytes"),
        ({"cache_control": {"*": "no-cache\r\nX: y"}}, r"cache_control\['\*'\] .* no line break"),
        ({"headers": (("X-A", "b\n"),)}, "headers: X-A .* no line break"),
        ({"headers": (("X-A", "b\0"),)}, "headers: X-A .* no null byte"),
        ({"headers": (("X A", "b"),)}, "'X A', which is no name of a header field"),
        ({"headers": (("", "b"),)}, "no name of a header field"),
        ({"cors_origins": ("app.example",)}, '"https://app.example"'),
        ({"cors_origins": ("https://app.example/",)}, "write"),
        ({"cors_origins": ("null",)}, "write"),
    ],
)
def test_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FileOptions(**options)


def test_accepts() -> None:
    FileOptions(
        cache_control={"*": "no-cache"},
        headers=(("X-Frame-Options", "DENY"),),
        cors_origins=("*", "https://app.example:8443"),
        gzip_limit=0,
        upload_limit=0,
    )
