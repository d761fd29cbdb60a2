"""What is to be served, and how: checked in full before anything binds."""

import contextlib
import dataclasses
import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, get_args

from portside.async_handlers import AsyncDatagramRequestHandler, AsyncRequestHandler, AsyncStreamRequestHandler
from portside.dispatcher import DRAIN_SECONDS
from portside.endpoints import Endpoint
from portside.handlers import BaseRequestHandler, DatagramRequestHandler, StreamRequestHandler
from portside.policy.access import Access
from portside.policy.limits import Limits
from portside.policy.proxy_protocol import ProxyProtocol
from portside.policy.tls import TLS, ContextTLS
from portside.service.admin.options import Admin
from portside.service.encryption import encryption_of
from portside.service.loading import Deferred
from portside.service.privileges import Identity
from portside.service.workers import Workers

# What holds in the modern face where nobody says otherwise.
LIMITS = Limits()

EngineName = Literal["serial", "threads", "forks", "green", "async"]


@dataclass(frozen=True, kw_only=True)
class Service:
    """One handler at one or more endpoints.

    Attributes:
        handler: what handles a request: a handler class, or any callable of its three arguments.
        endpoints: where; at least one.
        engine: how handlers run side by side.
        max_handlers: handlers at once, at each endpoint; further clients wait in the system's queue. None is the
            engine's default: 10,000 threads or tasks, 40 child processes. Without effect on the serial engine.
        drain: seconds that handlers get to finish when the service ends; 30 as gunicorn and Kubernetes.
        handler_args: keyword arguments for the handler.
        admin: where metrics, health, a page and commands are; None is nowhere.
        proxy_protocol: whether clients come through proxies that say who they are, and through which; None believes
            nobody.
        limits: how many clients may come, how often, and how long they may stay, at each endpoint; None for no limits.
        access: who may come in; None for everybody, until the servers' `access` is told otherwise.
        workers: how many processes serve, below a supervisor: a number, or `Workers`; None is this process alone.
        user: whose rights the service has once its endpoints are bound: a name or a number; None is whoever starts it.
        group: which group's; None is the user's own.
        tls: how connections are encrypted, at every endpoint; None leaves that to the endpoints.
        encryption: the same for each endpoint, those taken into account that name a certificate themselves; found out
            here, and passed on to copies, which may have no right any more to read the files.

    Raises:
        ValueError: an option has a value that it cannot have.
        TypeError: the handler does not fit the engine or an endpoint.
        PermissionError: this process may not become that user.
    """

    handler: Callable[..., Any]
    endpoints: tuple[Endpoint, ...]
    engine: EngineName = "threads"
    max_handlers: int | None = None
    drain: float = DRAIN_SECONDS
    handler_args: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    admin: Admin | None = None
    proxy_protocol: ProxyProtocol | None = None
    limits: Limits | None = LIMITS
    access: Access | None = None
    workers: "int | Workers | None" = None
    user: str | int | None = None
    group: str | int | None = None
    tls: TLS | ContextTLS | None = None
    encryption: tuple[TLS | ContextTLS | None, ...] = field(default=(), repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_endpoints(self.endpoints)
        _check_engine(self.engine)
        _check_numbers(self.max_handlers, self.drain)
        _check_arguments(self.handler_args)
        _check_admin(self.admin)
        _check_proxy_protocol(self.proxy_protocol, self.endpoints)
        _check_policies(self.limits, self.access)
        if not isinstance(self.handler, Deferred):
            _check_handler(self.handler, self.engine, self.endpoints)
        Workers.of(self.workers)
        if (identity := self.identity) is not None:
            identity.check()
        if not self.encryption:
            encryption = tuple(encryption_of(endpoint, self.tls) for endpoint in self.endpoints)
            object.__setattr__(self, "encryption", encryption)

    @property
    def identity(self) -> Identity | None:
        """Who the service is once its endpoints are bound; None is whoever starts it."""
        return Identity.of(self.user, self.group)

    def at(self, endpoints: Sequence[Endpoint]) -> "Service":
        """The same in a worker, which serves at these and has nothing else to see to."""
        known = {_place(endpoint): tls for endpoint, tls in zip(self.endpoints, self.encryption, strict=True)}
        return dataclasses.replace(
            self,
            endpoints=tuple(endpoints),
            encryption=tuple(known[_place(endpoint)] for endpoint in endpoints),
            user=None,
            group=None,
            admin=None,
        )

    @contextlib.contextmanager
    def loaded(self) -> "Iterator[Service]":
        """The same with its handler made, where that is made only in the process that serves; until the block's end."""
        if not isinstance(self.handler, Deferred):
            yield self
            return
        with self.handler.opened() as handler:
            yield dataclasses.replace(self, handler=handler)


def _place(endpoint: Endpoint) -> Endpoint:
    """Without what tells the queues of one endpoint apart."""
    return dataclasses.replace(endpoint, reuse_port=False)


def _check_endpoints(endpoints: tuple[Endpoint, ...]) -> None:
    if not endpoints:
        raise ValueError("no endpoint was given: name at least one, such as 'tcp://127.0.0.1:9000'")


def _check_engine(engine: str) -> None:
    if engine not in get_args(EngineName):
        raise ValueError(f"engine={engine!r} is none of {', '.join(map(repr, get_args(EngineName)))}")


def _check_numbers(max_handlers: object, drain: object) -> None:
    if max_handlers is not None and not (isinstance(max_handlers, int) and max_handlers >= 1):
        raise ValueError(f"max_handlers={max_handlers!r} must be a whole number from 1 on, or None for the default")
    if not (isinstance(drain, int | float) and 0 <= drain < math.inf):
        raise ValueError(f"drain={drain!r} must be a number of seconds, 0 or more")


def _check_arguments(handler_args: object) -> None:
    if not isinstance(handler_args, Mapping):
        raise TypeError(f"handler_args={handler_args!r} must be a mapping of names to values")


def _check_admin(admin: object) -> None:
    if admin is not None and not isinstance(admin, Admin):
        raise TypeError(f"admin={admin!r} must be an Admin, as Admin.parse('tcp://127.0.0.1:9100') makes one, or None")


def _check_proxy_protocol(proxy_protocol: object, endpoints: tuple[Endpoint, ...]) -> None:
    if proxy_protocol is None:
        return
    if not isinstance(proxy_protocol, ProxyProtocol):
        raise TypeError(f"proxy_protocol={proxy_protocol!r} must be a portside.ProxyProtocol, or None")
    for endpoint in endpoints:
        if not endpoint.is_stream:
            raise ValueError(f"proxy_protocol is for connections, and {endpoint} takes datagrams: serve it by itself")


def _check_policies(limits: object, access: object) -> None:
    if limits is not None and not isinstance(limits, Limits):
        raise TypeError(f"limits={limits!r} must be portside.Limits(...), or None for no limits")
    if access is not None and not isinstance(access, Access):
        raise TypeError(f"access={access!r} must be portside.Access(...), or None for everybody")


def _check_handler(handler: Callable[..., Any], engine: str, endpoints: tuple[Endpoint, ...]) -> None:
    if not callable(handler):
        raise TypeError(f"the handler {handler!r} cannot be called: give a handler class or a function")
    _check_coroutine(handler, engine)
    for endpoint in endpoints:
        wrong = _FOR_DATAGRAMS if endpoint.is_stream else _FOR_STREAMS
        if _is_class(handler, wrong):
            kind = "connections" if endpoint.is_stream else "datagrams"
            name = getattr(handler, "__name__", "")
            raise TypeError(f"{name} cannot serve {endpoint}, whose requests are {kind}: derive it otherwise")


_FOR_STREAMS = (StreamRequestHandler, AsyncStreamRequestHandler)
_FOR_DATAGRAMS = (DatagramRequestHandler, AsyncDatagramRequestHandler)


def _check_coroutine(handler: Callable[..., Any], engine: str) -> None:
    name = getattr(handler, "__name__", repr(handler))
    if engine == "async":
        if _is_class(handler, (BaseRequestHandler,)):
            raise TypeError(f"engine='async' needs `async def handle(self)`: derive {name} from an Async... handler")
    elif inspect.iscoroutinefunction(handler) or _is_class(handler, (AsyncRequestHandler,)):
        raise TypeError(f"{name} is a coroutine's handler: choose engine='async'")
    elif inspect.iscoroutinefunction(getattr(handler, "handle", None)):
        raise TypeError(f"{name}.handle is `async def`: derive it from an Async... handler, for engine='async'")


def _is_class(handler: Callable[..., Any], bases: tuple[type, ...]) -> bool:
    return isinstance(handler, type) and issubclass(handler, bases)
