"""What llama.cpp is told of a model, and where in the file that is read."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
import xllamacpp

from stillhouse.student_inference.config import EngineConfig
from stillhouse.student_inference.gguf_header import GgufHeader, read_header
from stillhouse.student_inference.hardware import has_gpu
from stillhouse.student_inference.llama import server_parameters


def header_file(path: Path, **numbers: int) -> Path:
    """A GGUF file of a header alone, with these keys of the architecture `tiny`."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    keys = [text("general.architecture") + struct.pack("<I", 8) + text("tiny")]
    keys += [
        text(f"tiny.{name.replace('__', '.')}") + struct.pack("<II", 4, number) for name, number in numbers.items()
    ]
    path.write_bytes(struct.pack("<4sIQQ", b"GGUF", 3, 0, len(keys)) + b"".join(keys))
    return path


@pytest.mark.parametrize(
    ("numbers", "width"),
    [
        ({"embedding_length": 576, "attention__head_count": 9}, 64),
        ({"embedding_length": 1024, "attention__head_count": 16, "attention__key_length": 128}, 128),
        ({"embedding_length": 576}, 0),
    ],
    ids=["shared", "own", "not said"],
)
def test_the_width_of_a_key_is_the_files_own_or_a_heads_share(
    tmp_path: Path, numbers: dict[str, int], width: int
) -> None:
    assert read_header(header_file(tmp_path / "m.gguf", **numbers)).key_width == width


@pytest.mark.skipif(has_gpu(), reason="a GPU keeps llama.cpp's own choice")
@pytest.mark.parametrize(("key_width", "kept_as"), [(64, "Q8_0"), (128, "Q8_0"), (16, "F16"), (80, "F16"), (0, "F16")])
def test_keys_are_kept_in_8_bits_on_a_processor_where_they_fill_whole_blocks(key_width: int, kept_as: str) -> None:
    header = GgufHeader("tiny", "", 2048, 4, key_width, "gpt2", ())
    parameters = server_parameters(Path("m.gguf"), header, EngineConfig())
    assert parameters.cache_type_k == getattr(xllamacpp.ggml_type, f"GGML_TYPE_{kept_as}")
    assert parameters.cache_type_v == xllamacpp.ggml_type.GGML_TYPE_F16
