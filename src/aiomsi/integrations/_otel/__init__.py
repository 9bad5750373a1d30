"""The spans and metrics of `aiomsi.integrations.opentelemetry`."""
