"""The services of `canuse.testing.v1`, served only with a manual clock."""
