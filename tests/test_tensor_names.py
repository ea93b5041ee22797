"""Tensor names: the parts of a name, and the name that they make."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from patches import NAMES

from bankai.tensor_names import MOST_LAYERS, layer_tensor, parse_tensor_name


@given(NAMES | st.text(max_size=20))
def test_the_parts_of_a_name_make_it(name: str) -> None:
    parsed = parse_tensor_name(name)
    if "{}" not in name:
        assert str(parsed) == name
    assert (parsed.layer is None) == (parsed.family == name)


def test_a_projection_of_a_layer() -> None:
    parsed = parse_tensor_name("model.layers.17.mlp.up_proj")
    assert (parsed.layer, parsed.path, parsed.projection) == (17, "mlp.up_proj", "up_proj")
    assert parsed.family == "model.layers.{}.mlp.up_proj"
    assert layer_tensor(17, "mlp.up_proj") == str(parsed)


@pytest.mark.parametrize(
    "name",
    ["lm_head", "model.norm", "model.layers.x.up", "model.layers.01.up", f"model.layers.{MOST_LAYERS}.up"],
)
def test_a_tensor_of_no_layer(name: str) -> None:
    parsed = parse_tensor_name(name)
    assert parsed.layer is None and parsed.path == name and parsed.projection == name.rpartition(".")[2]


def test_the_first_number_is_the_layer() -> None:
    parsed = parse_tensor_name("experts.7.x.8.y")
    assert (parsed.family, parsed.layer, parsed.path) == ("experts.{}.x.8.y", 7, "experts.{}.x.8.y")
