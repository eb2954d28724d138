"""Headers gone through once say what a look at each would have said."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from redoubt.runtime.heads import Heads, browser_cookies

NAMES = st.sampled_from([b"host", b"cookie", b"x-forwarded-for", b"accept", b"content-type"])
RAW = st.lists(st.tuples(NAMES, st.binary(max_size=6)), max_size=8)


@given(RAW, NAMES)
def test_heads_say_what_starlette_says(raw: list[tuple[bytes, bytes]], name: bytes) -> None:
    heads, headers = Heads(raw), Headers(raw=raw)
    assert heads.all(name) == headers.getlist(name.decode())
    assert heads.text(name, "none") == headers.get(name.decode(), "none")
    assert (name in heads.repeated) == (len(headers.getlist(name.decode())) > 1)
    assert heads.size == sum(len(key) + len(value) for key, value in raw)


def test_the_first_cookie_of_a_name_counts_and_no_other_is_taken() -> None:
    assert browser_cookies(["a=1; __Host-session=s; __Host-session=t", "__Host-pre=p;__Host-session=u"]) == (
        "s",
        "p",
    )
    assert browser_cookies(["__host-session=s; session=t; __Host-sessions=u; x__Host-pre=p"]) == (None, None)
    assert browser_cookies([]) == (None, None)
    assert browser_cookies(["__Host-session=; __Host-session=late"]) == ("", None)
