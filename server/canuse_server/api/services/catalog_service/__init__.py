"""CatalogService: features, packages, migrations, and the catalogue as one document."""
