// A page opened from a file may not read the pages it found: search shows titles only.
if (location.protocol === "file:") {
  DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
}

// The widget manager asks MathJax 2's queue to draw a slider's label. MathJax 3, which
// these pages carry, has none; labels without formulas need none.
window.addEventListener("load", () => {
  if (window.MathJax && !window.MathJax.Hub) {
    window.MathJax.Hub = { Queue() {} };
  }
});
