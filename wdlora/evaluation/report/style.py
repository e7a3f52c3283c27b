"""The style sheet of the reports: light, dark, and printed in two columns, where folded tables are left out."""

STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5b6776; --line: #d8dee6; --paper: #fff; --mark: #f2f5f9;
  --good: #00795a; --bad: #c0392b; --open: #8a6d00 }
@media screen and (prefers-color-scheme: dark) { :root { --ink: #e6ebf2; --soft: #9aa7b6; --line: #333d49;
  --paper: #12171d; --mark: #1b232c; --good: #3fc79a; --bad: #ff7b6b; --open: #e0bf4a } }
* { box-sizing: border-box }
body { font: 16px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 0 auto;
  max-width: 1020px; padding: 2rem 1.2rem 4rem }
h1 { font-size: 1.8rem; margin: 0 0 .2rem }
h2 { font-size: 1.25rem; margin: 2.8rem 0 .5rem; border-top: 1px solid var(--line); padding-top: 1.2rem }
h2 small { color: var(--soft); font-size: 1rem; font-weight: 400; margin-left: .4rem }
h3 { font-size: 1rem; margin: 1.2rem 0 .2rem }
.lead, figcaption, summary { color: var(--soft) }
.cards { display: grid; grid-template-columns: repeat(4, 1fr); gap: .8rem; margin: 1.4rem 0 }
.card { background: var(--mark); border-radius: 8px; padding: .8rem 1rem; border-top: 5px solid var(--open) }
.card h3 { margin: 0; color: var(--soft); font-weight: 500; font-size: .9rem }
.card p { margin: .4rem 0 0; font-size: .88rem }
.card .short { font-size: 1.15rem; font-weight: 650; color: var(--open); line-height: 1.25 }
.card.good { border-color: var(--good) } .card.good .short { color: var(--good) }
.card.bad { border-color: var(--bad) } .card.bad .short { color: var(--bad) }
.warn { border-left: 4px solid var(--open); background: var(--mark); padding: .5rem 1rem }
figure { margin: 1.2rem 0 } figure img { width: 100%; max-width: 860px; height: auto; display: block }
figcaption { font-size: .88rem; margin-top: .3rem } li { margin: .25rem 0 } summary { cursor: pointer }
.scroll { overflow-x: auto; margin: 1rem 0 }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; min-width: 60% }
th, td { text-align: right; padding: .32rem .7rem; border-bottom: 1px solid var(--line); white-space: nowrap;
  vertical-align: top }
thead th { color: var(--soft); font-weight: 600; border-bottom-width: 2px }
th:first-child, td:first-child, .names2 :is(th, td):nth-child(2), .words :is(th, td):last-child { text-align: left }
.words td:last-child { white-space: normal; min-width: 6.8rem }
.names2 :is(th, td), .wide :is(th, td) { padding-inline: .45rem } .wide th { white-space: normal }
.last td:last-child { color: var(--soft) }
code { background: var(--mark); padding: .1rem .35rem; border-radius: 4px } a { color: inherit }
@media (max-width: 860px) { .cards { grid-template-columns: repeat(2, 1fr) } }
@media (max-width: 480px) { .cards { grid-template-columns: 1fr } }
@page { size: A4; margin: 7mm 10mm }
@media print { body { font-size: 7.5pt; line-height: 1.22; max-width: none; padding: 0 } h1 { font-size: 14pt }
  .lead, p, ul, figure { margin: 0 0 1mm } ul { padding-left: 4mm } li { margin: 0 0 .3mm }
  section { columns: 2; column-gap: 6mm }
  h2 { column-span: all; font-size: 10.5pt; margin: 1.5mm 0 .8mm; padding-top: .8mm } h2 small { font-size: 8.5pt }
  h3 { font-size: 8pt; margin: 1mm 0 } .cards { grid-template-columns: repeat(4, 1fr); gap: 2mm; margin: 2mm 0 }
  .card { padding: 1.2mm 2mm; border-top-width: 3px } .card .short { font-size: 9pt }
  .card h3, .card p, figcaption { font-size: 7.2pt } .card p { margin: .6mm 0 0 }
  .warn { padding: 1mm 2mm; border-left-width: 3px } section img { max-height: 58mm; object-fit: contain }
  .scroll { overflow: visible; margin: 1mm 0 } table { font-size: 7pt; width: 100% } .wide td br { display: none }
  .scroll:has(.wide, .last), section > p:has(+ figure + figure, + .scroll > .wide) { column-span: all }
  th, td { padding: .35mm 1mm } th, .words td:last-child { white-space: normal; min-width: 0 }
  .names2:not(.wide) :is(th, td) { padding-inline: .6mm } details:not([open]) { display: none }
  section, figure, tr, li, .card, .warn { break-inside: avoid } h2, h3 { break-after: avoid }
  .card, .warn, code { print-color-adjust: exact; -webkit-print-color-adjust: exact } }
"""
