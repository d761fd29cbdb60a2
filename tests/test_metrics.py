"""Metrics: what is counted, how several processes' counts become one, and the text that Prometheus reads."""

import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from portside import socketserver, telemetry
from portside.telemetry.exposition import Ledger, exposition, lasting, merged
from portside.telemetry.metrics import COUNTED, FAMILIES, Meter
from portside.telemetry.notes import BOUNDS, NOTED, Histogram, Noted, Notes, Noting, together
from portside.telemetry.tally import Tally
from tests.conftest import DEADLINE, Connect
from tests.http.kit import Client, get, serving

pytestmark = pytest.mark.usefixtures("no_leaks")

PROMTOOL = shutil.which("promtool")
HERE = {"endpoint": "tcp://127.0.0.1:1"}


def compiled_notes() -> Noting:
    made: Noting = pytest.importorskip("portside.core.counting").Notes()
    return made


KINDS = pytest.mark.parametrize("new", [Notes, compiled_notes], ids=["plain", "compiled"])


@pytest.fixture(params=[Notes, compiled_notes], ids=["plain", "compiled"])
def tally(request: pytest.FixtureRequest) -> Iterator[Tally]:
    made = Tally(request.param)
    yield made
    made.close()


def requests(tally: Tally) -> dict[Any, int]:
    tally.settle()
    return {kind: sum(notes.read().counts) for kind, notes in tally.durations.items()}


# Counting


@given(st.lists(st.floats(min_value=0, max_value=1e5)))
def test_a_histogram_counts_many_as_one_by_one(durations: list[float]) -> None:
    one, all_ = Histogram(), Histogram()
    for each in durations:
        one.add(each)
    all_.add_all(list(durations))
    assert one.counts == all_.counts
    assert one.sum == pytest.approx(all_.sum)


def test_a_duration_that_is_a_bound_is_in_its_bucket() -> None:
    histogram = Histogram()
    histogram.add(BOUNDS[3])
    assert histogram.counts.index(1) == 3


@KINDS
@given(st.lists(st.tuples(st.floats(min_value=0, max_value=1e5), st.none() | st.integers(0, 2**40))))
def test_notes_add_up(new: Callable[[], Noting], happened: list[tuple[float, int | None]]) -> None:
    notes, expected = new(), Histogram()
    for seconds, moved in happened:
        notes.note(seconds, moved, moved)
        expected.add(seconds)
    notes.once()
    expected.add(0.0)
    found = notes.read()
    assert found.counts == expected.counts
    assert found.seconds == pytest.approx(expected.sum)
    assert found.received == found.sent == sum(moved for _, moved in happened if moved is not None)
    assert notes.read() == found  # looking changes nothing


@KINDS
def test_a_bound_is_in_its_bucket_in_notes_too(new: Callable[[], Noting]) -> None:
    for place, bound in enumerate(BOUNDS):
        notes = new()
        notes.note(bound)
        assert notes.read().counts.index(1) == place


def test_notes_are_put_together() -> None:
    counts = [0] * len(BOUNDS)
    one, other = Noted([1, *counts], 0.25, 3, 4), Noted([2, *counts], 0.5, 5, 6)
    found = together([one, other])
    assert (found.counts[0], found.sum) == (3, 0.75)


def test_many_threads_count_every_request_once(tally: Tally) -> None:
    def count() -> None:
        for number in range(2 * NOTED):
            tally.durations["GET", 200 + number % 2].note(0.25)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert requests(tally) == {("GET", 200): 4 * NOTED, ("GET", 201): 4 * NOTED}


def test_words_that_are_no_methods_make_one_series(tally: Tally) -> None:
    for number in range(100):
        tally.durations[f"WORD{number}", 501].note(0.1)
    assert requests(tally) == {("other", 501): 100}


def test_a_forked_child_tells_its_parent(tally: Tally) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            tally.durations["GET", 200].note(0.5)
            tally.count_event("portside_handler_failures_total")
        finally:
            os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert requests(tally) == {("GET", 200): 1}
    assert tally.events == {("portside_handler_failures_total", ""): 1}


def test_a_child_whose_parent_does_not_listen_does_not_wait(tally: Tally) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            for _ in range(10_000):
                tally.durations["GET", 200].note(0.5)
        finally:
            os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert 0 < requests(tally)["GET", 200] < 10_000


def test_a_meter_counts_its_servers_and_no_other() -> None:
    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), print) as mine, Server(("127.0.0.1", 0), print) as other, Meter() as meter:
        tally = meter.watch(mine, "mine")
        for server in (mine, other):
            telemetry.emit(telemetry.HandlerFailed(server=server, client_address=None, error=LookupError()))
        reason = telemetry.RefusalReason.VERIFY_REQUEST
        telemetry.emit(telemetry.ConnectionRefused(server=mine, client_address=None, reason=reason))
        samples = meter.snapshot()
    assert ["portside_handler_failures_total", {"endpoint": "mine"}, 1] in samples
    refused = {"endpoint": "mine", "reason": "verify_request"}
    assert ["portside_connections_refused_total", refused, 1] in samples
    assert mine._portside.transport.tally is None
    assert tally.opened == 0


def test_every_counted_event_has_its_family() -> None:
    assert set(COUNTED.values()) <= set(FAMILIES)


def test_requests_are_counted_by_method_and_status(connect: Connect) -> None:
    from portside.http.handler import BaseHTTPRequestHandler

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(204 if self.path == "/" else 404)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with serving(Handler) as server, Meter() as meter:
        meter.watch(server, "here")
        client = Client(connect(server.server_address))
        for path in ("/", "/", "/none"):
            client.send(get(path))
            client.response()
        client.send(get("/", method="BREW"))
        client.response()
        client.close()
        server.shutdown(drain=DEADLINE)
        found = {
            (labels["method"], labels["status"]): value
            for name, labels, value in meter.snapshot()
            if name == "portside_http_requests_total"
        }
    assert found == {("GET", "2xx"): 2, ("GET", "4xx"): 1, ("other", "5xx"): 1}


# Several processes


def counted(count: int) -> list[Any]:
    return ["portside_connections_opened_total", HERE, count]


@given(st.lists(st.lists(st.integers(min_value=0, max_value=10**12), max_size=3), max_size=5))
def test_counts_are_added(processes: list[list[int]]) -> None:
    snapshots = [[counted(each) for each in counts] for counts in processes]
    everything = [each for counts in processes for each in counts]
    assert merged(snapshots) == ([counted(sum(everything))] if everything else [])
    assert merged([merged(snapshots), []]) == merged(snapshots)


def test_histograms_are_added() -> None:
    one, other = Histogram(), Histogram()
    one.add(0.5)
    other.add(100.0)
    [[_, _, together]] = merged([[["portside_handler_seconds", HERE, each.snapshot()]] for each in (one, other)])
    assert sum(together["buckets"]) == 2
    assert together["sum"] == 100.5


def test_lag_is_that_of_the_worst_process() -> None:
    assert merged([[["portside_hub_lag_seconds", HERE, lag]] for lag in (0.1, 0.3, 0.2)])[0][2] == 0.3


def test_a_queue_that_processes_share_counts_once() -> None:
    def queue(listener: str, length: int) -> list[Any]:
        return ["portside_accept_queue_connections", HERE | {"_listener": listener}, length]

    assert merged([[queue("1", 5)], [queue("1", 6)], [queue("2", 10)]]) == [
        ["portside_accept_queue_connections", HERE, 16]
    ]


def test_what_another_version_counts_is_left_out() -> None:
    assert merged([[["portside_news_total", {}, 1], counted(1)]]) == [counted(1)]


def test_a_process_that_has_ended_keeps_its_counts_and_not_its_gauges() -> None:
    ledger = Ledger()
    open_ = ["portside_connections_open", HERE, 3]
    assert ledger.take({"one": [counted(1), open_], "two": [counted(2)]}) == [counted(3), open_]
    ledger.retire("one", [counted(1), open_])
    assert ledger.take({"two": [counted(5)]}) == [counted(6)]
    assert ledger.take({"two": [counted(5)], "three": [counted(1)]}) == [counted(7)]


def test_a_process_that_does_not_answer_has_not_ended() -> None:
    """It may have been asked on its way out, and is yet to tell its last: until that is known, what it told counts."""
    ledger = Ledger()
    ledger.take({"one": [counted(1)], "two": [counted(2)]})
    assert ledger.take({"two": [counted(2)]}) == [counted(3)]
    assert ledger.take({"one": [counted(4)], "two": [counted(2)]}) == [counted(6)]
    assert ledger.take({"two": [counted(2)]}) == [counted(6)]
    ledger.retire("one", [counted(5)])
    assert ledger.take({"two": [counted(2)]}) == [counted(7)]


def test_a_last_snapshot_counts_once() -> None:
    ledger = Ledger()
    ledger.take({"one": [counted(1)]})
    for _ in range(2):
        ledger.retire("one", [counted(4)])
    assert ledger.take({"one": [counted(4)]}) == [counted(4)]


def test_what_lasts() -> None:
    assert lasting([counted(1), ["portside_processes", {}, 1]]) == [counted(1)]


# The text


def every_family() -> list[Any]:
    """A sample of each."""
    histogram = Histogram()
    histogram.add(0.3)
    return [
        [
            name,
            dict.fromkeys(family.labels, 'a "strange"\\value\n'),
            histogram.snapshot() if family.kind == "histogram" else 7,
        ]
        for name, family in FAMILIES.items()
    ]


def test_prometheus_own_parser_reads_it_back() -> None:
    found = {family.name: family for family in text_string_to_metric_families(exposition(every_family()))}
    assert len(found) == len(FAMILIES)
    for name, family in FAMILIES.items():
        told = found[name.removesuffix("_total") if family.kind == "counter" else name]
        assert (told.type, told.documentation) == (family.kind, family.help)
        for sample in told.samples:
            assert {*sample.labels} - {"le"} == {*family.labels}
            assert set(sample.labels.values()) <= {'a "strange"\\value\n', *map(str, BOUNDS), "+Inf"}
    buckets = [sample for sample in found["portside_handler_seconds"].samples if sample.name.endswith("_bucket")]
    assert [sample.value for sample in buckets] == [0 if bound < 0.3 else 1 for bound in BOUNDS] + [1]


@pytest.mark.skipif(PROMTOOL is None, reason="there is no promtool command; on Debian: apt install prometheus")
def test_promtool_has_no_complaint() -> None:
    done = subprocess.run(
        [str(PROMTOOL), "check", "metrics"],
        input=exposition(every_family()),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", FAMILIES)
def test_names_follow_the_conventions(name: str) -> None:
    family = FAMILIES[name]
    assert re.fullmatch("portside_[a-z_]+", name)
    assert name.endswith("_total") == (family.kind == "counter")
    assert family.help.endswith(".")
