"""What visitors of the console do with features and packages."""
