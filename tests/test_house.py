"""The house rules that no linter knows, over the real source; each rule is shown to catch what it is for."""

import ast
from pathlib import Path

import pytest

from tools import shape

SOURCE = shape.read(shape.PACKAGE)
TESTS = shape.read(shape.ROOT / "tests")
SLEEP = "sleep"  # apart, so that the rule does not find its own test


def module(text: str, path: str = "servers.py") -> shape.Module:
    """A made-up file of the package."""
    return shape.Module(path=Path(path), text=text, tree=ast.parse(text))


@pytest.mark.parametrize("rule", shape.RULES)
def test_source_keeps_the_rule(rule: str) -> None:
    assert list(shape.RULES[rule](SOURCE)) == []


def test_tests_wait_for_events() -> None:
    assert list(shape.matches(TESTS, shape.SLEEP)) == []


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("def f():\n    return 1\n", 2),
        ('def f():\n    """One."""\n    return 1\n', 2),
        ('@wrap\ndef f():\n    """One.\n\n    Two.\n    """\n    return (\n        1\n    )\n', 4),
        ("async def f(\n    a,\n):\n    pass\n", 4),
    ],
)
def test_length_is_without_docstring(text: str, lines: int) -> None:
    assert shape.lengths([module(text)]) == [lines]


def test_nine_in_ten() -> None:
    bodies = ["def f():\n" + "    x()\n" * count for count in range(1, 11)]
    assert shape.nine_in_ten([module(body) for body in bodies]) == 10


BROKEN = {
    "length": ["def f():\n" + "    x()\n" * 30],
    "limits": ["def f():\n" + "    x()\n" * 45, "x = 1\n" * 451],
    "docstrings": [
        "x = 1",
        '"""M."""\ndef f(): ...',
        '"""M."""\nclass C:\n    """C."""\n    def m(self): ...',
    ],
    "loose ends": ["x = 1  # noqa", "x = 1  # noqa: E501", "x = 1  # type: ignore[arg]", "# TODO: x", "# FIXME"],
    "imports": [
        "import portside.http",
        "from portside import serve",
        "from portside.http import server",
        "from . import http",
        "from .http.server import HTTPServer",
        "def f():\n    from portside.cli import main",
    ],
}
KEPT = {
    "docstrings": ['"""M."""\ndef _f(): ...\nclass _C:\n    def m(self): ...', ""],
    "imports": [
        "import socket",
        "from . import engines",
        "from portside.engines.threads import Threads",
        "from portside import engines",
        "if TYPE_CHECKING:\n    from portside.http import server",
    ],
}
WHOLE = [module("", path) for path in ("__init__.py", "cli.py", "http/server.py", "engines/threads.py")]


@pytest.mark.parametrize(("rule", "text"), [(rule, text) for rule, texts in BROKEN.items() for text in texts])
def test_rule_catches(rule: str, text: str) -> None:
    assert list(shape.RULES[rule]([*WHOLE, module(text)]))


@pytest.mark.parametrize(("rule", "text"), [(rule, text) for rule, texts in KEPT.items() for text in texts])
def test_rule_lets_through(rule: str, text: str) -> None:
    assert not list(shape.RULES[rule]([*WHOLE, module(text)]))


def test_nested_relative_import_is_resolved() -> None:
    threads = module("from ..servers import BaseServer\nfrom .pool import Pool", "engines/threads.py")
    assert [name for _, name in shape.imports(threads)] == ["portside.servers.BaseServer", "portside.engines.pool.Pool"]
    assert len(list(shape.against_the_arrows([module(""), threads]))) == 1


def test_package_imports_are_resolved() -> None:
    package = module("from .pool import Pool", "engines/__init__.py")
    assert shape.imports(package) == [(1, "portside.engines.pool.Pool")]


@pytest.mark.parametrize("path", ["framing.py", "http/head.py", "http/files/ranges.py"])
@pytest.mark.parametrize(
    "text",
    [
        "import socket",
        "from socket import socket",
        "import http.client",
        "from http.client import HTTPMessage",
        "import portside.http.handler",
        "from portside import serve",
        "from portside.http.handler import BaseHTTPRequestHandler",
        "import os\nos.stat('a')",
        "import os.path\nos.path.exists('a')",
        "open('a')",
        "def f():\n    import subprocess",
    ],
)
def test_protocols_do_no_input_or_output(path: str, text: str) -> None:
    assert list(shape.input_or_output([*WHOLE, module(text, path)]))
    assert not list(shape.input_or_output([*WHOLE, module(text, "http/handler.py")]))


@pytest.mark.parametrize(
    "text",
    [
        "import os\nos.path.join('a', os.curdir)",
        "from http import HTTPStatus",
        "from portside.http.errors import HTTPError",
        "if TYPE_CHECKING:\n    from portside.http.handler import BaseHTTPRequestHandler",
    ],
)
def test_protocols_use_one_another(text: str) -> None:
    whole = [*WHOLE, module("", "http/errors.py"), module("", "http/handler.py")]
    assert not list(shape.input_or_output([*whole, module(text, "http/head.py")]))


def test_protocols_that_are_named_are_there() -> None:
    compiled = {f"core.{path.stem}" for path in (shape.PACKAGE / "core").glob("*.pyx")}
    assert shape.WITHOUT_IO - {shape.dotted(each) for each in SOURCE} - compiled == set()


def test_unknown_module_asks_for_a_row() -> None:
    assert list(shape.against_the_arrows([module("", "surprise.py")]))


@pytest.mark.parametrize("text", [f"time.{SLEEP}(1)", f"from time import monotonic, {SLEEP}"])
def test_sleep_is_seen(text: str) -> None:
    assert list(shape.matches([module(text)], shape.SLEEP))
