//! The page's look. Light or dark as the reader's system is; plots take their colours from here.

pub(super) const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1c2024;--soft:#667079;--paper:#fff;--card:#f5f6f8;--line:#d9dde1;--one:#2463b8;\
--two:#c05621;--good:#18794e;--bad:#c2272d;--open:#8a6100;--calm:#7a5bc0}\
@media(prefers-color-scheme:dark){:root{--ink:#e8eaed;--soft:#98a2ad;--paper:#15181c;--card:#1e2227;--line:#353b42;\
--one:#6ea8fe;--two:#f0a070;--good:#4cc38a;--bad:#ff7b7f;--open:#e5b567;--calm:#b79cf0}}\
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:1180px;margin:2rem auto;\
padding:0 1rem}h1{margin:0}h2{margin:2.2rem 0 .6rem}h3{margin:1rem 0 .2rem;font-size:1em}h3 .soft{font-weight:400}.course{min-width:640px}a{color:inherit}\
.soft,.tick{color:var(--soft);fill:var(--soft)}.tick{font-size:11px}.name{font-size:12px;fill:var(--ink)}\
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.3rem .6rem;\
border-bottom:1px solid var(--line);vertical-align:top}th{font-weight:600;color:var(--soft);font-size:13px;\
vertical-align:bottom}td{font-variant-numeric:tabular-nums}tr:has(+.of-above)>td{border-bottom:0}.of-above>td{padding-top:0}.number{text-align:right}td.number,td>a{white-space:nowrap}\
.valid{color:var(--good);font-weight:600}.invalid{color:var(--bad);font-weight:600}.unknown{color:var(--open);font-weight:600}\
svg{width:100%;height:auto;background:var(--card);border-radius:6px}polyline{fill:none;stroke-width:1.6}\
polygon{fill:var(--one);fill-opacity:.18}.one{stroke:var(--one)}.two{stroke:var(--two)}.grid{stroke:var(--line)}\
.two{stroke-dasharray:5 3}.strong{font-weight:600}.ink-one{fill:var(--one)}.ink-two{fill:var(--two)}\
.label{font-size:11px;font-weight:600}.pale{fill-opacity:.07!important}.edge{stroke-width:1.2}.edge.fault{stroke:var(--bad)}\
.mark{stroke-width:1.4}.mark.deploy{stroke:var(--calm);stroke-dasharray:7 3}.mark.members{stroke:var(--open);stroke-dasharray:1.5 3}\
.bar{fill:var(--one)}.cut{fill-opacity:.4}.bound{stroke:var(--bad);stroke-width:1.5;stroke-dasharray:6 4}\
.shade{fill-opacity:.16}.fault{fill:var(--bad)}.deploy{fill:var(--calm)}.members{fill:var(--open)}\
details{margin:.2rem 0}code{font-size:12px}.rung{border-top:1px solid var(--line);padding:.7rem 0;margin:0}\
.rung>summary{cursor:pointer}.rung>summary h2{display:inline;margin:0;font-size:1.15em}\
key-one,key-two,key-fault,key-deploy,key-members{font-weight:600}key-one{color:var(--one)}key-two{color:var(--two)}\
key-fault{color:var(--bad)}key-deploy{color:var(--calm)}key-members{color:var(--open)}dl{display:grid;\
grid-template-columns:max-content 1fr;gap:.15rem 1rem;margin:1rem 0}dt{font-weight:600}dd{margin:0}";
