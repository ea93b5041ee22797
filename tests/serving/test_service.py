"""A model opened to be served: where its texts end, and the chat template that it is asked for."""

from pathlib import Path

import pytest
from builders import build_tiny_gguf, tiny_tokenizer

from bankai.errors import UnsupportedModelError
from bankai.model.chat import render_chat
from bankai.serving.service import open_service

CHAT = [{"role": "user", "content": "ok"}]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    spec = tiny_tokenizer(eot_id=5, other_templates={"bare": "{{ messages[0].content }}"})
    return build_tiny_gguf(tmp_path / "model.gguf", tokenizer=spec)


def test_texts_end_at_every_end_of_the_model(model: Path) -> None:
    with open_service(str(model)) as service:
        assert service.scheduler._ends == {5, 297, 299}


def test_chats_in_a_template_by_name(model: Path) -> None:
    with open_service(str(model)) as service:
        assert (
            render_chat(service.tokenizer, CHAT) == "<|im_start|>user\nok<|im_end|>\n<|im_start|>assistant\n"
        )
    with open_service(str(model), chat_template="bare") as service:
        assert render_chat(service.tokenizer, CHAT) == "ok"
    with pytest.raises(UnsupportedModelError, match="'default', 'bare'"):
        open_service(str(model), chat_template="absent").__enter__()
