// A page opened from a file may not read the pages it found: search shows titles only.
if (location.protocol === "file:") {
  DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
}

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

// Exercises that are answered on the page. What to reply stands in a table that the
// notebook's own check has filled, so that here it only has to be looked up.
function placeOf(field, control) {
  if (field.kind === "tick") return control.checked ? 1 : 0;
  if (field.kind === "choice") return control.selectedIndex - 1;
  const value = Number(control.value.trim().replace(",", ".") || "empty");
  if (Number.isNaN(value)) return control.value.trim() ? NaN : -1;
  if (field.kind === "grid") {
    const [low, high, decimals] = field.grid;
    const steps = Math.round((high - low) * 10 ** decimals);
    if (value < low) return steps + 1;
    if (value > high) return steps + 2;
    return Math.round((value - low) * 10 ** decimals);
  }
  const near = (point) => Math.abs(value - point) <= 0.02 * Math.abs(point);
  const exact = field.points.indexOf(value);
  const found = exact >= 0 ? exact : field.points.findIndex(near);
  return found >= 0 ? found : field.points.length;
}

function sizeOf(field) {
  if (field.kind === "tick") return 2;
  if (field.kind === "choice") return field.options.length;
  if (field.kind === "points") return field.points.length + 1;
  const [low, high, decimals] = field.grid;
  return Math.round((high - low) * 10 ** decimals) + 3;
}

function lookUp(runs, place) {
  for (const [count, reply] of runs) {
    if (place < count) return reply;
    place -= count;
  }
}

function replyTo(about, controls) {
  const places = about.fields.map((field, i) => placeOf(field, controls[i]));
  if (places.some(Number.isNaN)) return "Not quite: a number is asked for, such as 0.5.";
  const ticks = about.fields.every((field) => field.kind === "tick");
  if (places.includes(-1) || (ticks && !places.includes(1))) {
    return "Not yet: " + (ticks ? "tick at least one." : "fill in every field.");
  }
  if (about.each) {
    const said = places.map((place, i) => lookUp(about.each[i], place));
    const wrong = said.find((reply) => !about.replies[reply].startsWith("Right"));
    return about.replies[wrong ?? said[0]];
  }
  const place = places.reduce((sum, one, i) => sum * sizeOf(about.fields[i]) + one, 0);
  return about.replies[lookUp(about.states, place)];
}

document.addEventListener("submit", (event) => {
  if (!event.target.matches(".answer-form")) return;
  event.preventDefault();
  const form = event.target;
  const controls = [...form.querySelectorAll("input, select")];
  const reply = replyTo(JSON.parse(form.dataset.about), controls);
  const place = form.querySelector(".answer-reply");
  place.textContent = reply;
  place.dataset.right = String(reply.startsWith("Right"));
});
