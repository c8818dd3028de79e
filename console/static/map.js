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

  // The picture is wider than a small window, so a chosen part may be out of sight. The page itself stays where it is.
  reveal() {
    const chosen = document.querySelector("svg.map .chosen");
    const frame = chosen?.closest(".map-scroll");
    if (!frame) return;
    const part = chosen.getBoundingClientRect();
    const view = frame.getBoundingClientRect();
    if (part.left < view.left || part.right > view.right) {
      frame.scrollLeft += (part.left + part.right - view.left - view.right) / 2;
    }
  },
};
