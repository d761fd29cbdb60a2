"""`python -m portside.compat PROGRAM [ARGS]` runs an unmodified program on Portside.

The replacement is in place before the program's first line, so that modules which build on the standard library's
(`http.server`, `xmlrpc.server`, `wsgiref`, `logging.config`) build on Portside too. All else is as the interpreter
would have it: `__main__`, `sys.argv`, `sys.path[0]`, the exit code.

Processes that the program starts with a new interpreter (`subprocess`, multiprocessing's spawn) run without it.
"""

import builtins
import importlib
import importlib.util
import os
import pkgutil
import runpy
import sys
from importlib.machinery import SourceFileLoader
from types import ModuleType

# The standard library's modules, and what takes their place; those after the first need the extra `http`.
FACES = {
    "socketserver": "portside.socketserver",
    "http.server": "portside.http.server",
    "wsgiref.simple_server": "portside.wsgi",
    "xmlrpc.server": "portside.xmlrpc",
}

USAGE = """\
usage: python -m portside.compat PROGRAM [ARGS]
       python -m portside.compat -m MODULE [ARGS]

Runs a program that knows only the standard library, with Portside's socketserver in the place of that library's; and
its http.server, wsgiref.simple_server and xmlrpc.server, where portside[http] is installed.

examples:
  python -m portside.compat server.py --port 8000
  python -m portside.compat -m http.server 8000
"""

# In `__main__` this is the module; in any other, and in what runpy makes, it is the module's dictionary.
_BUILTINS = {"__builtins__": builtins}

# The interpreter's own exit codes: 2 for a file that it cannot open and for a wrong option, 1 for a missing module.
NO_MODULE = 1
NO_PROGRAM = 2


def install() -> None:
    """Put the replacements in place, for imports from now on."""
    with_http = importlib.util.find_spec("httptools") is not None
    for standard, ours in FACES.items():
        if standard == "socketserver" or with_http:
            _replace(standard, importlib.import_module(ours))


def _replace(standard: str, ours: ModuleType) -> None:
    sys.modules[standard] = ours
    package, _, name = standard.rpartition(".")
    if package:  # `from http import server` looks there
        setattr(importlib.import_module(package), name, ours)


def main() -> int:
    """Run what the command line says; returns the exit code, unless the program ends by itself."""
    match sys.argv[1:]:
        case ["-h" | "--help", *_]:
            sys.stdout.write(USAGE)
            return 0
        case ["-m", module, *arguments]:
            return _run_module(module, arguments)
        case [program, *arguments] if not program.startswith("-"):
            return _run_program(program, arguments)
        case _:
            sys.stderr.write(USAGE)
            return NO_PROGRAM


def _run_module(module: str, arguments: list[str]) -> int:
    install()
    if not _exists(module):
        sys.stderr.write(f"portside.compat: there is no module {module!r}; name one as after `python -m`\n")
        return NO_MODULE
    sys.argv[:] = [module, *arguments]
    if module in FACES and sys.modules.get(module) is sys.modules.get(FACES[module]):
        module = FACES[module]
        del sys.modules[module]  # else runpy warns that it will be there twice
    _outlive(runpy.run_module(module, _BUILTINS, "__main__", alter_sys=True))
    return 0


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError as error:
        if not f"{module}.".startswith(f"{error.name}."):
            raise  # a package above the module is there, and lacks something itself
        return False


def _run_program(program: str, arguments: list[str]) -> int:
    if not os.path.exists(program):
        sys.stderr.write(f"portside.compat: there is no file {program!r}; a module is run with -m\n")
        return NO_PROGRAM
    install()
    sys.argv[:] = [program, *arguments]
    if not sys.flags.safe_path:
        del sys.path[0]  # the current directory, which is for `-m`
    if pkgutil.get_importer(program) is None and not program.endswith(".pyc"):
        _run_script(program)
    else:  # a folder or a zip file, which runpy puts in front of sys.path, or compiled
        _outlive(runpy.run_path(os.path.abspath(program), _BUILTINS, "__main__"))
    return 0


def _run_script(program: str) -> None:
    """What `runpy.run_path` does, except that `__file__` is absolute, and `sys.argv[0]` as it was given."""
    path = os.path.abspath(program)
    if not sys.flags.safe_path:
        sys.path.insert(0, os.path.dirname(os.path.realpath(program)))
    loader = SourceFileLoader("__main__", path)
    code = loader.source_to_code(loader.get_data(path), path)
    module = sys.modules["__main__"] = ModuleType("__main__")
    vars(module).update(_BUILTINS, __file__=path, __cached__=None, __loader__=loader)
    exec(code, vars(module))


def _outlive(names: dict[str, object]) -> None:
    """Leave the program's names in `__main__`, where threads that outlive its last line look for them."""
    vars(sys.modules["__main__"]).update(names)


if __name__ == "__main__":
    sys.exit(main())
