"""The chart is well-formed SVG without external files, and the length of a bar is its value."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from bench.chart import Bar, bars

SVG = "{http://www.w3.org/2000/svg}"


def drawn(*given: Bar) -> ET.Element:
    return ET.fromstring(bars('CPU of "a check" < 100', "us & more", given))


def test_bars_are_in_proportion_and_spreads_reach_from_least_to_most() -> None:
    svg = drawn(Bar("bare", 30, 30, 30, "floor"), Bar("peer", 120, 90, 150, "peer"))
    floor, peer = (rect for rect in svg.iter(f"{SVG}rect") if rect.get("class") != "paper")
    (line,) = svg.iter(f"{SVG}line")

    assert float(peer.attrib["width"]) == pytest.approx(4 * float(floor.attrib["width"]), rel=0.01)
    assert float(line.attrib["x2"]) - float(line.attrib["x1"]) == pytest.approx(2 * float(floor.attrib["width"]), rel=0.01)


def test_everything_stays_within_the_picture() -> None:
    svg = drawn(*(Bar("row", value, value / 2, value * 2, "own") for value in (1, 50, 100_000)))
    _, _, width, height = map(float, svg.attrib["viewBox"].split())

    for rect in svg.iter(f"{SVG}rect"):
        assert float(rect.get("x", 0)) + float(rect.attrib["width"]) <= width
        assert float(rect.get("y", 0)) + float(rect.attrib["height"]) <= height


def test_text_is_escaped_and_nothing_is_fetched() -> None:
    text = bars('CPU of "a check" < 100', "us & more", [Bar("<b>", 1, 1, 1, "own")])

    assert "&lt;b&gt;" in text
    assert "us &amp; more" in text
    assert text.count("http") == 1  # The name of SVG itself.


def test_it_follows_a_dark_theme() -> None:
    assert "prefers-color-scheme: dark" in bars("", "", [])
