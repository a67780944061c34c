"""The style sheet of the HTML report."""

CSS = """
:root{--paper:#fcfbf8;--card:#fff;--ink:#20262b;--soft:#5c666d;--line:#e4e0d8;--track:#edeae3;--bar:#a9b4b8;
--accent:#0f6b66;--good:#1d7a4f;--bad:#b0412c;--unsure:#8f6a10;--whisker:#20262b}
@media (prefers-color-scheme:dark){:root{--paper:#14181a;--card:#1a1f22;--ink:#e4e7e6;--soft:#9aa5a9;--line:#2c3438;
--track:#262d31;--bar:#5c6a70;--accent:#4db3a8;--good:#5cc08d;--bad:#e58a72;--unsure:#d9b04f;--whisker:#f1f3f2}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);
font:1.0625rem/1.6 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
main{max-width:46rem;margin:0 auto;padding:3.5rem 1.5rem 5rem}
header{border-left:5px solid var(--soft);padding:.1rem 0 .1rem 1.4rem;margin-bottom:3.5rem}
header.good{border-color:var(--good)}header.bad{border-color:var(--bad)}header.unsure{border-color:var(--unsure)}
header.good h1{color:var(--good)}header.bad h1{color:var(--bad)}header.unsure h1{color:var(--unsure)}
.run{margin:0;color:var(--soft);font-size:.9rem;overflow-wrap:anywhere}
h1,h2{font-family:ui-serif,"Iowan Old Style",Palatino,Georgia,"Times New Roman",serif;font-weight:600;line-height:1.2;
text-wrap:balance}
h1{font-size:2.6rem;margin:.2rem 0 .8rem;letter-spacing:-.01em}
h2{font-size:1.5rem;margin:0 0 1.1rem}
.lead{font-size:1.25rem;line-height:1.5;margin:0;overflow-wrap:anywhere}
section{margin:0 0 3.25rem}
p,ul,dl{margin:0 0 1rem}p,li,td{overflow-wrap:anywhere}
ul{padding-left:1.2rem}li{margin:.3rem 0}
.origin{display:block;margin:.35rem 0 1.4rem;color:var(--soft);font-size:.8125rem;line-height:1.4;font-weight:400}
header .origin{margin:.7rem 0 0}
.origin b{font-weight:600;border:1px solid var(--line);border-radius:3px;padding:.05em .4em;margin-right:.25em}
figure{margin:0 0 2rem}figcaption,caption{font-weight:600;text-align:left;margin:0 0 .6rem;padding:0}
caption{padding-bottom:.5rem}figcaption .origin{margin:.15rem 0 .9rem}
section>:last-child{margin-bottom:0}.over{margin-bottom:.2rem;color:var(--soft)}
.small{display:inline-block;width:47.4%;margin-right:4%;vertical-align:top}.small:nth-of-type(odd){margin-right:0}
.drawing{display:block;overflow:visible}
svg text{font-size:14px;fill:var(--ink);paint-order:stroke;stroke:var(--paper);stroke-width:4px;stroke-linejoin:round}
svg .tick{font-size:12px;fill:var(--soft)}svg .value{font-variant-numeric:tabular-nums}
svg .label.accent{font-weight:700}
.track{fill:var(--track)}.bar{fill:var(--bar)}.bar.accent{fill:var(--accent)}
svg .key{font-size:12px;font-weight:600}svg .key.train{fill:var(--accent)}svg .key.evaluation{fill:var(--bad)}
.grid{stroke:var(--line)}.zero{stroke:var(--soft);stroke-dasharray:3 3}
.cell{fill:var(--bad)}.cell.right{fill:var(--accent)}
.whisker{stroke:var(--whisker);stroke-width:1.5}
.interval{stroke:var(--soft);stroke-width:4;stroke-linecap:round}.dot{fill:var(--soft);stroke:var(--paper);stroke-width:1.5}
.interval.good{stroke:var(--good)}.interval.bad{stroke:var(--bad)}.interval.unsure{stroke:var(--unsure)}
.dot.good{fill:var(--good)}.dot.bad{fill:var(--bad)}.dot.unsure{fill:var(--unsure)}
polyline{fill:none;vector-effect:non-scaling-stroke;stroke-linejoin:round}
.raw{stroke:var(--soft);stroke-width:1;opacity:.5}.smooth{stroke:var(--accent);stroke-width:2.25}
.check{fill:var(--paper);stroke:var(--bad);stroke-width:2}
table{width:100%;border-collapse:collapse;font-size:.9375rem;line-height:1.45;margin:0 0 1.8rem}
table+.origin{margin-top:-1.5rem}
th{font-size:.8125rem;font-weight:600;color:var(--soft);text-align:left;vertical-align:bottom}
th,td{padding:.5rem .9rem .5rem 0;border-bottom:1px solid var(--line)}th:last-child,td:last-child{padding-right:0}
td{vertical-align:top;min-width:6.2rem}td.number{min-width:0;white-space:nowrap}.number{text-align:right;font-variant-numeric:tabular-nums}
dt{color:var(--soft);font-size:.9rem}
dd{margin:.2rem 0 1rem;background:var(--card);border:1px solid var(--line);border-radius:6px;padding:.6rem .8rem;
overflow-x:auto}
code{font:.875rem/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;white-space:pre-wrap;overflow-wrap:anywhere}
@media screen and (max-width:38rem){main{padding:2rem 1.1rem 3rem}h1{font-size:2rem}.lead{font-size:1.125rem}
header{padding-left:1rem;margin-bottom:2.5rem}.small{display:block;width:100%;margin-right:0}svg text{font-size:13px}
.wide thead{display:none}.wide,.wide caption,.wide tbody,.wide tr,.wide td{display:block;width:100%}
.wide tr{border-bottom:1px solid var(--line);padding:.6rem 0}
.wide td,.wide td.number{white-space:normal;border:0;padding:.12rem 0;text-align:left;display:flex;gap:.8rem}
.wide td::before{content:attr(data-label);flex:0 0 7.2rem;color:var(--soft);font-size:.8125rem;line-height:1.65}}
@media print{:root{--paper:#fff;--card:#fff;--ink:#000;--soft:#444;--line:#ccc;--track:#eee;--bar:#999;--accent:#0f6b66;
--good:#1d7a4f;--bad:#b0412c;--unsure:#8f6a10;--whisker:#000}
@page{margin:16mm}body{font-size:10.5pt}main{max-width:none;padding:0}section{margin-bottom:2rem}
figure,tr,header,dd{break-inside:avoid}h2,caption,figcaption{break-after:avoid}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
"""
