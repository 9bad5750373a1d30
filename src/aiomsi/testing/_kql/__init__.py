"""The subset of KQL that the embedded Resource Graph reads.

A text becomes tokens (`tokens`), these a tree (`syntax`, by `expression_parser` and `parser`), and
`query` runs its stages. Each expression is compiled to a function of a row, with a static type
(`expressions`), so that a wrong query fails before any row is read. Nothing here does I/O.

Source: https://learn.microsoft.com/azure/governance/resource-graph/concepts/query-language,
https://learn.microsoft.com/kusto/query
"""
