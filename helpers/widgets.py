"""Interactive pieces that work in a built page, in JupyterLab and in Colab alike.

None needs a kernel or the network once the page is made.
"""

import base64
import html
import io
import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from uuid import uuid4

import matplotlib.pyplot as plt
from IPython.display import HTML
from jupyterquiz.dynamic import loader, renderer
from matplotlib.figure import Figure

from helpers.config import CourseError

# Dark text on light cards, and the other way round where the package writes on colour:
# every pair has a contrast of at least 4.5 to 1 on light and dark pages.
QUIZ_COLOURS = {
    "--jq-multiple-choice-bg": "#0b4f7d",
    "--jq-many-choice-bg": "#0b4f7d",
    "--jq-numeric-bg": "#0b4f7d",
    "--jq-string-bg": "#0b4f7d",
    "--jq-mc-button-bg": "#fafafa",
    "--jq-mc-button-border": "#6b6b6b",
    "--jq-mc-button-inset-shadow": "#555555",
    "--jq-numeric-input-bg": "#ffffff",
    "--jq-numeric-input-label": "#101010",
    "--jq-numeric-input-shadow": "#999999",
    "--jq-incorrect-color": "#9a3412",
    "--jq-correct-color": "#00664a",
    "--jq-text-color": "#ffffff",
    "--jq-link-color": "#9ad0fa",
}

QUIZ_STYLE = """
<style>
#ID .Quiz, #ID .Feedback {font-size: 1rem; line-height: 1.4}
#ID .Feedback:not(:empty) {background: #ffffff; padding: .4rem .8rem;
  border: 1px solid #6b6b6b; border-radius: .3rem; text-align: left}
#ID .Feedback.correct:not(:empty)::before {content: "\\2713\\00a0"}
#ID .Feedback.incorrect:not(:empty)::before {content: "\\2717\\00a0"}
#ID .MCButton:focus-within {outline: 3px solid #e69f00; outline-offset: 2px}
#ID .MCButton {position: relative}
#ID .MCButton input {position: absolute; opacity: 0; width: 1px; height: 1px}
#ID .InpLabel {float: none; color: inherit; font-size: 1rem}
#ID .Input-text {border: 1px solid #6b6b6b}
#ID .Input-text:not(.correctButton, .incorrectButton) {color: #101010}
</style>
"""

# jupyterquiz throws where MathJax is still loading after half a second, and fetches it
# from elsewhere where it finds only its settings. It therefore gets a stand-in that
# waits for the page's own MathJax; without one, formulas stay as text.
QUIZ_SCRIPT = """
<script>
(function () {
  const page = window;
  const MathJax = {
    version: "3",
    typeset: function (elements, tries = 100) {
      const startup = page.MathJax && page.MathJax.startup;
      if (startup && startup.promise) {
        startup.promise.then(() => page.MathJax.typesetPromise(elements));
      } else if (tries > 0 && page.MathJax) {
        setTimeout(() => MathJax.typeset(elements, tries - 1), 200);
      }
    }
  };
  const console = Object.assign({}, page.console, {log: function () {}});
  SCRIPT
  (function name(tries) {
    const wrappers = document.querySelectorAll("#ID .Quiz");
    if (wrappers.length === 0 && tries > 0) {
      setTimeout(() => name(tries - 1), 100);
    }
    wrappers.forEach(function (wrapper) {
      const question = wrapper.firstElementChild.firstElementChild;
      const answers = wrapper.querySelector(".Answer");
      const text = wrapper.querySelector(".Input-text");
      answers.setAttribute("role", text ? "group" : "radiogroup");
      answers.setAttribute("aria-labelledby", question.id);
      if (text) { text.setAttribute("aria-labelledby", question.id); }
      wrapper.querySelector(".Feedback").setAttribute("role", "status");
      // Arrows move among the answers; only space, enter or a click gives one.
      wrapper.addEventListener("keydown", function (event) {
        const options = [...wrapper.querySelectorAll(".MCButton input")];
        const place = options.indexOf(document.activeElement);
        if (place < 0) { return; }
        if (event.key === "Enter") { options[place].click(); }
        const steps = {ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1};
        const step = steps[event.key];
        if (!step) { return; }
        event.preventDefault();
        options[(place + step + options.length) % options.length].focus();
      }, true);
    });
  })(100);
})();
</script>
"""


def choice(question: str, right: tuple[str, str], *wrong: tuple[str, str]) -> dict:
    """Return a question for `quiz` with one right answer; each is (text, feedback)."""
    answers = [
        {"answer": text, "correct": (text, feedback) == right, "feedback": feedback}
        for text, feedback in (right, *wrong)
    ]
    return {"question": question, "type": "multiple_choice", "answers": answers}


def quiz(questions: list[dict]) -> HTML:
    """Return a quiz that answers clicks and keys without a kernel or the network.

    `questions`: from `choice`, or in jupyterquiz's own form, which also knows questions
    with several right answers and with a number to type. Text is HTML, with formulas
    between dollar signs; the answers are shuffled whenever the page is loaded.
    """
    name = "quiz" + uuid4().hex
    start, static, url = loader.load_questions_script(questions, name)
    script = renderer.build_script(start, static, url, name, load_js=True)
    # "</" inside a script would end it; "<\\/" means the same to JavaScript.
    script = script.replace("</", "<\\/")
    box = renderer.render_div(name, False, True, False, len(questions), 600, 8, "left")
    return HTML(
        renderer.build_styles(name, QUIZ_COLOURS)
        + QUIZ_STYLE.replace("#ID", f"#{name}")
        + f"{box}</div>"
        + QUIZ_SCRIPT.replace("#ID", f"#{name}").replace("SCRIPT", script)
    )


def _png(figure: Figure) -> str:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110)
    plt.close(figure)
    return base64.b64encode(file.getvalue()).decode()


# Acts on its own <figure> only, so that several sliders share a page.
SLIDE = (
    "const box = this.closest('figure');"
    "box.querySelectorAll('img').forEach((image, i) => "
    "image.style.display = i == this.value ? 'block' : 'none');"
    "const text = box.querySelectorAll('img')[this.value].dataset.value;"
    "box.querySelector('output').textContent = text;"
    "this.setAttribute('aria-valuetext', text);"
)


def slider_frames(
    draw: Callable[[float], Figure],
    values: Sequence[float],
    label: str,
    describe: Callable[[float], str],
    start: int = 0,
) -> HTML:
    """Return figures behind a slider that moves them without a kernel.

    `draw`: value -> Figure; `values`: one a frame; `label`: what the slider sets;
    `describe`: value -> the frame's alt text; `start`: index of the first frame shown.
    Frames are stored in the page, some 20 kB each: keep to about 20.
    """
    images = []
    for i, value in enumerate(values):
        images.append(
            f'<img alt="{html.escape(describe(value))}" data-value="{value:g}" '
            f'style="display: {"block" if i == start else "none"}; max-width: 100%" '
            f'src="data:image/png;base64,{_png(draw(value))}">'
        )
    # An <output> inside the label would take the label away from the slider.
    return HTML(
        '<figure style="margin: 1em 0">'
        f"<label>{html.escape(label)}: "
        f'<input type="range" min="0" max="{len(values) - 1}" step="1" '
        f'value="{start}" aria-valuetext="{values[start]:g}" oninput="{SLIDE}" '
        'style="width: min(100%, 24em); vertical-align: middle"></label> '
        f"<output>{values[start]:g}</output>" + "".join(images) + "</figure>"
    )


# Acts on its own <figure> only, as SLIDE does: looks the place of what is chosen up.
LOOK_UP = (
    "const box = this.closest('figure'); let place = 0;"
    "box.querySelectorAll('fieldset').forEach(set => {"
    "const range = set.querySelector('input[type=range]');"
    "const radios = [...set.querySelectorAll('input[type=radio]')];"
    "const at = range ? Number(range.value) : radios.findIndex(one => one.checked);"
    "if (range) { const words = JSON.parse(range.dataset.words);"
    "set.querySelector('b').textContent = words[at];"
    "range.setAttribute('aria-valuetext', words[at]); }"
    "place = place * Number(set.dataset.size) + at; });"
    "box.querySelector('output').textContent = JSON.parse(box.dataset.said)[place];"
)
REVEAL = (
    "const box = this.closest('figure'); box.querySelector('.told').hidden = false;"
    "this.hidden = true;"
)
MOST_STATES = 2000


def explore(
    describe: Callable[..., str],
    start: Mapping[str, object],
    guess: str = "",
    **choices: Sequence,
) -> HTML:
    """Return a text that follows what a reader chooses, without a kernel.

    `choices`: by name, the values to choose from, words as buttons and numbers on a
    slider; `describe(**chosen)`: what is said of one choice of each; `start`: what is
    chosen first, and what stands in print. `guess`: a question that comes before the
    text, which a button then shows. All texts are stored in the page: at most 2,000.
    """
    number = math.prod(map(len, choices.values()))
    if number > MOST_STATES:
        raise CourseError(
            f"{number} texts are too many for a page; offer fewer values."
        )
    said = [
        describe(**dict(zip(choices, values, strict=True)))
        for values in itertools.product(*choices.values())
    ]
    sets, place = [], 0
    for name, values in choices.items():
        first = list(values).index(start[name])
        place = place * len(values) + first
        sets.append(_field(name, values, first))
    data = html.escape(json.dumps(said, ensure_ascii=False))
    asked = (
        f'<p>{html.escape(guess)} <input type="text" size="8" aria-label="your guess"> '
        f'<button type="button" onclick="{REVEAL}">Show</button></p>'
        if guess
        else ""
    )
    return HTML(
        "<style>@media print {.told[hidden] {display: block !important}}</style>"
        f'<figure class="explore" style="margin: 1em 0" data-said="{data}">{asked}'
        f'<div class="told"{" hidden" if guess else ""}>{"".join(sets)}'
        '<output role="status" style="display: block; font-family: monospace; '
        f'overflow-x: auto; white-space: pre">{html.escape(said[place])}</output>'
        "</div></figure>"
    )


def _field(name: str, values: Sequence, first: int) -> str:
    """Return one control of `explore`: a slider for numbers, buttons for words."""
    words = [f"{v:g}" if isinstance(v, int | float) else str(v) for v in values]
    label = html.escape(name.replace("_", " "))
    if isinstance(values[0], str):
        group = "explore" + uuid4().hex
        inside = "".join(
            f'<label style="margin-right: 1em"><input type="radio" name="{group}" '
            f'onchange="{LOOK_UP}"{" checked" if i == first else ""}> '
            f"{html.escape(word)}</label>"
            for i, word in enumerate(words)
        )
        inside = f"<legend style='float: none; font-size: 1em'>{label}</legend>{inside}"
    else:
        shown = html.escape(json.dumps(words))
        inside = (
            f'<label>{label}: <input type="range" min="0" max="{len(words) - 1}" '
            f'value="{first}" data-words="{shown}" aria-valuetext="{words[first]}" '
            f'oninput="{LOOK_UP}" style="vertical-align: middle; '
            f'width: min(100%, 20em)"></label> <b>{words[first]}</b>'
        )
    return f'<fieldset data-size="{len(words)}">{inside}</fieldset>'
