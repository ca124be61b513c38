"""The corpus of request smuggling: bytes that two servers might read differently, each with the rule that it breaks.

``%S`` in a case becomes a whole second request, for ``/smuggled/<id>``: no server may ever answer or execute it.
``%L`` becomes the length of ``%S``. REFUSED: a status of REFUSALS or no answer, and the connection ends. ONE: there is
one right reading, the request is answered once and what follows is its body, or is dropped with the connection.
"""

from __future__ import annotations

from dataclasses import dataclass

REFUSED, ONE = "refused", "one"
REFUSALS = (
    400,
    405,
    413,
    414,
    417,
    431,
    501,
    505,
)  # what a server, or a proxy in front of it, may say to the first kind
_POST = b"POST /auth/token HTTP/1.1\r\nHost: box.test\r\n"
_GET = b"GET /v2/ HTTP/1.1\r\nHost: box.test\r\n"


@dataclass(frozen=True)
class Case:
    id: str
    source: str  # the section that says so
    template: bytes
    outcome: str = REFUSED

    @property
    def wire(self) -> bytes:
        inner = b"GET /smuggled/%b HTTP/1.1\r\nHost: box.test\r\n\r\n" % self.id.encode()
        return self.template.replace(b"%L", b"%d" % len(inner)).replace(b"%S", inner)


def _post(id: str, source: str, headers: bytes, body: bytes = b"%S", outcome: str = REFUSED) -> Case:
    return Case(id, source, _POST + headers + b"\r\n\r\n" + body, outcome)


def _line(id: str, source: str, line: bytes, outcome: str = REFUSED) -> Case:
    return Case(id, source, line + b"\r\nHost: box.test\r\n\r\n%S", outcome)


def _chunked(id: str, body: bytes, outcome: str = REFUSED, source: str = "RFC 9112 7.1") -> Case:
    return _post(id, source, b"Transfer-Encoding: chunked", body, outcome)


_BODY_LENGTH = "RFC 9112 6.3"
_CODING = "RFC 9112 6.1"
_FIELDS = "RFC 9112 5.1"
_LINES = "RFC 9112 2.2"
_END = b"0\r\n\r\n%S"

BOTH = (
    _post("cl-te", _BODY_LENGTH, b"Content-Length: 5\r\nTransfer-Encoding: chunked", _END),
    _post("te-cl", _BODY_LENGTH, b"Transfer-Encoding: chunked\r\nContent-Length: 5", _END),
    _post("te-cl-0", _BODY_LENGTH, b"Transfer-Encoding: chunked\r\nContent-Length: 0", _END),
    _post("cl-te-unknown", _BODY_LENGTH, b"Content-Length: 5\r\nTransfer-Encoding: xchunked", _END),
)
LENGTHS = (
    _post("cl-twice", _BODY_LENGTH, b"Content-Length: 0\r\nContent-Length: 0"),
    _post("cl-two", _BODY_LENGTH, b"Content-Length: 0\r\nContent-Length: %L"),
    _post("cl-list", _BODY_LENGTH, b"Content-Length: 0, 0"),
    _post("cl-list-unlike", _BODY_LENGTH, b"Content-Length: 0, %L"),
    _post("cl-plus", "RFC 9110 8.6", b"Content-Length: +0"),
    _post("cl-minus", "RFC 9110 8.6", b"Content-Length: -1"),
    _post("cl-minus-zero", "RFC 9110 8.6", b"Content-Length: -0"),
    _post("cl-hex", "RFC 9110 8.6", b"Content-Length: 0x0"),
    _post("cl-float", "RFC 9110 8.6", b"Content-Length: 0.0"),
    _post("cl-exponent", "RFC 9110 8.6", b"Content-Length: 0e1"),
    _post("cl-two-words", "RFC 9110 8.6", b"Content-Length: 0 0"),
    _post("cl-semicolon", "RFC 9110 8.6", b"Content-Length: 0;"),
    _post("cl-underscore", "RFC 9110 8.6", b"Content-Length: 0_0"),
    _post("cl-empty", "RFC 9110 8.6", b"Content-Length: "),
    _post("cl-quoted", "RFC 9110 8.6", b'Content-Length: "0"'),
    _post("cl-other-digits", "RFC 9110 8.6", "Content-Length: ٠".encode()),
    _post("cl-hard-space", "RFC 9110 8.6", b"Content-Length: 0\xa0"),
    _post("cl-nul", "RFC 9110 5.5", b"Content-Length: 0\0"),
    _post("cl-vertical-tab", "RFC 9110 5.5", b"Content-Length: \x0b0"),
    _post("cl-wraps-64-bits", "RFC 9110 8.6", b"Content-Length: 18446744073709551616"),
    _post("cl-huge", "RFC 9110 8.6", b"Content-Length: " + b"9" * 400),
    _post("cl-body", _BODY_LENGTH, b"Content-Length: %L", outcome=ONE),
    _post("cl-leading-zeros", "RFC 9110 8.6", b"Content-Length: 000%L", outcome=ONE),
    Case("get-with-body", "RFC 9110 9.3.1", _GET + b"Content-Length: %L\r\n\r\n%S", ONE),
    Case("head-with-body", "RFC 9110 9.3.2", b"HEAD" + _GET[3:] + b"Content-Length: %L\r\n\r\n%S", ONE),
    Case("delete-with-body", "RFC 9110 9.3.5", b"DELETE" + _GET[3:] + b"Content-Length: %L\r\n\r\n%S", ONE),
    Case(
        "short-way-with-body",
        "RFC 9110 9.3.1",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: %L\r\n\r\n%S",
        ONE,
    ),
    _post("cl-underscored-name", _FIELDS, b"Content_Length: 0\r\nContent-Length: %L", outcome=ONE),
    _post("te-underscored-name", _FIELDS, b"Transfer_Encoding: chunked\r\nContent-Length: 5%L", b"0\r\n\r\n%S", ONE),
)
CODINGS = (
    _post("te-twice", _CODING, b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", _END),
    _post("te-two", _CODING, b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", _END),
    _post("te-chunked-twice", _CODING, b"Transfer-Encoding: chunked, chunked", _END),
    _post("te-chunked-identity", _CODING, b"Transfer-Encoding: chunked, identity", _END),
    _post("te-identity-chunked", _CODING, b"Transfer-Encoding: identity, chunked", _END),
    _post("te-identity", _CODING, b"Transfer-Encoding: identity"),
    _post("te-gzip-chunked", _CODING, b"Transfer-Encoding: gzip, chunked", _END),
    _post("te-xchunked", _CODING, b"Transfer-Encoding: xchunked", _END),
    _post("te-chunkedx", _CODING, b"Transfer-Encoding: chunkedx", _END),
    _post("te-quoted", _CODING, b'Transfer-Encoding: "chunked"', _END),
    _post("te-parameter", _CODING, b"Transfer-Encoding: chunked;q=1", _END),
    _post("te-empty", _CODING, b"Transfer-Encoding:"),
    _post("te-comma", _CODING, b"Transfer-Encoding: ,chunked", _END),
    _post("te-comma-after", _CODING, b"Transfer-Encoding: chunked,", _END),
    _post("te-vertical-tab", "RFC 9110 5.5", b"Transfer-Encoding: \x0bchunked", _END),
    _post("te-form-feed", "RFC 9110 5.5", b"Transfer-Encoding: chunked\x0c", _END),
    _post("te-nul", "RFC 9110 5.5", b"Transfer-Encoding: chunked\0", _END),
    _post("te-byte-order-mark", _CODING, b"Transfer-Encoding: \xef\xbb\xbfchunked", _END),
    Case("te-in-1.0", _CODING, _POST.replace(b"1.1", b"1.0", 1) + b"Transfer-Encoding: chunked\r\n\r\n" + _END),
    _post("te-upper-case", "RFC 9112 7", b"Transfer-Encoding: CHUNKED", _END.replace(b"%S", b""), ONE),
)
FIELDS = (
    _post("space-before-colon", _FIELDS, b"Transfer-Encoding : chunked", _END),
    _post("tab-before-colon", _FIELDS, b"Transfer-Encoding\t: chunked", _END),
    _post("cl-space-before-colon", _FIELDS, b"Content-Length : %L"),
    _post("nul-in-name", _FIELDS, b"Transfer\0-Encoding: chunked", _END),
    _post("nul-in-value", "RFC 9110 5.5", b"X: a\0b"),
    _post("delete-in-value", "RFC 9110 5.5", b"X: a\x7fb"),
    _post("no-colon", _FIELDS, b"Transfer-Encoding chunked", _END),
    _post("no-name", _FIELDS, b": chunked", _END),
    _post("bad-letter-in-name", _FIELDS, b"X(y): 1"),
    _post("other-letters-in-name", _FIELDS, b"Transf\xc3\xa9r: 1"),
    _post("fold", "RFC 9112 5.2", b"X: a\r\n Transfer-Encoding: chunked", _END),
    _post("fold-tab", "RFC 9112 5.2", b"X: a\r\n\tTransfer-Encoding: chunked", _END),
    _post("fold-coding", "RFC 9112 5.2", b"Transfer-Encoding:\r\n chunked", _END),
    _post("fold-length", "RFC 9112 5.2", b"Content-Length:\r\n 0"),
    _post("fold-nothing", "RFC 9112 5.2", b"X: a\r\n "),
    Case("space-before-the-first", _LINES, b"POST /auth/token HTTP/1.1\r\n Host: box.test\r\nHost: a\r\n\r\n%S"),
    _post("bare-cr", _LINES, b"X: a\rTransfer-Encoding: chunked", _END),
    _post("bare-lf", _LINES, b"X: a\nTransfer-Encoding: chunked", _END),
    _post("bare-lf-length", _LINES, b"X: a\nContent-Length: 0"),
    _post("cr-cr-lf", _LINES, b"X: a\r\r\nTransfer-Encoding: chunked", _END),
    Case("lf-only", _LINES, b"POST /auth/token HTTP/1.1\nHost: box.test\nContent-Length: 0\n\n%S"),
    Case("lf-lf-end", _LINES, _POST + b"Content-Length: 0\r\n\n%S"),
    Case("host-missing", "RFC 9112 3.2", b"GET /v2/ HTTP/1.1\r\n\r\n%S"),
    Case("host-twice", "RFC 9112 3.2", _GET + b"Host: box.test\r\n\r\n%S"),
    Case("host-two", "RFC 9112 3.2", _GET + b"Host: evil.test\r\n\r\n%S"),
    Case("host-large-head", "RFC 6585 5", _GET + b"X: " + b"a" * 70_000 + b"\r\n\r\n%S"),
)
LINES = (
    _line("two-spaces", "RFC 9112 3", b"GET  /v2/ HTTP/1.1"),
    _line("two-spaces-before-version", "RFC 9112 3", b"GET /v2/  HTTP/1.1"),
    _line("tabs", "RFC 9112 3", b"GET\t/v2/\tHTTP/1.1"),
    _line("tab-in-target", "RFC 9112 3.2", b"GET /v2/\t/x HTTP/1.1"),
    _line("space-after-version", "RFC 9112 3", b"GET /v2/ HTTP/1.1 "),
    _line("space-in-target", "RFC 9112 3.2", b"GET /v2/ x HTTP/1.1"),
    _line("space-first", "RFC 9112 3", b" GET /v2/ HTTP/1.1"),
    _line("lower-case-version", "RFC 9112 2.3", b"GET /v2/ http/1.1"),
    _line("long-version", "RFC 9112 2.3", b"GET /v2/ HTTP/1.10"),
    _line("version-2", "RFC 9112 2.3", b"GET /v2/ HTTP/2.0"),
    _line("version-comma", "RFC 9112 2.3", b"GET /v2/ HTTP/1,1"),
    _line("version-nothing", "RFC 9112 2.3", b"GET /v2/ HTTP/"),
    _line("version-of-another", "RFC 9112 2.3", b"GET /v2/ RTSP/1.0"),
    _line("no-method", "RFC 9112 3", b"/v2/ HTTP/1.1"),
    _line("lower-case-method", "RFC 9110 9.1", b"get /v2/ HTTP/1.1"),
    _line("odd-method", "RFC 9110 9.1", b"G(T /v2/ HTTP/1.1"),
    _line("target-authority", "RFC 9112 3.2.3", b"GET box.test:80 HTTP/1.1"),
    _line("target-asterisk", "RFC 9112 3.2.4", b"GET * HTTP/1.1"),
    _line("target-ftp", "RFC 9112 3.2", b"GET ftp://box.test/v2/ HTTP/1.1"),
    _line("target-fragment", "RFC 9112 3.2", b"GET /v2/#x HTTP/1.1"),
    _line("target-nul", "RFC 9112 3.2", b"GET /v2/\0 HTTP/1.1"),
    _line("target-other-letters", "RFC 9112 3.2", b"GET /v2/?n=\xff HTTP/1.1"),
    _line("connect", "RFC 9110 9.3.6", b"CONNECT box.test:80 HTTP/1.1"),
    _line("bare-cr-in-line", _LINES, b"GET /v2/ HTTP/1.1\rX: y"),
    Case("http-0.9", "RFC 9112 2.3", b"GET /v2/\r\n%S"),
    Case("http-0.9-end", "RFC 9112 2.3", b"GET /v2/\r\n\r\n%S"),
    Case("http-2-preface", "RFC 9113 3.4", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0%S"),
    Case("empty-line-of-lf", _LINES, b"\n%S"),
)
CHUNKS = (
    _chunked("size-0x", b"0x0\r\n\r\n%S"),
    _chunked("size-plus", b"+0\r\n\r\n%S"),
    _chunked("size-minus", b"-1\r\n\r\n%S"),
    _chunked("size-minus-zero", b"-0\r\n\r\n%S"),
    _chunked("size-space-first", b" 0\r\n\r\n%S"),
    _chunked("size-space-after", b"0 \r\n\r\n%S"),
    _chunked("size-tab-after", b"0\t\r\n\r\n%S"),
    _chunked("size-underscore", b"0_0\r\n\r\n%S"),
    _chunked("size-nothing", b"\r\n\r\n%S"),
    _chunked("size-no-hex", b"g\r\n\r\n%S"),
    _chunked("size-nul", b"0\0\r\n\r\n%S"),
    _chunked("size-other-digits", "٠\r\n\r\n%S".encode()),
    _chunked("size-wraps-64-bits", b"10000000000000000\r\n\r\n%S"),
    _chunked("size-wraps-32-bits", b"100000000\r\n\r\n%S", ONE),
    _chunked("size-huge", b"f" * 300 + b"\r\n\r\n%S"),
    _chunked("size-list", b"0,0\r\n\r\n%S"),
    _chunked("size-lf", b"0\n\n%S", source=_LINES),
    _chunked("size-cr", b"0\r\r\n\r\n%S", source=_LINES),
    _chunked("extension-lf", b"0;a\nb\r\n\r\n%S", source="RFC 9112 7.1.1"),
    _chunked("extension-cr", b"0;a\rb\r\n\r\n%S", source="RFC 9112 7.1.1"),
    _chunked("extension-nul", b"0;a\0b\r\n\r\n%S", source="RFC 9112 7.1.1"),
    _chunked("extension-long", b"0;" + b"a" * 5000 + b"\r\n\r\n%S", source="RFC 9112 7.1.1"),
    _chunked("data-longer", b"3\r\nabcde\r\n0\r\n\r\n%S"),
    _chunked("data-lf", b"3\r\nabc\n0\r\n\r\n%S"),
    _chunked("data-no-end", b"3\r\nabc0\r\n\r\n%S"),
    _chunked("data-cr-x", b"3\r\nabc\rX0\r\n\r\n%S"),
    _chunked("trailer-lf", b"0\r\nX: y\n\r\n%S", source="RFC 9112 7.1.2"),
    _chunked("trailer-cr", b"0\r\nX: y\rz\r\n\r\n%S", source="RFC 9112 7.1.2"),
    _chunked("trailer-nul", b"0\r\nX: y\0\r\n\r\n%S", source="RFC 9112 7.1.2"),
    _chunked("trailer-request", b"0\r\n%S", source="RFC 9112 7.1.2"),
    _chunked("trailer-fold", b"0\r\nX: y\r\n z\r\n\r\n%S", source="RFC 9112 5.2"),
    _chunked("trailer-space-before-colon", b"0\r\nX : y\r\n\r\n%S", source=_FIELDS),
    _chunked("trailer-large", b"0\r\n" + b"X: y\r\n" * 5000 + b"\r\n%S", source="RFC 9112 7.1.2"),
    _chunked("trailer-length", b"0\r\nContent-Length: %L\r\n\r\n%S", source="RFC 9110 6.5.1"),
    _chunked("trailer-coding", b"0\r\nTransfer-Encoding: chunked\r\n\r\n%S", source="RFC 9110 6.5.1"),
    _chunked("trailer-host", b"0\r\nHost: evil.test\r\n\r\n%S", source="RFC 9110 6.5.1"),
    _chunked("trailers-truncated", b"0\r\nX: y\r\n", ONE, source="RFC 9112 8"),
    _chunked("smuggled-in-a-chunk", b"%L\r\n%S", ONE),
)
CONNECTIONS = (
    _post("upgrade-h2c", "RFC 9113 3.1", b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk"),
    Case("upgrade-websocket", "RFC 9110 7.8", _GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n%S"),
    Case("close-then-more", "RFC 9112 9.6", _GET + b"Connection: close\r\n\r\n%S", ONE),
    Case("1.0-then-more", "RFC 9112 9.3", _GET.replace(b"1.1", b"1.0", 1) + b"\r\n%S", ONE),
    _post("continue-and-body", "RFC 9110 10.1.1", b"Expect: 100-continue\r\nContent-Length: %L", outcome=ONE),
    Case(
        "continue-refused-early",
        "RFC 9110 10.1.1",
        b"PUT /v2/a/manifests/b HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: %L\r\n\r\n%S",
        ONE,
    ),
    Case("refused-early", "RFC 9112 9.3", b"PUT /v2/a/manifests/b HTTP/1.1\r\nHost: a\r\nContent-Length: %L\r\n\r\n%S", ONE),
)  # fmt: skip
CASES = (*BOTH, *LENGTHS, *CODINGS, *FIELDS, *LINES, *CHUNKS, *CONNECTIONS)
