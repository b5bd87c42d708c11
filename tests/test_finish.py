"""What is done to the pages after Sphinx: each rule on the HTML that it is for."""

import json
import re
import struct
import zlib

import pytest

from tools import finish


def page(tmp_path, name="07_fine_tune", url=""):
    return finish.Page(name, finish.Site(tmp_path, url))


def png(path, width, height):
    """Write a PNG of one grey: only its size matters here."""
    rows = zlib.compress((b"\0" + b"\x80" * width) * height)
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        (b"IDAT", rows),
        (b"IEND", b""),
    ]
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(data)) + kind + data
            + struct.pack(">I", zlib.crc32(kind + data))
            for kind, data in parts
        )
    )  # fmt: skip


@pytest.mark.parametrize(
    ("tag", "signs", "display"),
    [("span", (r"\(", r"\)"), "inline"), ("div", (r"\[", r"\]"), "block")],
)
def test_a_formula_becomes_mathml_that_holds_its_letters(tmp_path, tag, signs, display):
    before, after = signs
    text = (
        f'<{tag} class="math notranslate nohighlight">{before}'
        rf"\frac{{x}}{{\sqrt{{\sigma^2 &lt; 1}}}}{after}</{tag}>"
    )
    done = finish.formulas(text, page(tmp_path))
    assert f'display="{display}"' in done
    assert "\\" not in done
    assert re.findall(r"<m[io]>(.*?)</m", done) == ["x", "&#x003C3;", "&#x0003C;"]
    assert "<mfrac>" in done and "<msqrt>" in done and "<msup>" in done


def test_scripts_that_the_book_does_not_need_are_gone_and_its_own_stay(tmp_path):
    text = (
        '<script src="_static/vendor/fontawesome/6/js/all.min.js"></script>'
        '<script defer="defer" src="https://cdn.x/npm/mathjax@3/tex.js"></script>'
        "<script>window.MathJax = {}</script>"
        '<script src="_static/course.js"></script>'
    )
    done = finish.unwanted(text, page(tmp_path))
    assert done == '<script src="_static/course.js"></script>'


def test_no_page_leads_into_the_solutions(tmp_path):
    on = '<a class="right-next" href="{}">on</a>'
    into, next_one = on.format("solutions/01.html"), on.format("02.html")
    assert finish.unwanted(into, page(tmp_path)) == ""
    assert finish.unwanted(next_one, page(tmp_path)) == next_one
    around = f'<footer><div class="prev-next-area">{next_one}</div></footer>'
    solution = page(tmp_path, "solutions/01")
    assert finish.unwanted(around, solution) == "<footer></footer>"


def test_a_figure_has_its_size_and_only_the_first_is_loaded_at_once(tmp_path):
    png(tmp_path / "a.png", 440, 220)
    (tmp_path / "b.svg").write_text('<svg width="300pt" height="150pt"></svg>')
    text = '<article><img alt="a" src="a.png" /><img alt="b" src="b.svg" />'
    done = re.findall(r"<img.*?>", finish.figures(text, page(tmp_path)))
    assert 'class="slices" width="192" height="96"' in done[0]
    assert 'class="drawing" width="400" height="200"' in done[1]
    assert "--legible: 333px" in done[1]
    assert ["lazy" in image for image in done] == [False, True]


def test_a_page_says_in_its_head_what_it_is_about(tmp_path):
    text = (
        "<title>7 Tune &#8212; Book</title><article><p>Short.</p>"
        "<p>How a <em>network</em> &amp; its head are made to see something new.</p>"
    )
    done = finish.head(text, page(tmp_path))
    words = "How a network &amp; its head are made to see something new."
    assert f'<meta name="description" content="{words}" />' in done
    assert f'<meta property="og:description" content="{words}" />' in done
    assert "canonical" not in done and "og:image" not in done
    done = finish.head(text, page(tmp_path, url="https://a.org/b/"))
    assert '<link rel="canonical" href="https://a.org/b/07_fine_tune.html" />' in done
    assert 'content="https://a.org/b/_static/social_card.png"' in done
    first = finish.head(text, page(tmp_path, "index"))
    assert f"<title>{finish.TITLE}</title>" in first


def test_every_chapter_leads_to_the_box_about_one_s_own_scan(tmp_path):
    text = "<article><h1>Tune</h1><p>Words.</p>"
    link = 'href="index.html#own-scan"'
    for name in ("07_fine_tune", "mri_in_15_minutes"):
        done = finish.own_scan(text, page(tmp_path, name))
        assert done.index("</h1>") < done.index(link) < done.index("Words.")
    for name in ("index", "setup", "solutions/07_fine_tune"):
        assert finish.own_scan(text, page(tmp_path, name)) == text


def test_what_people_search_for_is_an_entry_of_the_search(tmp_path):
    names = sorted({name for name, _ in finish.SEARCHED.values()})
    before = {"docnames": names, "indexentries": {"my gpu": [[0, "other", False]]}}
    text = finish.searched(f"Search.setIndex({json.dumps(before)})")
    found = json.loads(text[text.index("(") + 1 : -1])["indexentries"]
    assert found["my gpu"] == [
        [0, "other", False],
        [names.index("setup"), "your-gpu", True],
    ]
    assert set(found) == set(finish.SEARCHED)


def test_a_site_with_an_address_has_a_sitemap_and_a_page_for_what_is_lost(tmp_path):
    docnames = [name for name, _ in finish.SEARCHED.values()]
    index = json.dumps({"docnames": docnames, "indexentries": {}})

    def made(url):
        folder = tmp_path / (url[-4:-1] or "none")
        folder.mkdir()
        (folder / "searchindex.js").write_text(f"Search.setIndex({index})")
        (folder / "index.html").write_text("<title>A</title><article><p>b</p>")
        finish.finish(folder, ["index"], url)
        return folder

    assert not (made("") / "sitemap.xml").exists()
    folder = made("https://a.org/brain/")
    assert (
        "<loc>https://a.org/brain/index.html</loc>"
        in (folder / "sitemap.xml").read_text()
    )
    assert 'href="https://a.org/brain/index.html"' in (folder / "404.html").read_text()


def test_what_may_scroll_is_reached_by_keyboard_and_no_header_is_empty(tmp_path):
    text = '<table class="dataframe"><tr><th></th><th>a</th></tr></table>'
    done = finish.tables(text, page(tmp_path))
    assert done == (
        '<table tabindex="0" class="dataframe"><tr><td></td><th>a</th></tr></table>'
    )
    formula = r'<div class="math notranslate nohighlight">\[x\]</div>'
    assert '<math tabindex="0" ' in finish.formulas(formula, page(tmp_path))
