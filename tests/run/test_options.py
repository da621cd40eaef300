"""Settings by flags, files and --set: one table, made of the dataclasses' fields; what is printed is read again."""

from __future__ import annotations

import contextlib
import json
import random
import re
import subprocess
import sys
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from sgl_fast import evaluate, search
from sgl_fast.run import evaluate_args, search_args
from sgl_fast.run.options import RUN_GROUP, Option, Options, options_of
from sgl_fast.run.parser import Parser
from sgl_fast.run.recipe import Recipe
from sgl_fast.run.search_settings import flat, settings_of
from sgl_fast.setting import check, described, setting
from sgl_fast.sgl.config import Config
from sgl_fast.spaces import EVERY

COMMANDS: dict[str, Any] = {"search": (search, search_args), "evaluate": (evaluate, evaluate_args)}
TABLES = [(args, option) for _, args in COMMANDS.values() for option in args.OPTIONS.values()]
GENOTYPE = "genotype = 'DARTS_V2'\n"


def other(option: Option) -> Any:
    """A value that the option may have."""
    if option.choices:
        return option.choices[-1]
    numbers = {"int": 12, "ints": [7], "float": 0.25, "floats": [0.25], "bool": True, "switch": True}
    return numbers.get(option.plain, "cpu")


def said(option: Option, value: Any) -> list[str]:
    """On a command line."""
    flag = f"--{option.name.replace('_', '-')}"
    return [flag] if value is True else [f"{flag}={','.join(map(str, value)) if isinstance(value, list) else value}"]


@cache
def parser_of(args: Any) -> Parser:
    return args.parser()


def given(args: Any, *words: str) -> dict[str, Any]:
    parsed = parser_of(args).parse_args(list(words))
    found = args.OPTIONS.given(parsed, lambda config: config)
    return {**vars(parsed), **found}


@pytest.mark.parametrize(("args", "option"), TABLES, ids=lambda x: getattr(x, "name", ""))
def test_every_option_is_a_flag_a_key_and_a_name(args: Any, option: Option, tmp_path: Path) -> None:
    """With underscores and dashes; a flag goes before the file."""
    file, value = tmp_path / "c.toml", other(option)
    want = option.checked(value)
    text = json.dumps(value)
    ways = [said(option, value), ["--set", f"{option.name}={said(option, value)[0].partition('=')[2] or 'true'}"]]
    for key in {option.name, option.name.replace("_", "-")}:
        for line in (f"{key} = {text}", f"[any]\n{key} = {text}"):
            file.write_text(line)
            assert given(args, "--config", str(file))[option.name] == want
    for way in ways:
        assert given(args, *way)[option.name] == want
        assert given(args, *(word.replace("-", "_", 9).replace("__", "--", 1) for word in way))[option.name] == want
    if option.plain == "bool":
        assert given(args, f"--no-{option.name.replace('_', '-')}", "--config", str(file))[option.name] is False


@pytest.mark.parametrize(("kind", "args"), [(Config, search_args), (Recipe, evaluate_args)])
def test_no_field_is_left_out(kind: type, args: Any) -> None:
    assert {f.name for f in fields(kind)} - set(args.OPTIONS) == ({"steps_per_epoch"} if kind is Config else set())


def test_a_new_field_needs_no_second_place() -> None:
    @described
    @dataclass(frozen=True)
    class Made:
        """Settings."""

        depth: int = setting(3, "how deep", "sizes", least=1)
        rate: float | None = setting(None, "how fast", "sizes", above=0, below=2)
        kind: str = setting("a", "which", "sizes", choices=("a", "b"))
        wide: bool = setting(False, "whether wide", "sizes")

        def __post_init__(self) -> None:
            check(self)

    options = Options(options_of(Made))
    p = Parser("made", "", options)
    p.add_settings_file()
    assert all(f"{f.name}  {f.metadata['text']}" in str(Made.__doc__) for f in fields(Made))
    assert all(text in p.format_help() for text in ("--depth N", "--rate X", "which: a, b", "--wide, --no-wide"))
    words = ["--depth", "4", "--rate", "1.5", "--kind", "b", "--wide"]
    assert Made(**options.given(p.parse_args([*words]), dict)) == Made(4, 1.5, "b", True)
    assert Made(**options.given(p.parse_args(["--rate", "none"]), dict)) == Made()
    for bad in ({"depth": 0}, {"rate": 2.0}, {"kind": "c"}, {"depth": 1.5}):
        with pytest.raises(ValueError, match=f"need {next(iter(bad))} "):
            Made(**bad)


def drawn(draw: random.Random) -> dict[str, Any]:
    """Settings that somebody might say."""
    choices: dict[str, list[Any]] = {
        "space": list(EVERY),
        "scale": ["tiny", "paper"],
        "settings": ["paper", "published", "released"],
        "algorithm": ["best", "paper", "released"],
        "ablation": ["separate", "no_stage_one"],
        "skip_dropout": [[0.25]],
        "layers": [[4]],
        "limit": [None, 96],
        "max_skips": [None, 0, 3],
        "lr": [1e-5, 0.1, 3],
        "r": [None, 0.25],
        "seed": [2**62],
        "human_labels": [True],
        "image_size": [None, 32],
        "ops": ["none,skip_connect,sep_conv_3x3,max_pool_3x3,dil_conv_3x3,avg_pool_3x3"],
        "root": ['/a "quoted" \\ path', "/größe"],
    }
    said = {name: draw.choice(values) for name, values in choices.items() if draw.random() < 0.5}
    return {**said, "data": "embedded"}


def test_what_is_printed_is_read_again(tmp_path: Path) -> None:
    """As TOML and as config.json, of settings drawn at random, to the same settings."""
    seed = random.randrange(1 << 30)
    print("seed", seed)
    draw, file, folder = random.Random(seed), tmp_path / "c.toml", tmp_path / "run"
    folder.mkdir()
    for _ in range(200):
        settings = settings_of(drawn(draw), "cpu")
        file.write_text(search_args.OPTIONS.toml(flat(settings), "a comment"))
        (folder / "config.json").write_text(json.dumps({**settings, "run": {"format": 1}}))
        for place in (file, folder, folder / "config.json"):
            args = parser_of(search_args).parse_args(["--config", str(place)])
            assert settings_of(search_args.given_of(args), "cuda") == settings


def test_an_evaluation_is_printed_and_read_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "c.toml"
    words = ["--genotype", "PDARTS", "--data", "embedded", "--lr", "0.3", "--imagenet", "--limit", "50"]
    assert evaluate.main([*words, "--print-config"]) == 0
    file.write_text(first := capsys.readouterr().out)
    config = evaluate_args.new_config(given(evaluate_args, *words))
    assert evaluate_args.new_config(given(evaluate_args, "--config", str(file))) == config
    assert evaluate.main(["--config", str(file), "--print-config"]) == 0
    assert capsys.readouterr().out == first and "lr = 0.3\n" in first and "imagenet = true" in first
    (tmp_path / "config.json").write_text(json.dumps({**config, "run": {}}))
    assert evaluate.main(["--config", str(tmp_path), "--print-config"]) == 0
    assert capsys.readouterr().out == first


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--learning_rate 3 --learning_rate_min 2 --arch_learning_rate 1", {"lr": 3.0, "lr_min": 2.0, "arch_lr": 1.0}),
        ("--unrolled --init_channels 8 --grad_clip 4", {"order": 2, "channels": 8, "clip": 4.0}),
        ("--batch_size 9 --arch_weight_decay 0.1 --weight_decay=0.2", {"batch_size": 9, "arch_weight_decay": 0.1}),
        ("--save x --set learning-rate=0.7", {"out": Path("x"), "lr": 0.7}),
    ],
)  # fmt: skip
def test_the_originals_spellings_are_taken(words: str, says: dict[str, Any]) -> None:
    found = given(search_args, *words.split())
    assert {name: found[name] for name in says} == says


def test_the_originals_spellings_of_an_evaluation() -> None:
    words = "--arch DARTS_V2 --drop_path_prob 0.3 --cutout_length 8 --init_channels 4"
    found = given(evaluate_args, *words.split())
    assert (found["genotype"], found["drop_path"], found["cutout"], found["channels"]) == ("DARTS_V2", 0.3, 8, 4)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_eighty_columns(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Headings, every option with its default, every choice, exit codes, three examples that can be parsed."""
    monkeypatch.setenv("COLUMNS", "80")
    command, args = COMMANDS[name]
    with pytest.raises(SystemExit) as end:
        command.main(["--help"])
    text = capsys.readouterr().out
    assert not end.value.code and max(map(len, text.splitlines())) <= 80
    flowing = re.sub(r"\s+", " ", text)
    for option in args.OPTIONS.values():
        assert f" --{option.name.replace('_', '-')}" in text
        assert option.group == RUN_GROUP or f"\n{option.group}:\n" in text
        assert all(str(choice) in flowing for choice in option.choices)
    examples = text.partition("examples:\n")[2].splitlines()
    for line in examples:
        args.parser().parse_args(line.removeprefix(f"  {args.PROG}").split())
    assert len(examples) >= 3 and "exit codes:" in text
    if name == "search":
        assert (
            "[tiny: 4, 8 of darts_minus/p_darts, 16 of pc_darts/pc_darts_imagenet; paper: 50]" in flowing
            and "paper: 0, 10 of p_darts, 15 of pc_darts/pc_darts_imagenet]" in flowing
        )


NO_TORCH = """
import contextlib, io, sys
from sgl_fast import evaluate, export, search
for name, words in (line.split("|") for line in sys.stdin.read().splitlines()):
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        try:
            code = {"search": search, "evaluate": evaluate, "export": export}[name].main(words.split())
        except SystemExit as end:
            code = end.code
    assert code == 2 and said.getvalue().count("\\n") == 1, (words, code, said.getvalue())
    assert "torch" not in sys.modules, words
"""


def test_refusals_come_before_torch() -> None:
    bad = ["--lr x", "--lerning 3", "--set lr=x", "--epochs 0", "--channels 6", "--config /nowhere", "--device tpu"]
    bad += ["--precision tf32 --method exact", "--image-size 30", "--data mnist", "--seed -1", "--ops conv"]
    lines = [*(f"search|{words}" for words in bad), "evaluate|--genotype DARTS_V3", "evaluate|--lr 0"]
    lines += [f"export|{words}" for words in ("", "--pixel", ". --out a.xml", ". --out nowhere/a.pt2")]
    subprocess.run([sys.executable, "-c", NO_TORCH], input="\n".join(lines), text=True, check=True, timeout=100)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("lrr = 0.3", "'lrr' is no option; near it: lr"),
        ("batchsize = 3", "'batchsize' is no option; near it: batch_size"),
        ("steps_per_epoch = 3", "'steps_per_epoch' is no option"),
        ("lr = '0.3'", "lr: need a number; got '0.3'"),
        ("lr = true", "lr: need a number; got True"),
        ("epochs = 1.5", "epochs: need a whole number; got 1.5"),
        ("epochs = 'none'", "epochs: need a whole number"),
        ("order = true", "order: need one of 1, 2; got True"),
        ("human_labels = 1", "human_labels: need true or false; got 1"),
        ("layers = [1, 'x']", "layers: need a whole number; got 'x'"),
        ("[a]\nlr = 1\n[b]\nlr = 2", "lr is set twice"),
        ("lr = 1\nlearning-rate = 2", "learning-rate: it is set twice"),
        ("lr = ", "cannot read"),
        ("{}", "config.json holds no search"),
    ],
)
def test_bad_files(text: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.toml").write_text(text)
    with contextlib.suppress(SystemExit):
        assert search.main(["--config", str(tmp_path / "c.toml")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "--config: " in error and str(tmp_path / "c.toml") in error and says in error


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--lerning-rate", "3"], "unknown option --lerning-rate; near it: --lr"),
        (["--epoch", "3"], "unknown option --epoch; near it: --epochs"),
        (["--resum"], "near it: --resume"),
        (["darts"], "unexpected argument darts: options begin with --"),
        (["--set", "lr"], "--set: need NAME=VALUE; got lr"),
        (["--set", "lrr=1"], "--set: 'lrr' is no option; near it: lr"),
        (["--set", "lr=x"], "--set: lr: need a number; got x"),
        (["--layers", "5,6"], "--layers: need one number; got 5,6"),
        (
            ["--space", "p_darts", "--layers", "5,6"],
            "--layers: need one number, or 3 with commas between them; got 5,6",
        ),
        (["--space", "p_darts", "--skip-dropout", "0,0,1"], "--skip-dropout: need a number of at least 0 and below 1"),
        (["--limit", "many"], "--limit: need a whole number; got many"),
        (["--lr"], "--lr: expected one argument"),
    ],
)
def test_bad_options(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = search.main([*words, "--data", "embedded"])
    except SystemExit as end:
        code = end.code
    error = capsys.readouterr().err
    assert code == 2 and error.count("\n") == 1 and says in error
