"""What computes: PyTorch and ONNX Runtime side by side behind one small contract."""
