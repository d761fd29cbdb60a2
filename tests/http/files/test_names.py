"""From targets to paths and back: what the standard library does, and where we are stricter or more lenient."""

import os
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portside.http.files import names

targets = st.one_of(st.text(st.sampled_from("/.%2fFaC3\\?#\0 \x80\xff\u20ac"), max_size=30), st.text(max_size=30))


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/", "root/"),
        ("/a", "root/a"),
        ("/a/", "root/a/"),
        ("//a", "root/a"),
        ("a", "root/a"),
        ("/a?b/c", "root/a"),
        ("/a#b/c", "root/a"),
        ("/a/?b", "root/a/"),
        ("/../../a", "root/a"),
        ("/a/../../b", "root/b"),
        ("/%2e%2e/a", "root/a"),
        ("/..%2f..%2fa", "root/a"),
        ("/a%2Fb", "root/a/b"),
        ("/a%2F", "root/a"),
        ("/a%20b", "root/a b"),
        ("/a+b", "root/a+b"),
        ("/%", "root/%"),
        ("/gr%C3%BC%C3%9Fe", "root/grüße"),
        ("/gr\xc3\xbc\xc3\x9fe", "root/grüße"),
        ("/grüße", "root/grüße"),
        ("/€", "root/€"),
        ("/%ff", "root/\udcff"),
        ("/%ED%B3%BF", "root/\udcff"),
        ("/a%00b", "root/a\0b"),
        ("http://host/a", "root/a"),
        ("HTTPS://host?a", "root/"),
        ("ftp://host/a", "root/ftp:/host/a"),
    ],
)
def test_path(target: str, path: str) -> None:
    assert names.translate(target, "root") == path


@given(targets)
def test_path_stays_below(target: str) -> None:
    path = names.translate(target, "/root")
    assert os.path.normpath(path) == path.removesuffix("/")
    assert PurePosixPath(path).is_relative_to("/root")


@given(st.lists(st.text(min_size=1, max_size=5).filter(lambda name: name not in (".", "..")), max_size=4))
def test_quoted_name_comes_back(words: list[str]) -> None:
    from urllib.parse import quote

    words = [word.replace("/", "_") for word in words]
    target = "/" + "/".join(quote(word, errors="surrogatepass") for word in words)
    assert names.translate(target, "root") == "/".join(["root", *words]) + ("" if words else "/")


@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("/a", "/a/"),
        ("a", "a/"),
        ("/a?b=c", "/a/?b=c"),
        ("/a?b#c", "/a/?b#c"),
        ("/a#c?b", "/a/#c?b"),
        ("//evil.example/..", "/evil.example/../"),
        ("///evil.example/%2e%2e", "/evil.example/%2e%2e/"),
        ("/\\evil.example/..", "/evil.example/../"),
        ("/a\\b", "/a%5Cb/"),
        ("http://host/a", "http://host/a/"),
    ],
)
def test_redirection(target: str, location: str) -> None:
    assert names.with_slash(target) == location


@given(targets)
def test_redirection_stays_on_the_host(target: str) -> None:
    location = names.with_slash("/" + target)
    assert location[:1] == "/"
    assert location[1:2] not in ("/", "\\")


def test_what_is_shown() -> None:
    assert names.shown("/a%20b/?x=%bb") == "/a b/?x=\N{REPLACEMENT CHARACTER}"
