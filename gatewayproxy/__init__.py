"""gatewayproxy: Kubernetes Gateway API manifests, from a folder to traffic."""

__version__ = "0.1.0"
