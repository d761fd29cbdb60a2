"""From texts to services: what is right becomes what it says, and all that is wrong is told of, with its line."""

import dataclasses
import ssl
from pathlib import Path
from typing import Any

import pytest

from portside import Endpoint, Limits, ProxyProtocol, Workers
from portside.policy.development import development_certificate
from portside.service.config.making import WEB_PORT
from portside.service.config.options import of_handlers, options, tables
from portside.service.config.settings import Log, RequestLog
from portside.service.description import Service
from tests.config.kit import BASE, made, wrong

ENGINES = '"serial", "threads", "forks", "green" or "async"'
NOWHERE = 'nothing says where to listen: endpoints = ["tcp://127.0.0.1:9000"]'


def service(text: str, **sources: Any) -> Service:
    [wanted] = made(text, **sources).services
    return wanted.service


# The table of options


OBJECTS = ("limits", "workers", "admin", "proxy_protocol", "tls", *sorted(of_handlers()))


@pytest.mark.parametrize("path", [(name,) for name in OBJECTS])
def test_every_field_is_an_option(path: tuple[str, ...]) -> None:
    table = tables()[path]
    fields = {each.name for each in dataclasses.fields(table.make) if each.init}
    assert {each[1] for each in options() if each[0] == path[0]} == fields


def test_every_field_of_a_service_is_said() -> None:
    said = {path[0] for path in [*options(), *tables()]}
    followed = {"encryption"}  # from `tls` and the endpoints
    assert {each.name for each in dataclasses.fields(Service) if each.init} - said == followed


def test_every_option_is_explained() -> None:
    assert [each.key for each in options().values() if not each.words] == []


def test_options_have_three_names() -> None:
    option = options()["limits", "per_host"]
    assert (option.key, option.variable, option.flag) == (
        "limits.per_host",
        "PORTSIDE_LIMITS__PER_HOST",
        "--limits.per-host",
    )


# What is right


def test_least() -> None:
    found = made(BASE)
    [wanted] = found.services
    assert wanted.service.endpoints == (Endpoint.parse(9000),)
    assert (wanted.service.engine, wanted.service.workers, wanted.service.limits) == ("threads", None, Limits())
    assert (wanted.title, wanted.where, found.log) == ("Shout", "app.toml:1", Log())


def test_everything(tmp_path: Path) -> None:
    certificate = development_certificate(tmp_path)
    text = f"""
handler = "shout:Shout"
endpoints = ["tcp://:9000", "unix:/run/x.sock?mode=660"]
engine = "green"
max_handlers = 500
drain = "1min"
workers = {{ count = 4, max_memory = "512MiB" }}
proxy_protocol = ["10.0.0.0/8"]
admin = "tcp://127.0.0.1:9100"
[handler_args]
loud = true
[limits]
per_host = 50
rate_per_host = 2.5
idle_seconds = "500ms"
write_seconds = "off"
line_bytes = "64KiB"
refusal = "busy\\n"
[access]
deny = ["192.0.2.0/24"]
[tls]
cert = "{certificate.cert}"
minimum_version = "1.3"
alpn = ["x"]
names = {{ "example.org" = "{certificate.cert}" }}
[logging]
level = "info"
format = "json"
"""
    found = made(text)
    [wanted] = found.services
    one: Any = wanted.service
    assert found.log == Log(level="info", format="json")
    assert (one.engine, one.max_handlers, one.drain, one.handler_args) == ("green", 500, 60.0, {"loud": True})
    assert one.workers == Workers(count=4, max_memory=512 * 1024**2)
    assert one.proxy_protocol == ProxyProtocol(trusted=["10.0.0.0/8"])
    assert one.admin.endpoint == Endpoint.parse("tcp://127.0.0.1:9100")
    assert one.limits == Limits(
        per_host=50, rate_per_host=2.5, idle_seconds=0.5, write_seconds=None, line_bytes=65536, refusal=b"busy\n"
    )
    assert one.access.active
    assert (one.tls.minimum_version, one.tls.alpn) == (ssl.TLSVersion.TLSv1_3, ("x",))
    assert list(one.tls.names) == ["example.org"]


def test_folder_is_served_at_its_own_port() -> None:
    found = made('folder = "/"\naccess_log = "-"')
    [wanted] = found.services
    assert wanted.service.endpoints == (Endpoint.parse(WEB_PORT),)
    assert found.request_log == RequestLog(file="-")


def test_application_over_tls_says_that_it_speaks_http(tmp_path: Path) -> None:
    tls: Any = service(f'wsgi = "shop:app"\ntls = "{development_certificate(tmp_path).cert}"').tls
    assert tls.alpn == ("http/1.1",)


def test_development_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = made(BASE + 'tls = "dev"')
    [note] = found.notes
    assert note.startswith(f"self-signed certificate {tmp_path}/portside/development.pem, SHA-256 ")


def test_tables_can_be_switched_off() -> None:
    assert service(BASE + 'limits = "off"').limits is None


def test_empty_table_is_one() -> None:
    assert service(BASE + "[workers]").workers == Workers()


# Several


SEVERAL = """
engine = "green"
limits.per_host = 5
[services.chat]
handler = "chat:Chat"
endpoints = 9001
limits.idle_seconds = 60
[services.web-site]
folder = "."
engine = "threads"
"""


def test_several_share_what_stands_above_them() -> None:
    chat, web = made(SEVERAL).services
    assert (chat.title, chat.service.engine, chat.service.limits) == (
        "chat",
        "green",
        Limits(per_host=5, idle_seconds=60),
    )
    assert (web.title, web.service.engine, web.service.limits) == ("web-site", "threads", Limits(per_host=5))


def test_variables_speak_of_one_or_of_all() -> None:
    variables = {"PORTSIDE_SERVICES__WEB_SITE__LIMITS__PER_HOST": "7", "PORTSIDE_ENGINE": "serial"}
    chat, web = made(SEVERAL, variables).services
    assert [each.service.engine for each in (chat, web)] == ["serial", "serial"]
    assert [each.service.limits for each in (chat, web)] == [Limits(per_host=5, idle_seconds=60), Limits(per_host=7)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "[services.b]\nhandler = 'b:B'\nendpoints = 9001",
            "app.toml:8: services a and b would both listen at tcp://127.0.0.1:9001",
        ),
        (
            "workers = 2",
            "app.toml:2: service a has workers, which goes with one service in a file: give it its own file",
        ),
        ("logging = 'info'", "app.toml:4: logging is one for all services: put it above the first [services.NAME]"),
        (
            "[services.'a b']\nhandler='b:B'\nendpoints=1",
            "app.toml:4: 'a b' is no name of a service; accepted are letters, digits, - and _",
        ),
    ],
)
def test_several_that_do_not_go_together(text: str, said: str) -> None:
    companion = "[services.c]\nhandler = 'c:C'\nendpoints = 0\n"
    problems = wrong(f"[services.a]\nhandler = 'a:A'\nendpoints = 9001\n{text}\n{companion}")
    assert said.replace(":8:", ":5:") in problems


# Precedence


def test_command_line_comes_before_environment_before_file() -> None:
    text, environment = (
        BASE + 'engine = "serial"\ndrain = 1\nmax_handlers = 1',
        {"PORTSIDE_ENGINE": "forks", "PORTSIDE_DRAIN": "2s"},
    )
    one = service(text, environment=environment, given={("engine",): "green"})
    assert (one.engine, one.drain, one.max_handlers) == ("green", 2.0, 1)


def test_values_of_a_table_come_from_everywhere() -> None:
    text = BASE + "[limits]\nper_host = 1\nconnections = 1"
    given = {("limits", "handshakes"): "off"}
    found = service(text, environment={"PORTSIDE_LIMITS__PER_HOST": "2"}, given=given).limits
    assert found == Limits(connections=1, per_host=2, handshakes=None)


def test_table_is_switched_off_and_on_again() -> None:
    text, off = BASE + "[limits]\nper_host = 1", {"PORTSIDE_LIMITS": "off"}
    assert service(text, environment=off).limits is None
    assert service(text, environment=off, given={("limits", "connections"): "3"}).limits == Limits(connections=3)


def test_texts_of_lists_and_tables() -> None:
    environment = {
        "PORTSIDE_ENDPOINTS": "tcp://:9000, unix:/run/x.sock",
        "PORTSIDE_HANDLER_ARGS": '{ loud = true, name = "x" }',
        "PORTSIDE_WORKERS": "3",
        "PORTSIDE_HANDLER": "shout:Shout",
        "PORTSIDE_CGI": "false",
    }
    one = service("", environment=environment)
    assert [str(each) for each in one.endpoints] == ["tcp://:9000", "unix:/run/x.sock"]
    assert one.handler_args == {"loud": True, "name": "x"}
    assert one.workers == Workers(count=3)


def test_what_kubernetes_says_of_a_service_is_no_option() -> None:
    environment = {
        "PORTSIDE_SERVICE_HOST": "10.0.0.1",
        "PORTSIDE_SERVICE_PORT_ADMIN": "9100",
        "PORTSIDE_PORT": "tcp://10.0.0.1:9000",
        "PORTSIDE_PORT_9000_TCP_ADDR": "10.0.0.1",
        "PORTSIDE_CONFIG": "x",
    }
    assert service(BASE, environment=environment)


# What is wrong


def test_all_mistakes_are_told_at_once() -> None:
    text = (
        BASE + 'engne = "green"\ndrain = "30 sec"\n[limits]\nper_host = 0\nidle_seconds = true\nper_hots = 1\n[acess]\n'
    )
    assert wrong(text) == [
        "app.toml:3: engne is no option; did you mean engine?",
        'app.toml:4: drain = "30 sec" is not accepted; accepted is a number of seconds, or a text su'
        'ch as "500ms", "30s",'
        ' "5min", "1h"',
        "app.toml:6: limits.per_host = 0 is not accepted; accepted is a whole number from 1 on, belo"
        'w 2**31, or "off" for no'
        " bound",
        "app.toml:7: limits.idle_seconds = true is not accepted; accepted is a number of seconds, or"
        ' a text such as "500ms",'
        ' "30s", "5min", "1h", or "off"',
        "app.toml:8: limits.per_hots is no option; did you mean per_host?",
        "app.toml:9: acess is no option; did you mean access?",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "engine = 5",
            'app.toml:3: engine = 5 is not accepted; accepted is "serial", "threads", "forks", "green" or "async"',
        ),
        (
            "endpoints = [1,\n'tcp//x']",
            'app.toml:3: endpoints = [1, "tcp//x"] is not accepted; accepted is a list of endpoints',
        ),
        ("max_handlers = 0", "app.toml:3: max_handlers = 0: max_handlers=0 must be a whole number from 1 on"),
        (
            "max_handlers = true",
            'app.toml:3: max_handlers = true is not accepted; accepted is a whole number, or "off"',
        ),
        ("limits = 5", "app.toml:3: limits = 5 is not accepted; accepted is a table of burst_per_host,"),
        ("tls = 'missing.pem'", "app.toml:3: "),
        ("[tls]\nkey = 'x'", "app.toml:4: tls lacks cert"),
        (
            "[tls]\nminimum_version = '1.1'",
            'app.toml:4: tls.minimum_version = "1.1" is not accepted; accepted is "1.2" or "1.3"',
        ),
        ("[tls.names]\nx = 1", "app.toml:3: tls.names"),
        ("proxy_protocol = ['nonsense']", "app.toml:3: "),
        ("access.allow = ['nonsense']", "app.toml:3: access.allow"),
        ("admin = 'tcp://:9100'", "app.toml:3: admin"),
        ("user = 'no-such-user-here'", "app.toml:3: user"),
        ("workers.max_memory = '1.5 B'", "app.toml:3: workers.max_memory"),
        ("drain = 1979-05-27", "app.toml:3: drain = 1979-05-27 is not accepted"),
        ("wsgi = 'x:y'", "app.toml:1: handler and wsgi exclude each other: give one of handler, wsgi, folder"),
        ("cgi = true", "app.toml:1: cgi = true is for a folder"),
        ("services = 5", "app.toml:3: services is a table of services: write [services.NAME]"),
        ("services.x = 5", "app.toml:3: services.x is a table of options: write [services.x]"),
        ("a = [", "app.toml:3: this is no TOML: "),
        ("engine = 'green'\nengine = 'green'", "app.toml:4: this is no TOML: "),
    ],
)
def test_wrong_line(text: str, said: str) -> None:
    base = BASE if not text.startswith("endpoints") else 'handler = "a:A"\n#\n'
    [problem] = wrong(base + text)
    assert problem.startswith(said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "",
            [
                "the configuration: nothing says what is served: give one of handler, wsgi, folder",
                f"the configuration: {NOWHERE}",
            ],
        ),
        ("endpoints = 1\nengine = 1", ["app.toml:2: engine = 1 is not accepted; accepted is " + ENGINES]),
        ("endpoints = 1", ["app.toml:1: nothing says what is served: give one of handler, wsgi, folder"]),
        (
            "handler = 'nonsense'\nendpoints = 1",
            ['app.toml:1: \'nonsense\' is not accepted; accepted is "module:Name", as in "shout:Shout"'],
        ),
        ("handler = 'a:A'", [f"app.toml:1: {NOWHERE}"]),
    ],
)
def test_something_is_missing(text: str, said: list[str]) -> None:
    assert wrong(text) == said


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"PORTSIDE_ENGIN": "green"}, "environment: ENGIN is no option; did you mean"),
        ({"PORTSIDE_QQQQQQQQQ": "1"}, "environment: PORTSIDE_QQQQQQQQQ is no option; docs/reference/configuration.md"),
        ({"PORTSIDE_DRAIN": "soon"}, 'PORTSIDE_DRAIN: "soon" is not accepted; accepted is a number of seconds'),
        ({"PORTSIDE_LIMITS__PER_HOST": "0"}, 'PORTSIDE_LIMITS__PER_HOST: limits.per_host = "0" is not accepted'),
        ({"PORTSIDE_LIMITS": "5"}, 'PORTSIDE_LIMITS: "5" is not accepted; accepted is "off"'),
        (
            {"PORTSIDE_HANDLER_ARGS": "x"},
            'PORTSIDE_HANDLER_ARGS: "x" is not accepted; accepted is a table (it is no TOML',
        ),
    ],
)
def test_wrong_variable(environment: dict[str, str], said: str) -> None:
    [problem] = wrong(BASE, environment)
    assert problem.replace("PORTSIDE_ENGIN is", "ENGIN is").startswith(said)


def test_wrong_option_of_the_command_line() -> None:
    [problem] = wrong(BASE, given={("limits", "per_host"): "many"})
    assert problem == '--limits.per-host: "many" is not accepted; accepted is a whole number, or "off"'
