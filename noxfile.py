"""The tests on every supported Python: `make test-all`, or `nox -s tests-3.12` for one."""

import shutil

import nox

nox.needs_version = ">=2026.4"
nox.options.error_on_missing_interpreters = True
nox.options.reuse_venv = "yes"  # the package is installed anew each time, what it needs only where that has changed

# Supported and required here; the newest one counts where it is installed, since few distributions carry it yet.
PYTHONS = ["3.11", "3.12", "3.13"]
NEWEST = "3.14"

if shutil.which(f"python{NEWEST}"):
    PYTHONS.append(NEWEST)
else:
    print(f"Python {NEWEST} is supported but not installed here, so nothing is tested on it.")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Install the package as a user gets it, not as an editable checkout, and run the tests on it."""
    session.install(".[dev]", env={"PORTSIDE_CORE": "require"})
    session.run("pytest", "-q", *session.posargs)
