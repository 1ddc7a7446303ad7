"""The token that is made: for all workers, in a file of this user's alone, and said once."""

import os
import re
import stat
import tempfile
from pathlib import Path

import pytest

import afterword
from afterword._console import tokens
from tests.support.asgi import ask, with_header
from tests.support.console import PATH
from tests.support.in_process import InProcessStage

SAID = re.compile(r"#token=([\w-]{43})$")
TAKE = "from afterword._console import tokens; found = tokens.shared({!r}); print(found.token, found.is_news)"


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Let the folder of tokens be this test's."""
    monkeypatch.delenv("AFTERWORD_CONSOLE_TOKEN", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / f"afterword-{os.geteuid()}"


def fresh(code: str, **environment: str) -> list[str]:
    """Run code in a process of its own, and return the words that it prints."""
    from tests.support.interpreter import run_fresh  # here, or the whole module would be slow

    return run_fresh(code, **environment)[0].split()


def lines_of(stage: InProcessStage) -> list[dict]:
    """Return the lines that say where the console is."""
    return stage.lines("afterword.console")


def is_private(path: Path) -> bool:
    """Return whether only this user can read it."""
    return not stat.S_IMODE(path.stat().st_mode) & 0o077


def test_the_address_is_said_once_with_its_token(stage: InProcessStage, folder: Path):
    """The first request makes the token and says the address; it lets in, and is never said again."""
    app = stage.app(console=PATH)
    assert lines_of(stage) == []
    for _ in range(3):
        assert ask(app, f"{PATH}/").status == 401
    [line] = lines_of(stage)
    assert line["log_level"] == "warning"
    token = SAID.search(line["path"])[1]
    assert line["path"].startswith(f"{PATH}/#token=")
    assert ask(app, f"{PATH}/", headers=with_header("authorization", f"Bearer {token}")).status == 200
    rest = [str(entry) for entry in stage.accounts.lines.entries if entry is not line]
    assert not any(token in text for text in rest)
    [file] = folder.iterdir()
    assert token in file.read_text()
    assert is_private(folder)
    assert is_private(file)


def test_the_address_has_the_root_path(stage: InProcessStage):
    """Behind a proxy, the address is the one that a browser needs."""
    app = stage.app(console=PATH)

    async def behind(scope, receive, send) -> None:
        await app(scope | {"root_path": "/shop"}, receive, send)

    ask(behind, f"{PATH}/")
    assert lines_of(stage)[0]["path"].startswith(f"/shop{PATH}/#token=")


def test_a_token_that_is_given_is_not_said(stage: InProcessStage, monkeypatch, folder: Path):
    """With `AFTERWORD_CONSOLE_TOKEN`, the line says where, and not the token; nothing is written anywhere."""
    monkeypatch.setenv("AFTERWORD_CONSOLE_TOKEN", "s3cret-s3cret-s3cret")
    app = stage.app(console=PATH)
    ask(app, f"{PATH}/", headers=with_header("authorization", "Bearer s3cret-s3cret-s3cret"))
    [line] = lines_of(stage)
    assert (line["path"], line["log_level"]) == (f"{PATH}/", "info")
    assert not any("s3cret" in str(entry) for entry in stage.accounts.lines.entries)
    assert not folder.exists()


@pytest.mark.parametrize("value", ["short", "with spaces in it, long", "ümläute-ümläute-ümläute", "x" * 301])
def test_a_given_token_that_will_not_do(stage: InProcessStage, monkeypatch, caplog, value):
    """One that is easily guessed, or no header can carry, is not used; the warning does not tell it."""
    monkeypatch.setenv("AFTERWORD_CONSOLE_TOKEN", value)
    app = stage.app(console=PATH)
    assert ask(app, f"{PATH}/", headers=with_header("authorization", f"Bearer {value}")).status == 401
    [record] = [record for record in caplog.records if "AFTERWORD_CONSOLE_TOKEN" in record.getMessage()]
    assert value not in record.getMessage()
    assert SAID.search(lines_of(stage)[0]["path"])


@pytest.mark.slow
def test_with_a_journal_it_stays(stage: InProcessStage, directory: Path, folder: Path):
    """With a journal, the token lies beside it, and is the same after a restart."""
    app = stage.app(console=PATH, journal=directory)
    ask(app, f"{PATH}/")
    file = directory / "console.token"
    assert is_private(file)
    assert not folder.exists()
    later, is_news = fresh(TAKE.format(str(directory)))
    assert later in file.read_text()
    assert later in lines_of(stage)[0]["path"]
    assert is_news == "True"  # another server says the address in its own log


@pytest.mark.slow
def test_workers_share_it(folder: Path):
    """Processes that have the same parent have the same token; who comes second does not say it again."""
    ours = tokens.shared(None)
    assert tokens.shared(None) == (ours.token, False)
    # the parent of these is this process, and not the one that is this process's
    code = TAKE.format(None)
    outputs = [fresh(code, TMPDIR=tempfile.gettempdir()) for _ in range(2)]
    assert outputs[0][0] == outputs[1][0] != ours.token


@pytest.mark.slow
def test_only_the_first_of_many_says_it(directory: Path):
    """Workers that start at the same time agree on one token, and one of them says it."""
    code = """
        import multiprocessing
        from afterword._console import tokens

        def take(queue):
            queue.put(tokens.shared({!r}))

        context = multiprocessing.get_context("fork")
        queue = context.Queue()
        workers = [context.Process(target=take, args=(queue,)) for _ in range(8)]
        for worker in workers: worker.start()
        found = [queue.get() for _ in workers]
        for worker in workers: worker.join()
        print(len({{each.token for each in found}}), sum(each.is_news for each in found))
        """
    assert fresh(code.format(str(directory))) == ["1", "1"]


def test_a_file_that_others_can_read_is_not_trusted(stage: InProcessStage, directory: Path, caplog):
    """A token that others may know or have planted is not used, and that is said."""
    directory.mkdir(mode=0o700)
    file = directory / "console.token"
    file.write_text("A" * 43 + "\n")
    file.chmod(0o644)
    app = stage.app(console=PATH, journal=directory)
    assert ask(app, f"{PATH}/", headers=with_header("authorization", "Bearer " + "A" * 43)).status == 401
    assert [record for record in caplog.records if "each worker has one of its own" in record.getMessage()]
    assert SAID.search(lines_of(stage)[0]["path"])


def test_a_link_is_not_followed(directory: Path, tmp_path: Path):
    """A file of somebody else's that is linked to is neither read nor written."""
    directory.mkdir(mode=0o700)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("A" * 43)
    elsewhere.chmod(0o600)
    (directory / "console.token").symlink_to(elsewhere)
    with pytest.raises(OSError, match=r"console\.token"):
        tokens.shared(str(directory))
    assert elsewhere.read_text() == "A" * 43


def test_a_folder_of_others_is_not_used(folder: Path):
    """Where somebody was first at the name of our folder, no token is put there."""
    folder.mkdir()
    folder.chmod(0o755)
    with pytest.raises(PermissionError, match="is not this user's alone"):
        tokens.shared(None)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"short\n", b"A" * 44 + b"\n", b"\xff" * 43, b"A" * 5000])
def test_a_file_with_nonsense_is_written_anew(directory: Path, content: bytes):
    """What is no token of ours is replaced by one."""
    directory.mkdir(mode=0o700)
    file = directory / "console.token"
    file.write_bytes(content)
    file.chmod(0o600)
    token = tokens.shared(str(directory)).token
    assert re.fullmatch(r"[\w-]{43}", token)
    assert token != "A" * 43
    assert file.read_text().startswith(f"{token}\n")


def test_files_of_servers_that_are_gone_are_removed(folder: Path):
    """Nothing piles up where every start has a new parent."""
    folder.mkdir(mode=0o700)
    gone = folder / f"{2**22 + 1}.token"  # more than there can be
    alive = folder / f"{os.getpid()}.token"
    for file in (gone, alive):
        file.touch(mode=0o600)
    tokens.shared(None)
    assert not gone.exists()
    assert alive.exists()


def test_the_journal_does_not_mind_the_file(stage: InProcessStage, directory: Path):
    """A token beside the journal's files is none of them."""
    app = stage.app_with(stage.works("mail"), console=PATH, journal=directory)
    ask(app)
    ask(app, f"{PATH}/")
    afterword.uninstrument(app)
    assert (directory / "console.token").exists()
