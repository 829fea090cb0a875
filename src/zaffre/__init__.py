"""Zaffre: a self-hosted server and SDK for the Azure AI Model Inference API."""

__version__ = "0.1.0"
