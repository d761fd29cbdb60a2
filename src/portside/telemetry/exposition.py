"""From snapshots to text: adds up what several processes have counted, and writes it as Prometheus reads it.

The text is the exposition format 0.0.4 of Prometheus; `promtool check metrics` and prometheus_client's parser read it
in the tests.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Any

from portside.telemetry.metrics import FAMILIES, Sample
from portside.telemetry.notes import BOUNDS

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Key = tuple[str, tuple[tuple[str, str], ...]]  # a metric and its labels
Totals = dict[Key, Any]


def merged(snapshots: Iterable[Iterable[Sample]]) -> list[Sample]:
    """The samples of several processes as those of one.

    Counts and histograms are added; a gauge is added or, where the table says so, the largest one counts. A label that
    begins with `_` says that samples which share it speak of one and the same thing (a listener that several
    processes share): of these the largest counts, and the label goes. A metric that the table does not know is another
    version's, during a reload, and is left out.
    """
    once: Totals = {}
    for name, labels, value in (sample for snapshot in snapshots for sample in snapshot if sample[0] in FAMILIES):
        shared = any(label[0] == "_" for label in labels)
        _add(once, (name, tuple(sorted(labels.items()))), value, largest=shared or FAMILIES[name].merge == "max")
    totals: Totals = {}
    for (name, pairs), value in once.items():
        told = tuple(pair for pair in pairs if pair[0][0] != "_")
        _add(totals, (name, told), value, largest=FAMILIES[name].merge == "max")
    return [[name, dict(pairs), value] for (name, pairs), value in totals.items()]


def _add(totals: Totals, key: Key, value: Any, *, largest: bool) -> None:
    totals[key] = value if key not in totals else _together(totals[key], value, largest=largest)


def _together(one: Any, other: Any, *, largest: bool) -> Any:
    if isinstance(one, Mapping):
        return {
            "buckets": [mine + its for mine, its in zip(one["buckets"], other["buckets"], strict=True)],
            "sum": one["sum"] + other["sum"],
        }
    return max(one, other) if largest else one + other


def lasting(snapshot: Iterable[Sample]) -> list[Sample]:
    """What stays of a process that has ended: its counts and histograms, not its gauges."""
    return [sample for sample in snapshot if sample[0] in FAMILIES and FAMILIES[sample[0]].kind != "gauge"]


class Ledger:
    """Keeps what processes have counted, also when they have ended.

    A process is known by a name that no later one gets (its number and its start). That it has ended is said by whoever
    collects it (`retire`); one that is merely silent may have been asked at the wrong moment, and what it told counts.
    """

    def __init__(self) -> None:
        self._living: dict[str, list[Sample]] = {}
        self._ended: list[Sample] = []
        self._known: set[str] = set()  # of those that have ended

    def take(self, snapshots: Mapping[str, list[Sample]]) -> list[Sample]:
        """Note what living processes tell.

        Args:
            snapshots: by the name of the process.

        Returns:
            What all have told, living or ended.
        """
        self._living.update({name: told for name, told in snapshots.items() if name not in self._known})
        return merged([self._ended, *self._living.values()])

    def retire(self, name: str, last: list[Sample]) -> None:
        """A process has ended, and this is its last snapshot; only the first call for a process counts."""
        self._living.pop(name, None)
        if name not in self._known:
            self._known.add(name)
            self._ended = merged([self._ended, lasting(last)])


def exposition(samples: Iterable[Sample]) -> str:
    """The samples as text, every family of the table with its help, in the table's order."""
    grouped: dict[str, list[Sample]] = {name: [] for name in FAMILIES}
    for sample in samples:
        if sample[0] in grouped:
            grouped[sample[0]].append(sample)
    return "".join(line + "\n" for name, found in grouped.items() if found for line in _family(name, found))


def _family(name: str, samples: list[Sample]) -> Iterator[str]:
    yield f"# HELP {name} {FAMILIES[name].help}"
    yield f"# TYPE {name} {FAMILIES[name].kind}"
    for _, labels, value in sorted(samples, key=lambda sample: sorted(sample[1].items())):
        if isinstance(value, Mapping):
            yield from _histogram(name, labels, value)
        else:
            yield f"{name}{_labels(labels)} {_number(value)}"


def _histogram(name: str, labels: Mapping[str, str], value: Mapping[str, Any]) -> Iterator[str]:
    counts = list(accumulate(value["buckets"]))
    for bound, count in zip([*map(_number, BOUNDS), "+Inf"], counts, strict=True):
        yield f"{name}_bucket{_labels({**labels, 'le': bound})} {count}"
    yield f"{name}_sum{_labels(labels)} {_number(value['sum'])}"
    yield f"{name}_count{_labels(labels)} {counts[-1]}"


def _labels(labels: Mapping[str, str]) -> str:
    text = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{text}}}" if text else ""


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    return repr(value)
