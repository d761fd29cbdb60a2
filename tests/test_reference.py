"""The documentation says what the code is: names, defaults, events, the drawing of the house, links."""

import ast
import dataclasses
import inspect
import json
import logging
import re
import socket
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType

import pytest
from markdown_it import MarkdownIt

import portside
from portside import drain, roles, socketserver, telemetry, wsgi, xmlrpc
from portside.cli.figures import FIGURES
from portside.http import server as http_server
from portside.http.access_log import AccessLog
from portside.http.cgi.options import ENVIRONMENT, CGIOptions
from portside.http.files.options import FileOptions
from portside.http.limits import HTTPLimits
from portside.http.wsgi.handler import WSGIHandler
from portside.policy.accepting import AcceptAction
from portside.service.admin import handler as admin_handler
from portside.service.control import ACTIONS
from portside.telemetry import logging as told
from portside.telemetry.metrics import FAMILIES
from tools import options

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("**/*.md"))]
REFERENCE = "".join(page.read_text(encoding="utf-8") for page in sorted(DOCS.glob("reference/*.md")))
ENUMS: list[type[StrEnum]] = [telemetry.CloseReason, telemetry.RefusalReason]


def text_of(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def rows(text: str) -> list[list[str]]:
    """The table rows whose first cell is a code span, emphasis taken off."""
    lines = [line.replace("**", "") for line in text.splitlines() if re.match(r"\| \**`", line)]
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in lines]


def code(cell: str) -> list[str]:
    """The code spans of a cell."""
    return re.findall("`([^`]+)`", cell)


def section(text: str, title: str) -> str:
    """What stands below a heading, to the next of any level."""
    found = re.search(rf"^#+ {re.escape(title)}$(.*?)(?=^#|\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"there is no section {title}"
    return found[1]


# Names


@pytest.mark.parametrize("name", portside.__all__)
def test_public_name_is_in_the_reference(name: str) -> None:
    assert re.search(rf"`(portside\.)?{name}\b", REFERENCE)


@pytest.mark.parametrize("name", socketserver.__all__)
def test_name_of_the_drop_in_face_is_in_its_reference(name: str) -> None:
    assert re.search(rf"`{name}\b", text_of("reference/socketserver.md"))


@pytest.mark.parametrize(
    ("name", "page"),
    [
        *((name, "http.md") for name in (*http_server.__all__, *("test", "HTTPError", "AccessLog"))),
        *((name, "wsgi-and-xmlrpc.md") for name in (*wsgi.__all__, *xmlrpc.__all__)),
    ],
)
def test_name_of_the_http_faces_is_in_their_reference(name: str, page: str) -> None:
    assert re.search(rf"`{name}\b", text_of(f"reference/{page}"))


@pytest.mark.parametrize(
    "handler",
    [http_server.BaseHTTPRequestHandler, http_server.SimpleHTTPRequestHandler, http_server.CGIHTTPRequestHandler],
)
def test_hook_of_a_handler_exists(handler: type) -> None:
    cells = [row[0] for row in rows(section(text_of("reference/http.md"), f"`{handler.__name__}`")) if len(row) == 2]
    hooks = [each for cell in cells for each in code(cell) if "(" in each]
    assert hooks
    for hook in hooks:
        name, _, parameters = hook[:-1].partition("(")
        named = [each.partition("=")[0].lstrip("*") for each in parameters.split(", ") if each]
        assert ["self", *named] == [*inspect.signature(getattr(handler, name)).parameters]


@pytest.mark.parametrize("name", telemetry.__all__)
def test_name_of_telemetry_is_in_its_reference(name: str) -> None:
    assert re.search(rf"`{name}\b", text_of("reference/events.md"))


# Events


def described_events() -> dict[str, tuple[list[str], str]]:
    """Name -> fields, log level."""
    table = [row for row in rows(text_of("reference/events.md")) if hasattr(telemetry, code(row[0])[0])]
    return {code(name)[0]: (code(fields), level) for name, fields, level, _ in table}


def real_events() -> dict[str, tuple[list[str], str]]:
    own = [each for each in telemetry.Event.__subclasses__() if each.__module__ == telemetry.Event.__module__]
    return {each.__name__: (_fields(each), _level(each)) for each in own}


def _fields(event: type[telemetry.Event]) -> list[str]:
    return [field.name for field in dataclasses.fields(event) if field.name != "server"]


def _level(event: type[telemetry.Event]) -> str:
    if event in told.TROUBLE:
        return logging.getLevelName(told.TROUBLE[event][0])
    return f"{logging.getLevelName(told.ACTIVITY[event][0])}, verbose"


def test_events_are_described() -> None:
    assert described_events() == real_events()


@pytest.mark.parametrize("enum", ENUMS)
def test_reasons_are_described(enum: type[StrEnum]) -> None:
    table = [row for row in rows(text_of("reference/events.md")) if code(row[0])[0] in enum.__members__]
    assert {code(name)[0]: code(value)[0] for name, value, _ in table} == {
        name: f'"{member}"' for name, member in enum.__members__.items()
    }


# Options


def test_options_of_configuration_are_described() -> None:
    """`python -m tools.options` writes them anew."""
    assert options.PAGE.read_text(encoding="utf-8") == options.page()


# Defaults


OWNERS = {
    "reference/socketserver.md": vars(socketserver),
    "reference/http.md": {
        **vars(http_server),
        **{options.__name__: options for options in (HTTPLimits, FileOptions, CGIOptions)},
    },
    "reference/limits.md": {"Limits": portside.Limits},
    "reference/wsgi-and-xmlrpc.md": {**vars(wsgi), **vars(xmlrpc), "WSGIHandler": WSGIHandler},
}
NAMED = {"ENVIRONMENT": ENVIRONMENT, "Limits()": portside.Limits()}
UNITS = {"KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


def described_defaults() -> Iterator[tuple[type, str, str]]:
    """Class, attribute and default of each table of attributes."""
    for page, owners in OWNERS.items():
        text = text_of(page)
        for name in re.findall(r"^### `(\w+)`$", text, re.MULTILINE):
            for row in rows(section(text, f"`{name}`")):
                if len(row) == 3:
                    yield owners[name], code(row[0])[0], code(row[1])[0]


def value(text: str) -> object:
    """`30.0`, `None`, `8 KiB`, `socket.AF_INET`, `ENVIRONMENT`."""
    number, _, unit = text.partition(" ")
    if unit in UNITS:
        return int(number) * UNITS[unit]
    if text in NAMED:
        return NAMED[text]
    return getattr(socket, text.removeprefix("socket.")) if text.startswith("socket.") else ast.literal_eval(text)


@pytest.mark.parametrize(("owner", "attribute", "default"), list(described_defaults()))
def test_default_of_a_class_attribute(owner: type, attribute: str, default: str) -> None:
    found = getattr(owner() if dataclasses.is_dataclass(owner) else owner, attribute)
    assert (dict(found) if isinstance(found, MappingProxyType) else found) == value(default)


def test_some_defaults_are_described() -> None:
    assert len(list(described_defaults())) > 80


@pytest.mark.parametrize("options", [HTTPLimits, FileOptions, CGIOptions, portside.Limits])
def test_fields_of_options_are_described(options: type) -> None:
    described = [attribute for owner, attribute, _ in described_defaults() if owner is options]
    assert dataclasses.is_dataclass(options)
    assert described == [field.name for field in dataclasses.fields(options)]


@pytest.mark.parametrize(
    ("function", "title"),
    [
        (portside.start, "`start(handler, *endpoints, **options)`"),
        (portside.connect, "`connect(endpoint, *, timeout=None, codec=None, tls=None)`"),
        (portside.embed, "`embed(handler, *endpoints, **options)`"),
        (AccessLog, '`AccessLog(destination, *, form="combined", server=None)`'),
    ],
)
def test_options_are_described(function: object, title: str) -> None:
    assert callable(function)
    parameters = inspect.signature(function).parameters.values()
    real = {each.name: each.default for each in parameters if each.kind is each.KEYWORD_ONLY}
    table = [row for row in rows(section(REFERENCE, title)) if len(row) == 3]
    assert {code(row[0])[0]: value(code(row[1])[0]) for row in table} == real


# The machine


def test_questions_to_an_engine_are_described() -> None:
    table = [code(row[0])[0] for row in rows(section(text_of("architecture.md"), "The server and its machine"))]
    real = [name for name, _ in inspect.getmembers(roles.Engine, inspect.isfunction) if name[0] != "_"]
    assert sorted(each.partition("(")[0] for each in table) == real


def test_actions_after_a_failed_accept_are_described() -> None:
    lines = section(text_of("architecture.md"), "When accept fails").splitlines()
    told_of = [line.split("|")[1].strip() for line in lines if line.startswith("|")]
    assert told_of[2:] == [action.name.lower() for action in AcceptAction]


@pytest.mark.parametrize(
    "constant",
    [
        f"for {drain.QUIET:g} s",
        f"{drain.INSIST * 100:g} % of the time",
        f"the deadline + {drain.GRACE:g} s",
        f"{drain.FIRST_TICK * 1000:g} ms apart at first, then up to {drain.TICK * 1000:g} ms",
    ],
)
def test_constants_of_the_drain_are_told(constant: str) -> None:
    assert constant in section(text_of("architecture.md"), "Drain")


# The house


# What the compiled core's sources bring along: declarations, parts, types, and what is made of them.
BESIDE_SOURCES = (".pxd", ".pxi", ".pyi", ".c", ".so")


def drawn_house() -> list[str]:
    """The files and folders of the drawing, as paths below the package; two columns further in is one folder deeper."""
    drawing = re.search(r"```\nsrc/portside/\n(.*?)```", text_of("architecture.md"), re.DOTALL)
    assert drawing
    found, folders = list[str](), list[str]()
    for line in drawing[1].splitlines():
        if match := re.match(r"( +)([\w./]+)", line):
            del folders[len(match[1]) // 2 - 1 :]
            found.append("".join([*folders, match[2]]))
            folders += [match[2]] if match[2].endswith("/") else []
    return found


def test_drawing_of_the_house_is_the_house() -> None:
    drawn, package = drawn_house(), ROOT / "src" / "portside"
    opened = {package / Path(each).parent for each in drawn}
    real = []
    for path in sorted(package.rglob("*")):
        name = f"{path.relative_to(package)}{'/' if path.is_dir() else ''}"
        inside = path.parent in opened
        if inside and "__pycache__" not in name and not name.endswith(("/__init__.py", *BESIDE_SOURCES)):
            real.append(name)
    assert sorted(drawn) == sorted(real)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_a_page_names_exist(page: Path) -> None:
    named = re.findall(r"`((?:src|tests|tools|benchmarks|examples|docs|fuzz)/[\w./-]*)`", page.read_text("utf-8"))
    assert [name for name in named if not (ROOT / name).exists()] == []


# Links


def links(page: Path) -> Iterator[str]:
    for token in MarkdownIt().parse(page.read_text(encoding="utf-8")):
        for child in token.children or []:
            if child.type == "link_open":
                yield str(child.attrs["href"])


def anchors(page: Path) -> set[str]:
    """The headings of a page as GitHub names them."""
    tokens = MarkdownIt().parse(page.read_text(encoding="utf-8"))
    titles = [tokens[number + 1].content for number, token in enumerate(tokens) if token.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    lost = []
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = page if not path else page.parent / path
        if "://" not in link and (not target.exists() or (anchor and anchor not in anchors(target))):
            lost.append(link)
    assert lost == []


def test_every_page_is_in_the_index() -> None:
    listed = {(DOCS / link.partition("#")[0]).resolve() for link in links(DOCS / "README.md")}
    assert {page for page in DOCS.glob("**/*.md") if page.name != "README.md"} - listed == set()


# Metrics and the admin endpoint


def test_metrics_are_described() -> None:
    table = rows(section(text_of("reference/metrics.md"), "Metrics"))
    assert [(code(name)[0], kind, tuple(code(labels)), meaning) for name, kind, labels, meaning in table] == [
        (name, family.kind, family.labels, family.help) for name, family in FAMILIES.items()
    ]


def test_paths_of_the_admin_endpoint_are_described() -> None:
    table = rows(section(text_of("reference/metrics.md"), "Paths"))
    assert [code(row[0])[0] for row in table] == [*admin_handler._GET, *admin_handler._POST]


def test_commands_are_described() -> None:
    table = rows(section(text_of("reference/metrics.md"), "Commands"))
    assert {json.loads(code(row[0])[0])["do"] for row in table} == ACTIONS


def test_metrics_that_pages_name_exist() -> None:
    named = {name for page in PAGES for name in re.findall(r"\bportside_[a-z_]+\b", page.read_text("utf-8"))}
    shown = {*re.findall(r"\bportside_[a-z_]+\b", admin_page()), *(figure.metric for figure in FIGURES)}
    known = {*FAMILIES, *(f"{name}_bucket" for name, family in FAMILIES.items() if family.kind == "histogram")}
    assert (named | shown) - known <= {"portside_event"}


def admin_page() -> str:
    return admin_handler.page_and_policy()[0].decode()
