"""Card numbers: every spelling of a real one is found, ids and times are not."""

import uuid
from datetime import UTC, datetime

from hypothesis import assume, given
from hypothesis import strategies as st

from redoubt.core.clock import ManualClock
from redoubt.core.ids import SeededIds
from redoubt.core.pan import contains_pan, find_pans, is_pan, luhn

ISSUED = [  # prefix, length: one of each issuer and length that matters
    ("4", 13), ("4", 16), ("4", 18), ("4", 19), ("51", 16), ("55", 16), ("2221", 16), ("2300", 16), ("2720", 16),
    ("34", 15), ("37", 15), ("300", 14), ("36", 14), ("38", 16), ("36", 19), ("3528", 16), ("3589", 19), ("6011", 16),
    ("65", 19), ("62", 16), ("62", 17), ("62", 19), ("2200", 16), ("5018", 13), ("6759", 18), ("6304", 19), ("606", 16),
]  # fmt: skip


def complete(prefix: str, body: str, size: int) -> str:
    """The number with that prefix whose check digit is right, computed the slow way."""
    head = (prefix + body)[: size - 1]
    total = sum(
        int(d) if i % 2 else (int(d) * 2 - 9 if int(d) > 4 else int(d) * 2)
        for i, d in enumerate(reversed(head))
    )
    return head + str(-total % 10)


@st.composite
def cards(draw):
    prefix, size = draw(st.sampled_from(ISSUED))
    return complete(prefix, draw(st.text("0123456789", min_size=19, max_size=19)), size)


@st.composite
def spellings(draw):
    card = draw(cards())
    groups = draw(
        st.sampled_from([[4, 4, 4, 4], [4, 6, 5], [4, 6, 4], [6, 13], [19], [1] * 19, [8, 8], [2] * 10])
    )
    parts, rest = [], card
    for size in groups:
        parts, rest = [*parts, rest[:size]], rest[size:]
    between = draw(
        st.sampled_from(
            [" ", "-", "", "  ", " - ", "\u00a0", "\u2009", "–", "%20", "+", "\u200b", "\t", "\\u0020"]
        )
    )
    spelled = between.join(part for part in [*parts, rest] if part)
    digits = draw(st.sampled_from(["ascii", "wide", "percent", "json", "arabic"]))
    if digits == "wide":
        spelled = "".join(
            chr(ord(c) + 0xFEE0) if c.isdecimal() and between[:1] not in "%\\" else c for c in spelled
        )
    elif digits == "arabic" and between[:1] not in "%\\":
        spelled = "".join(chr(ord(c) + 0x630) if c.isdecimal() else c for c in spelled)
    elif digits == "percent":
        spelled = f"%{ord(spelled[0]):02X}" + spelled[1:]
    elif digits == "json":
        spelled = f"\\u{ord(spelled[0]):04x}" + spelled[1:]
    return card, spelled


AROUND = st.sampled_from(
    [
        "",
        " ",
        "card: ",
        '{"n":"',
        "x",
        "pan=",
        "n%3D",
        "%22",
        "(",
        "order 7, ",
        "#",
        "\n",
        "é",
        "<b>",
        "amount=12&c=",
    ]
)


@given(
    spellings(), AROUND, st.sampled_from(["", " ", '"}', ".", ", ", "&exp=12", "x", "%22", ")", "\n", "</b>"])
)
def test_a_card_number_is_found_in_every_spelling(spelling, before, after):
    card, spelled = spelling
    text = before + spelled + after
    found = find_pans(text)
    assert [span.digits for span in found] == [card]
    assert text[found[0].start : found[0].end] == spelled
    assert contains_pan(text.encode())


@given(cards(), st.integers(0, 18), st.integers(1, 9))
def test_one_wrong_digit_is_no_card_number(card, at, by):
    assume(at < len(card))
    wrong = card[:at] + str((int(card[at]) + by) % 10) + card[at + 1 :]
    assert not luhn(wrong)
    assert not contains_pan(f"n={wrong};")


@given(cards(), st.text("0123456789", min_size=7, max_size=30))
def test_a_longer_run_of_digits_is_no_card_number(card, tail):
    assert not contains_pan(card + tail)
    assert not contains_pan(tail + card)


@given(cards())
def test_two_card_numbers_are_both_found(card):
    assert [span.digits for span in find_pans(f"{card}, {card}")] == [card, card]
    assert [span.digits for span in find_pans(f"{card} {card}")] == [card, card]


@given(st.uuids())
def test_a_uuid_is_no_card_number(value):
    assert not contains_pan(str(value))
    assert not contains_pan(f'{{"id":"{value}"}}')


def test_uuids_made_of_digits_only_are_no_card_numbers():
    ids = SeededIds(ManualClock(), 7)
    for i in range(20_000):
        value = int(ids.random_bytes(16).hex(), 16)
        digits = f"{value % 10**32:032d}"
        assert not contains_pan(str(uuid.UUID(digits))), i


@given(st.datetimes(datetime(2002, 1, 1), datetime(2060, 1, 1)), st.integers(0, 999_999_999))
def test_no_spelling_of_a_time_is_a_card_number(when, nanos):
    when = when.replace(tzinfo=UTC)
    seconds = int(when.timestamp())
    for text in (
        when.isoformat(),
        f"{seconds}",
        f"{seconds}{nanos // 1_000_000:03d}",
        f"{seconds}{nanos // 1000:06d}" if seconds < 2_200_000_000 else "",
        f"{seconds}{nanos:09d}" if seconds < 2_200_000_000 else "",
        when.strftime("%Y%m%d%H%M%S"),
        when.strftime("%Y-%m-%d %H:%M:%S.%f"),
        f"{seconds}.{nanos}",
    ):
        assert not contains_pan(text), text


def test_of_random_ids_and_hashes_at_most_one_in_a_thousand_is_taken_for_a_card():
    ids = SeededIds(ManualClock(), 3)
    wrong = sum(contains_pan(ids.random_bytes(32).hex()) + contains_pan(ids.token(24)) for _ in range(10_000))
    assert wrong <= 20


@given(st.floats(allow_nan=False))
def test_a_decimal_is_no_card_number(number):
    assert not contains_pan(f"{number:.17g}") or is_pan(f"{number:.17g}".lstrip("-").split("e")[0])


def test_utf16_is_seen_through_and_groups_with_dots_and_slashes_too():
    assert contains_pan("card 4242424242424242".encode("utf-16"))
    assert contains_pan("4242.4242.4242.4242")
    assert contains_pan("4242/4242/4242/4242")
    assert contains_pan("3782.822463.10005")
    assert not contains_pan("1.4242.4242.4242.4242")
    assert not contains_pan("0.4242424242424242")


def test_mastercard_two_series_ends_where_it_ends():
    assert is_pan(complete("2221", "00" * 8, 16))
    assert is_pan(complete("2720", "99" * 8, 16))
    assert not is_pan(complete("2220", "99" * 8, 16))
    assert not is_pan(complete("2721", "00" * 8, 16))


def test_arbitrary_bytes_never_raise():
    for data in (b"", b"\xff" * 40, b"\0" * 100, b"4" * 13 + b"\xc3", bytes(range(256)) * 4):
        contains_pan(data)


PIECES = (
    st.text("0123456789", max_size=16)
    | st.sampled_from(
        [
            " ",
            "-",
            ".",
            "/",
            "+",
            "\t",
            "\n",
            "\x01",
            "%20",
            "%41",
            "\\u0031",
            "\\u",
            "a",
            "\0",
            "ä",
            "\u0661",
        ]
    )
    | spellings().map(lambda made: made[1])
)


@given(st.lists(PIECES, max_size=8).map("".join))
def test_the_quick_look_at_bytes_passes_nothing_that_the_search_finds(text):
    data = text.encode()
    slow = bool(find_pans(data.decode())) or (b"\0" in data and bool(find_pans(text.replace("\0", ""))))
    assert contains_pan(data) == slow
