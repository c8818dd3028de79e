// Keyboard: "/" focuses the search, unless the reader is typing.
document.addEventListener("keydown", (event) => {
  const target = event.target;
  const isTyping = target.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(target.tagName);
  if (event.key !== "/" || isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  document.getElementById("search")?.focus();
});
