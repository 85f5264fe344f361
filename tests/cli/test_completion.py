"""Completion in real shells: commands, commands of commands, options; and what it costs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from ssbfast.cli import config_file
from ssbfast.cli.group import COMPLETE, group
from tests.helpers.require import require

BASH = """
source <(ssbfast completion bash)
for line in LINES; do
    COMP_WORDS=($line) COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMPREPLY=()
    _ssbfast_completion ssbfast
    echo "$line: ${COMPREPLY[*]}"
done
"""
ZSH = r"""
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell 'autoload -Uz compinit; compinit -u -D; source <(ssbfast completion zsh)'
for line in LINES; do
    zpty -w -n shell $'\x15'"$line"$'\t\x01print -r -- "<\x05>"\n'  # Tab, then to the front and to the end of the line
    zpty -r shell text $'*\n<*>*'
    text=${${text##*$'\n<'}%%>*}
    print -r -- "$line: ${text##* }"
done
"""
FISH = """
ssbfast completion fish | source
for line in LINES
    echo "$line:" (complete --do-complete "$line")
end
"""
EXPECTED = {
    "ssbfast ro": "room",
    "ssbfast room mem": "members",
    "ssbfast room members a": "add",
    "ssbfast service ins": "install",
    "ssbfast config sh": "show",
    "ssbfast room --drain": "--drain-seconds",
}


def in_shell(shell: str, script: str, tmp_path: Path) -> list[str]:
    """The lines that a shell prints for a script; `ssbfast` there is the one of this environment."""
    require(shell, shutil.which(shell) is not None)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    env = {**os.environ, "PATH": path, "HOME": str(tmp_path), "TERM": "dumb"}
    done = subprocess.run(
        [shell, "-c", script],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shell", "script"), [("bash", BASH), ("zsh", ZSH), ("fish", FISH)], ids=["bash", "zsh", "fish"]
)
def test_a_shell_completes(shell: str, script: str, tmp_path: Path) -> None:
    lines = in_shell(shell, script.replace("LINES", " ".join(f'"{line}"' for line in EXPECTED)), tmp_path)
    found = {line: words.partition("\t")[0] for line, _, words in (line.partition(": ") for line in lines)}
    assert found == EXPECTED


def test_completing_a_command_loads_none() -> None:
    code = "import sys\nfrom ssbfast.cli.group import run\ntry: run([])\nfinally: print(*sys.modules, file=sys.stderr)"
    env = {**os.environ, "COMP_WORDS": "ssbfast ", "COMP_CWORD": "1", "_SSBFAST_COMPLETE": "bash_complete"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60, check=True)
    assert "plain,room\nplain,listen\n" in done.stdout and "demo-part" not in done.stdout
    assert not {"asyncio", "rich", "ssbfast.cli.room.command", "ssbfast.cli.listen"} & set(done.stderr.split())


def test_completion_says_nothing_of_a_file_of_options_that_this_user_may_not_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "room.toml").touch()
    monkeypatch.setattr(config_file, "SYSTEM", tmp_path)
    monkeypatch.setattr("os.access", lambda *_: False)
    shell = ShellComplete(group, {}, "ssbfast", COMPLETE)
    assert [item.value for item in shell.get_completions(["room"], "memb")] == ["members"]
    assert capsys.readouterr() == ("", "")
