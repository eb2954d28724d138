"""The HTML report's style: one sheet, light and dark, readable without colour."""

STYLE = """
:root{color-scheme:light dark;--bg:#fbfaf8;--card:#fff;--ink:#1d1f24;--soft:#5b6069;--line:#e3e1dc;--good:#0b6b47;--bad:#b0232a;
--open:#7a5b00;--none:#5b6069;--goodbg:#e3f4ec;--badbg:#fde8e8;--openbg:#fbf1d5;--nonebg:#eceef1;--code:#f4f2ee;--focus:#1f5fd6}
@media(prefers-color-scheme:dark){:root{--bg:#14161a;--card:#1c1f25;--ink:#eceef2;--soft:#a3aab6;--line:#31353d;--good:#7fdcb2;--bad:#ff9c9c;
--open:#f0cd74;--none:#b4bac5;--goodbg:#12362a;--badbg:#451c20;--openbg:#3a2f10;--nonebg:#2a2e36;--code:#23272f;--focus:#8ab4ff}}
*{box-sizing:border-box}html{scroll-behavior:smooth;scroll-padding-top:1rem}
@media(prefers-reduced-motion:reduce){html{scroll-behavior:auto}}
body{margin:0;background:var(--bg);color:var(--ink);font:16px/1.55 ui-sans-serif,system-ui,-apple-system,"Segoe UI",sans-serif}
main,header,footer{max-width:62rem;margin:0 auto;padding:0 1.25rem}header{padding-top:2.75rem}
.skip{position:absolute;left:-999px}.skip:focus{left:1rem;top:1rem;background:var(--card);padding:.5rem 1rem}
h1{font-size:1.9rem;line-height:1.2;margin:0 0 .35rem;letter-spacing:-.02em;text-wrap:balance}h2{font-size:1.25rem;margin:2.6rem 0 .8rem;letter-spacing:-.01em}
h3{font-size:1rem;margin:0;font-weight:600;display:inline}h4{font-size:.95rem;margin:0}.sub{color:var(--soft);margin:0;overflow-wrap:anywhere}
.sums{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr));gap:.75rem;margin:1.6rem 0 1rem;padding:0;list-style:none}
.sums li{background:var(--card);border:1px solid var(--line);border-radius:.8rem;padding:.9rem 1.1rem}.sums b{display:block;font-size:2rem;line-height:1.15;font-variant-numeric:tabular-nums}
.meter{width:100%;height:.7rem;border-collapse:separate;border-spacing:2px 0;margin:0 0 1.1rem}.meter td{padding:0;height:.7rem;border-radius:.35rem}
.meter .proven{background:var(--good)}.meter .broken{background:var(--bad)}.meter .not_shown{background:repeating-linear-gradient(45deg,var(--open) 0 4px,transparent 4px 8px)}.meter .not_applicable{background:var(--none);opacity:.4}
nav ul{display:flex;flex-wrap:wrap;gap:.4rem .5rem;list-style:none;padding:0;margin:0}nav a{display:inline-block;padding:.3rem .75rem;border:1px solid var(--line);border-radius:2rem;color:inherit;text-decoration:none;background:var(--card);font-size:.92rem}
nav a:hover{border-color:var(--soft)}a:focus-visible,summary:focus-visible,pre:focus-visible{outline:3px solid var(--focus);outline-offset:2px;border-radius:.3rem}
.control{background:var(--card);border:1px solid var(--line);border-radius:.8rem;margin:.55rem 0;overflow:hidden}
.control>summary{display:grid;grid-template-columns:7.6rem 4.6rem 1fr;gap:.8rem;align-items:baseline;padding:.75rem 1rem;cursor:pointer;list-style:none}
.control>summary::-webkit-details-marker{display:none}.control>summary:hover{background:var(--code)}.control[open]>summary{border-bottom:1px solid var(--line)}
.id{font:600 .9rem ui-monospace,SFMono-Regular,Menlo,monospace;color:var(--soft);white-space:nowrap}
.tag{display:inline-block;padding:.12rem .6rem;border-radius:2rem;font-size:.82rem;font-weight:600;white-space:nowrap;justify-self:start}
.tag.proven,.tag.held{background:var(--goodbg);color:var(--good)}.tag.broken,.tag.broke{background:var(--badbg);color:var(--bad)}
.tag.not_shown,.tag.inconclusive{background:var(--openbg);color:var(--open)}.tag.not_applicable{background:var(--nonebg);color:var(--none)}
.body{padding:1rem}.body>p{margin:.2rem 0 .7rem;overflow-wrap:anywhere}.refs{color:var(--soft);font-size:.88rem}
.add{background:var(--openbg);border-radius:.5rem;padding:.6rem .8rem;margin:.6rem 0}.attack{border-left:3px solid var(--line);padding:.15rem 0 .15rem .9rem;margin:1rem 0}
.attack p{margin:.3rem 0;overflow-wrap:anywhere}ul.pos{list-style:none;padding:0;margin:.3rem 0;font-size:.92rem}details details>summary{cursor:pointer;color:var(--soft);font-size:.92rem;padding:.2rem 0}
pre{background:var(--code);border-radius:.5rem;padding:.7rem .85rem;overflow:auto;max-height:20rem;font:.8rem/1.5 ui-monospace,SFMono-Regular,Menlo,monospace;white-space:pre-wrap;overflow-wrap:anywhere;margin:.35rem 0}
.ex{margin:.7rem 0}.ex h5{margin:0;font-size:.86rem;font-weight:600;overflow-wrap:anywhere}footer{color:var(--soft);font-size:.9rem;margin:3rem auto 2.5rem}
.wide{overflow-x:auto}.access{border-collapse:collapse;font-size:.88rem;background:var(--card)}.access th,.access td{border:1px solid var(--line);padding:.25rem .6rem;text-align:left;font-weight:400;white-space:nowrap}
.access tr:first-child th{font-weight:600}.access th[scope=row]{font-family:ui-monospace,SFMono-Regular,Menlo,monospace}
@media(max-width:40rem){.control>summary{grid-template-columns:auto 1fr}.control>summary h3{grid-column:1/-1}header{padding-top:1.5rem}}
@media print{body{background:#fff}.control{break-inside:avoid}}
"""
