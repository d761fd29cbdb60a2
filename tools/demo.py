"""A thousand people talk at once with the README's example server, and every answer is checked.

    python tools/demo.py [--clients 1000] [--lines 20]

The server is the first Python block of README.md, run as it stands there in a process of its own; only its endpoint is
replaced, by a listener on a free port that the server inherits (`fd:N`). Each client sends lines of random content with
pauses between them. At the end everybody sends as many lines once more, all in one go, and the server gets SIGTERM in
the same moment: the drain must not lose an answer either.

Exits with 0 only when every answer was right and the server ended well, within `--seconds`.
"""

import argparse
import asyncio
import contextlib
import random
import re
import resource
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from markdown_it import MarkdownIt
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

README = Path(__file__).resolve().parent.parent / "README.md"
OTHER_DESCRIPTORS = 50  # what either process holds beside its connections
LONGEST_LINE = 200  # characters
ENDPOINT = re.compile(r"""(["'])tcp://[^"']*\1""")
ENDING_SECONDS = 5.0  # for a server without clients; with the default of --seconds all stays below a minute
STEPS = 10  # plain lines of progress, where there is no terminal


class DemoError(Exception):
    """The demo cannot go on; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be done.

    Attributes:
        clients: how many at once.
        lines: lines that each sends one by one, and as many again at once while the server is stopped.
        pause: seconds between two lines of one client, on average.
        seconds: the time in all.
        readme: where the server's program stands.
    """

    clients: int
    lines: int
    pause: float
    seconds: float
    readme: Path

    @property
    def messages(self) -> int:
        """Answers that there should be."""
        return self.clients * self.lines * 2


@dataclass
class Tally:
    """What happened.

    Attributes:
        tell: called after each answer.
        answers: how many were right.
        seconds: from line to answer, of the lines that were sent one by one.
        errors: what went wrong, and how often.
        peak: bytes of memory that the server had at most; None where the system does not tell.
    """

    tell: Callable[[], None]
    answers: int = 0
    seconds: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    peak: int | None = None

    def answered(self) -> None:
        """Count an answer."""
        self.answers += 1
        self.tell()


# The server


def program(readme: Path) -> str:
    """The first Python block of a page."""
    for token in MarkdownIt().parse(readme.read_text(encoding="utf-8")):
        if token.type == "fence" and token.info.split()[:1] == ["python"]:
            return token.content
    raise DemoError(f"{readme} holds no Python block to demonstrate")


def at_descriptor(text: str, descriptor: int) -> str:
    """The program with an inherited listener in the place of its endpoint."""
    changed, count = ENDPOINT.subn(f'"fd:{descriptor}"', text)
    if count != 1:
        raise DemoError(f"the example should name one tcp:// endpoint, and names {count}")
    return changed


@contextlib.contextmanager
def serving(text: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The program in a process of its own, and its port; whatever happens, it does not outlive the block."""
    with socket.create_server(("127.0.0.1", 0), backlog=65_535) as listener:
        port = listener.getsockname()[1]
        command = [sys.executable, "-c", at_descriptor(text, listener.fileno())]
        server = subprocess.Popen(command, pass_fds=[listener.fileno()])
    try:
        yield server, port
    finally:
        server.kill()
        server.wait()


def peak_memory(pid: int) -> int | None:
    """Bytes of memory that a process had at most so far: VmHWM of proc(5), in KiB there."""
    with contextlib.suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(encoding="ascii"))
        return int(found[1]) * 1024 if found else None
    return None


# The clients


def random_line() -> bytes:
    """Hexadecimal digits, the letters small."""
    return random.randbytes(random.randint(0, LONGEST_LINE // 2)).hex().encode() + b"\n"


class Client:
    """One person: says lines, hears the answers."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._said: deque[bytes] = deque()

    def say(self, count: int = 1) -> None:
        """Send lines of random content, in one go."""
        lines = [random_line() for _ in range(count)]
        self._said += lines
        self._writer.write(b"".join(lines))

    async def hear(self) -> None:
        """Wait for the answer to the first line that has none yet."""
        answer = await self._reader.readline()
        if answer != self._said.popleft().upper():
            raise DemoError("a wrong answer" if answer else "the server hung up")

    async def hear_the_end(self) -> None:
        """Wait for the server to hang up, which must say nothing more."""
        if await self._reader.read():
            raise DemoError("more than the answers")

    def close(self) -> None:
        """Leave."""
        self._writer.close()


class Crowd:
    """All clients, in one event loop; one that has trouble is counted and goes on no further."""

    def __init__(self, plan: Plan, tally: Tally) -> None:
        self._plan = plan
        self._tally = tally
        self._clients: list[Client] = []

    async def arrive(self, port: int) -> None:
        """Everybody connects, and stays."""
        await asyncio.gather(*(self._noting(self._connect(port)) for _ in range(self._plan.clients)))

    async def converse(self) -> None:
        """Everybody says their lines, with pauses, and hears the answers."""
        await self._each(self._say_lines)

    async def say_last_words(self) -> None:
        """Everybody says all the lines once more, at once."""
        for client in self._clients:
            client.say(self._plan.lines)

    async def hear_last_words(self) -> None:
        """Everybody hears the answers, and the end."""
        await self._each(self._hear_out)

    def leave(self) -> None:
        """Everybody who is still there leaves."""
        for client in self._clients:
            client.close()

    async def _connect(self, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        self._clients.append(Client(reader, writer))

    async def _say_lines(self, client: Client) -> None:
        for _ in range(self._plan.lines):
            await asyncio.sleep(random.uniform(0, 2 * self._plan.pause))
            start = time.perf_counter()
            client.say()
            await client.hear()
            self._tally.seconds.append(time.perf_counter() - start)
            self._tally.answered()

    async def _hear_out(self, client: Client) -> None:
        for _ in range(self._plan.lines):
            await client.hear()
            self._tally.answered()
        await client.hear_the_end()

    async def _each(self, step: Callable[[Client], Awaitable[None]]) -> None:
        done = await asyncio.gather(*(self._noting(step(client)) for client in self._clients))
        for client, went_well in zip(list(self._clients), done, strict=True):
            if not went_well:
                self._clients.remove(client)
                client.close()

    async def _noting(self, step: Awaitable[None]) -> bool:
        try:
            await step
        except (DemoError, OSError, ValueError) as error:  # ValueError: a line without end
            self._tally.errors[str(error)] += 1
            return False
        return True


async def hold(plan: Plan, tally: Tally, server: subprocess.Popen[bytes], port: int) -> None:
    """The whole conversation, within the time."""
    crowd = Crowd(plan, tally)
    try:
        async with asyncio.timeout(plan.seconds):
            await crowd.arrive(port)
            await crowd.converse()
            tally.peak = peak_memory(server.pid)
            await crowd.say_last_words()
            server.send_signal(signal.SIGTERM)
            await crowd.hear_last_words()
    except TimeoutError as error:
        raise DemoError(f"the conversation was not over after {plan.seconds:g} s") from error
    finally:
        crowd.leave()


def await_end(server: subprocess.Popen[bytes]) -> None:
    """Wait for the server, which has no client any more."""
    try:
        server.wait(ENDING_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise DemoError(f"the server still ran {ENDING_SECONDS:g} s after its last client had left") from error


# What is shown


@contextlib.contextmanager
def progress(console: Console, total: int) -> Iterator[Callable[[], None]]:
    """A bar on a terminal, plain lines elsewhere; gives what is to be called after each answer."""
    if not console.is_terminal:
        yield plain_progress(console, total)
        return
    columns = (TextColumn("conversing"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=total)
        yield lambda: bar.advance(task)


def plain_progress(console: Console, total: int) -> Callable[[], None]:
    """A line for each tenth."""
    count = 0

    def tell() -> None:
        nonlocal count
        count += 1
        if count * STEPS // total != (count - 1) * STEPS // total:
            console.print(f"{count:,} of {total:,} lines answered")

    return tell


def summary(plan: Plan, tally: Tally) -> Iterator[str]:
    """The lines at the end."""
    yield f"clients       {plan.clients:>10,} at once"
    yield f"messages      {tally.answers:>10,} of {plan.messages:,} answered well"
    yield f"errors        {sum(tally.errors.values()):>10,}"
    for what, count in tally.errors.most_common():
        yield f"              {count:>10,} {what}"
    if len(tally.seconds) > 1:
        hundredths = statistics.quantiles(tally.seconds, n=100)
        yield f"p50           {hundredths[49] * 1000:>10.1f} ms"
        yield f"p99           {hundredths[98] * 1000:>10.1f} ms"
    peak = "unknown" if tally.peak is None else f"{tally.peak / 2**20:.1f} MiB"
    yield f"peak memory   {peak:>10} of the server"


# The command


def allow_descriptors(clients: int) -> None:
    """Raise the limit of this process, which the server inherits, as far as it may."""
    needed = clients + OTHER_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise DemoError(
            f"{clients:,} clients need {needed:,} descriptors and this system allows {hard:,}: "
            f"raise its hard limit (`ulimit -Hn`), or say --clients {max(1, hard - OTHER_DESCRIPTORS)}"
        )
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def demonstrate(plan: Plan, console: Console) -> bool:
    """Run the plan and show it; False when something was not as it should be."""
    text = program(plan.readme)
    allow_descriptors(plan.clients)
    console.print(text.strip(), style="cyan", markup=False, highlight=False)
    console.print(
        f"\n{plan.clients:,} clients say {plan.lines} lines each, with pauses; then all of them {plan.lines} more"
    )
    console.print("at once, and in that moment the server is told to stop.\n")
    with serving(text) as (server, port), progress(console, plan.messages) as tell:
        tally = Tally(tell=tell)
        asyncio.run(hold(plan, tally, server, port))
        await_end(server)
    console.print(*summary(plan, tally), sep="\n", highlight=False)
    if server.returncode:
        console.print(f"the server ended with {server.returncode} instead of 0")
    return not tally.errors and tally.answers == plan.messages and server.returncode == 0


def read_plan(arguments: Sequence[str] | None) -> Plan:
    """What the command line says."""
    parser = argparse.ArgumentParser(description="Many clients at once talk with the README's example server.")
    parser.add_argument("--clients", type=int, default=1000, help="how many at once (default: %(default)s)")
    parser.add_argument("--lines", type=int, default=20, help="lines that each says, twice (default: %(default)s)")
    parser.add_argument("--pause", type=float, default=0.5, help="seconds between two lines (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=50.0, help="time in all (default: %(default)s)")
    parser.add_argument("--readme", type=Path, default=README, help="page whose first Python block is the server")
    return Plan(**vars(parser.parse_args(arguments)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    console = Console(soft_wrap=True, force_terminal=sys.stdout.isatty())
    try:
        went_well = demonstrate(read_plan(arguments), console)
    except DemoError as error:
        console.print(f"demo: {error}", highlight=False)
        return 1
    console.print("every answer was right" if went_well else "demo: not every answer was right")
    return 0 if went_well else 1


if __name__ == "__main__":
    sys.exit(main())
