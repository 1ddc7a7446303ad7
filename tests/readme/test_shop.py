"""The example shop marks its mistakes on purpose, and lists them."""

import re

from tests.support.mistakes import SHOP, mistakes

MARK = re.compile(r"^ *# On purpose, \"(.+?)\": (.+)\n *# Right: (.+\.)$", re.MULTILINE)


def test_each_mistake_is_marked_and_listed():
    """The marks in the code are the rows of the list, in the same modules; each says what right code does."""
    sources = {path.name: path.read_text() for path in SHOP.glob("*.py")}
    marked = [(name, module) for module, text in sources.items() for name, _, _ in MARK.findall(text)]
    assert sorted(marked) == sorted((mistake.name, mistake.module) for mistake in mistakes())
    assert len(marked) == sum(text.count("# On purpose") for text in sources.values())


def test_the_shop_knows_nothing_of_its_demo():
    """The application imports nothing of what it is put through: it can be copied alone."""
    sources = [path.read_text() for path in SHOP.glob("*.py")]
    imported = [line for text in sources for line in re.findall(r"^ *(?:from|import) .*", text, re.MULTILINE)]
    assert len(imported) > 20
    assert [line for line in imported if "demo" in line] == []
