// Keyboard: "/" focuses the search, unless the reader is typing.
document.addEventListener("keydown", (event) => {
  const target = event.target;
  const isTyping = target.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(target.tagName);
  if (event.key !== "/" || isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  document.getElementById("search")?.focus();
});

// Until a page is connected, NiceGUI holds its events back, and may then deliver a click before the change of a field
// that came first. So buttons can be pressed only afterwards: console.css.
const connecting = setInterval(() => {
  if (!window.did_handshake) return;
  clearInterval(connecting);
  // Events that were held back arrive within 10 ms.
  setTimeout(() => document.body.classList.add("connected"), 20);
}, 20);
