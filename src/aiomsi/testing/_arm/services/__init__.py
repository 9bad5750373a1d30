"""The responses of single resource providers, beyond the storing of documents."""
