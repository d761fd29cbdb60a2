"""Fuzz configuration files and variables: any text gives a configuration, or a ConfigError that says where and what.

python -m fuzz.fuzz_configuration --seconds 60
"""

import random

from fuzz._runner import run
from portside.service.config import kinds, locating, making, sources
from portside.service.config.making import configuration
from portside.service.config.options import options, tables
from portside.service.config.problems import ConfigError
from portside.service.config.sources import from_environment, from_file

PATHS = sorted(path for path in {*options(), *tables()} if path[0] != "tls")  # certificates are files, not text
VALUES = (
    *(
        "1",
        "0",
        "-1",
        "1.5",
        "nan",
        "inf",
        "1e400",
        "9" * 5000,
        "true",
        "[]",
        "[1, 'a']",
        "{}",
        "{a = 1}",
        "''",
        '"off"',
    ),
    *(
        '"10.0.0.0/8"',
        '"tcp://:0"',
        '["tcp://:0"]',
        '"green"',
        '"512M"',
        '"1_0"',
        '"\\u0000"',
        '"../x"',
        '"a:b"',
        "0x1F",
    ),
    *("2026-01-01", "07:32:00", '"""\n\n"""', "[[1]]", '"json"', '"-"', "'[::1]'", '"root"', '"99999999999999999999s"'),
)
LAYOUT = ("\n", "\n", "\n", "\r\n", " # said\n", "\n\n", "", " = ", "[", "]", '"', "\t")
HEADERS = ("[services.a]", "[services.b]", "[services]", "[[services]]", "[limits]", "[admin]", "[services.a.limits]")
NOISE = 0.2  # share of texts with a character changed: most stay TOML, and get behind its parser


def check(data: bytes) -> None:
    """Try one input: a file's text, and behind a NUL a variable's."""
    text, _, said = data.decode("utf-8", "replace").partition("\0")
    name, _, value = said.partition("=")
    file = from_file(text, "app.toml")
    lines = len(text.splitlines()) + 1
    try:
        made = configuration([file, from_environment({f"PORTSIDE_{name}": value}, list(file.services))])
    except ConfigError as error:
        for problem in error.problems:
            expect(bool(problem.text) and "Traceback" not in problem.text, f"{problem!r} says nothing", data)
            expect(0 <= problem.line <= lines, f"{problem!r} of {lines} lines", data)
    else:
        expect(bool(made.services), "nothing is served", data)


def expect(holds: bool, complaint: str, data: bytes) -> None:
    """A finding, where it does not."""
    if not holds:
        raise AssertionError(f"{complaint}: {data!r}")


def made_up(source: random.Random) -> bytes:
    """Options with values that fit now and then, tables, a variable, and noise."""
    lines = ['handler = "shout:Shout"\nendpoints = [0]\n'] if source.random() < 0.7 else []
    for _ in range(source.randrange(6)):
        lines += [source.choice(HEADERS) if source.random() < 0.3 else option(source), source.choice(LAYOUT)]
    text = list("".join(lines))
    while text and source.random() < NOISE:
        text[source.randrange(len(text))] = chr(source.choice((0, 9, 10, 34, 61, 91, 93, 0x7F, 0xE9, 0x2028, 0x1F600)))
    variable = "__".join(source.choice(PATHS)).upper() + "=" + source.choice(VALUES).strip("\"'")
    return "".join(text).replace("\0", "").encode() + b"\0" + variable.encode()


def option(source: random.Random) -> str:
    """A line that says something of an option, dotted or by its last name."""
    path = source.choice(PATHS)
    return f"{'.'.join(path) if source.random() < 0.7 else path[-1]} = {source.choice(VALUES)}"


if __name__ == "__main__":
    run(check, made_up, led_by=(kinds, locating, making, sources))
