"""What personal data and secrets look like in text: the redactor's patterns, each bounded so that none backtracks far."""

from __future__ import annotations

import re
from collections.abc import Callable


def _any(*needles: str) -> Callable[[str], bool]:
    return lambda text: any(needle in text for needle in needles)


def _fold(*needles: str) -> Callable[[str], bool]:
    return lambda text: any(needle in text.lower() for needle in needles)


# kind, cheap test whether the pattern can match at all, pattern; a group named "keep" stays in front of the token.
PLAIN_KINDS: tuple[tuple[str, Callable[[str], bool], re.Pattern[str]], ...] = (
    (
        "private-key",
        _any("PRIVATE KEY"),
        re.compile(
            r"-----BEGIN [A-Z ]{0,32}PRIVATE KEY-----(?:.{0,16384}?-----END [A-Z ]{0,32}PRIVATE KEY-----|.{0,16384})",
            re.S,
        ),
    ),
    (
        "cookie",
        _fold("cookie"),
        re.compile(r"(?P<keep>\b(?:set-)?cookie[\"']?\s{0,4}+[:=]\s{0,4}+[\"']?+)[^\r\n\"']{1,8192}", re.I),
    ),
    (
        "cookie",
        _any("__Host-", "__Secure-"),
        re.compile(r"(?P<keep>__(?:Host|Secure)-[\w-]{1,64}+=)[^\s;,\"']{1,4096}"),
    ),
    (
        "authorization",
        _fold("authorization"),
        re.compile(
            r"(?P<keep>\bauthorization[\"']?\s{0,4}+[:=]\s{0,4}+[\"']?+(?:(?:bearer|basic|dpop|digest|token|negotiate)\s{1,4}+)?+)[^\r\n\"']{1,8192}",
            re.I,
        ),
    ),
    (
        "authorization",
        _fold("bearer", "basic", "dpop"),
        re.compile(
            r"(?P<keep>\b(?:bearer|basic|dpop)\s{1,4}+)(?=[\w.~+/=-]{0,256}[\d._=-]|[\w.~+/=-]{20})[\w.~+/=-]{6,8192}",
            re.I,
        ),
    ),
    ("jwt", _any("eyJ"), re.compile(r"\beyJ[\w-]{5,8192}\.[\w-]{2,16384}(?:\.[\w-]{0,8192}){1,3}")),
    (
        "secret",
        _any("_live_", "_test_", "whsec_", "whsk_", "_secret_"),
        re.compile(
            r"\b(?:(?:sk|rk|pk)_(?:live|test)_[\w-]{4,255}|wh(?:sec|sk)_[\w+/=-]{4,512}|\w{2,64}_secret_[\w-]{4,255})"
        ),
    ),
    (
        "secret",
        _any(
            "AKIA",
            "ASIA",
            "ghp_",
            "gho_",
            "ghs_",
            "ghu_",
            "github_pat_",
            "glpat-",
            "xox",
            "AIza",
            "SG.",
            "npm_",
            "pypi-",
        ),
        re.compile(
            r"\b(?:(?:AKIA|ASIA)[A-Z0-9]{16}|gh[posu]_\w{20,255}|github_pat_\w{20,255}|glpat-[\w-]{20,64}|xox[abeprs]-[\w-]{10,255}"
            r"|AIza[\w-]{35}|SG\.[\w-]{16,64}\.[\w-]{16,64}|npm_\w{36}|pypi-[\w-]{16,512})"
        ),
    ),
    (
        "link",
        _any("/magic/", "/enrol/"),
        re.compile(r"(?P<keep>/(?:magic|enrol)/)(?!confirm\b|options\b|verify\b)[\w%.~-]{8,512}"),
    ),
    (
        "userinfo",
        _any("://"),
        re.compile(
            r"(?P<keep>\b[a-z][a-z0-9+.-]{1,31}://)[^\s/@:\"'<>]{0,256}:[^\s/@\"'<>]{1,512}(?=@)", re.I
        ),
    ),
)

EMAIL = re.compile(
    r"[\w.%+'-]{1,64}(?:@|%40)(?:localhost\b|(?:[^\W_](?:[\w-]{0,62})\.){1,8}[^\W\d_][\w-]{1,62})"
)

# International form, or North American groups; never a bare run of digits, which is an id or a time far more often.
# A slash may stand before it and %20 within: a number that somebody put into an address is logged with the path.
PHONE = re.compile(
    r"(?<![\w<.+-])(?:(?:\+|%2B|(?<!\d[ -])00(?=[1-9]\d[ -]))[1-9]\d{0,2}(?:(?:[ .\u00a0-]|%20){0,2}\(?\d{1,5}\)?){2,6}|\(\d{3}\)[ .-]?\d{3}[ .-]?\d{4}"
    r"|\d{3}[ .-]\d{3}[ .-]\d{4})(?![\w:]|[.-]\d)"
)

IBAN_START = re.compile(r"(?<![A-Za-z0-9])([A-Za-z]{2})[0-9]{2}(?=[ \u00a0-]?[A-Za-z0-9])")
_IBAN_SIZES = (
    "15:NO 16:BE 18:DK,FI,FK,FO,GL,NL,SD 19:MK,SI 20:AT,BA,EE,KZ,LT,LU,MN,XK 21:CH,HR,LI,LV 22:BG,BH,CR,DE,GB,GE,IE,ME,RS,VA "
    "23:AE,GI,IL,IQ,OM,SO,TL 24:AD,CZ,ES,MD,PK,RO,SA,SE,SK,TN,VG 25:LY,PT,ST 26:IS,TR 27:BI,DJ,FR,GR,IT,MC,MR,SM "
    "28:AL,AZ,BY,CY,DO,GT,HN,HU,LB,NI,PL,SV 29:BR,EG,PS,QA,UA 30:JO,KW,MU,YE 31:MT,SC 32:LC 33:RU"
)
IBAN_LENGTHS = {
    country: int(size)
    for size, _, countries in (entry.partition(":") for entry in _IBAN_SIZES.split(" "))
    for country in countries.split(",")
}

_NAMES = (
    r"pass(?:word|wd|phrase|code)|secret|(?:api|access|private|signing|encryption|master)[_-]?key|credential"
    r"|(?:access|refresh|id|auth|csrf|session|bearer|reset|login|api|security)?[_-]?token"
)
# A mapping's key whose value is replaced whole, whatever it looks like.
SECRET_KEY = re.compile(
    rf"(?:{_NAMES}|authorization|cookie|assertion|\botp\b|\bcvc\b|\bcvv2?\b|client_?data_?json|\bsignature\b)(?!_?(?:id|type|count|ref|name)s?\b)",
    re.I,
)
# name=value and "name": "value" in running text.
KEYED = re.compile(
    rf"(?P<keep>\b[\w-]{{0,32}}(?:{_NAMES})[\"']?\s{{0,3}}+(?:=|:|%3D)\s{{0,3}}+)(?:\"[^\"\r\n]{{1,4096}}\"|'[^'\r\n]{{1,4096}}'|[^\s&;,\"'<>}})\]]{{1,4096}})",
    re.I,
)
