"""When the note is written that all drills have passed, and which files count as touched by them."""

from __future__ import annotations

from pathlib import Path

import pytest

from .drills.pass_note import PassNote
from .drills.touched import ROOT, digest, touched

pytest_plugins = ["pytester"]

PASSES = "def test_one(): pass\ndef test_two(): pass\n"


class Notes:
    """A folder of drills, and what is noted of it."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self._pytester = pytester
        self.folder = pytester.mkdir("drills")
        self.noted: list[str] = []
        self.write("test_a.py", PASSES)
        self.write("test_b.py", PASSES)

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def digest(self) -> str:
        return "".join(path.read_text() for path in sorted(self.folder.glob("*.py")))

    def run(self, *arguments: str) -> None:
        plugin = PassNote(self.folder, self.digest, self.noted.append)
        self._pytester.inline_run("-p", "no:cacheprovider", *arguments, plugins=[plugin])


@pytest.fixture
def notes(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Notes:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # it takes seconds to load them for each session
    return Notes(pytester)


def test_the_session_in_which_all_passed_writes_the_note(notes: Notes) -> None:
    notes.run("drills")
    assert notes.noted == [notes.digest()]


@pytest.mark.parametrize("arguments", [[], ["drills", "test_other.py::test_it"]])
def test_a_failure_elsewhere_does_not_matter(notes: Notes, pytester: pytest.Pytester, arguments: list[str]) -> None:
    pytester.makepyfile(test_other="def test_it(): assert False")
    notes.run(*arguments)
    assert len(notes.noted) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["drills/test_a.py"],
        ["drills", "-k", "one"],
        ["drills/test_a.py::test_one", "drills/test_a.py::test_two", "drills/test_b.py"],
    ],
)
def test_a_part_of_them_writes_none(notes: Notes, arguments: list[str]) -> None:
    notes.run(*arguments)
    assert notes.noted == []


@pytest.mark.parametrize(
    "text",
    [
        "def test_one(): assert False",
        "import pytest\ndef test_one(): pytest.skip('no tool')",
        "import pytest\n@pytest.fixture\ndef broken():\n    yield\n    raise OSError\ndef test_one(broken): pass",
        "import nothing_of_that_name",
    ],
    ids=["failed", "skipped", "failed at its end", "not collected"],
)
def test_one_that_did_not_pass_writes_none(notes: Notes, text: str) -> None:
    notes.write("test_b.py", text)
    notes.run("drills")
    assert notes.noted == []


def test_a_file_that_changed_meanwhile_writes_none(notes: Notes) -> None:
    notes.write("test_b.py", "from pathlib import Path\ndef test_one(): Path(__file__).write_text('')")
    notes.run("drills")
    assert notes.noted == []


def test_all_of_the_package_counts_but_its_pages_and_the_doctor() -> None:
    names = {str(path.relative_to(ROOT)) for path in touched()}
    rooms = {name.split("/")[2] for name in names if name.startswith("src/stateroom/")}
    assert {"errors.py", "settings", "telemetry", "sessions", "backend", "migrations"} <= rooms
    assert not rooms & {"web", "doctor"}
    assert {"requirements.txt", "sentinel.conf", "deploy/redis.conf", "deploy/users.acl", "tests/drills/conftest.py"} <= names
    assert "tests/drills/passed.txt" not in names


def test_the_digest_is_of_names_and_contents(tmp_path: Path) -> None:
    def digest_of(name: str, text: str) -> str:
        folder = tmp_path / name / text
        file = folder / "src/stateroom" / name
        file.parent.mkdir(parents=True)
        file.write_text(text)
        return digest(folder)

    assert len({digest_of("one.py", "x"), digest_of("one.py", "y"), digest_of("two.py", "x")}) == 3
    assert digest_of("one.css", "x") == digest_of("one.css", "y")
