"""One version stands in every place that names it, and the changelog has a section for it and one for what comes next."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import stateroom

ROOT = Path(__file__).parents[1]


def test_the_package_and_its_description_name_one_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert project["version"] == stateroom.__version__


def test_the_newest_release_in_the_changelog_is_this_version() -> None:
    sections = re.findall(r"(?m)^## \[(.+?)\](?: - (\S+))?$", (ROOT / "CHANGELOG.md").read_text())

    assert sections[0] == ("Unreleased", "")
    assert sections[1][0] == stateroom.__version__
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d", date) for _, date in sections[1:])


def test_manifests_deploy_this_version() -> None:
    tags = re.findall(r"newTag: (\S+)", (ROOT / "deploy/kubernetes/kustomization.yaml").read_text())

    assert tags == [stateroom.__version__]
