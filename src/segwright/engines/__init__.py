"""What computes: PyTorch, ONNX Runtime and TensorRT side by side behind one small contract."""
