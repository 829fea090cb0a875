"""The `openvino` engine: continuous batching on OpenVINO, in a process of its own."""
