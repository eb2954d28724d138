"""The HTML report: one file that loads nothing and runs nothing, with the evidence folded under each verdict."""

from __future__ import annotations

import base64
import hashlib
from html import escape

from redoubt.controls import Area, Control, Evidence, Exchange, Finding, Outcome, Verdict, catalogue

from ..engine import Report
from .access import LEGEND, compact, differences
from .style import STYLE

_MARKS = {
    Verdict.PROVEN: "✓ proven",
    Verdict.BROKEN: "✗ broken",
    Verdict.NOT_SHOWN: "? not shown",
    Verdict.NOT_APPLICABLE: "– not applicable",
}
_OUTCOMES = {
    Outcome.HELD: "✓ attack failed",
    Outcome.BROKE: "✗ attack succeeded",
    Outcome.INCONCLUSIVE: "? showed nothing",
}
_SHOWN = 14


def as_html(report: Report) -> str:
    """Return the run as one self-contained page."""
    by_id = {finding.control: finding for finding in report.findings}
    areas = [area for area in catalogue().areas if any(one.id in by_id for one in area.controls)]
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    links = "".join(f'<li><a href="#{area.key}">{escape(area.title)}</a></li>' for area in areas)
    links += '<li><a href="#access">Access, as observed</a></li>' if report.access else ""
    sections = "".join(_area(area, by_id) for area in areas)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f"<title>{escape(_headline(report))} · {escape(report.subject)}</title><style>{STYLE}</style></head><body>"
        '<a class="skip" href="#verdicts">Skip to the verdicts</a>'
        f"<header><h1>{escape(_headline(report))}</h1>"
        f'<p class="sub">{escape(report.subject)} · {escape(report.started)} · {report.seconds:.0f} s · seed {report.seed}</p>'
        f'{_sums(report)}<nav aria-label="Areas"><ul>{links}</ul></nav></header>'
        f'<main id="verdicts">{sections}{_access(report)}</main>'
        "<footer><p>Proven means that the named attacks ran, that their positive controls held, and that none succeeded. "
        "It names its attacks; it never says that an app is secure. Not shown is no pass: each says what would show it. "
        "Secrets are masked as &lt;kind:owner&gt;.</p></footer></body></html>\n"
    )


def _headline(report: Report) -> str:
    counts = report.counts()
    broken, proven = counts[Verdict.BROKEN], counts[Verdict.PROVEN]
    if broken:
        return f"{broken} {'control is' if broken == 1 else 'controls are'} broken, {proven} proven"
    return f"Nothing broken, {proven} {'control' if proven == 1 else 'controls'} proven"


def _sums(report: Report) -> str:
    counts, total = report.counts(), max(1, len(report.findings))
    cards = "".join(
        f'<li><b>{counts[one]}</b><span class="tag {one}">{_MARKS[one]}</span></li>' for one in _MARKS
    )
    # Widths as attributes of columns, for a style attribute would need the policy to allow one.
    cells = "".join(
        f'<td class="{one}" width="{counts[one] * 100 / total:.1f}%"></td>' for one in _MARKS if counts[one]
    )
    words = ", ".join(f"{counts[one]} {one.words}" for one in _MARKS)
    return f'<ul class="sums">{cards}</ul><table class="meter" role="img" aria-label="{escape(words)}"><tr>{cells}</tr></table>'


def _area(area: Area, by_id: dict[str, Finding]) -> str:
    shown = [one for one in area.controls if one.id in by_id]
    proven = sum(by_id[one.id].verdict is Verdict.PROVEN for one in shown)
    rows = "".join(_control(one, by_id[one.id]) for one in shown)
    return (
        f'<section aria-labelledby="{area.key}"><h2 id="{area.key}">{escape(area.title)} '
        f'<small class="refs">{proven} of {len(shown)} proven</small></h2>{rows}</section>'
    )


def _access(report: Report) -> str:
    """Return the observed access as a table; what differs from what is declared leads to its control."""
    roles, lines = compact(report)
    if not lines:
        return ""
    head = "".join(f'<th scope="col">{escape(role)}</th>' for role in roles)
    rows = "".join(
        f'<tr><th scope="row">{escape(line.operation)}</th>'
        + "".join(f"<td>{_marked(line.marks[role])}</td>" for role in roles)
        + "</tr>"
        for line in lines
    )
    ids = {finding.control for finding in report.findings}
    told = "".join(f"<li>{_linked(one, ids)}</li>" for one in differences(report))
    named = f'<ul class="pos" aria-label="Differences">{told}</ul>' if told else ""
    return (
        '<section aria-labelledby="access"><h2 id="access">Access, as observed</h2>'
        f'<p class="refs">{escape(LEGEND)}.</p>{named}'
        f'<div class="wide" tabindex="0"><table class="access"><tr><td></td>{head}</tr>{rows}</table></div></section>'
    )


def _marked(marks: str) -> str:
    """Return a role's marks, each that differs set off."""
    return " ".join(
        f'<b class="tag broke">{escape(one)}</b>' if one.endswith("!") else escape(one)
        for one in marks.split(" ")
    )


def _linked(words: str, ids: set[str]) -> str:
    """Return a sentence whose control, where the report holds it, is a link to its verdict."""
    text = escape(words)
    for one in ("AUZ-1", "AUZ-7"):
        if one in ids:
            text = text.replace(f"({one}:", f'(<a href="#{one}">{one}</a>:')
    return text


def _control(control: Control, finding: Finding) -> str:
    refs = " · ".join(f"{escape(name)}: {escape(', '.join(ids))}" for name, ids in control.standards.items())
    add = (
        f'<div class="add"><b>To show it, add</b><pre tabindex="0">{escape(finding.add)}</pre></div>'
        if finding.add
        else ""
    )
    attacks = "".join(_evidence(one) for one in finding.evidence)
    return (
        f'<details class="control" id="{control.id}"><summary><span class="tag {finding.verdict}">{_MARKS[finding.verdict]}</span>'
        f'<span class="id">{control.id}</span><h3>{escape(control.control)}</h3></summary><div class="body">'
        f'<p>{escape(finding.reason)}</p>{add}{attacks}<p class="refs">What proves it: {escape(control.prove)}.</p>'
        f'<p class="refs">{refs}</p></div></details>'
    )


def _evidence(one: Evidence) -> str:
    positives = "".join(
        f"<li>{'✓' if check.held else '✗'} {escape(check.name)}{f' ({escape(check.detail)})' if check.detail else ''}</li>"
        for check in one.positives
    )
    controls = f'<ul class="pos" aria-label="Positive controls">{positives}</ul>' if positives else ""
    detail = f"<p>{escape(one.detail)}</p>" if one.detail else ""
    return (
        f'<div class="attack"><h4>{escape(one.attack)} <span class="tag {one.outcome}">{_OUTCOMES[one.outcome]}</span></h4>'
        f'<p class="refs">It succeeds when: {escape(one.oracle)}.</p>{detail}{controls}{_exchanges(one)}</div>'
    )


def _exchanges(one: Evidence) -> str:
    if not one.exchanges:
        return ""
    shown = (
        one.exchanges
        if len(one.exchanges) <= _SHOWN
        else (*one.exchanges[: _SHOWN // 2], *one.exchanges[-_SHOWN // 2 :])
    )
    left = len(one.exchanges) - len(shown)
    more = f"; {left} in the middle are in the JSON report" if left else ""
    words = f"{len(one.exchanges)} request{'s' if len(one.exchanges) != 1 else ''} and answers{more}"
    return f"<details><summary>{words}</summary>{''.join(_exchange(each) for each in shown)}</details>"


def _exchange(one: Exchange) -> str:
    sent = [f"{one.method} {one.url}", *(f"{name}: {value}" for name, value in one.headers.items())]
    back = [
        str(one.status or "no answer"),
        *(f"{name}: {value}" for name, value in one.answer_headers.items()),
    ]
    sent_text = "\n".join(sent) + (f"\n\n{one.body[:1200]}" if one.body else "")
    back_text = "\n".join(back) + (f"\n\n{one.answer[:1200]}" if one.answer else "")
    return (
        f'<div class="ex"><h5>{escape(one.actor)} from {escape(one.source)}</h5>'
        f'<pre tabindex="0">{escape(sent_text)}</pre><pre tabindex="0">{escape(back_text)}</pre></div>'
    )
