"""The shape of the source: sizes, documentation, loose ends and the direction of imports, against the house rules.

`python tools/shape.py` prints the figures and exits with 1 if a rule is broken; tests/test_house.py runs the same.
"""

import ast
import re
import statistics
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "portside"

MEDIAN_LINES = 8  # of a function without its docstring
NINE_IN_TEN_LINES = 30
FUNCTION_LINES = 45
FILE_LINES = 450

# A module may import from its own row and from the rows below. A name is the part after `portside.`; "" is `portside`
# itself, the public face, which gathers what is below it. Imports for the type checker only do not count.
LAYERS = (
    ("cli", "compat", "__main__"),
    ("apps",),
    ("",),
    ("service",),
    ("http", "wsgi", "xmlrpc"),
    ("client", "encrypted", "socketserver"),
    ("async_handlers", "handlers", "servers", "starttls", "transports"),
    ("engines",),
    (
        *("acceptor", "admission", "blame", "connections", "dispatcher", "drain", "farewell", "finishing", "keeper"),
        *("latecomers", "lifecycle", "promptly", "roles", "shortage", "spare", "waker"),
    ),
    ("core",),
    ("policy",),
    (
        "addresses",
        "binding",
        "endpoint_text",
        "endpoints",
        "frames",
        "framing",
        "gates",
        "listening",
        "reading",
        "ownership",
        "peer",
        "telemetry",
    ),
)

# Protocols without I/O: bytes in, events or an answer out. They import nothing that reads or writes, nor any module of
# the package that is not one of them. A name is the part after `portside.`
WITHOUT_IO = frozenset(
    {
        *("endpoint_text", "framing", "http.errors", "http.head", "http.limits", "http.plain"),
        *("core.fields", "http.collecting", "http.targets", "service.config.locating"),
        *(f"http.cgi.{name}" for name in ("metavariables", "options", "output")),
        *(f"http.files.{name}" for name in ("answers", "conditions", "cors", "encodings", "forms", "listing", "names")),
        *(f"http.files.{name}" for name in ("options", "ranges")),
        *(f"http.wsgi.{name}" for name in ("environ", "rules")),
    }
)
IO_MODULES = (
    *("asyncio", "ctypes", "http.client", "http.server", "mmap", "multiprocessing", "pathlib", "select", "selectors"),
    *("shutil", "signal", "socket", "socketserver", "ssl", "subprocess", "tempfile", "threading", "urllib.request"),
)

# What of `os` only looks at names.
NAMES_ONLY = frozenset(
    {
        *("os.path", "os.curdir", "os.pardir", "os.sep", "os.fspath", "os.fsdecode", "os.fsencode", "os.PathLike"),
        *(f"os.path.{name}" for name in ("basename", "commonpath", "dirname", "isabs", "join", "normpath", "split")),
    }
)

LOOSE_ENDS = re.compile(r"# *noqa|# *type: *ignore|\bTODO\b|\bFIXME\b")
SLEEP = re.compile(r"\btime\.sleep\(|\bfrom time import\b.*\bsleep\b")

Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = Function | ast.ClassDef


@dataclass(frozen=True, kw_only=True)
class Module:
    """A source file, read and parsed."""

    path: Path
    text: str
    tree: ast.Module

    def at(self, line: int, message: str) -> str:
        """A finding, where it stands."""
        return f"{self.path}:{line}: {message}"


def read(folder: Path) -> list[Module]:
    """Every Python file below the folder, by name."""
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.py"))}
    return [
        Module(path=path.relative_to(folder), text=text, tree=ast.parse(text, path)) for path, text in texts.items()
    ]


# Sizes


def functions(module: Module) -> Iterator[Function]:
    """Every function and method, nested ones too."""
    return (node for node in ast.walk(module.tree) if isinstance(node, Function))


def length(function: Function) -> int:
    """Lines from `def` to the end, without the docstring's."""
    body = function.body[0]
    docstring = span(body) if ast.get_docstring(function) else 0
    return span(function) - docstring


def span(node: ast.stmt) -> int:
    """Lines that a statement covers."""
    return (node.end_lineno or node.lineno) - node.lineno + 1


def lengths(modules: Iterable[Module]) -> list[int]:
    """The lengths of all functions; a single 0 where there are none."""
    return sorted(length(function) for module in modules for function in functions(module)) or [0]


def median(modules: Iterable[Module]) -> float:
    """The length that half of the functions do not exceed."""
    return statistics.median(lengths(modules))


def nine_in_ten(modules: Iterable[Module]) -> int:
    """The length that nine functions in ten do not exceed."""
    ordered = lengths(modules)
    return ordered[-(-len(ordered) * 9 // 10) - 1]


def too_long_on_the_whole(modules: list[Module]) -> Iterator[str]:
    """The two rules about all functions together."""
    if (found := median(modules)) > MEDIAN_LINES:
        yield f"half of the functions are longer than {found:g} lines; the house wants {MEDIAN_LINES} at most"
    if (found := nine_in_ten(modules)) > NINE_IN_TEN_LINES:
        yield f"one function in ten has {found} lines or more; the house wants {NINE_IN_TEN_LINES} at most"


def too_long(modules: list[Module]) -> Iterator[str]:
    """Functions and files over their limit."""
    for module in modules:
        for function in functions(module):
            if (lines := length(function)) > FUNCTION_LINES:
                yield module.at(function.lineno, f"{function.name} has {lines} lines; {FUNCTION_LINES} is the limit")
        if (lines := len(module.text.splitlines())) > FILE_LINES:
            yield module.at(1, f"{lines} lines; {FILE_LINES} is the limit: does it hold two roles?")


# Documentation and loose ends


def public(body: Iterable[ast.stmt]) -> Iterator[Definition]:
    """The definitions of a body, and of its classes, whose names do not begin with an underscore."""
    for node in body:
        if isinstance(node, Definition) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from public(node.body)


def undocumented(modules: list[Module]) -> Iterator[str]:
    """Modules and public definitions without a docstring."""
    for module in modules:
        if module.text.strip() and not ast.get_docstring(module.tree):
            yield module.at(1, "the module has no docstring")
        for node in public(module.tree.body):
            if not ast.get_docstring(node):
                yield module.at(node.lineno, f"{node.name} is public and has no docstring")


def matches(modules: list[Module], pattern: re.Pattern[str]) -> Iterator[str]:
    """Lines that hold what the house does not want."""
    for module in modules:
        for number, line in enumerate(module.text.splitlines(), 1):
            if pattern.search(line):
                yield module.at(number, line.strip())


# The direction of imports


class Imports(ast.NodeVisitor):
    """Gathers the absolute names that a module imports at run time, each with its line."""

    def __init__(self, package: tuple[str, ...]) -> None:
        self.package = package
        self.found: list[tuple[int, str]] = []

    def visit_If(self, node: ast.If) -> None:
        """Leave out what only the type checker imports."""
        typing_only = ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        for child in node.orelse if typing_only else [*node.body, *node.orelse]:
            self.visit(child)

    def visit_Import(self, node: ast.Import) -> None:
        """`import a.b`."""
        self.found += [(node.lineno, alias.name) for alias in node.names]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """`from a import b`, where b may be a module; relative ones are resolved."""
        above = self.package[: len(self.package) - node.level + 1] if node.level else ()
        base = ".".join((*above, *([node.module] if node.module else [])))
        self.found += [(node.lineno, f"{base}.{alias.name}") for alias in node.names]


def imports(module: Module) -> list[tuple[int, str]]:
    """The names that a module of the package imports at run time, each with its line."""
    visitor = Imports(("portside", *module.path.parent.parts))
    visitor.visit(module.tree)
    return visitor.found


def unit(module: Module) -> str:
    """The name that a module goes by in LAYERS."""
    first = module.path.with_suffix("").parts[0]
    return "" if first == "__init__" else first


def layer(name: str) -> int:
    """The row of a unit, counted from the top; one that is missing has none."""
    return next((row for row, names in enumerate(LAYERS) if name in names), -1)


def dotted(module: Module) -> str:
    """The name of a module after `portside.`; "" is the package itself."""
    return ".".join(part for part in module.path.with_suffix("").parts if part != "__init__")


def against_the_arrows(modules: list[Module]) -> Iterator[str]:
    """Imports that point up the layers."""
    units = {unit(module) for module in modules}
    for module in modules:
        if layer(own := unit(module)) < 0:
            yield module.at(1, f"portside.{own} has no row in LAYERS of tools/shape.py: give it one")
            continue
        complaints = ((line, _complaint(own, name.split("."), units)) for line, name in imports(module))
        yield from (module.at(line, text) for line, text in dict.fromkeys(complaints) if text)


def _complaint(own: str, imported: list[str], units: set[str]) -> str | None:
    if imported[0] != "portside":
        return None
    other = imported[1] if len(imported) > 1 and imported[1] in units else ""
    if 0 <= layer(other) < layer(own):
        return f"{own} stands below {other or 'the public face'} and imports it"
    return None


# Input and output


def input_or_output(modules: list[Module]) -> Iterator[str]:
    """What reads or writes, in the modules that do not."""
    known = WITHOUT_IO.union(map(dotted, modules))  # compiled ones are not among the modules
    for module in modules:
        if (own := dotted(module)) in WITHOUT_IO:
            found = [(line, _does_io(name, known)) for line, name in imports(module)]
            found += [(node.lineno, _reaches_out(node)) for node in ast.walk(module.tree) if isinstance(node, ast.expr)]
            for line, what in dict.fromkeys(found):
                if what:
                    yield module.at(line, f"{own} does no input or output, and uses {what}")


def _does_io(imported: str, known: frozenset[str]) -> str | None:
    """The module that an imported name is of, where that one may read or write."""
    if not f"{imported}.".startswith("portside."):
        return next((name for name in IO_MODULES if f"{imported}.".startswith(f"{name}.")), None)
    words = imported.split(".")[1:]
    names = [".".join(words[:count]) for count in range(len(words), -1, -1)]
    own = next((name for name in names if name in known), "")
    return None if own in WITHOUT_IO else f"portside.{own}".rstrip(".")


def _reaches_out(node: ast.expr) -> str | None:
    """What an expression names of `os` that asks the system, or `open`."""
    text = ast.unparse(node) if isinstance(node, ast.Attribute | ast.Name) else ""
    return text if text == "open" or (text.startswith("os.") and text not in NAMES_ONLY) else None


# The verdict


RULES = {
    "length": too_long_on_the_whole,
    "limits": too_long,
    "docstrings": undocumented,
    "loose ends": lambda modules: matches(modules, LOOSE_ENDS),
    "imports": against_the_arrows,
    "input and output": input_or_output,
}


def figures(modules: list[Module]) -> dict[str, float]:
    """What the rules about size look at."""
    return {
        "files": len(modules),
        "lines": sum(len(module.text.splitlines()) for module in modules),
        "longest file": max((len(module.text.splitlines()) for module in modules), default=0),
        "functions": sum(1 for module in modules for _ in functions(module)),
        "median function": median(modules),
        "nine in ten functions": nine_in_ten(modules),
        "longest function": lengths(modules)[-1],
    }


def main() -> int:
    """Print the figures and what is broken."""
    modules = read(PACKAGE)
    for name, value in figures(modules).items():
        print(f"{name:<24}{value:>8g}")
    broken = [finding for rule in RULES.values() for finding in rule(modules)]
    print(*broken, sep="\n", end="\n" if broken else "")
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main())
