"""`portside run` and `portside check`: from a file, the environment and the command line to services."""

import contextlib
import os
import signal
from argparse import SUPPRESS, ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from portside.cli.failure import Failure, Refused
from portside.cli.given import dest_of, every_path, flag_of, texts_of, variable_of
from portside.cli.serving import announce, counted, dump_on_request, explained, log_as, start, tell, tell_notes
from portside.service.config.checking import outlook
from portside.service.config.handling import opened_log
from portside.service.config.making import Configuration, Wanted, configuration
from portside.service.config.options import options, tables
from portside.service.config.problems import ConfigError
from portside.service.config.settings import RequestLog
from portside.service.config.sources import FILE, Source, from_command_line, from_environment, from_file
from portside.service.description import Service
from portside.service.loading import LoadError
from portside.service.running import Running
from portside.service.serving import bound, run_alone
from portside.service.several import Several

# The file that is read when nobody names one, and it is there.
DEFAULT_FILE = "portside.toml"


def add_options(command: ArgumentParser) -> None:
    """Every option of a configuration, under its path's name."""
    group = command.add_argument_group("options, each as in the file; `off` stands for none")
    for path in every_path():
        words = tables()[path].words if path in tables() else options()[path].words
        group.add_argument(
            flag_of(path),
            dest=dest_of(path),
            metavar="VALUE",
            default=SUPPRESS,
            help=f"{_help(words)} [{variable_of(path)}]",
        )


def _help(words: str) -> str:
    """The first sentence."""
    return words.partition(". ")[0].rstrip(".").replace("%", "%%").replace("`", "")


# The commands


def run(given: Namespace) -> None:
    """Start what is configured, and serve until a signal ends it.

    Raises:
        Refused: the configuration cannot be; everything that is wrong was told.
        Failure: the system refuses an endpoint, or a handler cannot be loaded.
    """
    try:
        wanted = _read(given)
    except ConfigError as error:
        tell(error.problems)
        raise Refused(f"nothing was started: {counted(error.problems)}") from error
    log_as(wanted.log.level, wanted.log.format)
    tell_notes(wanted)
    if len(wanted.services) == 1:
        quiet = wanted.log.level == "error"
        [one] = wanted.services
        if one.service.workers is None:
            _note_hangups()
        start(
            wanted.alone,
            title=one.title,
            quiet=quiet,
            is_web=one.is_web,
            renew=lambda service: _renewed(given, service),
        )
    else:
        _run_several(wanted)


def check(given: Namespace) -> None:
    """Say what is wrong, and what a start would do; nothing is bound.

    Raises:
        Failure: something is wrong; all of it was told.
    """
    try:
        wanted = _read(given)
    except ConfigError as error:
        tell(error.problems)
        raise Failure(counted(error.problems)) from error
    expected = outlook(wanted)
    for line in (*expected.lines, *wanted.notes):
        print(line)
    if expected.problems:
        tell(expected.problems)
        raise Failure(counted(expected.problems))
    print(f"{_file(given) or 'the configuration'} is right")


# What was said


def _read(given: Namespace) -> Configuration:
    """Everything that was said, made into services.

    Raises:
        ConfigError: it cannot be.
        Failure: the file cannot be read.
    """
    file = _file(given)
    in_file = Source() if file is None else from_file(_text_of(file), file)
    around = from_environment(os.environ, list(in_file.services))
    return configuration([in_file, around, from_command_line(texts_of(given))])


def _file(given: Namespace) -> str | None:
    named: str | None = given.file or os.environ.get(FILE)
    return named or (DEFAULT_FILE if os.path.exists(DEFAULT_FILE) else None)


def _text_of(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise Refused(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Refused(f"{file} is no TOML, which is UTF-8: byte {error.start} is not") from error


# A reload reads the file anew. What the supervisor itself has taken on cannot change under it.
_FIXED = ("endpoints", "workers", "user", "group", "drain", "admin")


def _renewed(given: Namespace, before: Service) -> Service:
    """The service as the file has it now.

    Raises:
        ConfigError, Failure: it cannot be, or what has changed takes a new start.
    """
    wanted = _read(given)
    if len(wanted.services) != 1:
        raise Failure("the file speaks of several services now: that takes a new start")
    service = wanted.alone
    fixed = [name for name in _FIXED if getattr(service, name) != getattr(before, name)]
    if fixed:
        raise Failure(f"{', '.join(fixed)} cannot change in a reload: send SIGUSR2, or start the service anew")
    return service


# Several


def _run_several(wanted: Configuration) -> None:
    with contextlib.ExitStack() as stack:
        _open_log(stack, wanted.request_log)
        pairs = []
        for each in wanted.services:
            running = _bound(stack, each)
            stack.callback(running.stop)
            pairs.append((each, running))
        if any(each.service.engine == "green" for each in wanted.services):
            dump_on_request()
        _note_hangups()

        def announce_all(_: Any) -> None:
            for each, running in pairs:
                announce(each.title, each.service, running.endpoints, is_web=each.is_web)

        several = Several([running for _, running in pairs])
        run_alone(several, announce_all if wanted.log.level != "error" else lambda _: None)


def _open_log(stack: contextlib.ExitStack, log: RequestLog | None) -> None:
    try:
        if log is not None:
            stack.enter_context(opened_log(log))
    except LoadError as error:
        raise Failure(str(error)) from error


def _bound(stack: contextlib.ExitStack, wanted: Wanted) -> Running:
    try:
        loaded = stack.enter_context(wanted.service.loaded())
    except (LoadError, TypeError) as error:
        raise Failure(f"{wanted.where}: {error}") from error
    return explained(lambda: bound(loaded))


def _note_hangups() -> None:
    """SIGHUP, which would else end the process, says why it does nothing here."""

    def note(*_: object) -> None:
        os.write(2, b"portside: SIGHUP does nothing without workers: start the service anew to read its file again\n")

    signal.signal(signal.SIGHUP, note)
