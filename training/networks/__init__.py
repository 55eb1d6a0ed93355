"""Networks of the project: TorchScript modules that obey docs/models.md."""
