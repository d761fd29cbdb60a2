"""Every row of `make chaos`, in small: normal clients lose nothing, and everything is given back."""

import pytest

from tools.chaos import __main__ as command
from tools.chaos.clients import Loss, percentiles
from tools.chaos.report import table
from tools.chaos.rows import ROWS
from tools.chaos.stage import Row, Scene, play
from tools.chaos.upkeep import MIB, Upkeep
from tools.chaos.verdict import Outcome

pytestmark = pytest.mark.usefixtures("no_leaks")

SMALL = Scene(scale=0.002)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_normal_clients_lose_nothing(row: Row) -> None:
    outcome = play(row, SMALL)
    assert outcome.complaints(judge_latency=False) == []
    assert outcome.served > 0
    assert outcome.tried


LOST = Loss(pid=7, began=1.0, ended=2.0, stage="answer 1", error="ConnectionResetError()")
AT_FIRST = Upkeep(processes=3, descriptors=30, memory=60 * MIB)


@pytest.mark.parametrize(
    ("found", "complaint"),
    [
        ({"losses": [LOST]}, "1 conversations were lost, the first while it waited for its answer 1"),
        ({"after": Upkeep(processes=3, descriptors=31, memory=0)}, "1 descriptors were not given back"),
        ({"after": Upkeep(processes=3, descriptors=30, memory=100 * MIB)}, "40 MiB were not given back"),
        (
            {"loaded": {"p50": 1.0, "p99": 301.0, "longest": 400.0}},
            "99 answers of 100 took up to 301 ms; allowed are 300",
        ),
        ({"broken": ["the disk was not full"]}, "the disk was not full"),
    ],
)
def test_what_is_missed_is_told(found: dict[str, object], complaint: str) -> None:
    quiet = {"p50": 1.0, "p99": 100.0, "longest": 120.0}
    outcome = Outcome(name="flood", quiet=quiet, before=AT_FIRST)
    assert outcome.complaints(judge_latency=True) == []
    for name, value in found.items():
        setattr(outcome, name, value)
    assert [each.startswith(complaint) for each in outcome.complaints(judge_latency=True)] == [True]
    assert "BAD" in table([outcome], judge_latency=True)


def test_percentiles() -> None:
    assert percentiles([each / 1000 for each in range(1, 201)]) == {"p50": 101.0, "p99": 199.0, "longest": 200.0}


def test_rows_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [row.name for row in ROWS]


@pytest.mark.parametrize("arguments", [["--only", "nothing"], ["--scale", "2"], ["--scale", "0"]])
def test_command_line_that_cannot_be(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(arguments)
    assert ended.value.code == 2
    assert "error:" in capsys.readouterr().err
