"""What is tried: a table, and for each row what happens while normal clients go on.

The numbers are those of full scale; the titles say them, too.
"""

import contextlib
import os
import random
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from portside.policy.development import development_certificate
from tools.chaos.clients import Loss
from tools.chaos.processes import Process
from tools.chaos.service import nap, settle
from tools.chaos.stage import WORKERS, Row, Stage
from tools.chaos.upkeep import Upkeep

# Attacks


def slow(stage: Stage) -> None:
    """Clients that never finish their line."""
    _hold(stage, "slow", stage.scene.count(10_000, least=20), 20.0)


def silent(stage: Stage) -> None:
    """Clients that have nothing to say."""
    _hold(stage, "silent", stage.scene.count(10_000, least=20), 15.0)


def handshakes(stage: Stage) -> None:
    """Clients that begin a TLS handshake and leave it at that."""
    _hold(stage, "handshakes", stage.scene.count(5_000, least=20), 12.0)


def _hold(stage: Stage, attack: str, count: int, seconds: float) -> None:
    """Twice: an allocator keeps a part of what it has once had; a second attack must not make it more."""
    _hold_once(stage, attack, count, stage.scene.seconds(seconds / 2))
    settle(lambda: _has_room(stage), "the first attack to be forgotten")
    stage.outcome.high_water = Upkeep.of(stage.service).memory
    _hold_once(stage, attack, count, stage.scene.seconds(seconds))


def _hold_once(stage: Stage, attack: str, count: int, seconds: float) -> None:
    with stage.attack(attack, count, rate=1_000.0) as attackers:
        stage.tell(f"opening {count:,} connections")
        attackers.wait_opened()
        stage.last(seconds)
        attackers.finish()
        opened, held = attackers.total("opened"), attackers.total("open")
        stage.outcome.tried = f"twice {opened:,} opened, {held:,} held to the end"


def _has_room(stage: Stage) -> bool:
    """Whether there are hardly more connections than normal clients have."""
    before = stage.outcome.before
    assert before is not None
    return Upkeep.of(stage.service).descriptors <= before.descriptors + 2 * int(stage.row.clients.get("at_once", 24))


def deaf(stage: Stage) -> None:
    """Clients that ask for 64 MB each and read nothing: the service has to end them all.

    The kernel holds 4 MB for each: a thousand would take all that TCP may have on a machine of 24 GB (tcp_mem).
    """
    count = stage.scene.count(200, least=10)
    with stage.attack("deaf", count, rate=100.0) as attackers:
        stage.tell(f"{count:,} clients that do not read")
        attackers.wait_opened()
        ended = len(stage.service.wait_for("ConnectionClosed", count))
        stage.outcome.tried = f"{count:,} opened, {ended:,} ended by the service"


def resets(stage: Stage) -> None:
    """Connections that are reset as soon as they are there."""
    count = stage.scene.count(100_000, least=200)
    with stage.attack("resets", count, rate=2_500.0) as attackers:
        stage.tell(f"{count:,} connections opened and reset")
        attackers.wait_opened()
        stage.outcome.tried = f"{attackers.total('opened'):,} opened and reset"


def flood(stage: Stage) -> None:
    """One host that comes again and again, and has to be the only one that is refused."""
    count = stage.scene.count(40_000, least=100)
    with stage.attack("flood", count, one_host=True, rate=2_000.0) as attackers:
        stage.tell(f"{count:,} connections from one host")
        attackers.wait_opened()
        attackers.finish()
        opened, refused = attackers.total("opened"), attackers.total("ended")
        stage.outcome.tried = f"{opened:,} from one host, {refused:,} refused"
        if refused < opened // 2:
            stage.outcome.broken.append(f"only {refused:,} of a flood of {opened:,} connections were refused")


def descriptors(stage: Stage) -> None:
    """More connections than the service has descriptors; who was there before goes on."""
    stays = stage.row.clients["at_once"]
    stage.clients.wait(lambda: stage.clients.told[-1]["greeted"] >= stays, "the clients that stay to be there")
    waves = stage.scene.count(3)
    for _ in range(waves):
        pauses = len(stage.service.of("AcceptPaused"))
        with stage.attack("silent", 500) as attackers:
            attackers.wait_opened()
            stage.service.wait_for("AcceptPaused", pauses + 1)
            stage.last(stage.scene.seconds(4.0))
            turned_away = attackers.total("ended")
        _see_newcomers_served(stage)
    stage.outcome.tried = (
        f"{waves} waves of 500 at 2 workers with 120 descriptors each, {turned_away} of the last turned away"
    )


def _see_newcomers_served(stage: Stage) -> None:
    """Once the wave has gone, there is room for everybody again."""
    settle(lambda: _has_room(stage), "room for newcomers")
    newcomers = {"manner": {"port": stage.service.port, "hosts": "127.3.0"}, "rate": 0.0, "at_once": 4}
    with Process("clients", newcomers, bare=True) as clients:
        clients.wait(lambda: bool(clients.told) and clients.told[-1]["served"] >= 10, "newcomers to be served")
        if lost := clients.finish()["lost"]:
            stage.outcome.broken.append(f"{lost} newcomers were lost after the shortage")


# What happens to the service


def kills(stage: Stage) -> None:
    """Workers killed one after the other."""
    killed: list[tuple[int, float]] = []
    wanted = stage.scene.count(60, least=2)
    while len(killed) < wanted:
        settle(stage.service.workers, "a worker")
        pid = random.choice(stage.service.workers())
        stage.tell(f"{len(killed) + 1} of {wanted} workers killed, {stage.served():,} conversations served")
        killed.append((pid, time.monotonic()))
        os.kill(pid, signal.SIGKILL)
        stage.service.wait_for("WorkerExited", len(killed))
        nap(max(0.0, killed[-1][1] + 1.0 - time.monotonic()))
    settle(lambda: len(stage.service.workers()) == WORKERS, "all workers to be back")
    stage.outcome.tried = f"{wanted} workers killed, one a second"
    stage.excuse = _ran_in(dict(killed))


def _ran_in(killed: Mapping[int, float]) -> Any:
    """A conversation is lost with its worker: one that had greeted, or one that was killed before it could."""

    def excused(loss: Loss) -> bool:
        if loss.pid:
            return loss.pid in killed
        return any(loss.began <= when <= loss.ended for when in killed.values())

    return excused


def reloads(stage: Stage) -> None:
    """New workers, and new versions of the whole program, one after the other under full load."""
    changes = [stage.service.reload] * stage.scene.count(20, least=2)
    hand_overs = stage.scene.count(5)
    for number in range(hand_overs):
        changes.insert((number + 1) * len(changes) // hand_overs, stage.service.hand_over)
    goal = stage.scene.count(100_000, least=200)
    start = stage.served()
    for number, change in enumerate(changes, 1):
        stage.tell(f"change {number} of {len(changes)}, {stage.served() - start:,} connections")
        change()
        behind = goal * number // len(changes) - (stage.served() - start)
        stage.wait_served(max(20, behind))
    count = stage.served() - start
    stage.outcome.tried = f"{len(changes) - hand_overs} reloads, {hand_overs} hand-overs, {count:,} connections"


def sigterm(stage: Stage) -> None:
    """The end of the service, while clients take their time over what they are owed."""
    settle(lambda: stage.clients.told[-1]["greeted"] >= stage.row.clients["at_once"] // 2, "clients under way")
    stage.last(stage.scene.seconds(1.0, least=0.2))  # in the first half of their answers, which are still being written
    under_way = stage.clients.told[-1]["greeted"]
    asked = time.monotonic()
    stage.service.signal(signal.SIGTERM)
    stage.clients.say(b"pause")
    code = stage.service.process.wait(60.0)
    took = time.monotonic() - asked
    stage.outcome.tried = f"SIGTERM with {under_way} slow clients under way; gone after {took:.1f} s with code {code}"
    if code:
        stage.outcome.broken.append(f"the service ended with code {code}")
    # Who had not been greeted yet was still in the system's queue, which goes with the service.
    stage.excuse = lambda loss: not loss.pid and loss.ended >= asked


# What happens to the system


@contextlib.contextmanager
def full_disk(folder: Path) -> Iterator[Mapping[str, Any]]:
    """A file system of 64 KiB under the log; a device that is always full, where one cannot be mounted."""
    disk = folder / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    command = [mount or "", "-t", "tmpfs", "-o", "size=64k", "chaos", str(disk)]
    mounted = bool(mount) and subprocess.run(command, capture_output=True, check=False).returncode == 0
    if not mounted:
        (disk / "log").symlink_to("/dev/full")
    try:
        yield {"log": str(disk / "log")}
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(disk)], check=True)


def disk(stage: Stage) -> None:
    """Nowhere to write the log to."""
    stage.wait_served(stage.scene.count(2_000, least=50))
    log = stage.folder / "disk" / "log"
    with log.open("ab", buffering=0) as file:
        try:
            file.write(bytes(70_000))
            file.write(b"one more")
        except OSError as error:
            stage.outcome.tried = f"a line a connection into a full disk ({os.strerror(error.errno or 0).lower()})"
        else:
            stage.outcome.broken.append("the disk under the log was not full")
    stage.wait_served(stage.scene.count(1_000, least=20))
    stage.service.reload()


@contextlib.contextmanager
def wrong_clock(folder: Path) -> Iterator[Mapping[str, Any]]:
    """A clock that can be set."""
    (folder / "clock").write_bytes(bytes(8))
    yield {"clock": str(folder / "clock")}


# Seconds that the clock is wrong by: back by an hour, by a day, on by a year, back by half a century, right again.
JUMPS = (-3_600.0, -86_400.0, 31_536_000.0, -1.5e9, 0.0)


def clock(stage: Stage) -> None:
    """Time of day goes back and forth, and no deadline, bucket or answer may mind."""
    count = stage.scene.count(400, least=20)
    with stage.attack("silent", count) as attackers:
        for jump in JUMPS:
            with (stage.folder / "clock").open("r+b") as file:
                file.write(struct.pack("d", jump))
            stage.tell(f"the clock is wrong by {jump:g} s")
            stage.wait_served(stage.scene.count(400, least=10))
        attackers.wait_ended(count)
        stage.service.reload()
    stage.outcome.tried = f"{len(JUMPS)} jumps; {count} idle clients ended by their deadline all the same"


@contextlib.contextmanager
def encrypted(folder: Path) -> Iterator[Mapping[str, Any]]:
    """A certificate of the service's own."""
    yield {"tls": str(development_certificate(folder).cert)}


# Numbers for rows that need room: as many clients as there are, and fewer than an attack.
BUSY = {"rate": 0.0, "at_once": 24}
STAYING = {"rate": 0.0, "at_once": 24}
SLOW_READERS = {"rate": 0.0, "at_once": 20}

ROWS = (
    Row(name="slow", title="10,000 connections that send one byte every 3 seconds", play=slow),
    Row(name="silent", title="10,000 connections that send nothing", play=silent),
    Row(
        name="handshakes",
        title="5,000 half-open TLS handshakes",
        play=handshakes,
        prepare=encrypted,
        manner={"tls": True},
        clients={"rate": 50.0},
        quiet=300,
    ),
    Row(
        name="deaf",
        title="200 clients that ask for 64 MB each and never read",
        play=deaf,
        service={"limits": {"write_seconds": 2.0}, "tells_of_the_deaf": True},
    ),
    Row(name="resets", title="100,000 connections opened and reset", play=resets),
    Row(
        name="flood",
        title="a flood of 40,000 connections from one host",
        play=flood,
        service={"limits": {"per_host": 20, "rate_per_host": 20.0}},
    ),
    Row(
        name="descriptors",
        title="descriptors exhausted, three times",
        play=descriptors,
        service={"descriptors": 120},
        manner={"exchanges": 0, "pause": 0.05},
        clients=STAYING,
        stays=True,
    ),
    Row(name="kills", title="a worker killed with SIGKILL every second for a minute", play=kills),
    Row(
        name="reloads",
        title="20 rolling reloads and 5 hand-overs (SIGUSR2), 100,000 connections",
        play=reloads,
        clients=BUSY,
        quiet=10_000,
    ),
    Row(
        name="sigterm",
        title="SIGTERM while clients read slowly",
        play=sigterm,
        manner={"bulk": 16_000_000, "bulk_pause": 0.01},
        clients=SLOW_READERS,
        quiet=60,
        ends=True,
    ),
    Row(name="disk", title="a full disk under the log", play=disk, prepare=full_disk),
    Row(
        name="clock",
        title="the clock set back and forth",
        play=clock,
        prepare=wrong_clock,
        service={"limits": {"idle_seconds": 2.0, "rate_per_host": 50.0}},
    ),
)
