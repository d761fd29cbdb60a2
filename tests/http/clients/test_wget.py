"""wget: resumed downloads, a whole site by its listings, a form."""

import subprocess
from pathlib import Path

import pytest

from tests.http.clients.conftest import CONTENT, SMALL, Site, needs

pytestmark = needs("wget")


def wget(site: Site, cwd: Path, target: str, *options: str) -> bytes:
    trust = [f"--ca-certificate={site.authority}"] if site.authority else []
    words = ["wget", "--quiet", "--no-proxy", "--timeout=50", "--tries=1", *trust, *options, site.url + target]
    done = subprocess.run(words, cwd=cwd, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, (done.returncode, done.stderr)
    return done.stdout


@pytest.mark.parametrize("have", [0, 1_234_567, len(CONTENT)])
def test_resumed_download(site: Site, tmp_path: Path, have: int) -> None:
    (tmp_path / "content.bin").write_bytes(CONTENT[:have])
    wget(site, tmp_path, "/content.bin", "--continue")
    assert (tmp_path / "content.bin").read_bytes() == CONTENT


def test_mirror_of_a_site(site: Site, tmp_path: Path) -> None:
    names = ["a.txt", "grüße/über uns.txt", "odd/100%.txt", "odd/a?b#c.txt", "odd/a;b&c.txt", "deep/er/and/deeper.txt"]
    for name in names:
        site.put(name, name.encode())
    wget(site, tmp_path, "/", "--recursive", "--level=inf", "--no-host-directories", "--restrict-file-names=nocontrol")
    assert {name: (tmp_path / name).read_text() for name in names} == {name: name for name in names}
    assert (tmp_path / "small.txt").read_bytes() == SMALL


def test_only_if_it_changed(site: Site, tmp_path: Path) -> None:
    for _ in range(2):
        wget(site, tmp_path, "/small.txt", "--timestamping")
    assert (tmp_path / "small.txt").read_bytes() == SMALL
    assert site.seen["opened"] == 2


def test_post(site: Site, tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(CONTENT)
    assert wget(site, tmp_path, "/echo", "--post-file=body", "--output-document=-") == CONTENT
