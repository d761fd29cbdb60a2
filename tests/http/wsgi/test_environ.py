"""What an application is told of its request."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portside.http.wsgi import environ


def asked(target: str) -> dict[str, Any]:
    made: dict[str, Any] = {}
    environ.add_request(made, "GET", target, "HTTP/1.1")
    return made


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/", "/", ""),
        ("/a/b?c=d?e", "/a/b", "c=d?e"),
        ("/p%61th/", "/path/", ""),
        ("/\x80%80", "/\x80\x80", ""),
        ("/gr%C3%BC%C3%9F?%C3%BC", "/gr\xc3\xbc\xc3\x9f", "%C3%BC"),
        ("/a%3Fb?c", "/a?b", "c"),
        ("http://example.org/a?b", "/a", "b"),
        ("HTTPS://example.org", "/", ""),
        ("http://example.org?a/b", "/", "a/b"),
        ("*", "", ""),
        ("example.org:443", "", ""),
    ],
)
def test_target(target: str, path: str, query: str) -> None:
    made = asked(target)
    assert (made["PATH_INFO"], made["QUERY_STRING"], made["REQUEST_URI"]) == (path, query, target)
    assert (made["REQUEST_METHOD"], made["SERVER_PROTOCOL"]) == ("GET", "HTTP/1.1")


def test_fields() -> None:
    made: dict[str, Any] = {"SERVER_NAME": "x"}
    fields = [
        *(("Host", "a"), ("X-B", "1"), ("x-b", "2"), ("Cookie", "a=1"), ("cookie", "b=2")),
        *(("content-type", "text/plain"), ("Content-Length", "5"), ("Proxy", "evil"), ("X_B", "forged")),
    ]
    environ.add_fields(made, fields)
    assert made == {
        "SERVER_NAME": "x",
        "HTTP_HOST": "a",
        "HTTP_X_B": "1,2",
        "HTTP_COOKIE": "a=1; b=2",
        "CONTENT_TYPE": "text/plain",
        "CONTENT_LENGTH": "5",
    }


def test_memory_of_names_is_bounded() -> None:
    for number in range(2 * environ.REMEMBERED):
        environ.add_fields({}, [(f"X-{number}", "y")])
    assert len(environ._variables) <= environ.REMEMBERED
    made: dict[str, Any] = {}
    environ.add_fields(made, [("X-New", "y"), ("X_New", "z")])
    assert made == {"HTTP_X_NEW": "y"}


@given(st.text(alphabet=st.characters(max_codepoint=255), max_size=30))
def test_any_target_makes_text_of_bytes(target: str) -> None:
    made = asked(target)
    assert made["PATH_INFO"] == "" or made["PATH_INFO"].startswith("/")
    made["PATH_INFO"].encode("latin-1")
