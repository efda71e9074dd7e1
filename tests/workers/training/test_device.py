from __future__ import annotations

import pytest
import torch

from workers.errors import EncodingError
from workers.training.device import (
    DeviceUnavailableError,
    compute_exactly,
    device_name,
    has_native_bfloat16,
    select_device,
)


def test_auto_takes_what_there_is() -> None:
    assert select_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert device_name(select_device("cpu")) == "cpu"


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "mps", ""])
def test_a_device_that_is_not_there_is_a_clear_error(name: str) -> None:
    with pytest.raises(DeviceUnavailableError, match="STDO_DEVICE to auto") as caught:
        select_device(name)
    # The operator's setting is to blame, and not the job.
    assert not isinstance(caught.value, EncodingError)


def test_float32_is_computed_as_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    compute_exactly()
    assert not torch.backends.cudnn.allow_tf32


def test_bfloat16_is_used_where_the_processor_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_f": True, "avx512_bf16": False})
    assert not has_native_bfloat16(torch.device("cpu"))
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_f": True, "avx512_bf16": True})
    assert has_native_bfloat16(torch.device("cpu"))
