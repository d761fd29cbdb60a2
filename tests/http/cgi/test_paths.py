"""Which script a URL means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portside.http.cgi.paths import ScriptPath, collapse, is_python, script_path, search_words, split_directory

SCRIPTS = ["/cgi-bin", "/htbin", "/sub/dir/cgi-bin"]


@pytest.mark.parametrize(
    ("target", "collapsed"),
    [
        ("", "//"),
        ("/", "//"),
        ("//", "//"),
        ("a", "//a"),
        ("/a/b/", "/a/b/"),
        ("/a/b/.", "/a/b/"),
        ("/a/b/c/..", "/a/b/"),
        ("/a/b/c/../d/e/.././././..//f", "/a/b/f"),
        ("/cgi-bin%2ffile", "/cgi-bin/file"),
        ("/cgi-bin/%2e%2e/%2E", "//"),
        ("/a/b?c=/../d", "/a/b?c=/../d"),
        ("/a%3Fb?", "//a?b"),
        ("/%FF", "//\udcff"),
    ],
)
def test_path_is_collapsed(target: str, collapsed: str) -> None:
    assert collapse(target) == collapsed


@pytest.mark.parametrize("target", ["..", "/.//..", "/a/../..", "/a/%2e%2e/%2e%2e/b"])
def test_path_above_the_root_is_refused(target: str) -> None:
    with pytest.raises(IndexError):
        collapse(target)


@given(st.lists(st.sampled_from(["/", ".", "..", "%2e", "%2f", "a", "\\", "%00", "é", "%c3", "%"]), max_size=20))
def test_collapsed_path_stays_below_the_root(pieces: list[str]) -> None:
    try:
        path = collapse("".join(pieces))
    except IndexError:
        return
    assert path.startswith("/")
    assert path.count("/") >= 2
    assert not {".", ".."} & set(path.split("/"))


@pytest.mark.parametrize(
    ("collapsed", "found"),
    [
        ("/cgi-bin/a", ("/cgi-bin", "a")),
        ("/cgi-bin/", ("/cgi-bin", "")),
        ("/cgi-bin/a/b?c", ("/cgi-bin", "a/b?c")),
        ("/sub/dir/cgi-bin/a", ("/sub/dir/cgi-bin", "a")),
        ("//cgi-bin", None),
        ("/cgi-binary/a", None),
        ("/other/cgi-bin/a", None),
        ("//", None),
    ],
)
def test_directory_of_scripts_is_found(collapsed: str, found: tuple[str, str] | None) -> None:
    assert split_directory(collapsed, SCRIPTS) == found


@pytest.mark.parametrize(
    ("rest", "target", "name", "info", "query"),
    [
        ("a", "/cgi-bin/a", "/cgi-bin/a", "", ""),
        ("a/b/c", "/cgi-bin/a/b/c", "/cgi-bin/a", "/b/c", ""),
        ("a?x=/y", "/cgi-bin/a?x=/y", "/cgi-bin/a", "", "x=/y"),
        ("a/b?x?y", "/cgi-bin/a/b?x?y", "/cgi-bin/a", "/b", "x?y"),
        ("a?b", "/cgi-bin/a%3Fb", "/cgi-bin/a?b", "", ""),
        ("a?b?c", "/cgi-bin/a%3Fb?c", "/cgi-bin/a?b", "", "c"),
        ("other?q", "/cgi-bin/a?x", "/cgi-bin/other", "", "q"),
        ("inner/a/b", "/cgi-bin/inner/a/b", "/cgi-bin/inner/a", "/b", ""),
        ("inner/deep/a", "/cgi-bin/inner/deep/a", "/cgi-bin/inner/deep/a", "", ""),
        ("inner", "/cgi-bin/inner", "/cgi-bin/inner", "", ""),
        ("a/", "/cgi-bin/a/", "/cgi-bin/a", "/", ""),
    ],
)
def test_path_is_taken_apart(rest: str, target: str, name: str, info: str, query: str) -> None:
    directories = {"/cgi-bin/inner", "/cgi-bin/inner/deep"}
    found = script_path(("/cgi-bin", rest), target, directories.__contains__)
    assert found == ScriptPath(name=name, info=info, query=query)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("", []),
        ("a=b", []),
        ("a", ["a"]),
        ("a+b%2Bc", ["a", "b+c"]),
        ("a%3Db", ["a=b"]),
        ("-s", []),
        ("a+-s", []),
        ("%2ds", []),
        ("a%00", []),
    ],
)
def test_words_of_a_search(query: str, words: list[str]) -> None:
    assert search_words(query) == words


@pytest.mark.parametrize(("name", "python"), [("a.py", True), ("a.PYW", True), ("a.sh", False), ("py", False)])
def test_python_scripts_by_name(name: str, python: bool) -> None:
    assert is_python(name) is python
