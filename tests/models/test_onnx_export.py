"""Every network exports to ONNX with dynamic batch and size, and ONNX Runtime computes the same picture."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from models.registry import ARCHITECTURES, SUPPORTED_SCALES, build_network


@pytest.mark.parametrize("scale", SUPPORTED_SCALES)
@pytest.mark.parametrize("architecture", [known.name for known in ARCHITECTURES])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_onnx_runtime_agrees_with_torch(architecture: str, scale: int, tmp_path: Path) -> None:
    torch.manual_seed(5)
    network = build_network(architecture, scale=scale, channels="rgb").eval()
    path = tmp_path / "network.onnx"
    torch.onnx.export(
        network,
        (torch.rand(1, 3, 10, 12),),
        str(path),
        input_names=["picture"],
        output_names=["restored"],
        dynamic_axes={"picture": {0: "batch", 2: "height", 3: "width"}},
        opset_version=17,
        dynamo=False,
    )
    if scale == 1:
        operators = {node.op_type for node in onnx.load(path).graph.node}
        assert operators <= {"Add", "Conv", "Relu", "Sub", "Constant", "Identity"}
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for batch, height, width in [(1, 10, 12), (3, 17, 9)]:
        picture = torch.rand(batch, 3, height, width)
        with torch.inference_mode():
            expected = network(picture).numpy()
        (restored,) = session.run(None, {"picture": picture.numpy()})
        assert restored.shape == (batch, 3, scale * height, scale * width)
        assert np.abs(restored - expected).max() < 1e-4
