"""Requests that two parties might understand differently, with what RFC 9112 asks of a server.

Many rows carry a second request, `/smuggled`, that no handler may see: it stands where one reading of the row ends the
first, and another does not.
"""

from dataclasses import dataclass

INNER = b"GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One request.

    Attributes:
        name: what is odd about it.
        wire: the bytes.
        status: of the answer; 200 means that it is understood in one way only, as `body` says.
        rule: where the answer comes from.
        body: of the request, where it is accepted.
        host: that the handler sees, where it is accepted.
    """

    name: str
    wire: bytes
    status: int
    rule: str
    body: bytes = b""
    host: str = "test"


def _post(
    fields: bytes, rest: bytes = b"", *, line: bytes = b"POST /row HTTP/1.1", host: bytes = b"Host: test\r\n"
) -> bytes:
    return line + b"\r\n" + host + fields + b"\r\n" + rest


def _length(value: bytes) -> bytes:
    return b"Content-Length: " + value + b"\r\n"


def _coding(value: bytes) -> bytes:
    return b"Transfer-Encoding: " + value + b"\r\n"


CHUNKED = _coding(b"chunked")
WHOLE = _length(str(len(INNER)).encode())
CHUNK = b"%x\r\n%b\r\n0\r\n\r\n" % (len(INNER), INNER)
EMPTY = b"0\r\n\r\n"

BOTH_LENGTHS = [
    Row(name="chunked, then length", wire=_post(CHUNKED + WHOLE, EMPTY + INNER), status=400, rule="9112, 6.1"),
    Row(name="length, then chunked", wire=_post(WHOLE + CHUNKED, EMPTY + INNER), status=400, rule="9112, 6.1"),
    Row(name="length 0 and chunked", wire=_post(_length(b"0") + CHUNKED, CHUNK), status=400, rule="9112, 6.1"),
    Row(
        name="both, in odd case",
        wire=_post(b"content-LENGTH: 5\r\ntransfer-ENCODING: CHUNKED\r\n", CHUNK),
        status=400,
        rule="9112, 6.1",
    ),
]

LENGTHS = [
    Row(name="one length", wire=_post(WHOLE, INNER), status=200, rule="9112, 6.3", body=INNER),
    Row(
        name="spaces around a length",
        wire=_post(b"Content-Length: \t 3 \t\r\n", b"abc"),
        status=200,
        rule="9112, 5.1",
        body=b"abc",
    ),
    Row(name="leading zeros", wire=_post(_length(b"0003"), b"abc"), status=200, rule="9110, 8.6", body=b"abc"),
    Row(name="two different lengths", wire=_post(_length(b"0") + WHOLE, INNER), status=400, rule="9112, 6.3"),
    Row(name="the same length twice", wire=_post(WHOLE + WHOLE, INNER), status=400, rule="9112, 6.3"),
    Row(name="lengths with a comma", wire=_post(_length(b"0, 38"), INNER), status=400, rule="9112, 6.3"),
    Row(name="the same length with a comma", wire=_post(_length(b"38, 38"), INNER), status=400, rule="9112, 6.3"),
    *(
        Row(name=f"length {value!r}", wire=_post(_length(value), INNER), status=400, rule="9110, 8.6")
        for value in (
            b"+5",
            b"-5",
            b"5_0",
            b"0x5",
            b"5.0",
            b"5e1",
            b"",
            b"five",
            b"5 0",
            b"\xb2",
            b"5;0",
            b'"5"',
            b"5\x00",
        )
    ),
    Row(name="a length beyond any number", wire=_post(_length(b"9" * 30), INNER), status=413, rule="9110, 15.5.14"),
]

CODINGS = [
    Row(name="chunked", wire=_post(CHUNKED, CHUNK), status=200, rule="9112, 7.1", body=INNER),
    Row(name="Chunked", wire=_post(_coding(b"ChUnKeD"), CHUNK), status=200, rule="9112, 7", body=INNER),
    Row(
        name="tab before chunked",
        wire=_post(b"Transfer-Encoding:\tchunked\r\n", CHUNK),
        status=200,
        rule="9112, 5.1",
        body=INNER,
    ),
    Row(name="chunked twice", wire=_post(CHUNKED + CHUNKED, CHUNK), status=400, rule="9112, 6.1"),
    Row(name="chunked, chunked", wire=_post(_coding(b"chunked, chunked"), CHUNK), status=400, rule="9112, 6.1"),
    Row(name="gzip, chunked", wire=_post(_coding(b"gzip, chunked"), CHUNK), status=501, rule="9112, 6.1"),
    Row(name="chunked, gzip", wire=_post(_coding(b"chunked, gzip"), CHUNK), status=400, rule="9112, 6.3"),
    Row(name="gzip and a line of chunked", wire=_post(_coding(b"gzip") + CHUNKED, CHUNK), status=501, rule="9112, 6.1"),
    Row(name="identity", wire=_post(_coding(b"identity") + WHOLE, INNER), status=400, rule="9112, 6.1"),
    Row(name="identity alone", wire=_post(_coding(b"identity"), INNER), status=501, rule="9112, 6.1"),
    Row(name="xchunked", wire=_post(_coding(b"xchunked"), CHUNK), status=501, rule="9112, 6.1"),
    Row(name="chunkedx", wire=_post(_coding(b"chunkedx"), CHUNK), status=501, rule="9112, 6.1"),
    Row(name="quoted", wire=_post(_coding(b'"chunked"'), CHUNK), status=501, rule="9112, 6.1"),
    Row(name="with a parameter", wire=_post(_coding(b"chunked;a=b"), CHUNK), status=501, rule="9112, 7"),
    Row(name="empty", wire=_post(_coding(b""), CHUNK), status=400, rule="9112, 6.1"),
    Row(name="vertical tab", wire=_post(_coding(b"\x0bchunked"), CHUNK), status=400, rule="9110, 5.5"),
    Row(name="NUL behind", wire=_post(_coding(b"chunked\0"), CHUNK), status=400, rule="9110, 5.5"),
    Row(name="in HTTP/1.0", wire=_post(CHUNKED, CHUNK, line=b"POST /row HTTP/1.0"), status=400, rule="9112, 6.1"),
    Row(
        name="on a second, folded line",
        wire=_post(b"Transfer-Encoding:\r\n chunked\r\n", CHUNK),
        status=400,
        rule="9112, 5.2",
    ),
    Row(
        name="underscore",
        wire=_post(b"Transfer_Encoding: chunked\r\n" + WHOLE, INNER),
        status=200,
        rule="9112, 5",
        body=INNER,
    ),
]

LINES = [
    Row(name="folded line", wire=_post(b"X: a\r\n b\r\n" + WHOLE, INNER), status=400, rule="9112, 5.2"),
    Row(
        name="fold before the first field",
        wire=_post(WHOLE, INNER, host=b" Host: test\r\n"),
        status=400,
        rule="9112, 2.2",
    ),
    Row(name="space before the colon", wire=_post(b"Content-Length : 38\r\n", INNER), status=400, rule="9112, 5.1"),
    Row(
        name="tab before the colon",
        wire=_post(b"Transfer-Encoding\t: chunked\r\n", CHUNK),
        status=400,
        rule="9112, 5.1",
    ),
    Row(name="no colon", wire=_post(b"Content-Length\r\n", INNER), status=400, rule="9112, 5"),
    Row(name="no name", wire=_post(b": 38\r\n", INNER), status=400, rule="9112, 5"),
    Row(
        name="bare LF behind a field", wire=_post(b"X: a\nContent-Length: 38\r\n", INNER), status=400, rule="9112, 2.2"
    ),
    Row(
        name="bare LF behind the request line",
        wire=b"POST /row HTTP/1.1\nHost: test\r\n" + WHOLE + b"\r\n" + INNER,
        status=400,
        rule="9112, 2.2",
    ),
    Row(
        name="bare LF ends the head",
        wire=b"POST /row HTTP/1.1\r\nHost: test\r\n" + WHOLE + b"\n" + INNER,
        status=400,
        rule="9112, 2.2",
    ),
    Row(name="only bare LF", wire=b"POST /row HTTP/1.1\nHost: test\n\n" + INNER, status=400, rule="9112, 2.2"),
    Row(name="bare CR in a value", wire=_post(b"X: a\rContent-Length: 38\r\n", INNER), status=400, rule="9112, 2.2"),
    Row(name="bare CR before CRLF", wire=_post(b"X: a\r\r\n" + WHOLE, INNER), status=400, rule="9112, 2.2"),
    Row(name="NUL in a value", wire=_post(b"X: a\0b\r\n" + WHOLE, INNER), status=400, rule="9110, 5.5"),
    Row(name="NUL in a name", wire=_post(b"X\0Y: a\r\n" + WHOLE, INNER), status=400, rule="9112, 5.1"),
    Row(name="beyond ASCII in a name", wire=_post(b"Content-Length\xa0: 38\r\n", INNER), status=400, rule="9112, 5.1"),
    Row(
        name="two spaces in the request line",
        wire=_post(WHOLE, INNER, line=b"POST  /row HTTP/1.1"),
        status=400,
        rule="9112, 3",
    ),
    Row(
        name="tab in the request line",
        wire=_post(WHOLE, INNER, line=b"POST\t/row HTTP/1.1"),
        status=400,
        rule="9112, 3",
    ),
    Row(
        name="space behind the version",
        wire=_post(WHOLE, INNER, line=b"POST /row HTTP/1.1 "),
        status=400,
        rule="9112, 3",
    ),
    Row(
        name="space before the method",
        wire=_post(WHOLE, INNER, line=b" POST /row HTTP/1.1"),
        status=400,
        rule="9112, 3",
    ),
    Row(
        name="space in the target",
        wire=_post(WHOLE, INNER, line=b"POST /row /x HTTP/1.1"),
        status=400,
        rule="9112, 3.2",
    ),
    Row(
        name="control in the target",
        wire=_post(WHOLE, INNER, line=b"POST /row\x01 HTTP/1.1"),
        status=400,
        rule="9112, 3.2",
    ),
    Row(
        name="odd case of the version",
        wire=_post(WHOLE, INNER, line=b"POST /row http/1.1"),
        status=400,
        rule="9112, 2.3",
    ),
    Row(
        name="version with more digits",
        wire=_post(WHOLE, INNER, line=b"POST /row HTTP/1.01"),
        status=400,
        rule="9112, 2.3",
    ),
    Row(name="HTTP/2.0", wire=_post(WHOLE, INNER, line=b"POST /row HTTP/2.0"), status=505, rule="9110, 15.6.6"),
    Row(
        name="the preface of HTTP/2", wire=b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + INNER, status=505, rule="9110, 15.6.6"
    ),
]

CHUNKS = [
    *(
        Row(
            name=f"chunk {size!r}",
            wire=_post(CHUNKED, size + b"\r\n" + INNER + b"\r\n0\r\n\r\n"),
            status=400,
            rule="9112, 7.1",
        )
        for size in (
            *(b"+26", b"-26", b"0x26", b" 26", b"26 ", b"2_6", b"", b"g", b"26,26", b"26\x00", b"26\x0b", b"26 26"),
            *(b"00000000000000026", b"10000000000000026", b"\xb2", b"26\r", b";a", b"26" + b";a" * 200),
        )
    ),
    Row(
        name="chunk extension",
        wire=_post(CHUNKED, b'3;a=b;c="d"\r\nabc\r\n0;e\r\n\r\n'),
        status=200,
        rule="9112, 7.1.1",
        body=b"abc",
    ),
    Row(
        name="bare LF behind a chunk's size",
        wire=_post(CHUNKED, b"3\nabc\r\n0\r\n\r\n" + INNER),
        status=400,
        rule="9112, 7.1",
    ),
    Row(
        name="bare LF in a chunk's extension",
        wire=_post(CHUNKED, b"3;\nabc\r\n0\r\n\r\n" + INNER),
        status=400,
        rule="9112, 7.1.1",
    ),
    Row(
        name="bare CR in a chunk's extension",
        wire=_post(CHUNKED, b"3;a\rb\r\nabc\r\n0\r\n\r\n" + INNER),
        status=400,
        rule="9112, 7.1.1",
    ),
    Row(
        name="bare LF behind a chunk", wire=_post(CHUNKED, b"3\r\nabc\n0\r\n\r\n" + INNER), status=400, rule="9112, 7.1"
    ),
    Row(
        name="chunk longer than its size",
        wire=_post(CHUNKED, b"3\r\nabcdef\r\n0\r\n\r\n" + INNER),
        status=400,
        rule="9112, 7.1",
    ),
    Row(
        name="chunk with two bytes too many",
        wire=_post(CHUNKED, b"3\r\nabcXX0\r\n\r\n" + INNER),
        status=400,
        rule="9112, 7.1",
    ),
    Row(
        name="bare LF ends the chunks", wire=_post(CHUNKED, b"3\r\nabc\r\n0\n\n" + INNER), status=400, rule="9112, 7.1"
    ),
    Row(
        name="trailers",
        wire=_post(CHUNKED, b"3\r\nabc\r\n0\r\nContent-Length: 38\r\n\r\n"),
        status=200,
        rule="9112, 7.1.2",
        body=b"abc",
    ),
    Row(
        name="bare LF in a trailer",
        wire=_post(CHUNKED, b"3\r\nabc\r\n0\r\nX: a\nY: b\r\n\r\n" + INNER),
        status=400,
        rule="9112, 7.1.2",
    ),
]

HOSTS = [
    Row(name="no Host", wire=_post(WHOLE, INNER, host=b""), status=400, rule="9112, 3.2"),
    Row(
        name="two Hosts", wire=_post(WHOLE, INNER, host=b"Host: test\r\nHost: other\r\n"), status=400, rule="9112, 3.2"
    ),
    Row(
        name="the same Host twice",
        wire=_post(WHOLE, INNER, host=b"Host: test\r\nHost: test\r\n"),
        status=400,
        rule="9112, 3.2",
    ),
    *(
        Row(
            name=f"Host {host!r}",
            wire=_post(WHOLE, INNER, host=b"Host: " + host + b"\r\n"),
            status=400,
            rule="9112, 3.2",
        )
        for host in (
            b"a b",
            b"a, b",
            b"a/b",
            b"user@test",
            b"test:80:80",
            b"test:x",
            b"[::1",
            b"[zzz]",
            b"test#",
            b"test?x",
            b"a\\b",
        )
    ),
    Row(
        name="absolute target with another Host",
        wire=_post(WHOLE, INNER, line=b"POST http://test/row HTTP/1.1", host=b"Host: other\r\n"),
        status=200,
        rule="9112, 3.2.2",
        body=INNER,
    ),
    Row(
        name="absolute target with an address that is none",
        wire=_post(WHOLE, INNER, line=b"POST http://[zzz]/row HTTP/1.1"),
        status=400,
        rule="3986, 3.2.2",
    ),
    Row(
        name="absolute target with a name before its host",
        wire=_post(WHOLE, INNER, line=b"POST http://test@other/row HTTP/1.1"),
        status=400,
        rule="9110, 4.2.4",
    ),
    Row(
        name="no Host in HTTP/1.0",
        wire=_post(b"", INNER, line=b"GET /row HTTP/1.0", host=b""),
        status=200,
        rule="9112, 3.2",
        host="None",
    ),
]

METHODS = [
    Row(
        name="a body that comes with GET",
        wire=_post(WHOLE, INNER, line=b"GET /row HTTP/1.1"),
        status=200,
        rule="9110, 9.3.1",
        body=INNER,
    ),
    Row(
        name="chunks that come with GET",
        wire=_post(CHUNKED, CHUNK, line=b"GET /row HTTP/1.1"),
        status=200,
        rule="9110, 9.3.1",
        body=INNER,
    ),
    Row(name="no length at all", wire=_post(b"", b"", line=b"POST /row HTTP/1.1"), status=200, rule="9112, 6.3"),
    Row(
        name="an upgrade nobody asked for",
        wire=_post(b"Connection: upgrade\r\nUpgrade: h2c\r\n" + WHOLE, INNER),
        status=200,
        rule="9110, 7.8",
        body=INNER,
    ),
    Row(
        name="a method that is no token",
        wire=_post(WHOLE, INNER, line=b"PO(ST /row HTTP/1.1"),
        status=400,
        rule="9110, 9.1",
    ),
]

ROWS = [*BOTH_LENGTHS, *LENGTHS, *CODINGS, *LINES, *CHUNKS, *HOSTS, *METHODS]
