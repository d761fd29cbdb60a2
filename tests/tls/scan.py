"""Has sslyze look at a server, in a process of its own: `python scan.py HOST PORT CA`; prints what it complains of."""

import importlib
import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

sslyze: Any = importlib.import_module("sslyze")  # whose types are not exported as type checkers want it

COMMANDS = set(sslyze.ScanCommand) - {sslyze.ScanCommand.HTTP_HEADERS, sslyze.ScanCommand.ELLIPTIC_CURVES}
OLD = ("ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1")
WEAK = ("CBC", "RC4", "3DES", "NULL", "EXPORT", "anon", "MD5", "TLS_RSA_")

# What each of the other commands found, where it is well.
EXPECTED: dict[tuple[str, str], Any] = {
    ("heartbleed", "is_vulnerable_to_heartbleed"): False,
    ("openssl_ccs_injection", "is_vulnerable_to_ccs_injection"): False,
    ("robot", "robot_result"): "NOT_VULNERABLE_RSA_NOT_SUPPORTED",
    ("session_renegotiation", "supports_secure_renegotiation"): True,
    ("session_renegotiation", "is_vulnerable_to_client_renegotiation_dos"): False,
    ("tls_1_3_early_data", "supports_early_data"): False,
    ("tls_compression", "supports_compression"): False,
    ("tls_fallback_scsv", "supports_fallback_scsv"): True,
}


def complaints(found: Any) -> Iterator[str]:
    for command in COMMANDS:
        attempt = getattr(found, command.value)
        if attempt.result is None:
            yield f"{command.value}: {attempt.status.value}, {attempt.error_trace}"
    for version in ("tls_1_2", "tls_1_3", *OLD):
        yield from _of_version(version, getattr(found, f"{version}_cipher_suites").result)
    for (name, question), expected in EXPECTED.items():
        answer = getattr(getattr(found, name).result, question)
        if (answer.name if isinstance(answer, Enum) else answer) != expected:
            yield f"{name}: {question} is {answer}"


def _of_version(version: str, result: Any) -> Iterator[str]:
    accepted = [each.cipher_suite.name for each in result.accepted_cipher_suites]
    if bool(accepted) == (version in OLD):
        yield f"{version}: accepts {accepted}"
    yield from (f"{version}: {name}" for name in accepted if any(weak in name for weak in WEAK))


def main(host: str, port: str, authority: str) -> None:
    extra = sslyze.ScanCommandsExtraArguments(
        certificate_info=sslyze.CertificateInfoExtraArgument(custom_ca_file=Path(authority))
    )
    where = sslyze.ServerNetworkLocation("localhost", int(port), ip_address=host)
    scanner = sslyze.Scanner()
    scanner.queue_scans(
        [sslyze.ServerScanRequest(server_location=where, scan_commands=COMMANDS, scan_commands_extra_arguments=extra)]
    )
    for each in scanner.get_results():
        found = list(complaints(each.scan_result)) if each.scan_result else [str(each.connectivity_error_trace)]
        print(*found or ["nothing to complain of"], sep="\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
