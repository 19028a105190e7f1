"""How services use canuse in the frameworks that they are written in: docs/frameworks.md."""
