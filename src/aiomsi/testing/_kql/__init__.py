"""The subset of KQL that the embedded Resource Graph reads."""
