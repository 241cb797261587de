# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every page has: one style and one script. A page needs no script to be read; with it, tables can be sorted."""

from __future__ import annotations

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #f6f7f8; --sheet: #ffffff; --ink: #1b1f24; --soft: #57606a; --line: #d8dee4; --faint: #eef1f4;
  --accent: #0a58a8; --good: #1a6b3c; --warn: #8a5200; --bad: #b3261e;
  --good-wash: #e6f4ea; --warn-wash: #fff3d6; --bad-wash: #fdeceb;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #12151a; --sheet: #1a1e24; --ink: #e6e9ed; --soft: #a3adb8; --line: #343b44; --faint: #232931;
    --accent: #82b8f2; --good: #74c794; --warn: #e2b04a; --bad: #f4938b;
    --good-wash: #16301f; --warn-wash: #33280f; --bad-wash: #3a1c1a;
  }
}
*, ::before, ::after { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; scroll-padding-top: 1rem; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", sans-serif;
  overflow-wrap: anywhere;
}
main, body > header, body > footer { max-width: 76rem; margin: 0 auto; padding: 0 1.25rem; }
body > header { padding-top: 2.5rem; }
body > footer { padding-top: 1rem; padding-bottom: 3rem; color: var(--soft); font-size: .875rem; }
h1 { margin: 0; font-size: 1rem; font-weight: 600; color: var(--soft); }
h2 { margin: 2.5rem 0 .75rem; font-size: 1.25rem; line-height: 1.3; }
h3 { margin: 0 0 .375rem; font-size: .875rem; font-weight: 600; color: var(--soft); }
p { margin: 0 0 .5rem; max-width: 46rem; }
ul { margin: 0; padding-left: 1.125rem; max-width: 46rem; }
li + li { margin-top: .25rem; }
a { color: var(--accent); text-underline-offset: .15em; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; border-radius: 3px; }
.lead { margin: .25rem 0 0; font-size: 1.75rem; line-height: 1.25; font-weight: 650; letter-spacing: -.01em; }
.soft { color: var(--soft); }
.small { font-size: .8125rem; }
.status { display: inline-block; padding: .0625rem .5rem; border-radius: 1rem; font-size: .8125rem; font-weight: 600;
  white-space: nowrap; background: var(--faint); color: var(--ink); }
.good { color: var(--good); } .warn { color: var(--warn); } .bad { color: var(--bad); }
.status.good { background: var(--good-wash); } .status.warn { background: var(--warn-wash); }
.status.bad { background: var(--bad-wash); }
.figures { display: flex; flex-wrap: wrap; gap: 1px; margin: 1.5rem 0 0;
  background: var(--line); border: 1px solid var(--line); border-radius: .625rem; overflow: hidden; }
.figures > div { flex: 1 1 8.5rem; padding: .75rem 1rem; background: var(--sheet); }
.figures dt { color: var(--soft); font-size: .8125rem; }
.figures dd { margin: 0; font-size: 1.25rem; font-weight: 600; line-height: 1.35; font-variant-numeric: tabular-nums; }
.figures dd .soft { display: block; font-size: .8125rem; font-weight: 400; }
.facts { display: grid; grid-template-columns: 8.25rem minmax(0, 1fr); gap: .25rem 1.25rem; margin: 0; }
.facts dt { color: var(--soft); } .facts dd { margin: 0; font-variant-numeric: tabular-nums; }
.sheet { background: var(--sheet); border: 1px solid var(--line); border-radius: .625rem; overflow: hidden; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { padding: 0; text-align: left; }
th, td { padding: .5rem .75rem; text-align: left; vertical-align: top; border-top: 1px solid var(--line); }
thead th { border-top: 0; background: var(--faint); font-size: .8125rem; font-weight: 600; color: var(--soft);
  vertical-align: bottom; overflow-wrap: normal; }
tbody th { font-weight: 600; }
th.number, td.number { text-align: right; overflow-wrap: normal; }
.sortable .roomy { min-width: 10rem; }
td .note, th .note { display: block; font-size: .8125rem; font-weight: 400; color: var(--soft); }
thead button { all: unset; cursor: pointer; color: inherit; white-space: nowrap; }
thead button:focus-visible { outline: 3px solid var(--accent); outline-offset: 3px; border-radius: 3px; }
thead button:hover, thead [aria-sort] button { color: var(--ink); }
thead button::after { display: inline-block; width: 1em; margin-left: .25em; content: "\\2195"; opacity: .55; }
thead [aria-sort="ascending"] button::after { content: "\\2191"; opacity: 1; }
thead [aria-sort="descending"] button::after { content: "\\2193"; opacity: 1; }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.meter { display: block; width: 100%; min-width: 5rem; height: .25rem; margin-top: .375rem; }
.meter rect { fill: var(--line); } .meter .part { fill: var(--good); } .meter .bad { fill: var(--bad); }
details { margin-top: .75rem; }
summary { display: flex; flex-wrap: wrap; align-items: baseline; gap: .25rem .75rem; padding: .75rem 1rem;
  cursor: pointer; list-style: none; }
summary::-webkit-details-marker { display: none; }
summary::before { width: .75rem; content: "+"; color: var(--soft); font-weight: 600; }
details[open] > summary::before { content: "\\2212"; }
summary:focus-visible { outline-offset: -3px; }
summary h2 { display: inline; margin: 0; font-size: 1.0625rem; }
.inside { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 1.5rem 2.5rem;
  padding: 1rem 1rem 1.25rem; border-top: 1px solid var(--line); }
.inside > .wide { grid-column: 1 / -1; } .stack { display: grid; gap: 1.5rem; align-content: start; }
.stack > * { min-width: 0; }
.inside table { font-size: .875rem; } .inside th, .inside td { padding: .3125rem .75rem .3125rem 0; }
.inside td:not(:last-child) { min-width: 6rem; } .inside tbody th { min-width: 8.5rem; }
.inside thead th { background: none; } .inside .status { white-space: normal; }
.said { padding-left: .75rem; border-left: 3px solid currentColor; }
.said > * { color: var(--ink); }
pre { margin: 0; padding: .625rem .75rem; background: var(--faint); border-radius: .375rem; white-space: pre-wrap;
  font: .875rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
figure { margin: 0; } figcaption { font-size: .875rem; font-weight: 600; color: var(--soft); }
.chart { display: block; width: 100%; max-width: 30rem; height: auto; }
.chart text { fill: var(--soft); font-size: 11px; font-family: inherit; }
.chart .axis { stroke: var(--line); } .chart .goal { stroke: var(--soft); stroke-dasharray: 4 3; }
.chart .run { fill: none; stroke: var(--accent); stroke-width: 1.75; stroke-linejoin: round; }
.chart circle { fill: var(--accent); stroke: var(--sheet); stroke-width: 1; }
.chart .bad { fill: none; stroke: var(--bad); stroke-width: 2; }
@media (max-width: 46rem) {
  body > header { padding-top: 1.25rem; }
  main, body > header, body > footer { padding-left: .875rem; padding-right: .875rem; }
  .lead { font-size: 1.375rem; }
  table.cards, .cards tbody, .cards tr, .cards th, .cards td { display: block; }
  .cards thead { display: none; } .sortable thead { display: block; }
  .cards thead tr { display: flex; flex-wrap: wrap; background: var(--faint); padding: .375rem .75rem; gap: 0 .75rem; }
  .cards thead th { padding: .375rem 0; background: none; text-align: left; }
  .cards tbody tr { padding: .75rem .875rem; border-top: 1px solid var(--line); }
  .sortable .roomy { min-width: 0; }
  .cards tbody th, .cards tbody td { display: grid; grid-template-columns: 6.75rem minmax(0, 1fr);
    gap: 0 .625rem; padding: .125rem 0; border: 0; text-align: left; }
  .cards tbody [data-label]::before { grid-row: span 9; content: attr(data-label); color: var(--soft);
    font-weight: 400; font-size: .875rem; }
  .cards tbody [data-label] > * { grid-column: 2; justify-self: start; }
  .cards tbody .empty { display: none; }
  .inside { grid-template-columns: minmax(0, 1fr); padding-left: .875rem; padding-right: .875rem; }
  .inside .cards tbody tr { padding: .375rem 0; }
  .inside .cards tbody tr:first-child { border-top: 0; padding-top: 0; }
  .inside .cards tbody th, .inside .cards tbody td { padding: 0; min-width: 0; }
  .facts { grid-template-columns: 6.75rem minmax(0, 1fr); gap: .25rem .625rem; }
}
@media print {
  :root { color-scheme: light; --paper: #fff; --sheet: #fff; --ink: #000; --soft: #444; --line: #bbb; --faint: #f2f2f2;
    --accent: #0a58a8; --good: #1a6b3c; --warn: #8a5200; --bad: #b3261e;
    --good-wash: #fff; --warn-wash: #fff; --bad-wash: #fff; }
  body { font-size: 9.5pt; }
  main, body > header, body > footer { max-width: none; padding-left: 0; padding-right: 0; }
  .status { border: 1px solid currentColor; }
  th, td { padding: .25rem .375rem; } .sortable .roomy { min-width: 8.5rem; } .meter { min-width: 3.5rem; }
  td .note, th .note, .status { font-size: 8pt; }
  thead button::after, summary::before { content: none; }
  details, tr, figure, .figures, .said, li { break-inside: avoid; }
  h2, h3, summary { break-after: avoid; }
  a { color: inherit; text-decoration: none; }
  details::details-content { content-visibility: visible; block-size: auto; }
}
"""

SCRIPT = """
"use strict";
const order = new Intl.Collator(undefined, {numeric: true});
function compared(one, other, isNumber) {
  if (one === other) return 0;
  if (one === "" || other === "") return one === "" ? Infinity : -Infinity;
  return isNumber ? Number(one) - Number(other) : order.compare(one, other);
}
function sortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  const told = document.createElement("p");
  told.className = "unseen";
  told.setAttribute("role", "status");
  table.after(told);
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const way = head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
      const sign = way === "ascending" ? 1 : -1;
      heads.forEach((each) => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", way);
      const isNumber = head.hasAttribute("data-number");
      const keyed = [...table.tBodies[0].rows].map((row) => [row.cells[column].dataset.sort, row]);
      keyed.sort(([one], [other]) => {
        const found = compared(one, other, isNumber);
        // What has no value stays last, whatever the direction.
        return Number.isFinite(found) ? sign * found : Math.sign(found);
      });
      table.tBodies[0].append(...keyed.map(([, row]) => row));
      told.textContent = `Sorted by ${button.textContent}, ${way}.`;
    });
  });
}
function reveal() {
  const target = document.getElementById(location.hash.slice(1));
  if (target instanceof HTMLDetailsElement) target.open = true;
}
let closed = [];
document.querySelectorAll("table.sortable").forEach(sortable);
addEventListener("hashchange", reveal);
addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details:not([open])")];
  closed.forEach((each) => { each.open = true; });
});
addEventListener("afterprint", () => closed.forEach((each) => { each.open = false; }));
reveal();
"""
