"""ARM templates: their expressions, their order, and the deployments that carry them out."""
