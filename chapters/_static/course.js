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

// A switch in the page's bar shows or hides the code, and is remembered. On a phone code
// is hidden until it is asked for: results and figures are what there is room for.
function codeIsHidden() {
  try {
    const chosen = localStorage.getItem("course-code");
    if (chosen) return chosen === "hidden";
  } catch {} // a page opened from a file may have no storage
  return window.matchMedia("(max-width: 600px)").matches;
}

function setCode(hidden) {
  document.documentElement.dataset.code = hidden ? "hidden" : "shown";
  const button = document.querySelector(".code-switch");
  if (button) {
    button.textContent = hidden ? "Show code" : "Hide code";
    button.setAttribute("aria-pressed", String(!hidden));
  }
}

setCode(codeIsHidden());
document.addEventListener("DOMContentLoaded", () => {
  const bar = document.querySelector(".article-header-buttons");
  if (!bar || !document.querySelector(".bd-article .cell_input")) return;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "code-switch";
  button.addEventListener("click", () => {
    const hidden = document.documentElement.dataset.code !== "hidden";
    setCode(hidden);
    try {
      localStorage.setItem("course-code", hidden ? "hidden" : "shown");
    } catch {}
  });
  bar.prepend(button);
  setCode(codeIsHidden());
});
