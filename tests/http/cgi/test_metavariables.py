"""What a script is told of its request."""

import os

import pytest

from portside.http.cgi.metavariables import as_bytes_say, environment, inherited, joined, of_fields, variable


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("Host", "HTTP_HOST"),
        ("x-forwarded-for", "HTTP_X_FORWARDED_FOR"),
        ("Proxy", None),  # httpoxy, CVE-2016-5385
        ("PROXY", None),
        ("Content-Type", None),
        ("content-length", None),
        ("X_Forwarded_For", None),  # looks like the one above
        ("Content_Length", None),
    ],
)
def test_variable_of_a_header_field(field: str, name: str | None) -> None:
    assert variable(field) == name


def test_fields_of_one_name_are_joined() -> None:
    fields = [("Accept", "text/html "), ("Cookie", "a=1"), ("ACCEPT", "text/plain"), ("Cookie", "b=2")]
    assert joined(fields) == {"HTTP_ACCEPT": "text/html,text/plain", "HTTP_COOKIE": "a=1; b=2"}


def test_script_is_not_told_what_is_the_servers() -> None:
    fields = [("Authorization", "Basic eA=="), ("Connection", "close"), ("Transfer-Encoding", "chunked"), ("DNT", "1")]
    assert of_fields(fields) == {"HTTP_DNT": "1"}


def test_environment_is_scrubbed() -> None:
    own = {"PATH": "/bin", "LC_ALL": "C", "LANG": "C", "SECRET_KEY": "x", "LCX": "x"}
    assert inherited(own, ("PATH", "LANG", "LC_*")) == {"PATH": "/bin", "LC_ALL": "C", "LANG": "C"}
    assert inherited(own, ("*",)) == own


def test_request_wins_over_what_is_inherited() -> None:
    made = environment(
        inherited={
            "PATH": "/bin",
            "REQUEST_METHOD": "GET",
            "HTTP_COOKIE": "theirs",
            "HTTP_PROXY": "evil",
            "HTTPS": "on",
        },
        request={"REQUEST_METHOD": "POST", "CONTENT_LENGTH": "5", "REMOTE_USER": None},
        fields=[("Proxy", "evil"), ("User-Agent", "me")],
    )
    assert made == {
        "PATH": "/bin",
        "REQUEST_METHOD": "POST",
        "GATEWAY_INTERFACE": "CGI/1.1",
        "CONTENT_LENGTH": "5",
        "HTTP_USER_AGENT": "me",
        **dict.fromkeys(("REMOTE_HOST", "HTTP_ACCEPT", "HTTP_COOKIE", "HTTP_REFERER"), ""),
    }


@pytest.mark.parametrize("sent", [b"plain", "gr\u00fc\u00df".encode(), b"\xff\xfe"])
def test_bytes_reach_the_script_as_they_were_sent(sent: bytes) -> None:
    assert os.fsencode(as_bytes_say(sent.decode("latin-1"))) == sent
