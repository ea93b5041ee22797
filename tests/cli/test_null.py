"""`bankai eval --null` on nano with a tiny patch."""

from pathlib import Path

import pytest

from bankai.checkpoint.model_file import open_checkpoint
from bankai.patch import Flip, Patch, bind, write_patch
from bankai.probes import ProbeSet, load_probe_set


@pytest.fixture
def command(tmp_path: Path) -> tuple[object, ...]:
    """Up to the number: three flips of nano and 24 held-out probes."""
    flips = Flip("model.layers.2.mlp.up_proj", 3), Flip("model.layers.3.mlp.down_proj", 9, 1)
    with open_checkpoint("nano") as checkpoint:
        write_patch(
            bind(Patch.of([*flips, Flip("model.layers.0.mlp.gate_proj", 4)]), checkpoint), tmp_path / "p"
        )
    ProbeSet("few", load_probe_set("elicitable").split("heldout")[::17]).save(tmp_path / "few.jsonl")
    return "eval", "nano", "--probes", tmp_path / "few.jsonl", "--patch", tmp_path / "p", "--null"


def test_json(run, command) -> None:
    outcome = run(*command, 5, "--seed", 2, "--json")
    document, plain = outcome.document, run(*command[:-1], "--json").document
    null = document.pop("null")
    assert document == plain
    assert (outcome.code, null["seed"], len(null["patches"])) == (0, 2, 5)
    nets = [one["fixed"] - one["broke"] for one in null["patches"]]
    assert nets == [one["net"] for one in null["patches"]]
    assert (null["median"]["net"], null["max"]["net"]) == (sorted(nets)[2], max(nets))
    own = document["fixed"] - document["broke"]
    assert null["p_value"] == pytest.approx((1 + sum(net >= own for net in nets)) / 6)
    assert run(*command, 5, "--seed", 2, "--json").document["null"] == null


def test_text(run, command) -> None:
    document, outcome = run(*command, 22, "--json").document, run(*command, 22)
    assert (outcome.code, outcome.err) == (0, "")
    lines = [line.split() for line in outcome.out.splitlines()]
    null = document["null"]
    first, last = (null["patches"][at] for at in (0, 19))
    for head, one in ((["random", "1"], first), (["random", "20"], last)):
        assert [*head, *(str(one[name]) for name in ("fixed", "broke", "net"))] in lines
    assert ["median", *(f"{null['median'][name]:g}" for name in ("fixed", "broke", "net"))] in lines
    assert ["patch", str(document["fixed"]), str(document["broke"])] in [line[:3] for line in lines]
    assert "Null, seed 0" in outcome.out and "and 2 more; --json has them" in outcome.out
    assert f"22 random patches, p = {null['p_value']:.2g} that one nets" in outcome.out


def test_without_null_nothing_changes(run, command) -> None:
    plain = run(*command, 0, "--json").document
    assert "null" not in plain and plain == run(*command[:-1], "--json").document


def test_what_cannot_be_matched_is_refused(refused, command, tmp_path: Path) -> None:
    assert "give --patch too" in refused("eval", "nano", "--probes", "elicitable", "--null", 3).err
    for engine in ("llama", "mlx"):
        assert f"not by {engine}; leave --engine out" in refused(*command, 3, "--engine", engine).err
    most = Patch(frozenset(Flip("model.layers.0.self_attn.k_proj", row) for row in range(65)))
    with open_checkpoint("nano") as checkpoint:
        write_patch(bind(most, checkpoint), tmp_path / "p")
    assert "65 of the 128 rows" in refused(*command, 3).err
    assert "greater than or equal to 0" in refused(*command, -1).err
