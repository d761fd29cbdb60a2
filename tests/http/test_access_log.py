"""The access log: its forms, what clients cannot do to it, its file."""

import json
import os
import re
import threading
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import portside
from portside import telemetry
from portside.http.access_log import FORMS, AccessLog, combined, common, escaped, json_line
from portside.http.wsgi.handler import wsgi_handler
from portside.telemetry import RequestServed
from tests.conftest import DEADLINE, wait_until

pytestmark = pytest.mark.usefixtures("no_leaks")

FIELDS = {"host": "example.org", "referer": "https://example.org/", "user-agent": "me/1.0"}


def served(**changed: Any) -> RequestServed:
    return RequestServed(
        **{
            "server": None,
            "client_address": ("192.0.2.1", 5),
            "request_line": "GET /a?b HTTP/1.1",
            "status": 200,
            "bytes_out": 7,
            "seconds": 0.25,
            "headers": FIELDS,
            **changed,
        }
    )


TIME = r"\[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\]"


def test_common_form() -> None:
    assert re.fullmatch(rf'192\.0\.2\.1 - - {TIME} "GET /a\?b HTTP/1\.1" 200 7', common(served()))


@pytest.mark.parametrize("bytes_out", [0, None])
def test_answer_without_a_body(bytes_out: int | None) -> None:
    assert common(served(status=304, bytes_out=bytes_out)).endswith('" 304 -')


@pytest.mark.parametrize(
    ("address", "host"), [(("::1", 5, 0, 0), "::1"), ("", "-"), (b"\0x", "-"), (None, "-"), ((), "-")]
)
def test_clients_of_every_kind(address: Any, host: str) -> None:
    assert common(served(client_address=address)).startswith(f"{host} - - [")


def test_combined_form() -> None:
    assert combined(served()) == f'{common(served())} "https://example.org/" "me/1.0"'
    assert combined(served(headers={})).endswith(' 200 7 "-" "-"')


def test_json_form() -> None:
    line = json.loads(json_line(served(seconds=0.1234567)))
    assert datetime.fromisoformat(line.pop("time")).tzinfo is not None
    assert line == {
        "client": "192.0.2.1",
        "request": "GET /a?b HTTP/1.1",
        "status": 200,
        "bytes": 7,
        "seconds": 0.123457,
        "host": "example.org",
        "referer": "https://example.org/",
        "agent": "me/1.0",
    }


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("plain ~", "plain ~"),
        ('a"b\\c', 'a\\"b\\\\c'),
        ("a\r\nb\0\x1b[31m", "a\\x0d\\x0ab\\x00\\x1b[31m"),
        ("\xe9\x85\u2028", "\\xe9\\x85\\xe2\\x80\\xa8"),
        ("\ud800", "\\xed\\xa0\\x80"),
    ],
)
def test_what_is_odd_is_escaped(text: str, written: str) -> None:
    assert escaped(text) == written


@pytest.mark.parametrize("form", FORMS)
@given(text=st.text())
def test_no_text_forges_a_line_or_a_field(form: str, text: str) -> None:
    line = FORMS[form](served(request_line=text, headers=dict.fromkeys(FIELDS, text)))
    assert line.isascii()
    assert line.isprintable()
    assert form == "json" or len(re.findall(r'(?<!\\)(?:\\\\)*"', line)) == {"common": 2, "combined": 6}[form]


# The file


def test_line_for_each_request(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("before\n")
    with AccessLog(path, form="common"):
        telemetry.emit(served())
        telemetry.emit(served(status=404))
    telemetry.emit(served())
    lines = path.read_text().splitlines()
    assert [line.split()[-2:] for line in lines[1:]] == [["200", "7"], ["404", "7"]]


def test_one_server_of_several(tmp_path: Path) -> None:
    server = object()
    with AccessLog(tmp_path / "log", form="common", server=server):
        telemetry.emit(served())
        telemetry.emit(served(server=server))
    assert len((tmp_path / "log").read_text().splitlines()) == 1


def test_log_is_not_for_everybody(tmp_path: Path) -> None:
    AccessLog(tmp_path / "log").close()
    assert (tmp_path / "log").stat().st_mode & 0o007 == 0


def test_descriptor_stays_the_callers() -> None:
    reader, writer = os.pipe()
    with open(reader, "rb") as lines:
        log = AccessLog(writer)
        telemetry.emit(served())
        log.reopen()
        log.close()
        log.close()
        os.close(writer)
        assert lines.read().count(b"\n") == 1


def test_rotation_loses_nothing(tmp_path: Path) -> None:
    path, rounds = tmp_path / "log", 200

    def write() -> None:
        for _ in range(rounds):
            telemetry.emit(served())

    with AccessLog(path, form="common") as log:
        writers = [threading.Thread(target=write) for _ in range(4)]
        for writer in writers:
            writer.start()
        for number in range(5):
            path.rename(tmp_path / f"log.{number}")
            log.reopen()
        for writer in writers:
            writer.join(DEADLINE)
    lines = [line for each in tmp_path.iterdir() for line in each.read_text().splitlines()]
    assert len(lines) == 4 * rounds
    assert {len(line) for line in lines} == {len(lines[0])}


def test_unknown_form(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="form='short' is none of 'common', 'combined', 'json'"):
        AccessLog(tmp_path / "log", form="short")  # type: ignore[arg-type]


def test_requests_of_a_server(tmp_path: Path) -> None:
    def application(_: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"hello"]

    path = tmp_path / "log"
    with AccessLog(path), portside.start(wsgi_handler(application), 0) as server:
        with server.endpoint.connect(DEADLINE) as client:
            client.sendall(b'GET /x HTTP/1.1\r\nHost: x\r\nUser-Agent: a"b\r\nConnection: close\r\n\r\n')
            while client.recv(1000):
                continue
        assert wait_until(lambda: path.read_text() != "")
    assert path.read_text().endswith('"GET /x HTTP/1.1" 200 5 "-" "a\\"b"\n')
