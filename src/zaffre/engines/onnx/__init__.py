"""The `onnx` engine: text and image embeddings on onnxruntime."""
