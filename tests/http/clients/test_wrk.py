"""wrk: many connections that ask as fast as they can; every answer is whole, and what it should be."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.http.clients.conftest import Site, needs

pytestmark = [needs("wrk"), pytest.mark.slow]

PIPELINE = """
init = function(args)
  local requests = {}
  for number = 1, 16 do requests[number] = wrk.format("GET", "/small.txt") end
  all = table.concat(requests)
end
request = function() return all end
"""
POST = """
wrk.method = "POST"
wrk.body = string.rep("x", 5000)

local all = {}
setup = function(thread) table.insert(all, thread) end
init = function(args) wrong = 0 end
response = function(status, headers, body) if body ~= wrk.body then wrong = wrong + 1 end end
done = function(summary, latency, requests)
  for _, thread in ipairs(all) do print(thread:get("wrong") .. " wrong answers") end
end
"""


def wrk(site: Site, target: str, *options: str) -> int:
    """Ask for a second; returns how many answers came."""
    words = ["wrk", "--threads", "1", "--connections", "50", "--duration", "1s", "--timeout", "50s", *options]
    done = subprocess.run([*words, site.url + target], capture_output=True, text=True, timeout=60, check=True)
    assert "Socket errors" not in done.stdout, done.stdout
    assert "Non-2xx" not in done.stdout, done.stdout
    assert set(re.findall(r"(\d+) wrong answers", done.stdout)) <= {"0"}, done.stdout
    found = re.search(r"(\d+) requests in", done.stdout)
    assert found, done.stdout
    return int(found[1])


@pytest.mark.parametrize("target", ["/small.txt", "/pieces", "/text.txt"])
def test_one_after_the_other(site: Site, target: str) -> None:
    assert wrk(site, target) > 50


@pytest.mark.parametrize(("script", "target"), [(PIPELINE, "/small.txt"), (POST, "/echo")], ids=["pipeline", "post"])
def test_by_script(site: Site, tmp_path: Path, script: str, target: str) -> None:
    (tmp_path / "script.lua").write_text(script)
    assert wrk(site, target, "--script", str(tmp_path / "script.lua")) > 50
