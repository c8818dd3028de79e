// Map of the calls: shows new looks of its parts, and keeps its place when the reader chooses another part.
"use strict";

window.solo60Map = {
  // Each look is [key, classes, texts]. The numbers of a line are in an element of their own, above all lines.
  show(looks) {
    for (const [key, classes, texts] of looks) {
      for (const id of [key, `${key}t`]) {
        const part = document.getElementById(id);
        if (part === null) continue;
        if (part.getAttribute("class") !== classes) part.setAttribute("class", classes);
        part.querySelectorAll("tspan").forEach((span, index) => {
          if (span.textContent !== texts[index]) span.textContent = texts[index];
        });
      }
    }
  },

  // The picture is wider than a small window, so a chosen part may be out of sight.
  reveal() {
    document.querySelector("svg.map .chosen")?.scrollIntoView({ block: "nearest", inline: "center" });
  },
};
