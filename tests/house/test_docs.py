"""The documentation: what an operator must know to be safe stands there, and links lead somewhere."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("tests/**/README.md")])
INSTALLATION = (ROOT / "docs" / "installation.md").read_text()


@pytest.mark.parametrize("rule", range(79, 86))
def test_s79_to_s85_the_rules_of_a_safe_deployment_are_documented(rule):
    assert re.search(rf"\(S-{rule}\)|\bS-{rule}\b", INSTALLATION), f"installation.md does not speak of S-{rule}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_files_lead_somewhere(page):
    targets = re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []
