"""`serve`, `http`, `wsgi` and the diagnostic services read the environment: one table of options for everybody."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from portside.cli import links, main
from portside.cli.arguments import parser
from portside.cli.flags import FLAGS
from portside.cli.given import configured
from portside.endpoints import Endpoint
from portside.policy.limits import NO_LIMITS
from portside.service.config.options import options
from portside.service.description import Service
from portside.service.workers import Workers
from tests.test_cli import ended, help_of, line, started

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "reference" / "cli.md"


def service(words: str, environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> Service:
    """What a command would serve."""
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    command, *_ = words.split()
    served = {"http": {"folder": "."}, "wsgi": {"wsgi": "a:b"}}.get(command, {"handler": "a:B"})
    return configured(parser().parse_args(words.split()), served).alone


@pytest.mark.parametrize(
    ("words", "environment", "expected"),
    [
        ("echo 9000", {"PORTSIDE_DRAIN": "5s"}, {"drain": 5.0}),
        ("echo 9000 --drain 6", {"PORTSIDE_DRAIN": "5s"}, {"drain": 6.0}),
        ("echo 9000 --drain 500ms", {}, {"drain": 0.5}),
        ("serve a:B 9000", {"PORTSIDE_ENGINE": "green"}, {"engine": "green"}),
        ("serve a:B 9000 --engine forks", {"PORTSIDE_ENGINE": "green"}, {"engine": "forks"}),
        ("echo 9000 --engine green", {}, {"engine": "green"}),
        ("wsgi a:b", {"PORTSIDE_WORKERS": "3"}, {"workers": Workers(count=3)}),
        ("wsgi a:b --max-memory 1G", {"PORTSIDE_WORKERS": "3"}, {"workers": Workers(count=3, max_memory=1 << 30)}),
        ("wsgi a:b --workers 4", {"PORTSIDE_WORKERS": "3"}, {"workers": Workers(count=4)}),
        ("echo 9000 --no-limits", {"PORTSIDE_LIMITS__PER_HOST": "5"}, {"limits": None}),
        ("echo 9000", {"PORTSIDE_LIMITS": "off"}, {"limits": None}),
        ("echo 9000 --handler-args {a=1}", {}, {"handler_args": {"a": 1}}),
        ("echo", {"PORTSIDE_ENDPOINTS": "9001,9002"}, {"endpoints": tuple(map(Endpoint.parse, (9001, 9002)))}),
        ("echo 9000", {"PORTSIDE_ENDPOINTS": "9001"}, {"endpoints": (Endpoint.parse(9000),)}),
        ("http", {"PORTSIDE_ENDPOINTS": "9001"}, {"endpoints": (Endpoint.parse(9001),)}),
        ("wsgi a:b", {"PORTSIDE_FOLDER": "elsewhere", "PORTSIDE_ENDPOINTS": "9001"}, {"drain": 30.0}),
    ],
)  # fmt: skip
def test_what_was_said_where(
    words: str, environment: Mapping[str, str], expected: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = service(words, environment, monkeypatch)
    assert {name: getattr(found, name) for name in expected} == expected


def test_no_limits_but_one_by_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    found = service("echo 9000 --no-limits --limits.datagram-burst 5", {}, monkeypatch).limits
    assert found is not None
    assert (found.datagram_burst, found.idle_seconds) == (5, NO_LIMITS.idle_seconds)


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("PORTSIDE_DRAIN", "soon", 'PORTSIDE_DRAIN: "soon" is not accepted; accepted is a number of seconds'),
        ("PORTSIDE_LIMITS__PER_HOST", "0", "PORTSIDE_LIMITS__PER_HOST: limits.per_host = "),
        ("PORTSIDE_DRIAN", "5", "PORTSIDE_DRIAN is no option; did you mean PORTSIDE_DRAIN?"),
        ("PORTSIDE_TLS", "nowhere.pem", "PORTSIDE_TLS: the certificate file 'nowhere.pem' cannot be read"),
        ("PORTSIDE_WORKERS__BALANCE", "shared", "PORTSIDE_WORKERS__BALANCE: this is for workers"),
    ],
)
@pytest.mark.parametrize("words", ["serve a:B 0", "http 0", "wsgi a:b 0", "echo 0"])
def test_wrong_variable_is_named(
    words: str, variable: str, value: str, said: str,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv(variable, value)
    assert main(words.split()) == 2
    told = capsys.readouterr().err
    assert said in told
    assert len(told.splitlines()) == 1


def test_several_wrong_ones_are_all_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PORTSIDE_DRAIN", "soon")
    monkeypatch.setenv("PORTSIDE_ENGINE", "blue")
    assert main(["echo", "0"]) == 2
    told = capsys.readouterr().err.splitlines()
    assert [each.partition(":")[0] for each in told] == ["PORTSIDE_DRAIN", "PORTSIDE_ENGINE", "portside"]
    assert told[-1] == "portside: nothing was started: 2 mistakes"


@pytest.mark.parametrize("command", ["serve", "http", "wsgi", "echo"])
def test_help_names_the_variables(command: str) -> None:
    told = help_of(command)
    named = set(re.findall(r"\[?(PORTSIDE_\w+)", told))
    assert {"PORTSIDE_DRAIN", "PORTSIDE_LIMITS__PER_HOST", "PORTSIDE_ENDPOINTS", "PORTSIDE_TLS__CERT"} <= named
    assert named <= {*(each.variable for each in options().values()), "PORTSIDE_LIMITS"}


def test_every_flag_is_in_the_reference() -> None:
    told = set(re.findall(r"--[a-z-]+", PAGE.read_text(encoding="utf-8")))
    assert [flag.names[-1] for flag in FLAGS if flag.names[-1] not in told] == []


def test_environment_of_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "page.txt").write_text("hello", encoding="utf-8")
    monkeypatch.setenv("PORTSIDE_FOLDER", str(tmp_path))
    monkeypatch.setenv("PORTSIDE_ENDPOINTS", "tcp://127.0.0.1:0")
    monkeypatch.setenv("PORTSIDE_ENGINE", "serial")
    with started("http") as process:
        assert re.fullmatch(rf"serving {re.escape(os.fspath(tmp_path))} at tcp://\S+ \(serial\)", line(process.stderr))
        assert re.fullmatch(r"  http://127\.0\.0\.1:\d+/", line(process.stderr))
        assert ended(process)[0] == 0


def test_folder_of_a_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTSIDE_FILE_OPTIONS__UPLOADS", "true")
    monkeypatch.setenv("PORTSIDE_FILE_OPTIONS__OVERWRITE", "true")
    words = ["http", "-d", str(tmp_path), "--upload-limit", "2G", "--cors", "*", "-H", "A", "b", "-H", "A", "c"]
    [wanted] = configured(parser().parse_args(words), {"folder": str(tmp_path)}).services
    assert wanted.changes["file_options"] == {
        "uploads": True,
        "overwrite": True,
        "upload_limit": 2 << 30,
        "cors_origins": ("*",),
        "headers": (("A", "b"), ("A", "c")),
    }


@pytest.mark.parametrize(
    ("words", "variable", "endpoint"),
    [
        ("ctl health", "PORTSIDE_ADMIN", 9100),
        ("ctl health", "PORTSIDE_ADMIN__ENDPOINT", 9100),
        ("ctl 9200 health", "PORTSIDE_ADMIN", 9200),
        ("ctl snapshot --limit 5", "PORTSIDE_ADMIN", 9100),
        ("top", "PORTSIDE_ADMIN", 9100),
        ("top --interval 5", "PORTSIDE_ADMIN", 9100),
        ("top --interval 5 9200", "PORTSIDE_ADMIN", 9200),
    ],
)
def test_whom_to_ask(words: str, variable: str, endpoint: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "9100")
    assert parser().parse_args(words.split()).admin == Endpoint.parse(endpoint)


@pytest.mark.parametrize("words", ["top", "ctl health"])
def test_nobody_says_whom_to_ask(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(words.split())
    assert "ADMIN" in capsys.readouterr().err


# Links


@pytest.mark.parametrize(
    ("endpoint", "is_encrypted", "expected"),
    [
        ("tcp://127.0.0.1:8000", False, ["http://127.0.0.1:8000/"]),
        ("tcp://[::1]:8000", False, ["http://[::1]:8000/"]),
        ("tcp://127.0.0.1:80", False, ["http://127.0.0.1/"]),
        ("tcp://127.0.0.1:443", True, ["https://127.0.0.1/"]),
        ("https://localhost:8443", False, ["https://localhost:8443/"]),
        ("unix:/run/x.sock", False, []),
    ],
)
def test_link(endpoint: str, is_encrypted: bool, expected: list[str]) -> None:
    assert [*links.links([Endpoint.parse(endpoint)], is_encrypted=is_encrypted)] == expected


@pytest.mark.parametrize("endpoint", ["tcp://:8000", "tcp://0.0.0.0:8000", "tcp://[::]:8000"])
def test_links_for_other_machines(endpoint: str) -> None:
    """At the first, this machine; then what others can use, where there is a network."""
    first, *others = links.links([Endpoint.parse(endpoint)], is_encrypted=False)
    assert first == "http://localhost:8000/"
    for each in others:
        assert re.fullmatch(r"http://(\d+\.\d+\.\d+\.\d+|\[[0-9a-f:]+\]):8000/", each)
